"""What differs between two states of a workspace, such as a commit and the files as they are: the targets whose keys do.

A deep key covers all that a target's outputs depend on, its dependencies included: what has the same key in both states would be
built alike. What such a key cannot cover, dependencies that only building shows, is compared where the cache has records of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Literal

from buildgraph.errors import BgError
from buildgraph.graph.model import Node
from buildgraph.keys.digest import Digest
from buildgraph.keys.document import Change, Entry, difference
from buildgraph.plan.explain import Teller, Text, UserTree, maker_of
from buildgraph.plan.inputs import Inputs
from buildgraph.plan.rebuild import Rebuilder
from buildgraph.plan.record import DeepRecord
from buildgraph.structs import Struct, field
from buildgraph.workspace.manifest import FILE_NAME, LOCK_NAME

Kind = Literal["changed", "new", "removed"]
MOST_CAUSES = 3


class State(Struct, frozen=True):
    """One state: its keys and what they are made of.

    ``lock`` stands for the lock; ``digest`` gives the digest of a file of the workspace, None for one that is not there.
    """

    rebuilder: Rebuilder
    inputs: Inputs
    lock: str
    digest: Callable[[str], Digest | None]

    @property
    def nodes(self) -> Mapping[str, Node]:
        """All nodes."""
        return self.rebuilder.graph.nodes


class Affected(Struct, frozen=True):
    """A node that is not the same in both states, or is only in one of them.

    ``reasons`` are its own, then those of the nodes it depends on; ``files`` are those of its own inputs that differ.
    """

    node: Node
    change: Kind
    reasons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Comparison(Struct, dict=True):
    """Two states of a workspace. ``led`` gives what the cache knows of a deep key, ``user_tree`` a node's recipe as it is now."""

    before: State
    now: State
    led: Callable[[Digest], DeepRecord | None]
    user_tree: UserTree
    _differing: dict[str, tuple[str, ...]] = field(default_factory=dict)  # why, where the key does not tell
    _own: dict[str, list[Change]] = field(default_factory=dict)
    _told: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def affected(self, before: Iterable[str], now: Collection[str], *, reasons: bool) -> list[Affected]:
        """Those of some nodes, of either state, that are affected; those that are there no more come last."""
        self._compare(now)
        causes = self._causes(now) if reasons else {}
        found = []
        for name in now:
            if name not in self.before.nodes:
                found.append(Affected(self.now.nodes[name], "new"))
            elif name in self._differing:
                why = self._reasons(name, causes[name]) if reasons else ()
                found.append(Affected(self.now.nodes[name], "changed", why, self._files(name) if reasons else ()))
        return found + [Affected(self.before.nodes[name], "removed") for name in before if name not in self.now.nodes]

    def work(self, name: str) -> set[str]:
        """What of a node and all that it depends on is affected, as far as ``affected`` has looked."""
        closure = self.now.rebuilder.graph.closure([name])
        return {other for other in closure if other in self._differing or other not in self.before.nodes}

    def _compare(self, names: Iterable[str]) -> None:
        """Finds what differs, of some nodes and all that they depend on."""
        graph = self.now.rebuilder.graph
        closure = graph.closure(list(names))
        beyond: set[str] = set()
        for name in graph.order:
            if name not in closure or name not in self.before.nodes:
                continue
            key = self.now.rebuilder.deep_key(name)
            try:
                before = self.before.rebuilder.deep_key(name)
            except BgError as error:
                self._differing[name] = (f"was broken: {headline(error)}",)
                self._own[name] = []
                continue
            if before != key:
                self._differing[name] = ()
                continue
            why = self._differs_beyond(key)
            if why or not beyond.isdisjoint(graph.dependencies[name]):
                self._differing[name] = why
                beyond.add(name)

    def _differs_beyond(self, key: Digest) -> tuple[str, ...]:
        """How what a key leads to differs although the key is the same."""
        led = self.led(key)
        if led is None:
            return ()
        same_pools = self.before.lock == self.now.lock
        try:
            old, new = (state.rebuilder.beyond(led, same_pools=same_pools) for state in (self.before, self.now))
        except BgError as error:
            return (f"takes what is broken, as building it showed: {headline(error)}",)
        changed = [name for name, one, other in zip(led.nodes, old, new, strict=False) if one != other]
        told = tuple(f"takes packages of {name}, as building it showed, which changed" for name in changed)
        return told or (("other packages meet what building it showed that it needs",) if old != new else ())

    def _own_changes(self, name: str) -> list[Change]:
        """The differences that are a node's own: not those in what its dependencies are."""
        if name not in self._own:
            changes = difference(self.before.rebuilder.deep(name).document, self.now.rebuilder.deep(name).document)
            self._own[name] = [change for change in changes if _dependency(change) is None]
        return self._own[name]

    def _causes(self, names: Iterable[str]) -> dict[str, int]:
        """For each node that differs, which of the nodes in the graph's order have differences of their own that it shares."""
        graph = self.now.rebuilder.graph
        closure = graph.closure(list(names))
        found: dict[str, int] = {}
        for place, name in enumerate(graph.order):
            if name in closure and name in self._differing:
                found[name] = 1 << place if self._own_changes(name) or self._differing[name] else 0
                for other in graph.dependencies[name]:
                    found[name] |= found.get(other, 0)
        return found

    def _reasons(self, name: str, causes: int) -> tuple[str, ...]:
        order = self.now.rebuilder.graph.order
        below = []
        while causes:
            place = causes.bit_length() - 1
            causes ^= 1 << place
            if order[place] != name:
                below.append(order[place])
        lines = {f"{self.now.nodes[other].label}: {self._tell(other)[0]}": None for other in below[:MOST_CAUSES]}
        more = [f"and {len(below) - MOST_CAUSES} more that it depends on"] if len(below) > MOST_CAUSES else []
        return (*self._tell(name), *lines, *more)

    @cached_property
    def _teller(self) -> Teller:
        return Teller(_texts(self.before), _texts(self.now), self.user_tree)

    def _tell(self, name: str) -> tuple[str, ...]:
        """A node's own differences in words."""
        if name not in self._told:
            self._told[name] = (*self._teller.tell(name, self._own_changes(name)), *self._differing[name])
        return self._told[name]

    def _files(self, name: str) -> tuple[str, ...]:
        """The files of the workspace that a node's own differences lie in."""
        found: set[str] = set()
        for change in self._own_changes(name):
            place = (change.new or change.old or _NO_ENTRY).place
            match change.section:
                case "source":
                    found.add(place)
                case "recipe" | "pipeline":
                    described = [state.inputs.described[name] for state in (self.before, self.now)]
                    found |= {place.rpartition(":")[0], *(path for one in described for path in one.includes)}
                case "external":
                    found.add(LOCK_NAME)
                case "setting":
                    found |= {FILE_NAME, place}
        return tuple(sorted(path for path in found if self.before.digest(path) != self.now.digest(path)))


_NO_ENTRY = Entry("", "", "")


def headline(error: BgError) -> str:
    """What an error says, with its place, without excerpt and hint."""
    return error.render().splitlines()[0]


def _dependency(change: Change) -> str | None:
    """The node whose packages a change says to be others, None for any other change."""
    if change.section != "local" or change.old is None or change.new is None:
        return None
    maker = maker_of(change.new)
    return maker if maker_of(change.old) == maker else None


def _texts(state: State) -> Text:
    """The texts of a state's key documents: most are those of several nodes."""
    known: dict[str, str] = {}

    def text(name: str, digest: str) -> str | None:
        if digest not in known:
            known.update(state.inputs.texts(name))
        return known.get(digest)

    return text
