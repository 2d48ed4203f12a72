"""What there is of a target, for commands that build nothing."""

from __future__ import annotations

from buildgraph.cli.session import Session
from buildgraph.errors import TargetError
from buildgraph.plan.cached import holdings
from buildgraph.plan.record import Record


def record_of(name: str, session: Session) -> Record | None:
    """The record of a node as its files are now; None where there is none."""
    record = session.rebuilder.deep_hit(name)
    if record is None:
        found = holdings([name], session.rebuilder).found.get(name)
        record = found.record if found else None
    return record


def unbuilt(name: str, session: Session) -> TargetError:
    """The error that a node has no such record."""
    before = session.store.last(name)
    message = f"{name} is not built" if before is None else f"{name} has changed since it was built"
    return TargetError(message, hint=f"`bg build {session.graph.nodes[name].label}`")
