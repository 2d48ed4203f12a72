"""From nodes to the frozen graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from buildgraph.apk.version import Requirement
from buildgraph.errors import GraphError, Place
from buildgraph.graph.model import Edge, EdgeKind, Graph, LocalPackage, Node
from buildgraph.graph.resolve import Locals, Resolution, resolve_world
from buildgraph.recipes.values import Need


def build_graph(nodes: Iterable[Node]) -> Graph:
    """The graph over some nodes.

    Raises GraphError for a package made twice in one folder, an ambiguous name, a cycle (the shortest, each step with its
    file and line).
    """
    by_id = {node.id: node for node in sorted(nodes, key=lambda node: node.id)}
    local = locals_by_architecture(by_id.values())
    dependencies: dict[str, tuple[str, ...]] = {}
    causes: dict[tuple[str, str], Need] = {}
    edges: list[Edge] = []
    for node in by_id.values():
        found: set[str] = set()
        for architecture in node.architectures:
            result = resolve_world(node.world, node.folder, node.id, local[architecture], None, lambda _: None)
            found.update(result.nodes())
            _remember_causes(node, result, causes)
            edges += _direct_edges(node, local[architecture])
        dependencies[node.id] = tuple(sorted(found))
    try:
        order = tuple(TopologicalSorter(dependencies).static_order())
    except CycleError:
        raise _cycle(dependencies, by_id, causes) from None
    return Graph(by_id, order, dependencies, tuple(dict.fromkeys(edges)))


def locals_by_architecture(nodes: Iterable[Node]) -> dict[str, Locals]:
    """The local packages of each architecture that some node has; GraphError for a package that one folder makes twice."""
    packages: dict[str, list[LocalPackage]] = {}
    for node in nodes:
        for architecture in node.architectures:
            packages.setdefault(architecture, []).extend(node.packages)
    for made in packages.values():
        _no_duplicates(made)
    return {architecture: Locals(made) for architecture, made in packages.items()}


def _no_duplicates(made: list[LocalPackage]) -> None:
    seen: dict[tuple[str, str], LocalPackage] = {}
    for package in made:
        other = seen.setdefault((package.folder, package.name), package)
        if other is not package:
            message = f"package `{package.name}` is made twice in this folder"
            raise GraphError(
                message,
                where=Place(package.path, package.line),
                details=f"the other one: {other.path}:{other.line}",
                hint="rename one of them, or give each recipe a folder of its own",
            )


def _remember_causes(node: Node, result: Resolution, causes: dict[tuple[str, str], Need]) -> None:
    for name, need in result.causes.items():
        causes.setdefault((node.id, result.packages[name].node), need)


def _direct_edges(node: Node, local: Locals) -> list[Edge]:
    kind: EdgeKind = "image" if node.kind == "image" else "build"
    edges = [edge for need in node.world for edge in _edges(node, need, kind, local)]
    for package in node.packages:
        edges += [edge for need in package.depends for edge in _edges(node, need, "runtime", local)]
    return edges


def _edges(node: Node, need: Need, kind: EdgeKind, local: Locals) -> list[Edge]:
    requirement = Requirement.parse(need.text)
    if requirement.negated:
        return []
    if kind == "runtime" and any(package.name == requirement.name for package in node.packages):
        return []
    found = local.meets(requirement, node.folder, node.id, need)
    if not found:
        return [Edge(node.id, requirement.name, kind, need.text, need.path, need.line, external=True)]
    return [Edge(node.id, package.node, kind, need.text, need.path, need.line) for package in found]


def _cycle(
    dependencies: Mapping[str, tuple[str, ...]], nodes: Mapping[str, Node], causes: Mapping[tuple[str, str], Need]
) -> GraphError:
    from buildgraph.graph.algorithms import shortest_cycle

    cycle = shortest_cycle(dependencies)
    steps = []
    for position, name in enumerate(cycle):
        following = cycle[(position + 1) % len(cycle)]
        need = causes[name, following]
        steps.append(f"{need.place or nodes[name].path}: {nodes[name].label} needs {need.text} of {nodes[following].label}")
    first = causes[cycle[0], cycle[1 % len(cycle)]]
    message = f"a cycle of {len(cycle)} targets: each needs the next to be built first"
    return GraphError(
        message,
        where=Place(first.path, first.line),
        details="\n".join(steps),
        hint="take one of these requirements out, or rename the package so that one step means an external package",
    )
