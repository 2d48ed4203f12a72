"""The values that the graph is made of. All frozen: the state of a run lives beside the graph, never in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from buildgraph.recipes.values import Need

NodeKind = Literal["package", "image"]
EdgeKind = Literal["build", "runtime", "image"]
EDGE_KINDS: tuple[EdgeKind, ...] = ("build", "runtime", "image")


@dataclass(frozen=True, slots=True)
class LocalPackage:
    """A package that a node makes, as its recipe declares it. ``node`` is that node's id, ``folder`` its recipe's folder."""

    name: str
    version: str
    node: str
    folder: str
    depends: tuple[Need, ...] = ()
    provides: tuple[str, ...] = ()
    path: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Node:
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


@dataclass(frozen=True, slots=True)
class Edge:
    """Node ``source`` needs ``target``: a node's id, or the name of an external package (``external`` then).

    ``cut``: the edge lies on a cycle between packages. ``target`` is the local node that the requirement names, but what meets
    it is an external package, the previous generation.
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


@dataclass(frozen=True, slots=True)
class Graph:
    """The frozen graph.

    ``order``: node ids, dependencies first; ``dependencies``: for each node all nodes whose packages its box may hold, sorted;
    ``edges``: the direct requirements, for people; ``cycles``: the strongly connected components of more than one node that were
    cut, each sorted.
    """

    nodes: Mapping[str, Node]
    order: tuple[str, ...]
    dependencies: Mapping[str, tuple[str, ...]]
    edges: tuple[Edge, ...]
    cycles: tuple[tuple[str, ...], ...] = ()

    def dependents(self) -> dict[str, list[str]]:
        """For each node the nodes that depend on it."""
        result: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name in self.order:
            for dependency in self.dependencies[name]:
                result[dependency].append(name)
        return result

    def closure(self, wanted: list[str]) -> set[str]:
        """The wanted nodes and everything below them."""
        seen: set[str] = set()
        pending = list(wanted)
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending.extend(self.dependencies[name])
        return seen
