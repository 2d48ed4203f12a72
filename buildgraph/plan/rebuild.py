"""Is it stale? Deep keys, action keys and the look-ups that they answer. In what order is the scheduler's business.

A deep key is known before anything runs: a node's own inputs, the deep keys of the nodes whose packages its box may hold, and
the part of the pool that it can reach. An action key is known once its dependencies are: the same with their content in place
of their keys. A deep miss with an action hit is early cutoff.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pool import Pool, reach
from buildgraph.apk.version import SCANNED, Requirement
from buildgraph.errors import BgError
from buildgraph.graph.model import Graph, Node
from buildgraph.graph.resolve import Built, Locals, Metadata, Resolution, Walk, unknown
from buildgraph.keys.digest import Digest, digest_bytes, digest_text
from buildgraph.keys.document import Entry, KeyDocument, key_of
from buildgraph.plan.record import DeepRecord, Found, Record
from buildgraph.recipes.values import Need
from buildgraph.structs import Struct, field


class Store(Protocol):
    """Where records come from. Every answer may be None: a cache never has to have anything."""

    def record(self, action: Digest) -> Record | None:
        """The record of an action, only if all of its outputs are at hand too."""

    def deep(self, key: Digest) -> DeepRecord | None:
        """What a deep key led to."""

    def prepare(self, deep_keys: Iterable[Digest], holds: Callable[[DeepRecord], bool]) -> None:
        """Says which deep keys are about to be asked for, and how to tell whether what one leads to will be taken."""


class DeepKey(Struct):
    """A node's deep key, what was resolved on what recipes declare, and the document behind it, made when it is asked for."""

    key: Digest
    resolutions: Mapping[str, Resolution]
    explain: Callable[[], KeyDocument]
    _document: KeyDocument | None = None

    @property
    def document(self) -> KeyDocument:
        """The document behind the key."""
        if self._document is None:
            self._document = self.explain()
        return self._document


class Action(Struct, frozen=True):
    """An action that is fully determined: its key, the document behind it, and what its box holds per architecture."""

    node: Node
    key: Digest
    document: KeyDocument
    walks: Mapping[str, Walk]
    dependencies: Mapping[str, Record]

    @property
    def resolutions(self) -> dict[str, Resolution]:
        """What its box holds, by architecture."""
        return _results(self.walks)


class Suspended(Struct, frozen=True):
    """An action that has to wait for nodes which no recipe named, found through their real metadata.

    ``needed`` are these and all others whose packages its box would hold.
    """

    nodes: tuple[str, ...]
    needed: tuple[str, ...]


class Unlocked(Struct, frozen=True):
    """An action whose world needs external packages that the lock lacks: per architecture, requirement and need."""

    missing: Mapping[str, Mapping[str, Need]]
    worlds: Mapping[str, tuple[str, ...]]
    cut: Mapping[str, Mapping[str, str]]  # those that only a cycle makes external, with the node that makes the local package


OwnEntries = Callable[[str], Sequence[Entry]]


