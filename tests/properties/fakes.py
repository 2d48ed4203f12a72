"""A session over a small world: the real graph, rebuilder, planner and scheduler, a store in memory, and a runner that acts as
``model.act`` says. The runner remembers as the real one does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pool import Pool
from buildgraph.errors import BuildError, LockError
from buildgraph.execute.events import Event, Finished, Outcome, Started, Waiting
from buildgraph.graph.build import build_graph, locals_by_architecture
from buildgraph.graph.model import Graph, LocalPackage, Node
from buildgraph.keys.digest import Digest, digest_text
from buildgraph.keys.document import Entry, KeyDocument, difference
from buildgraph.plan.explain import Documented
from buildgraph.plan.rebuild import Action, Rebuilder, Unlocked, package_output
from buildgraph.plan.record import (
    DeepRecord,
    Discovered,
    Output,
    Record,
    deep_from_json,
    deep_to_json,
    record_from_json,
    record_to_json,
)
from buildgraph.recipes.values import Need
from tests.properties.model import ActionFailedError, Box, External, Made, Target, World, act, discoveries

if TYPE_CHECKING:
    from collections.abc import Iterator


def nodes_of(world: World) -> list[Node]:
    """The nodes of a world, as recipes would give them."""
    return [_node(identity, target, architectures) for identity, target, architectures in world.nodes()]


def _node(identity: str, target: Target, architectures: tuple[str, ...]) -> Node:
    packages = tuple(
        LocalPackage(
            name=package.name,
            version=package.version,
            node=identity,
            folder=target.folder,
            depends=tuple(Need(text, target.path, 20 + line, via="dependencies") for line, text in enumerate(package.depends)),
            provides=package.provides,
            path=target.path,
            line=2 + 40 * number,
        )
        for number, package in enumerate(target.packages)
    )
    world = tuple(Need(text, target.path, 10 + line, via="environment") for line, text in enumerate(target.world))
    return Node(identity, target.label, target.kind, architectures, target.folder, target.path, packages, world)


def pool_of(world: World) -> Pool:
    """The pool of a world; every architecture has the same."""
    return Pool(
        IndexEntry(
            e.name, e.version, checksum=e.checksum, depends=e.depends, provides=e.provides, install_if=e.install_if
        )
        for e in world.externals
    )  # fmt: skip


def own_entries(target: Target, architectures: Sequence[str]) -> list[Entry]:
    """The key entries of a target's own inputs: the recipe, each source file with its comment and mode, the architectures."""
    recipe = repr((target.kind, target.name, target.packages, target.world, target.fails))
    entries = [Entry("recipe", "recipe", digest_text(recipe), "the recipe", f"{target.path}:1")]
    entries.append(Entry("setting", "architectures", " ".join(architectures)))
    for number, item in enumerate(target.inputs):
        value = f"{item.text} {item.comment}" + " executable" * item.executable
        entries.append(Entry("source", f"src/{number}", value, "a source file", f"{target.folder}/{number}"))
    return entries


@dataclass
class MemoryStore:
    """Records and blobs in memory, in the form in which they would be written. ``made`` stands for the files' content."""

    actions: dict[Digest, dict[str, Any]] = field(default_factory=dict)
    deeps: dict[Digest, dict[str, Any]] = field(default_factory=dict)
    blobs: set[Digest] = field(default_factory=set)
    made: dict[Digest, Made] = field(default_factory=dict)
    last: dict[str, tuple[KeyDocument, Record]] = field(default_factory=dict)

    def record(self, action: Digest) -> Record | None:
        record = record_from_json(self.actions.get(action), action)
        return record if record and all(output.digest in self.blobs for output in record.outputs) else None

    def prepare(self, deep_keys: Iterable[Digest], holds: Callable[[DeepRecord], bool]) -> None:
        """Everything is at hand."""

    def deep(self, key: Digest) -> DeepRecord | None:
        return deep_from_json(self.deeps.get(key))

    def put(self, record: Record) -> None:
        self.blobs.update(output.digest for output in record.outputs)
        self.actions[record.action] = record_to_json(record)

    def reasons(self, name: str, deep: Documented, action: Documented | None) -> tuple[str, ...]:
        """As the explainer tells them, in short: what changed in the deep document since last time."""
        del action
        if name not in self.last:
            return ("never built here",)
        changes = difference(self.last[name][0], deep.document)
        return tuple(f"depends on {c.name}, which changed" if c.section == "local" else f"{c.name} changed" for c in changes)


RebuilderFactory = Callable[[Graph, "World", MemoryStore], Rebuilder]


def make_rebuilder(graph: Graph, world: World, store: MemoryStore) -> Rebuilder:
    """The real rebuilder over a world."""
    return Rebuilder(graph, locals_by_architecture(graph.nodes.values()), pools_of(world), own_of(world), store)


def pools_of(world: World) -> dict[str, Pool]:
    """The same pool for every architecture."""
    return dict.fromkeys(world.architectures, pool_of(world))


def own_of(world: World) -> Callable[[str], Sequence[Entry]]:
    """The own inputs of a world's nodes."""
    made = {identity: own_entries(target, architectures) for identity, target, architectures in world.nodes()}
    return made.__getitem__


