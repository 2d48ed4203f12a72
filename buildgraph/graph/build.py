"""From nodes to the frozen graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from buildgraph.apk.version import Requirement
from buildgraph.errors import GraphError, Place
from buildgraph.graph.model import Edge, EdgeKind, Graph, LocalPackage, Node
from buildgraph.graph.resolve import Locals, Walk, limits_of
from buildgraph.recipes.values import Need


def build_graph(nodes: Iterable[Node]) -> Graph:
    """The graph over some nodes, and what each box may hold by what recipes declare.

    Nodes that would wait for each other are cut loose: see ``Graph.cycles``. Raises GraphError for a package made twice in one
    folder and for an ambiguous name.
    """
    by_id = {node.id: node for node in sorted(nodes, key=lambda node: node.id)}
    local = locals_by_architecture(by_id.values())
    walks = {name: _walks(node, local) for name, node in by_id.items()}
    components = strong_components({name: _nodes(found) for name, found in walks.items()})
    cycles = tuple(tuple(sorted(component)) for component in components if len(component) > 1)
    for cycle in cycles:
        group = frozenset(cycle)
        walks.update((name, _walks(by_id[name], local, group)) for name in cycle)
    dependencies = {name: _nodes(found) for name, found in walks.items()}
    # A box without the packages of its cycle needs no more than before, so that the order of the groups still holds.
    order = tuple(name for component in components for name in sorted(component))

    graph = Graph(by_id, order, dependencies, lambda: edges_of(graph, local), cycles, walks)
    return graph


def edges_of(graph: Graph, local: Mapping[str, Locals]) -> tuple[Edge, ...]:
    """The direct requirements of all nodes."""
    found = (edge for name in graph.order for edge in _direct_edges(graph.nodes[name], local, graph.cycle_of(name)))
    return tuple(dict.fromkeys(found))


def _walks(node: Node, local: Mapping[str, Locals], cycle: Collection[str] = ()) -> dict[str, Walk]:
    return {architecture: Walk(node, local[architecture], cycle=cycle) for architecture in node.architectures}


def _nodes(walks: Mapping[str, Walk]) -> tuple[str, ...]:
    return tuple(sorted({name for walk in walks.values() for name in walk.result.nodes()}))


def strong_components(dependencies: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components of a graph, those that are depended on first (Tarjan's algorithm, without recursion).

    Not networkx's: this runs on every first look, and networkx takes longer to import than the rest of it.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    place: dict[str, int] = {}  # of those on the stack
    components: list[list[str]] = []
    for root in dependencies:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        place[root] = len(stack)
        stack.append(root)
        pending = [(root, iter(dependencies[root]))]
        while pending:
            name, rest = pending[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    place[other] = len(stack)
                    stack.append(other)
                    pending.append((other, iter(dependencies[other])))
                    break
                if other in place:
                    low[name] = min(low[name], index[other])
            else:
                pending.pop()
                if pending:
                    above = pending[-1][0]
                    low[above] = min(low[above], low[name])
                if low[name] == index[name]:
                    component = stack[place[name] :]
                    del stack[place[name] :]
                    for member in component:
                        del place[member]
                    components.append(component)
    return components


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


def _direct_edges(node: Node, local: Mapping[str, Locals], cycle: Collection[str]) -> Iterator[Edge]:
    kind: EdgeKind = "image" if node.kind == "image" else "build"
    for architecture in node.architectures:
        limits = limits_of(node.world)
        for need in node.world:
            yield from _edges(node, need, kind, local[architecture], cycle, limits)
        for package in node.packages:
            for need in package.depends:
                yield from _edges(node, need, "runtime", local[architecture], cycle, ())


def _edges(
    node: Node, need: Need, kind: EdgeKind, local: Locals, cycle: Collection[str], limits: Sequence[Requirement]
) -> Iterator[Edge]:
    requirement = Requirement.parse(need.text)
    own = kind == "runtime" and any(package.name == requirement.name for package in node.packages)
    if requirement.negated or own:
        return
    package = local.meets(requirement, node.folder, node.id, limits, need)
    if package is None:
        yield Edge(node.id, requirement.name, kind, need.text, need.path, need.line, external=True)
    else:
        # What a package needs at run time does not stand before its own build: nothing is cut there.
        cut = kind != "runtime" and package.node in cycle
        yield Edge(node.id, package.node, kind, need.text, need.path, need.line, cut=cut)


def cycle_error(graph: Graph, unmet: Iterable[tuple[str, str, str]]) -> GraphError:
    """The error for requirements that only a local package of the same cycle could meet: a shortest cycle through one of them.

    ``unmet`` are a node, what it asks for, and the node of its cycle that makes it. Each step has its file and line.
    """
    local = locals_by_architecture(graph.nodes.values())
    causes: dict[str, dict[str, Need]] = {}
    best: list[str] = []
    wanted = ""
    for name, text, other in sorted(set(unmet)):
        for member in graph.cycle_of(name) - causes.keys():
            causes[member] = _causes(graph, member, local)
        path = [name, *_shortest_path(causes, other, name, len(best) - 1 if best else len(causes))]
        if len(path) > 1 and (not best or len(path) < len(best)):
            best, wanted = path, text
    lines = []
    for name, following in pairwise(best):
        need, node, label = causes[name][following], graph.nodes[name], graph.nodes[following].label
        lines.append(f"{need.place or node.path}: {node.label} needs {need.text} of {label}")
    first = causes[best[0]][best[1]]
    message = f"a cycle of {len(best) - 1} targets: each needs the next to be built first, and no repository has `{wanted}`"
    return GraphError(
        message,
        where=Place(first.path, first.line),
        details="\n".join(lines),
        hint="take one of these requirements out, or name a repository that has an earlier build of the package",
    )


def _causes(graph: Graph, name: str, local: Mapping[str, Locals]) -> dict[str, Need]:
    """What a node needs of the other nodes of its cycle, with the need that leads to each."""
    node, cycle = graph.nodes[name], graph.cycle_of(name)
    found: dict[str, Need] = {}
    for architecture in node.architectures:
        result = Walk(node, local[architecture]).result
        for package in result.packages.values():
            if package.node in cycle:
                found.setdefault(package.node, result.causes[package.name])
    return found


def _shortest_path(steps: Mapping[str, Mapping[str, Need]], start: str, end: str, most: int) -> list[str]:
    """The nodes of a shortest path, empty where there is none of at most ``most`` nodes."""
    came: dict[str, str] = {start: ""}
    front = [start]
    for _ in range(most):
        if end in came:
            path = [end]
            while came[path[-1]]:
                path.append(came[path[-1]])
            return path[::-1]
        front = [other for name in front for other in sorted(steps.get(name, ())) if came.setdefault(other, name) == name]
    return []
