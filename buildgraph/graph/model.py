"""The values that the graph is made of. All frozen: the state of a run lives beside the graph, never in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from buildgraph.recipes.values import Need
from buildgraph.structs import Alike, Struct, field

if TYPE_CHECKING:
    from buildgraph.graph.resolve import Walk

NodeKind = Literal["package", "image"]
EdgeKind = Literal["build", "runtime", "image"]
EDGE_KINDS: tuple[EdgeKind, ...] = ("build", "runtime", "image")


class LocalPackage(Struct, frozen=True):
    """A package that a node makes, as its recipe declares it.

    ``node`` is that node's id, ``folder`` its recipe's folder, ``priority`` apk's ``provider_priority``.
    """

    name: str
    version: str
    node: str
    folder: str
    depends: tuple[Need, ...] = ()
    provides: tuple[str, ...] = ()
    path: str = ""
    line: int = 0
    priority: int = 0


class Node(Struct, frozen=True):
    """A package target on one architecture, or an image target with all of its architectures.

    ``id`` is ``//folder:name@arch`` for a package and the label for an image; ``world`` is what its action's environment, or
    the image, asks for; ``architectures`` has one item for a package.
    """

    id: str
    label: str
    kind: NodeKind
    architectures: tuple[str, ...]
    folder: str
    path: str
    packages: tuple[LocalPackage, ...] = ()
    world: tuple[Need, ...] = ()


class Edge(Struct, frozen=True):
    """Node ``source`` needs ``target``: a node's id, or the name of an external package (``external`` then).

    ``cut``: both are in one cycle, so that an external package, of a previous generation, stands in for the local one.
    """

    source: str
    target: str
    kind: EdgeKind
    requirement: str
    path: str
    line: int
    external: bool = False
    cut: bool = False

    @property
    def place(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.path}:{self.line}" if self.line else self.path


class Graph(Alike, frozen=True, dict=True):  # type: ignore[misc]  # what it inherits has no fields to change
    """The frozen graph, without cycles.

    ``order``: node ids, dependencies first; ``dependencies``: for each node all nodes whose packages its box may hold, sorted;
    ``cycles``: the groups of nodes that would wait for each other, each sorted: no box of theirs holds a package of the group;
    ``walks``: for a node and an architecture what its box may hold by what recipes declare, where that was kept.
    """

    nodes: Mapping[str, Node]
    order: tuple[str, ...]
    dependencies: Mapping[str, tuple[str, ...]]
    make_edges: Callable[[], tuple[Edge, ...]] = tuple
    cycles: tuple[tuple[str, ...], ...] = ()
    walks: Mapping[str, Mapping[str, Walk]] = field(default_factory=dict)

    def compared(self) -> object:
        """The nodes, their order, what they depend on, and the cycles."""
        return self.nodes, self.order, self.dependencies, self.cycles

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The direct requirements, for people; no build needs them, so they are made when first asked for."""
        return self.make_edges()

    @cached_property
    def _cycle_of(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for cycle in self.cycles:
            found |= dict.fromkeys(cycle, frozenset(cycle))
        return found

    def cycle_of(self, name: str) -> frozenset[str]:
        """The nodes of the cycle that a node is in, itself included; empty for one that is in none."""
        return self._cycle_of.get(name, frozenset())

    def dependents(self) -> dict[str, list[str]]:
        """For each node the nodes that depend on it."""
        result: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name in self.order:
            for dependency in self.dependencies[name]:
                result[dependency].append(name)
        return result

    def closure(self, wanted: list[str]) -> set[str]:
        """The wanted nodes and everything below them."""
        if len(wanted) >= len(self.nodes):
            return set(self.nodes)
        seen: set[str] = set()
        pending = list(wanted)
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending.extend(self.dependencies[name])
        return seen