class Rebuilder(Struct, dict=True):
    """The keys of a graph. ``own`` gives a node's own inputs; ``pools`` the lock by architecture, which may grow."""

    graph: Graph
    local: Mapping[str, Locals]
    pools: dict[str, Pool]
    own: OwnEntries
    store: Store
    known: dict[str, Record] = field(default_factory=dict)
    kept_keys: dict[str, Digest] = field(default_factory=dict)  # deep keys that need not be worked out
    _declared: dict[str, dict[str, Walk]] = field(default_factory=dict)
    _deep: dict[str, DeepKey] = field(default_factory=dict)
    _noted: dict[str, tuple[Digest, DeepRecord]] = field(default_factory=dict)  # what holds, and under which deep key
    _led: dict[str, DeepRecord] = field(default_factory=dict)  # what was found, whether or not it holds
    _grown: bool = False

    def unlocked(self, nodes: Iterable[str]) -> dict[str, Unlocked]:
        """The nodes whose declared world the lock does not cover yet."""
        found = {}
        for name in nodes:
            result = self._uncovered(_results(self._declared_walks(name)))
            if result is not None:
                found[name] = result
        return found

    def lacks_only(self, name: str, absent: Collection[tuple[str, str]]) -> bool:
        """Whether a node's declared world lacks something, and nothing but these, given as architecture and requirement."""
        missing = [(arch, text) for arch, found in _results(self._declared_walks(name)).items() for text in found.reach.missing]
        return bool(missing) and all(item in absent for item in missing)

    def unmet(self, name: str) -> dict[str, Need]:
        """What a node's declared world asks for and neither the lock nor a later scan of built packages can have."""
        results = _results(self._declared_walks(name)).values()
        return {
            text: _need(found, text, asker)
            for found in results
            for text, asker in found.reach.missing.items()
            if not text.startswith(SCANNED)
        }

    def declared(self, name: str) -> dict[str, Resolution]:
        """What a node's box may hold by what recipes declare, by architecture."""
        return _results(self._declared_walks(name))

    def _declared_walks(self, name: str) -> dict[str, Walk]:
        known = self._declared.get(name)
        if known is None:
            walks = self.graph.walks.get(name) or self._walks(self.graph.nodes[name], unknown)
            known = self._declared[name] = self._with_pools(walks)
        return known

    def use_pools(self, pools: dict[str, Pool]) -> None:
        """Goes on with a lock that has grown; deep keys are computed anew."""
        self.pools = pools
        self.kept_keys.clear()
        self._deep.clear()
        self._declared.clear()
        self._grown = True
        self._noted = {
            name: (key, led) for name, (key, led) in self._noted.items() if self.deep_key(name) == key and self._still_holds(led)
        }

    def deep(self, name: str) -> DeepKey:
        """A node's deep key."""
        pending = [name]
        while pending:
            top = pending[-1]
            below = () if top in self._deep else self.graph.dependencies[top]
            waiting = [other for other in below if other not in self._deep and other not in self.kept_keys]
            if waiting:
                pending += waiting
                continue
            if top not in self._deep:
                self._deep[top] = self._deep_key(self.graph.nodes[top])
            pending.pop()
        return self._deep[name]

    def deep_key(self, name: str) -> Digest:
        """A node's deep key alone, which may be known without its document."""
        known = self.kept_keys.get(name)
        if known is None:
            deep = self._deep.get(name)
            known = self.deep(name).key if deep is None else deep.key
        return known

    def known_keys(self) -> dict[str, Digest]:
        """The deep keys that are known by now."""
        return self.kept_keys | {name: deep.key for name, deep in self._deep.items()}

    def worked_out(self) -> Collection[str]:
        """The nodes whose keys were worked out, not kept."""
        return self._deep.keys()

    def _deep_key(self, node: Node) -> DeepKey:
        resolutions = _results(self._declared_walks(node.id))
        # A local package that only an external one asks for is no dependency of the graph: the deep record has its key.
        declared = set(self.graph.dependencies[node.id])
        own, keys = self.own(node.id), {name: f"{self.deep_key(name)} {name}" for name in declared}
        values = [entry[:3] for entry in own]
        for architecture, resolution in resolutions.items():
            values += [entry[:3] for entry in external_entries(architecture, resolution)]
            values += [("external", f"{architecture}/{text}", "missing") for text in resolution.reach.missing]
            values += [
                ("local", f"{architecture}/{name}", keys.get(package.node) or f"{_BY_POOL} {package.node}")
                for name, package in resolution.packages.items()
            ]
        return DeepKey(key_of(values), resolutions, lambda: _deep_document(own, resolutions, keys))

    def prepare(self, names: Iterable[str]) -> None:
        """Says which nodes are about to be looked up, so that caches on other machines are asked once for all of them."""
        keys = []
        for name in names:
            with suppress(BgError):  # told when the node itself is looked at
                keys.append(self.deep_key(name))
        self.store.prepare(keys, self._may_hold)

    def _may_hold(self, led: DeepRecord) -> bool:
        try:
            return self._still_holds(led)
        except BgError:  # told when the node itself is looked at
            return False

    def deep_hit(self, name: str) -> Record | None:
        """The record that a node's deep key leads to, if its discoveries still hold and its outputs are at hand."""
        key = self.deep_key(name)
        led = self.store.deep(key)
        if led is None:
            return None
        self._led[name] = led
        if not self._still_holds(led):
            return None
        self._noted[name] = key, led
        return self.store.record(led.action)

    def rests_on(self, name: str) -> set[str]:
        """The nodes that a node's look-up may rest on besides those that the graph says it depends on."""
        deep, led = self._deep.get(name), self._led.get(name)
        found = {other for resolution in deep.resolutions.values() for other in resolution.nodes()} if deep else set()
        if led is not None:
            found.update(led.nodes)
            for architecture, beyond in led.found.items():
                local = self.local[architecture]
                found.update(offer.package.node for text in beyond.names for offer in local.offers_of(text))
        return found - {name, *self.graph.dependencies[name]}

    def _still_holds(self, led: DeepRecord) -> bool:
        for name, key in led.nodes.items():
            if name not in self.graph.nodes or self.deep_key(name) != key:
                return False
        return all(
            architecture in self.pools and self._answer(architecture, found.requirements, found.names) == found.answer
            for architecture, found in led.found.items()
        )

    def beyond(self, led: DeepRecord, *, same_pools: bool) -> list[str]:
        """What stands for all that ``led`` tells beyond its deep key: the keys of its nodes, then what its names mean.

        Where it is the same in two states, ``led`` holds alike in both; ``same_pools`` says that these have the same lock.
        """
        found = [self.deep_key(name) if name in self.graph.nodes else "" for name in led.nodes]
        for architecture, asked in led.found.items():
            if architecture not in self.pools:
                found.append("")
            elif same_pools:
                found += self._offers(architecture, asked.names)
            else:
                found.append(self._answer(architecture, asked.requirements, asked.names))
        return found

    def _answer(self, architecture: str, requirements: Iterable[str], names: Iterable[str]) -> Digest:
        """What the pool and the local packages have for some discovered requirements and names, more rather than less.

        Nothing is shadowed here, and each install_if counts as if its conditions held: whatever a box reached through these
        requirements is among it, so that this digest cannot stay the same where the box would not.
        """
        pool = self.pools[architecture]
        reached = reach(pool, [*requirements, *pool.conditional()])
        lines = [f"{entry.filename} {entry.checksum}" for entry in reached.sorted()]
        lines += [f"missing {text}" for text in sorted(reached.missing)]
        return digest_text("\n".join([*lines, *self._offers(architecture, names)]))

    def _offers(self, architecture: str, names: Iterable[str]) -> list[str]:
        return [line for name in sorted(names) for line in self.local[architecture].offers(name)]

    def action(self, name: str) -> Action | Suspended | Unlocked:
        """The action of a node whose dependencies are known (in ``known``)."""
        node = self.graph.nodes[name]
        walks = self._with_pools(self._walks(node, self._metadata))
        resolutions = _results(walks)
        needed = sorted({other for resolution in resolutions.values() for other in resolution.nodes()})
        waiting = tuple(other for other in needed if other not in self.known)
        if waiting:
            return Suspended(waiting, tuple(needed))
        uncovered = self._uncovered(resolutions)
        if uncovered is not None:
            return uncovered
        entries = [*self.own(name)]
        for architecture, resolution in resolutions.items():
            entries += external_entries(architecture, resolution)
            entries += self._package_entries(architecture, resolution)
        document = KeyDocument.of(entries)
        return Action(node, document.key(), document, walks, {other: self.known[other] for other in needed})

    def _package_entries(self, architecture: str, resolution: Resolution) -> list[Entry]:
        entries = []
        for name, package in resolution.packages.items():
            path, digest = package_output(self.known[package.node], name, architecture)
            cause = resolution.causes[name]
            # Who made it counts too: what a record says of discovered nodes is then true wherever the record is found.
            entries.append(Entry("package", path, f"{digest} {package.node}", f"needed as {cause.text}", cause.place))
        return entries

    def deep_record(self, name: str, action: Action) -> DeepRecord | None:
        """What to remember under a node's deep key once its action's record exists.

        None where that would not be true: the lock has grown meanwhile, and the action, or one below it, would now be another.
        """
        if any(other not in self._noted for other in action.dependencies) or (self._grown and not self._is_current(name, action)):
            return None
        below = [self._noted[other][1] for other in action.dependencies]
        nodes = {other: self.deep_key(other) for other in action.dependencies}
        for led in below:
            nodes.update(led.nodes)
        beyond = nodes.keys() - set(self.graph.dependencies[name])
        if beyond:
            beyond -= self.graph.closure([name])
        found = {architecture: self._found(name, architecture, action, below) for architecture in action.walks}
        deep = self.deep(name)
        led = DeepRecord(
            action.key, digest_bytes(deep.document.to_bytes()), {other: nodes[other] for other in sorted(beyond)}, found
        )
        self._noted[name] = deep.key, led
        return led

    def _is_current(self, name: str, action: Action) -> bool:
        now = self.action(name)
        return isinstance(now, Action) and now.key == action.key

    def _found(self, name: str, architecture: str, action: Action, below: Iterable[DeepRecord]) -> Found:
        """What a box, and those below it, asked for beyond what the deep key covers."""
        walk, declared = action.walks[architecture], self._declared_walks(name)[architecture]
        covered = {"", *self.graph.dependencies[name]}
        asked = walk.asked() - {ask for ask in declared.asked() if ask[2] in covered}
        names = {Requirement.parse(text).name for text, _, _ in asked}
        requirements = set(walk.result.requirements) - set(declared.result.requirements)
        for led in below:
            if architecture in led.found:
                requirements.update(led.found[architecture].requirements)
                names.update(led.found[architecture].names)
        texts = tuple(sorted(requirements))
        return Found(texts, tuple(sorted(names)), self._answer(architecture, texts, names))

    def _metadata(self, name: str) -> Built | None:
        record = self.known.get(name)
        return record.built() if record else None

    def _walks(self, node: Node, metadata: Metadata) -> dict[str, Walk]:
        cycle = self.graph.cycle_of(node.id)
        return {architecture: Walk(node, self.local[architecture], metadata, cycle) for architecture in node.architectures}

    def _with_pools(self, walks: Mapping[str, Walk]) -> dict[str, Walk]:
        return {architecture: walk.ask_pool(self.pools[architecture]) for architecture, walk in walks.items()}

    def _uncovered(self, resolutions: Mapping[str, Resolution]) -> Unlocked | None:
        missing = {
            architecture: {text: _need(resolution, text, asker) for text, asker in resolution.reach.missing.items()}
            for architecture, resolution in resolutions.items()
            if resolution.reach.missing
        }
        if not missing:
            return None
        worlds = {architecture: tuple(resolutions[architecture].requirements) for architecture in missing}
        return Unlocked(missing, worlds, {architecture: resolutions[architecture].cut for architecture in missing})


