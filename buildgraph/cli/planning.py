"""The plan of a build, which takes less to load than a build."""

from __future__ import annotations

from collections.abc import Sequence

from buildgraph.cli import kept
from buildgraph.cli.session import Session
from buildgraph.plan.planner import Plan, make_plan


def planned(patterns: Sequence[str], session: Session) -> Plan:
    """The plan of a build; completes the lock first, as far as repositories can."""
    session.store.brings = False
    wanted = session.wanted(patterns)
    session.locker.complete(wanted, tolerant=True)
    reasons, network = session.explainer.reasons, session.inputs.network
    before = kept.planned(session)
    found = make_plan(wanted, session.rebuilder, reasons, network, before)
    kept.keep_planned(session, found)
    return found
