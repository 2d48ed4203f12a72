"""Graph algorithms that the standard library lacks; the only door to networkx, which is slow to import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import networkx as nx


def shortest_cycle(dependencies: Mapping[str, Iterable[str]]) -> list[str]:
    """The node ids of a shortest cycle, in the order of dependence, starting at the smallest id; empty where there is none."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for node in sorted(dependencies):
        graph.add_edges_from((node, dependency) for dependency in sorted(dependencies[node]))
    best: list[str] = []
    for component in nx.strongly_connected_components(graph):
        part = graph.subgraph(component)
        for start in sorted(component):
            if part.has_edge(start, start):
                return [start]
            for successor in sorted(part.successors(start)):
                path = nx.shortest_path(part, successor, start)
                if not best or len(path) < len(best):
                    best = path
    if not best:
        return []
    first = best.index(min(best))
    return best[first:] + best[:first]


def shortest_paths(below: Mapping[str, Iterable[str]], starts: Iterable[str], ends: Iterable[str], most: int) -> list[list[str]]:
    """Paths without repeated vertices from any start to any end, shortest first, at most ``most`` (Yen's algorithm)."""
    source, sink = "", " "  # no vertex is called so
    graph: nx.DiGraph[str] = nx.DiGraph((vertex, other) for vertex, others in below.items() for other in others)
    graph.add_edges_from((source, vertex) for vertex in starts)
    graph.add_edges_from((vertex, sink) for vertex in ends)
    if source not in graph or sink not in graph:
        return []
    try:
        return [path[1:-1] for path in islice(nx.shortest_simple_paths(graph, source, sink), most)]
    except nx.NetworkXNoPath:
        return []
