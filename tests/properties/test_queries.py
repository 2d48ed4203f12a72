"""Queries against naive answers: networkx for what is reached, sets of Python for what is combined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.graph.model import EDGE_KINDS, Edge, EdgeKind, Graph
from buildgraph.graph.traverse import Links, Part, is_external
from buildgraph.report import graphs
from tests.graph.graphs import ask, made, package

NAMES = tuple(f"p{number}" for number in range(7))
OUTSIDE = ("e0", "e1")


def node_id(name: str) -> str:
    return f"//os:{name}@x86_64"


@st.composite
def edges(draw: st.DrawFn) -> Edge:
    """An edge to another node, cut or not, or to an external package."""
    source = draw(st.sampled_from(NAMES))
    target = draw(st.sampled_from([name for name in (*NAMES, *OUTSIDE) if name != source]))
    external = target in OUTSIDE
    return Edge(
        source=node_id(source),
        target=target if external else node_id(target),
        kind=draw(st.sampled_from(EDGE_KINDS)),
        requirement=target,
        path=f"{source}.yaml",
        line=draw(st.integers(1, 9)),
        external=external,
        cut=not external and draw(st.sampled_from([False, False, False, True])),
    )


@dataclass(frozen=True)
class Case:
    """A graph, what of it is followed, and the same as networkx has it."""

    graph: Graph
    kinds: tuple[EdgeKind, ...]
    cut: bool

    @property
    def links(self) -> Links:
        return Links(self.graph, self.kinds, cut=self.cut)

    @property
    def naive(self) -> nx.DiGraph[str]:
        found: nx.DiGraph[str] = nx.DiGraph()
        found.add_nodes_from(self.graph.nodes)
        for edge in self.graph.edges:
            leads_out = edge.external or (edge.cut and not self.cut)
            if edge.kind in self.kinds:
                found.add_edge(edge.source, f"@{edge.requirement}" if leads_out else edge.target)
        return found

    def ask(self, text: str) -> set[str]:
        return set(ask(text, self.graph, self.links))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any graph of a few nodes, cycles and all."""
    graph = made(map(package, NAMES), draw(st.lists(edges(), max_size=16)))
    kinds = draw(st.sampled_from([EDGE_KINDS, EDGE_KINDS, ("build",), ("image", "runtime")]))
    return Case(graph, kinds, draw(st.booleans()))


SOME = st.lists(st.sampled_from(NAMES), max_size=3, unique=True)


def written(names: list[str]) -> str:
    """The set of some nodes in the query language."""
    return f"set({' '.join(f'//os:{name}' for name in names)})"


def distances(graph: nx.DiGraph[str], starts: list[str]) -> dict[str, int]:
    """How far everything is from the nearest start."""
    found: dict[str, int] = {}
    for start in starts:
        if start in graph:
            for vertex, distance in nx.single_source_shortest_path_length(graph, start).items():
                found[vertex] = min(distance, found.get(vertex, distance))
    return found


@given(cases(), SOME, st.integers(0, 4) | st.none())
def test_deps_is_the_transitive_closure(case: Case, names: list[str], depth: int | None) -> None:
    """With a depth, what is no farther away; external packages are not in it."""
    reached = distances(case.naive, [*map(node_id, names)])
    expected = {vertex for vertex, distance in reached.items() if depth is None or distance <= depth}
    bound = "" if depth is None else f", {depth}"
    assert case.ask(f"deps({written(names)}{bound})") == {vertex for vertex in expected if not is_external(vertex)}
    assert case.ask(f"external(deps({written(names)}))") == {vertex for vertex in reached if is_external(vertex)}


@given(cases(), SOME, SOME, st.integers(0, 4) | st.none())
def test_rdeps_is_the_closure_the_other_way(case: Case, universe: list[str], names: list[str], depth: int | None) -> None:
    """Within what the universe needs, and there only along paths that stay within."""
    within = case.naive.subgraph(distances(case.naive, [*map(node_id, universe)]))
    reached = distances(within.reverse(), [*map(node_id, names)])
    bound = "" if depth is None else f", {depth}"
    assert case.ask(f"rdeps({written(universe)}, {written(names)}{bound})") == {
        vertex for vertex, distance in reached.items() if depth is None or distance <= depth
    }
    assert case.ask(f"allrdeps({written(names)}{bound})") == case.ask(f"rdeps(//..., {written(names)}{bound})")


@given(cases(), SOME, SOME)
def test_paths_are_where_deps_and_rdeps_meet(case: Case, starts: list[str], ends: list[str]) -> None:
    """All paths: what is below a start and above an end. Some path: a shortest one, there exactly if there is any."""
    graph, sources, sinks = case.naive, [*map(node_id, starts)], [*map(node_id, ends)]
    expected = {
        vertex
        for vertex in graph
        if any(nx.has_path(graph, source, vertex) for source in sources)
        and any(nx.has_path(graph, vertex, sink) for sink in sinks)
    }
    a, b = written(starts), written(ends)
    assert case.ask(f"allpaths({a}, {b})") == expected == case.ask(f"deps({a}) ^ rdeps(deps({a}), {b})")
    path = ask(f"somepath({a}, {b})", case.graph, case.links)
    assert bool(path) == bool(expected)
    if path:
        assert nx.is_simple_path(graph, path)
        assert (path[0] in sources, path[-1] in sinks) == (True, True)
        assert len(path) - 1 == min(distances(graph, sources)[sink] for sink in sinks if sink in distances(graph, sources))
        steps = case.links.steps(path)
        assert [edge.source for edge in steps] == path[:-1]
        assert all(edge in case.graph.edges and edge.kind in case.kinds for edge in steps)


