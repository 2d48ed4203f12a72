"""Is it stale? Deep keys, action keys and the look-ups that they answer. In what order is the scheduler's business.

A deep key is known before anything runs: a node's own inputs, the deep keys of the nodes whose packages its box may hold, and
the part of the pool that it can reach. An action key is known once its dependencies are: the same with their content in place
of their keys. A deep miss with an action hit is early cutoff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pool import Pool, reach
from buildgraph.graph.model import Graph, Node
from buildgraph.graph.resolve import Built, Locals, Resolution, resolve
from buildgraph.keys.digest import Digest, digest_bytes, digest_text
from buildgraph.keys.document import Entry, KeyDocument
from buildgraph.plan.record import DeepRecord, ExternalPart, Record
from buildgraph.recipes.values import Need


class Store(Protocol):
    """Where records come from. Every answer may be None: a cache never has to have anything."""

    def record(self, action: Digest) -> Record | None:
        """The record of an action, only if all of its outputs are at hand too."""

    def deep(self, key: Digest) -> DeepRecord | None:
        """What a deep key led to."""


@dataclass(frozen=True, slots=True)
class DeepKey:
    """A node's deep key, the document behind it, and what was resolved on what recipes declare."""

    key: Digest
    document: KeyDocument
    resolutions: Mapping[str, Resolution]


@dataclass(frozen=True, slots=True)
class Action:
    """An action that is fully determined: its key, the document behind it, and what its box holds per architecture."""

    node: Node
    key: Digest
    document: KeyDocument
    resolutions: Mapping[str, Resolution]
    dependencies: Mapping[str, Record]


