"""Walks along the graph's edges: what is reached, how far away, on which paths. Breadth first, so that depth costs no stack.

A *vertex* is a node's id, or ``@name`` for an external package. External packages are leaves here: what they need in turn is
the pool's affair.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise

from buildgraph.apk.version import Requirement
from buildgraph.graph.model import EDGE_KINDS, Edge, EdgeKind, Graph, Node
from buildgraph.structs import Struct

EXTERNAL = "@"


def is_external(vertex: str) -> bool:
    """Whether a vertex is an external package."""
    return vertex.startswith(EXTERNAL)


def outside(edge: Edge) -> str:
    """The external package that meets an external edge or one that was cut, as a vertex."""
    return EXTERNAL + (edge.target if edge.external else Requirement.parse(edge.requirement).name)


class Part(Struct, frozen=True):
    """A part of the graph to be shown.

    ``nodes``: in the order of the graph; ``external``: ``@name``, sorted; ``edges``: those between them, each with the vertex
    that it ends at: a cut edge at its local node if that is shown, else at the external package.
    """

    nodes: tuple[Node, ...]
    external: tuple[str, ...]
    edges: tuple[tuple[Edge, str], ...]


class Links:
    """The edges that walks follow.

    ``kinds`` chooses among them. ``cut``: whether an edge that was cut leads to its local node; by default it leads to the
    external package that meets it, as in a build.
    """

    def __init__(self, graph: Graph, kinds: Collection[EdgeKind] = EDGE_KINDS, *, cut: bool = False) -> None:
        self.graph = graph
        self.followed = [
            (edge, outside(edge) if edge.external or (edge.cut and not cut) else edge.target)
            for edge in graph.edges
            if edge.kind in kinds
        ]

    @cached_property
    def below(self) -> Mapping[str, Collection[str]]:
        """For each vertex that needs something the vertices that it needs, each once."""
        return _adjacent((edge.source, vertex) for edge, vertex in self.followed)

    @cached_property
    def above(self) -> Mapping[str, Collection[str]]:
        """For each vertex that is needed the nodes that need it, each once."""
        return _adjacent((vertex, edge.source) for edge, vertex in self.followed)

    def reach(
        self, starts: Iterable[str], *, up: bool = False, depth: int | None = None, within: Container[str] | None = None
    ) -> dict[str, int]:
        """What is reached from ``starts``, themselves included, each with its distance, nearest first.

        ``up`` goes from what is needed to what needs it; ``depth`` is the largest distance; ``within`` bounds the walk.
        """
        neighbours = self.above if up else self.below
        level = [vertex for vertex in sorted(set(starts)) if within is None or vertex in within]
        found = dict.fromkeys(level, 0)
        distance = 0
        while level and distance != depth:
            distance += 1
            following = []
            for vertex in level:
                for neighbour in neighbours.get(vertex, ()):
                    if neighbour not in found and (within is None or neighbour in within):
                        found[neighbour] = distance
                        following.append(neighbour)
            level = following
        return found

    def between(self, starts: Iterable[str], ends: Iterable[str]) -> set[str]:
        """The vertices on any path from ``starts`` to ``ends``, both included."""
        return set(self.reach(ends, up=True, within=self.reach(starts)))

    def path(self, starts: Iterable[str], ends: Container[str]) -> list[str]:
        """The vertices of a shortest path; empty where there is none."""
        queue = sorted(set(starts))
        before = dict.fromkeys(queue, "")
        for vertex in queue:
            if vertex in ends:
                return _traced(vertex, before)
            for neighbour in self.below.get(vertex, ()):
                if neighbour not in before:
                    before[neighbour] = vertex
                    queue.append(neighbour)
        return []

    def simple_paths(self, starts: Iterable[str], ends: Iterable[str], most: int) -> list[list[str]]:
        """Paths without repeated vertices, shortest first, at most ``most`` of them."""
        from buildgraph.graph.algorithms import shortest_paths

        starts, ends = set(starts), set(ends)
        on_the_way = self.between(starts, ends)
        below = {vertex: [other for other in self.below.get(vertex, ()) if other in on_the_way] for vertex in sorted(on_the_way)}
        return shortest_paths(below, sorted(starts & on_the_way), sorted(ends & on_the_way), most)

    def steps(self, path: Sequence[str]) -> list[Edge]:
        """The edges of a path; where several join two vertices, the first."""
        wanted = set(pairwise(path))
        found: dict[tuple[str, str], Edge] = {}
        for edge, vertex in self.followed:
            if (edge.source, vertex) in wanted:
                found.setdefault((edge.source, vertex), edge)
        return [found[pair] for pair in pairwise(path)]

    def causes(self, reached: Mapping[str, int], *, up: bool = False) -> dict[str, tuple[str, Edge]]:
        """For each vertex that ``reach`` gave, but for the starts: the vertex before it, and the first edge that joins them."""
        found: dict[str, tuple[str, Edge]] = {}
        for edge, vertex in self.followed:
            near, far = (vertex, edge.source) if up else (edge.source, vertex)
            if far not in found and near in reached and reached.get(far) == reached[near] + 1:
                found[far] = near, edge
        return found

    def part(self, vertices: Container[str]) -> Part:
        """The part of the graph that some vertices make."""
        edges = []
        for edge, vertex in self.followed:
            if edge.source in vertices:
                end = edge.target if edge.cut and edge.target in vertices else vertex
                if end in vertices:
                    edges.append((edge, end))
        external = {vertex for _, vertex in self.followed if is_external(vertex) and vertex in vertices}
        nodes = tuple(self.graph.nodes[name] for name in self.graph.order if name in vertices)
        return Part(nodes, tuple(sorted(external)), tuple(edges))


def externals(graph: Graph) -> set[str]:
    """Every external package that the graph asks for, as vertices."""
    return {outside(edge) for edge in graph.edges if edge.external or edge.cut}


def architectures(graph: Graph) -> set[str]:
    """The architectures that the graph has nodes for."""
    return {architecture for node in graph.nodes.values() for architecture in node.architectures}


def _adjacent(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for one, other in pairs:
        found.setdefault(one, {})[other] = None
    return found


def _traced(vertex: str, before: Mapping[str, str]) -> list[str]:
    path = [vertex]
    while before[path[-1]]:
        path.append(before[path[-1]])
    return path[::-1]
