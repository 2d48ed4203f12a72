"""`bg explain`: why something has to be built, or why and when it was built last."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from buildgraph.cli.commands import show
from buildgraph.cli.planning import planned
from buildgraph.cli.session import Session
from buildgraph.keys.digest import parse_digest
from buildgraph.plan.planner import Plan
from buildgraph.plan.record import Record
from buildgraph.plan.store import Last
from buildgraph.report import views
from buildgraph.report.console import seconds


def explain(options: argparse.Namespace, session: Session) -> int:
    """Tells of each node of a target whether it is cached and why; what its key is made of, if asked."""
    plan, _ = planned([options.target], session)
    if options.json:
        show([views.to_json([_as_json(name, plan, session) for name in plan.wanted])])
        return 0
    for name in plan.wanted:
        decision = plan.decisions[name]
        if decision.kind in {"hit", "spared"}:
            show([f"{name} is cached: nothing that it depends on changed"])
            show([f"  {line}" for line in _history(*_latest(name, plan, session))])
        else:
            show([f"{name} cannot be built:" if decision.kind == "blocked" else f"{name} has to be built:"])
            show([f"  {reason}" for reason in decision.reasons])
        if options.key:
            document = session.rebuilder.deep(name).document
            show(["", f"deep key {decision.deep_key}, of:", *(f"  {line}" for line in views.document_lines(document))])
    return 0


def _latest(name: str, plan: Plan, session: Session) -> tuple[Record | None, Last | None]:
    """The record behind a cached node, and what is noted of when and why it became that; each None where it is not known."""
    action = parse_digest(plan.decisions[name].action_key)
    record = session.store.previous(action) if action else None
    last = session.store.last(name)
    return record, last if last is not None and last.action == action and last.since else None


def _history(record: Record | None, last: Last | None) -> list[str]:
    if record is None:
        return ["when and why it was built is not known here"]
    built = f"built {_moment(record.built_at)}, in {seconds(record.seconds)}"
    if last is None:
        return [f"{built}; why is not known here"]
    if last.reasons:
        return [f"{built}, because", *(f"  {reason}" for reason in last.reasons)]
    return [f"{built}{', on another machine' if record.fetched else ''}", f"taken from the cache since {_moment(last.since)}"]


def _moment(since_1970: int) -> str:
    return f"{datetime.fromtimestamp(since_1970, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _as_json(name: str, plan: Plan, session: Session) -> dict[str, Any]:
    document = session.rebuilder.deep(name).document
    entries = [[entry.section, entry.name, entry.value, entry.why, entry.place] for entry in document.entries]
    record, last = _latest(name, plan, session)
    built = {"built_at": record.built_at, "fetched": record.fetched} if record else {}
    noted = {"since": last.since, "reasons": list(last.reasons)} if last else {}
    return {**views.plan_json(plan)["nodes"][name], "node": name, "key_document": entries, "last_build": built | noted}