@dataclass(frozen=True, slots=True)
class Suspended:
    """An action that has to wait for nodes which no recipe named, found through their real metadata."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unlocked:
    """An action whose world needs external packages that the lock lacks: per architecture, requirement and need."""

    missing: Mapping[str, Mapping[str, Need]]
    worlds: Mapping[str, tuple[str, ...]]


OwnEntries = Callable[[str], Sequence[Entry]]


@dataclass
class Rebuilder:
    """The keys of a graph. ``own`` gives a node's own inputs; ``pools`` the lock by architecture, which may grow."""

    graph: Graph
    local: Mapping[str, Locals]
    pools: dict[str, Pool]
    own: OwnEntries
    store: Store
    known: dict[str, Record] = field(default_factory=dict)
    _deep: dict[str, DeepKey] = field(default_factory=dict)

    def unlocked(self, nodes: Iterable[str]) -> dict[str, Unlocked]:
        """The nodes whose declared world the lock does not cover yet."""
        found = {}
        for name in nodes:
            result = self._uncovered(self._resolve(self.graph.nodes[name], lambda _: None))
            if result is not None:
                found[name] = result
        return found

    def use_pools(self, pools: dict[str, Pool]) -> None:
        """Goes on with a lock that has grown; deep keys are computed anew."""
        self.pools = pools
        self._deep.clear()

    def deep(self, name: str) -> DeepKey:
        """A node's deep key."""
        pending = [name]
        while pending:
            top = pending[-1]
            waiting = [other for other in self.graph.dependencies[top] if other not in self._deep]
            if not waiting and top not in self._deep:
                self._deep[top] = self._deep_key(self.graph.nodes[top])
            if waiting:
                pending += waiting
            else:
                pending.pop()
        return self._deep[name]

    def _deep_key(self, node: Node) -> DeepKey:
        resolutions = self._resolve(node, lambda _: None)
        entries = [*self.own(node.id)]
        # A local package that only an external one asks for is no dependency of the graph: the deep record names it.
        declared = set(self.graph.dependencies[node.id])
        for architecture, resolution in resolutions.items():
            entries += external_entries(architecture, resolution)
            for name, package in resolution.packages.items():
                if package.node not in declared:
                    continue
                cause = resolution.causes[name]
                entries.append(
                    Entry("local", f"{architecture}/{name}", self._deep[package.node].key, f"needed as {cause.text}", cause.place)
                )
        document = KeyDocument.of(entries)
        return DeepKey(document.key(), document, resolutions)

    def deep_hit(self, name: str) -> Record | None:
        """The record that a node's deep key leads to, if its discoveries still hold and its outputs are at hand."""
        led = self.store.deep(self.deep(name).key)
        if led is None or not self._still_holds(led):
            return None
        return self.store.record(led.action)

    def _still_holds(self, led: DeepRecord) -> bool:
        for name, key in led.nodes.items():
            if name not in self.graph.nodes or self.deep(name).key != key:
                return False
        return all(
            architecture in self.pools and external_part(self.pools[architecture], part) == part.reached
            for architecture, part in led.external.items()
        )

    def action(self, name: str) -> Action | Suspended | Unlocked:
        """The action of a node whose dependencies are known (in ``known``)."""
        node = self.graph.nodes[name]
        resolutions = self._resolve(node, self._metadata)
        needed = sorted({other for resolution in resolutions.values() for other in resolution.nodes()})
        waiting = tuple(other for other in needed if other not in self.known)
        if waiting:
            return Suspended(waiting)
        uncovered = self._uncovered(resolutions)
        if uncovered is not None:
            return uncovered
        entries = [*self.own(name)]
        for architecture, resolution in resolutions.items():
            entries += external_entries(architecture, resolution)
            entries += self._package_entries(architecture, resolution)
        document = KeyDocument.of(entries)
        return Action(node, document.key(), document, resolutions, {other: self.known[other] for other in needed})

    def _package_entries(self, architecture: str, resolution: Resolution) -> list[Entry]:
        entries = []
        for name, package in resolution.packages.items():
            path, digest = package_output(self.known[package.node], name, architecture)
            cause = resolution.causes[name]
            entries.append(Entry("package", path, digest, f"needed as {cause.text}, made by {package.node}", cause.place))
        return entries

    def deep_record(self, name: str, action: Action) -> DeepRecord:
        """What to remember under a node's deep key once its action's record exists."""
        nodes = {other: self.deep(other).key for other in action.dependencies}
        external = {}
        for architecture, resolution in action.resolutions.items():
            provided = sorted(self._provided(resolution))
            part = ExternalPart(tuple(resolution.requirements), tuple(sorted(resolution.packages)), tuple(provided), Digest(""))
            reached = external_part(self.pools[architecture], part)
            external[architecture] = ExternalPart(part.requirements, part.shadowed, part.provided, reached)
        return DeepRecord(action.key, digest_bytes(self.deep(name).document.to_bytes()), nodes, external)

    def _provided(self, resolution: Resolution) -> set[str]:
        names = set()
        for name, package in resolution.packages.items():
            entry = self.known[package.node].built().entries[name]
            names.add(name)
            names.update(provide.partition("=")[0] for provide in entry.provides)
        return names

    def _metadata(self, name: str) -> Built | None:
        record = self.known.get(name)
        return record.built() if record else None

    def _resolve(self, node: Node, metadata: Callable[[str], Built | None]) -> dict[str, Resolution]:
        return {
            architecture: resolve(node, self.local[architecture], self.pools[architecture], metadata)
            for architecture in node.architectures
        }

    def _uncovered(self, resolutions: Mapping[str, Resolution]) -> Unlocked | None:
        missing = {
            architecture: {text: _need(resolution, text, asker) for text, asker in resolution.reach.missing.items()}
            for architecture, resolution in resolutions.items()
            if resolution.reach.missing
        }
        if not missing:
            return None
        return Unlocked(missing, {architecture: tuple(resolutions[architecture].requirements) for architecture in missing})


def _need(resolution: Resolution, text: str, asker: str) -> Need:
    return resolution.needs.get(text) or Need(text, via=f"the external package {asker}" if asker else "")


def package_output(record: Record, name: str, architecture: str) -> tuple[str, Digest]:
    """Path and digest of one package among a record's outputs. KeyError where it is not there."""
    entry = record.built().entries[name]
    path = f"{architecture}/{entry.filename}"
    for output in record.outputs:
        if output.path == path:
            return path, output.digest
    raise KeyError(path)


def external_entries(architecture: str, resolution: Resolution) -> list[Entry]:
    """The entries for the part of the pool that a box may hold."""
    grouped: dict[str, list[IndexEntry]] = {}
    for entry in resolution.reach.sorted():
        grouped.setdefault(entry.name, []).append(entry)
    return [
        Entry(
            "external",
            f"{architecture}/{name}",
            " ".join(f"{entry.version} {entry.checksum}" for entry in entries),
            "reached from the pool",
        )
        for name, entries in grouped.items()
    ]


def external_part(pool: Pool, part: ExternalPart) -> Digest:
    """The digest of what the requirements reach, and of what they miss."""
    found = reach(pool, part.requirements, frozenset(part.shadowed), frozenset(part.provided))
    lines = [f"{entry.filename} {entry.checksum}" for entry in found.sorted()] + [
        f"missing {text}" for text in sorted(found.missing)
    ]
    return digest_text("\n".join(lines))
