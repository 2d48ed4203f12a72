"""Parts of the graph as text for people and as JSON-able values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from buildgraph.graph.model import Edge, Graph, Node
from buildgraph.graph.traverse import Part, architectures, is_external, outside
from buildgraph.report.views import table

# A vertex as people are to see it.
Naming = Callable[[str], str]

_DEEPEST_INDENT = 40  # so that a long chain is not a triangle; each line says anyway who asks


def naming(graph: Graph) -> Naming:
    """Labels, or node ids where several architectures are planned; external packages as ``@name``."""
    several = len(architectures(graph)) > 1
    return lambda vertex: vertex if several or is_external(vertex) else graph.nodes[vertex].label


def counted(number: int, thing: str) -> str:
    """``1 target``, ``2 targets``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def list_lines(nodes: Iterable[Node]) -> list[str]:
    """Targets for people: label, kind, what it makes."""
    rows = [(node.label, node.kind, ", ".join(package.name for package in node.packages), node.path) for node in nodes]
    width = max((len(row[0]) for row in rows), default=0)
    return [f"{label:{width}}  {kind:7}  {makes or path}" for label, kind, makes, path in dict.fromkeys(rows)]


def node_json(node: Node) -> dict[str, Any]:
    """A node for machines."""
    return {
        "id": node.id,
        "target": node.label,
        "kind": node.kind,
        "architectures": list(node.architectures),
        "file": node.path,
        "packages": [{"name": package.name, "version": package.version} for package in node.packages],
    }


def edge_json(edge: Edge) -> dict[str, Any]:
    """An edge for machines; ``to`` is a node's id, or a package's name where it is external."""
    return {
        "from": edge.source,
        "to": edge.target,
        "kind": edge.kind,
        "requirement": edge.requirement,
        "file": edge.path,
        "line": edge.line,
        "external": edge.external,
        "cut": edge.cut,
    }


def part_json(part: Part) -> dict[str, Any]:
    """A part of the graph for machines."""
    return {"nodes": [node_json(node) for node in part.nodes], "edges": [edge_json(edge) for edge, _ in part.edges]}


def part_lines(part: Part, name: Naming) -> list[str]:
    """A part of the graph for people: each node, and below it what it needs, with where that is written."""
    below: dict[str, dict[str, None]] = {node.id: {} for node in part.nodes}
    outsiders: dict[str, set[str]] = {node.id: set() for node in part.nodes}
    for edge, _ in part.edges:
        if edge.external:
            outsiders[edge.source].add(edge.target)
        else:
            cut = f"  cut: met by {outside(edge)}" if edge.cut else ""
            line = f"  {edge.kind:7} {name(edge.target)}  {edge.requirement}  ({edge.place}){cut}"
            below[edge.source][line] = None
    lines = []
    for node in part.nodes:
        lines += [name(node.id), *below[node.id]]
        if outsiders[node.id]:
            lines.append(f"  external {', '.join(sorted(outsiders[node.id]))}")
    return lines


def tree_lines(depths: Mapping[str, int], causes: Mapping[str, tuple[str, Edge]], name: Naming) -> list[str]:
    """What a walk reached as a tree: each vertex once, where it is nearest, with the requirement that makes it so."""
    children: dict[str, list[str]] = {}
    for vertex, (parent, _) in causes.items():
        children.setdefault(parent, []).append(vertex)
    rows = []
    pending = sorted((vertex for vertex, depth in depths.items() if not depth), reverse=True)
    while pending:
        vertex = pending.pop()
        why = _why(causes[vertex][1]) if vertex in causes else ("", "", "")
        rows.append((f"{'  ' * min(depths[vertex], _DEEPEST_INDENT)}{name(vertex)}", *why))
        pending += sorted(children.get(vertex, ()), reverse=True)
    return table(rows)


def path_lines(steps: Sequence[Edge], name: Naming) -> list[str]:
    """A path for people: a line for each step, with its file and line."""
    return [f"{edge.place}: {name(edge.source)} needs {_needed(edge, name)}" for edge in steps]


def _why(edge: Edge) -> tuple[str, str, str]:
    return edge.requirement, edge.kind, edge.place


def _needed(edge: Edge, name: Naming) -> str:
    if edge.external:
        return f"the external package {edge.requirement}"
    cut = f", cut: met by {outside(edge)}" if edge.cut else ""
    return f"{edge.requirement} of {name(edge.target)}{cut}"
