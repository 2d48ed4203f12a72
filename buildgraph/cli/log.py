"""`bg log`: what melange or apko said when a target was built, on this machine or another."""

from __future__ import annotations

import argparse

from buildgraph.cli.built import record_of, unbuilt
from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import CacheError
from buildgraph.plan.record import Record


def log(options: argparse.Namespace, session: Session) -> int:
    """`bg log`. A log that is not here is brought from the store that has it. Raises TargetError, CacheError."""
    session.store.brings = False
    names = session.selection.nodes(options.targets)
    session.rebuilder.prepare(names)
    for name in names:
        said = session.store.log(_record(name, session))
        if said is None:
            message, label = f"the log of {name} is in no cache any more", session.graph.nodes[name].label
            raise CacheError(message, hint=f"`bg cache rm {label}` and `bg build --no-remote-read {label}` make another")
        show([f"== {name}"] if len(names) > 1 else [])
        show(said.decode("utf-8", "replace").rstrip("\n").split("\n"))
    return 0


def _record(name: str, session: Session) -> Record:
    record = record_of(name, session)
    last = session.store.last(name) if record is None else None
    if last is not None:
        record = session.store.previous(last.action)
        session.console.say(f"note   {name} has changed since it was built; this is the log of its last build")
    if record is None:
        raise unbuilt(name, session)
    return record
