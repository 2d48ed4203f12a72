"""Plans and explanations as text and as JSON-able values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from buildgraph.keys.document import KeyDocument
from buildgraph.plan.planner import Decision, Plan

_ESCAPED = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}  # the control characters that JSON takes as they are
_WORDS = {"hit": "cached", "spared": "cached", "run": "build", "maybe": "maybe", "blocked": "blocked"}


def to_json(value: object) -> str:
    """JSON for machines: stable order, one document. A terminal that shows it is not steered by what is in it."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).translate(_ESCAPED)


def plan_lines(plan: Plan, *, everything: bool = False) -> list[str]:
    """A plan for people: what would run and why, then a count."""
    lines = []
    for name, decision in plan.decisions.items():
        if decision.kind in {"hit", "spared"} and not everything:
            continue
        lines.append(f"{_WORDS[decision.kind]:7} {name}")
        lines += [f"          {reason}" for reason in decision.reasons]
        lines += [f"          network: {reason}" for reason in decision.network]
    counts = {kind: sum(decision.kind == kind for decision in plan.decisions.values()) for kind in _WORDS}
    cached = counts["hit"] + counts["spared"]
    summary = f"{counts['run']} to build, {cached} cached"
    if counts["maybe"]:
        summary += f", {counts['maybe']} to build only if what they depend on changes"
    if counts["blocked"]:
        summary += f", {counts['blocked']} that cannot be built"
    return [*lines, summary]


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan for machines."""
    return {"wanted": list(plan.wanted), "nodes": {name: _decision(decision) for name, decision in plan.decisions.items()}}


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision.kind,
        "reasons": list(decision.reasons),
        "network": list(decision.network),
        "deep_key": decision.deep_key,
        "action_key": decision.action_key,
    }


def document_lines(document: KeyDocument) -> list[str]:
    """A key document for people, one entry a line."""
    return [
        f"{entry.section:8} {entry.name}  {_short(entry.value)}" + (f"  ({entry.why})" if entry.why else "")
        for entry in document.entries
    ]


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value  # noqa: PLR2004 - a digest


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns; what is in a cell makes no row of its own."""
    rows = [[cell.replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
