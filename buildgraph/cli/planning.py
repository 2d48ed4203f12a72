"""The plan of a build, which takes less to load than a build."""

from __future__ import annotations

from collections.abc import Sequence

from buildgraph.cli import kept
from buildgraph.cli.session import Session
from buildgraph.errors import GraphError
from buildgraph.plan.planner import Plan, make_plan


def planned(patterns: Sequence[str], session: Session) -> Plan:
    """The plan of a build; completes the lock first, as far as repositories can."""
    session.store.brings = False
    session.records.looks_first = True
    wanted = session.selection.nodes(patterns)
    session.locker.complete(wanted, tolerant=True)
    reasons, network = session.explainer.reasons, session.inputs.network
    before = kept.planned(session)
    session.store.prepare_last(name for name in wanted if name not in before)
    found = make_plan(wanted, session.rebuilder, reasons, network, before)
    kept.keep_planned(session, found)
    return found


def refuse_blocked(plan: Plan, session: Session) -> None:
    """Raises what a build of the plan would fail with before it starts, if there is such a thing."""
    blocked = [name for name, decision in plan.decisions.items() if decision.kind == "blocked"]
    if not blocked:
        return
    session.locker.complete(plan.wanted)  # not tolerant: it says what nothing provides, and what to try
    message = f"{blocked[0]} cannot be built" + (f", and {len(blocked) - 1} more" if len(blocked) > 1 else "")
    raise GraphError(message)