@dataclass
class Log:
    """What a run did, in order, seen by the listener and from within the actions; it complains at once about a wrong order."""

    graph: Graph
    jobs: int
    keep_going: bool
    events: list[Event] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    ran: list[tuple[str, Digest]] = field(default_factory=list)
    determined: dict[str, Digest] = field(default_factory=dict)
    found_late: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def listen(self, event: Event) -> None:
        with self.guard:
            self.events.append(event)
            if isinstance(event, Started) and not self.keep_going and any(_failed(other) for other in self.events):
                self.wrong.append(f"{event.node} was started after a failure was seen")
            if isinstance(event, Finished):
                if event.outcome not in {"failed", "skipped"}:
                    self.done.add(event.node)
            elif isinstance(event, Waiting):
                self.found_late.update(event.why.rpartition(": ")[2].split(", "))

    @contextmanager
    def action(self, name: str, box: set[str]) -> Iterator[None]:
        with self.guard:
            self.running.add(name)
            if len(self.running) > self.jobs:
                self.wrong.append(f"{len(self.running)} actions at once with {self.jobs} jobs")
            early = (box | set(self.graph.dependencies[name])) - self.done
            if early:
                self.wrong.append(f"{name} started before {sorted(early)} were done")
        try:
            yield
        finally:
            with self.guard:
                self.running.discard(name)


def _failed(event: Event) -> bool:
    return isinstance(event, Finished) and event.outcome == "failed"


@dataclass
class MemoryRunner:
    """The runner of small worlds. It fills boxes from what is there, not from key documents: a wrong key gives wrong content."""

    world: World
    store: MemoryStore
    rebuilder: Rebuilder
    log: Log
    naps: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.targets = {identity: target for identity, target, _ in self.world.nodes()}
        self.externals = {f"{e.name}-{e.version}.apk": e for e in self.world.externals}
        self.before: dict[str, Record | None] = {}
        self.guard = threading.Lock()
        self.locks: dict[Digest, threading.Lock] = {}
        self.prepared: set[Digest] = set()

    def prepare(self, actions: Sequence[Action]) -> None:
        self.prepared.update(action.key for action in actions)

    def lookup(self, action: Action) -> Record | None:
        assert action.key in self.prepared, "looked up by itself"
        self.log.determined[action.node.id] = action.key
        return self.store.record(action.key)

    def remember(self, name: str, action: Action, record: Record) -> None:
        deep, led = self.rebuilder.deep(name), self.rebuilder.deep_record(name, action)
        if led is not None:
            self.store.deeps[deep.key] = deep_to_json(led)
        self.note(name, record)

    def note(self, name: str, record: Record) -> None:
        before = self.store.last.get(name)
        self.before[name] = before[1] if before else None
        self.store.last[name] = self.rebuilder.deep(name).document, record

    def reasons(self, name: str, action: Action) -> tuple[str, ...]:
        return self.store.reasons(name, self.rebuilder.deep(name), action)

    def unchanged(self, name: str, record: Record) -> bool:
        before = self.before.get(name)
        return before is not None and before.content() == record.content()

    def unlocked(self, name: str, found: Unlocked) -> None:
        message = f"{name} needs what the lock lacks: {found.missing}"
        raise LockError(message)

    def run(self, action: Action, waiting: Callable[[str], None]) -> tuple[Record, Outcome]:
        with self.guard:
            lock = self.locks.setdefault(action.key, threading.Lock())
        box = {package.node for resolution in action.resolutions.values() for package in resolution.packages.values()}
        with self.log.action(action.node.id, box):
            time.sleep(self.naps.get(action.node.id, 0.0))
            with lock:
                record = self.store.record(action.key)
                if record is not None:
                    return record, "shared"
                with self.guard:
                    self.log.ran.append((action.node.id, action.key))
                record = self._act(action)
                self.store.put(record)
                return record, "ran"

    def _act(self, action: Action) -> Record:
        boxes = {architecture: self._box(architecture, action) for architecture in action.resolutions}
        try:
            outputs, made = act(self.targets[action.node.id], boxes)
        except ActionFailedError as error:
            raise BuildError(str(error)) from error
        self.store.made.update({item.digest: item for item in made})
        found = discoveries(made, boxes[action.node.architectures[0]]) if made else {}
        return Record(
            action=action.key,
            node=action.node.id,
            document=action.document.key(),
            outputs=tuple(Output(path, digest, len(path)) for path, digest in outputs),
            packages=tuple(IndexEntry(m.name, m.version, depends=m.depends, provides=m.provides) for m in made),
            discovered=tuple(Discovered(text, *by) for text, by in found.items()),
        )

    def _box(self, architecture: str, action: Action) -> Box:
        resolution = action.resolutions[architecture]
        local: dict[str, tuple[str, Made]] = {}
        for name, package in resolution.packages.items():
            _, digest = package_output(action.dependencies[package.node], name, architecture)
            assert digest in self.store.blobs, f"{name} of {package.node} is not in the store any more"
            local[name] = package.node, self.store.made[digest]
        external: dict[str, External] = {e.filename: self.externals[e.filename] for e in resolution.reach.entries.values()}
        return Box(local, external)


def graph_of(world: World) -> Graph:
    """The real graph of a world; GraphError as ``build_graph``."""
    return build_graph(nodes_of(world))
