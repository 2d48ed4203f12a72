"""Plans, lists, graphs and explanations as text and as JSON-able values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from buildgraph.graph.model import Graph, Node
from buildgraph.keys.document import KeyDocument
from buildgraph.plan.planner import Decision, Plan

_WORDS = {"hit": "cached", "spared": "cached", "run": "build", "maybe": "maybe"}


def to_json(value: object) -> str:
    """JSON for machines: stable order, one document."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def plan_lines(plan: Plan, *, everything: bool = False) -> list[str]:
    """A plan for people: what would run and why, then a count."""
    lines = []
    for name, decision in plan.decisions.items():
        if decision.kind in {"hit", "spared"} and not everything:
            continue
        lines.append(f"{_WORDS[decision.kind]:6} {name}")
        lines += [f"         {reason}" for reason in decision.reasons]
        lines += [f"         network: {reason}" for reason in decision.network]
    counts = {kind: sum(decision.kind == kind for decision in plan.decisions.values()) for kind in _WORDS}
    cached = counts["hit"] + counts["spared"]
    summary = f"{counts['run']} to build, {cached} cached"
    if counts["maybe"]:
        summary += f", {counts['maybe']} to build only if what they depend on changes"
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


def list_lines(nodes: Iterable[Node]) -> list[str]:
    """Targets for people: label, kind, what it makes."""
    rows = [(node.label, node.kind, ", ".join(package.name for package in node.packages), node.path) for node in nodes]
    width = max((len(row[0]) for row in rows), default=0)
    return [f"{label:{width}}  {kind:7}  {makes or path}" for label, kind, makes, path in dict.fromkeys(rows)]


def node_json(node: Node) -> dict[str, Any]:
    """A node for machines."""
    return {
        "id": node.id,
        "target": node.label,
        "kind": node.kind,
        "architectures": list(node.architectures),
        "file": node.path,
        "packages": [{"name": package.name, "version": package.version} for package in node.packages],
    }


def graph_json(graph: Graph, shown: set[str]) -> dict[str, Any]:
    """The graph for machines; edges of kind build, runtime and image, external ones with a package's name as ``to``."""
    edges = [
        {
            "from": edge.source,
            "to": edge.target,
            "kind": edge.kind,
            "requirement": edge.requirement,
            "file": edge.path,
            "line": edge.line,
            "external": edge.external,
        }
        for edge in graph.edges
        if edge.source in shown
    ]
    return {"nodes": [node_json(graph.nodes[name]) for name in graph.order if name in shown], "edges": edges}


def graph_dot(graph: Graph, shown: set[str]) -> list[str]:
    """The graph in the DOT language of Graphviz, local nodes only."""
    styles = {"build": "solid", "runtime": "dashed", "image": "bold"}
    lines = ["digraph buildgraph {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for name in graph.order:
        if name in shown:
            shape = ', shape=component, style=filled, fillcolor="#e8f0fe"' if graph.nodes[name].kind == "image" else ""
            lines.append(f"  {json.dumps(name)} [label={json.dumps(graph.nodes[name].label)}{shape}];")
    drawn = {
        f"  {json.dumps(edge.source)} -> {json.dumps(edge.target)} [style={styles[edge.kind]}];"
        for edge in graph.edges
        if not edge.external and edge.source in shown and edge.target in shown
    }
    return [*lines, *sorted(drawn), "}"]


def graph_mermaid(graph: Graph, shown: set[str]) -> list[str]:
    """The graph as a Mermaid flowchart, which GitHub draws in Markdown."""
    ids = {name: f"n{number}" for number, name in enumerate(graph.order)}
    lines = ["flowchart LR"]
    for name in graph.order:
        if name in shown:
            left, right = ("[[", "]]") if graph.nodes[name].kind == "image" else ("[", "]")
            lines.append(f'  {ids[name]}{left}"{graph.nodes[name].label}"{right}')
    arrows = {"build": "-->", "runtime": "-.->", "image": "==>"}
    drawn = {
        f"  {ids[edge.source]} {arrows[edge.kind]} {ids[edge.target]}"
        for edge in graph.edges
        if not edge.external and edge.source in shown and edge.target in shown
    }
    return [*lines, *sorted(drawn)]


def graph_text(graph: Graph, shown: set[str]) -> list[str]:
    """The graph for people: each node and below it what it needs, with where that is written."""
    lines = []
    for name in graph.order:
        if name not in shown:
            continue
        lines.append(name)
        needs: Mapping[tuple[str, str, str], None] = dict.fromkeys(
            (edge.kind, edge.target, f"{edge.path}:{edge.line}")
            for edge in graph.edges
            if edge.source == name and not edge.external
        )
        lines += [f"  {kind:7} {target}  ({place})" for kind, target, place in needs]
        external = sorted({edge.target for edge in graph.edges if edge.source == name and edge.external})
        if external:
            lines.append(f"  external {', '.join(external)}")
    return lines


def document_lines(document: KeyDocument) -> list[str]:
    """A key document for people, one entry a line."""
    return [
        f"{entry.section:8} {entry.name}  {_short(entry.value)}" + (f"  ({entry.why})" if entry.why else "")
        for entry in document.entries
    ]


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value  # noqa: PLR2004 - a digest


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
