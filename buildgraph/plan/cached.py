"""What the cache has of some nodes and all below them: for each the action that gives it, and its record.

Nothing is built or recorded. An action is determined again from the records of what it was built with, so that it can be run
a second time with the very same packages in its box.
"""

from __future__ import annotations

from collections.abc import Iterable

from buildgraph.plan.rebuild import Action, Rebuilder, Suspended, Unlocked
from buildgraph.plan.record import Record
from buildgraph.structs import Struct, field


class Cached(Struct, frozen=True):
    """An action and the record of what it gave."""

    action: Action
    record: Record


class Holdings(Struct):
    """What was found by node, dependencies first, and of the other nodes why they were not."""

    found: dict[str, Cached] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def holdings(wanted: Iterable[str], rebuilder: Rebuilder) -> Holdings:
    """What the cache has of the wanted nodes and of all that was in their boxes."""
    found = _Finder(rebuilder)
    needed = rebuilder.graph.closure(list(wanted))
    rebuilder.prepare(name for name in rebuilder.graph.order if name in needed)
    for name in rebuilder.graph.order:
        if name in needed:
            found.look_at(name)
    return found.holdings


class _Finder:
    def __init__(self, rebuilder: Rebuilder) -> None:
        self.rebuilder = rebuilder
        self.holdings = Holdings()
        self.begun: set[str] = set()

    def look_at(self, name: str) -> None:
        """Finds one node's action and record, after those of nodes that only building showed."""
        if name in self.begun:
            return
        self.begun.add(name)
        record = self.rebuilder.deep_hit(name)
        if record is not None:
            self.rebuilder.known[name] = record
        absent = [other for other in self.rebuilder.graph.dependencies[name] if other not in self.rebuilder.known]
        action = None if absent else self._action(name)
        if isinstance(action, Action):
            record = record or self.rebuilder.store.record(action.key)
            if record is not None:
                self.rebuilder.known[name] = record
        if record is None:
            self.holdings.absent[name] = "it is not in the cache"
        elif isinstance(action, Action) and action.key == record.action:
            self.holdings.found[name] = Cached(action, record)
        elif isinstance(action, Action):
            self.holdings.absent[name] = "it was built with other packages than the cache has now"
        else:
            self.holdings.absent[name] = "something that it was built with is not in the cache"

    def _action(self, name: str) -> Action | Unlocked | None:
        while True:
            action = self.rebuilder.action(name)
            if not isinstance(action, Suspended):
                return action
            for other in action.nodes:
                self.look_at(other)
            if any(other not in self.rebuilder.known for other in action.nodes):
                return None
