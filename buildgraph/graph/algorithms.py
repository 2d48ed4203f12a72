"""Graph algorithms that the standard library lacks; the only door to networkx, which is slow to import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