def _results(walks: Mapping[str, Walk]) -> dict[str, Resolution]:
    return {architecture: walk.result for architecture, walk in walks.items()}


def _need(resolution: Resolution, text: str, asker: str) -> Need:
    return resolution.external.get(text) or Need(text, via=f"the external package {asker}" if asker else "")


def package_output(record: Record, name: str, architecture: str) -> tuple[str, Digest]:
    """Path and digest of one package among a record's outputs. KeyError where it is not there."""
    entry = record.built().entries[name]
    path = f"{architecture}/{entry.filename}"
    for output in record.outputs:
        if output.path == path:
            return path, output.digest
    raise KeyError(path)


_BY_POOL = "asked for by the pool"


def _deep_document(own: Sequence[Entry], resolutions: Mapping[str, Resolution], keys: Mapping[str, str]) -> KeyDocument:
    """What a deep key is made of, and why; ``keys`` are the values of the nodes that it depends on."""
    entries = [*own]
    for architecture, resolution in resolutions.items():
        entries += external_entries(architecture, resolution)
        entries += [Entry("external", f"{architecture}/{text}", "missing") for text in resolution.reach.missing]
        for name, package in resolution.packages.items():
            cause = resolution.causes[name]
            value = keys.get(package.node) or f"{_BY_POOL} {package.node}"
            entries.append(Entry("local", f"{architecture}/{name}", value, f"needed as {cause.text}", cause.place))
    return KeyDocument.of(entries)


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