@given(cases(), SOME, SOME, st.integers(1, 6))
def test_simple_paths_come_shortest_first(case: Case, starts: list[str], ends: list[str], most: int) -> None:
    """All of them, or as many as were asked for and none that is longer than one left out."""
    graph, sources, sinks = case.naive, [*map(node_id, starts)], [*map(node_id, ends)]
    every = [[end] for end in sinks if end in sources]
    for source in sources:
        every += [path for sink in sinks if sink != source for path in nx.all_simple_paths(graph, source, sink)]
    found = case.links.simple_paths(sources, sinks, most)
    assert len(set(map(tuple, found))) == len(found) == min(most, len(every))
    assert all(path in every for path in found)
    assert [len(path) for path in found] == sorted(map(len, every))[:most]


@given(cases(), SOME, st.booleans(), st.integers(0, 4) | st.none())
def test_a_tree_shows_everything_once(case: Case, names: list[str], up: bool, depth: int | None) -> None:
    """Each vertex one line, indented by its distance, below one from which an edge leads to it."""
    links = case.links
    found = links.reach(map(node_id, names), up=up, depth=depth)
    graph = case.naive.reverse() if up else case.naive
    assert found == {
        vertex: distance
        for vertex, distance in distances(graph, [*map(node_id, names)]).items()
        if depth is None or distance <= depth
    }
    lines = graphs.tree_lines(found, links.causes(found, up=up), str)
    above: list[str] = []
    for line in lines:
        vertex = line.split()[0]
        distance = (len(line) - len(line.lstrip())) // 2
        assert found.pop(vertex) == distance
        above[distance:] = [vertex]
        assert not distance or graph.has_edge(above[distance - 1], vertex)
    assert not found


@given(cases(), st.sets(st.sampled_from([*map(node_id, NAMES), "@e0", "@p1"])))
def test_a_part_has_the_edges_between_its_vertices(case: Case, vertices: set[str]) -> None:
    """An edge is shown if both its ends are; a cut one too if only the external package that meets it is."""
    part: Part = case.links.part(vertices)
    assert {node.id for node in part.nodes} == {vertex for vertex in vertices if not is_external(vertex)}
    expected = []
    for edge in case.graph.edges:
        out = f"@{edge.requirement}"
        ends = [out] if edge.external else [edge.target, out] if edge.cut and not case.cut else [edge.target]
        shown = [end for end in ends if end in vertices]
        if edge.kind in case.kinds and edge.source in vertices and shown:
            expected.append((edge, shown[0]))
    assert list(part.edges) == expected
    assert {end for _, end in part.edges if is_external(end)} <= set(part.external) <= vertices


@dataclass(frozen=True)
class Written:
    """An expression, and what it means in sets of Python."""

    text: str
    value: frozenset[str]


def leaves() -> st.SearchStrategy[Written]:
    everything = frozenset(map(node_id, NAMES))
    one = st.sampled_from(NAMES).map(lambda name: Written(f"//os:{name}", frozenset({node_id(name)})))
    several = SOME.map(lambda names: Written(written(names), frozenset(map(node_id, names))))
    return st.one_of(one, one, several, st.sampled_from([Written("//...", everything), Written('"//os:all"', everything)]))


OPERATORS: dict[str, Callable[[frozenset[str], frozenset[str]], frozenset[str]]] = {
    "+": frozenset.union,
    "union": frozenset.union,
    "^": frozenset.intersection,
    "intersect": frozenset.intersection,
    "-": frozenset.difference,
    "except": frozenset.difference,
}


def larger(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    def chain(first: Written, others: list[tuple[str, Written]]) -> Written:
        text, value = f"({first.text})", first.value
        for operator, other in others:
            text, value = f"{text} {operator} ({other.text})", OPERATORS[operator](value, other.value)
        return Written(text, value)

    def named(name: str, value: Written, other: Written, operator: str) -> Written:
        text = f"let {name} = {value.text} in ${name} {operator} ({other.text}) {operator} ${name}"
        combine = OPERATORS[operator]
        return Written(text, combine(combine(value.value, other.value), value.value))

    def picked(digit: str, other: Written) -> Written:
        return Written(f"filter('{digit}$', {other.text})", frozenset(name for name in other.value if f"{digit}@" in name))

    operator = st.sampled_from([*OPERATORS])
    return st.one_of(
        st.builds(chain, inner, st.lists(st.tuples(operator, inner), min_size=1, max_size=4)),
        st.builds(named, st.sampled_from(["x", "y"]), inner, inner, operator),
        st.builds(picked, st.sampled_from("0123456"), inner),
    )


PLAIN = made(map(package, NAMES), [])


@given(st.recursive(leaves(), larger, max_leaves=12))
def test_expressions_mean_what_sets_mean(expression: Written) -> None:
    """Operators, from left to right; variables, the inner one where two have a name; functions within."""
    assert ask(expression.text, PLAIN) == sorted(expression.value)


@pytest.mark.parametrize("count", [1, 3, 7, 20])
@given(SOME)
def test_some_takes_that_many(count: int, names: list[str]) -> None:
    """As many as there are, at most so many, and always the same ones."""
    if names:
        found = ask(f"some({written(names)}, {count})", PLAIN)
        assert found == sorted(map(node_id, names))[:count]
