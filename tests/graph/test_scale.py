"""Large and deep graphs: every vertex is looked at once, nothing recurses, nothing is enumerated."""

from __future__ import annotations

import random
from collections import UserDict
from collections.abc import Collection
from typing import Any

import pytest

from buildgraph.graph.model import Edge, Graph
from buildgraph.graph.traverse import Links
from buildgraph.report import graphs, pictures
from tests.graph.graphs import ask, made, package

COUNT = 20_000


def node_id(number: int) -> str:
    return f"//os:p{number}@x86_64"


def arrows(count: int, pairs: list[tuple[int, int]]) -> Graph:
    """The graph of ``count`` numbered packages and these build edges."""
    edges = [Edge(node_id(one), node_id(two), "build", f"p{two}", f"p{one}.yaml", 1) for one, two in pairs]
    return made((package(f"p{number}") for number in range(count)), edges)


@pytest.fixture(scope="module")
def wide() -> Graph:
    """20,000 nodes and 100,000 edges, each from a higher number to a lower one."""
    draw = random.Random(4)
    return arrows(COUNT, [(one, draw.randrange(one)) for one in range(1, COUNT) for _ in range(5)])


@pytest.fixture(scope="module")
def chain() -> Graph:
    """A chain of 20,000 nodes: as deep as it is large."""
    return arrows(COUNT, [(one, one - 1) for one in range(1, COUNT)])


class Counting(UserDict[str, Collection[str]]):
    """Neighbours that count how often each vertex is asked about."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


@pytest.mark.parametrize("shape", ["wide", "chain"])
def test_each_vertex_is_looked_at_once(shape: str, request: pytest.FixtureRequest) -> None:
    """So the work of a walk is that of the edges."""
    links = Links(request.getfixturevalue(shape))
    below, above = Counting(links.below), Counting(links.above)
    links.__dict__.update(below=below, above=above)
    top, bottom = [node_id(COUNT - 1)], [node_id(0)]
    reached = len(links.reach(top))
    assert below.asked == reached
    links.reach(bottom, up=True)
    assert above.asked == COUNT
    links.between(top, bottom)
    assert (below.asked, above.asked) == (2 * reached, COUNT + reached)
    links.path(top, set(bottom))
    assert below.asked <= 3 * reached


def test_queries_on_many_nodes(wide: Graph) -> None:
    """The answers are those of sums that can be checked by hand."""
    below = set(ask(f"deps(//os:p{COUNT - 1})", wide))
    above = set(ask("rdeps(//..., //os:p0)", wide))
    assert len(above) == COUNT
    assert set(ask(f"allpaths(//os:p{COUNT - 1}, //os:p0)", wide)) == below
    assert set(ask(f"//... - deps(//os:p{COUNT - 1})", wide)) == set(wide.nodes) - below
    assert len(ask("attr(name, '9$', //...)", wide)) == COUNT // 10
    assert len(ask(f"set({' '.join(f'//os:p{number}' for number in range(COUNT))})", wide)) == COUNT


def test_a_deep_chain(chain: Graph) -> None:
    """Walks, paths and texts of it are as long as the chain, not more."""
    top, bottom = f"//os:p{COUNT - 1}", "//os:p0"
    links = Links(chain)
    assert len(ask(f"deps({top})", chain, links)) == COUNT
    assert len(ask(f"deps({top}, 100)", chain, links)) == 101
    assert len(ask(f"allpaths({top}, {bottom})", chain, links)) == COUNT
    path = ask(f"somepath({top}, {bottom})", chain, links)
    assert path == [node_id(number) for number in reversed(range(COUNT))]
    assert len(graphs.path_lines(links.steps(path), graphs.naming(chain))) == COUNT - 1
    found = links.reach([node_id(COUNT - 1)])
    lines = graphs.tree_lines(found, links.causes(found), graphs.naming(chain))
    assert len(lines) == COUNT
    assert max(map(len, lines)) < 200
    part = links.part(found)
    for drawn in (
        pictures.dot(part, graphs.naming(chain)),
        pictures.graphml(part),
        graphs.part_lines(part, graphs.naming(chain)),
    ):
        assert len(drawn) > 2 * (COUNT - 1)


def test_as_many_paths_as_nobody_can_count() -> None:
    """A ladder of 1,000 rungs has 2**1000 paths: the nodes on them are named, and the first few paths shown."""
    rungs = 1_000
    pairs = [(2 * rung + side, 2 * rung - 2 + other) for rung in range(1, rungs) for side in (0, 1) for other in (0, 1)]
    ladder = arrows(2 * rungs, pairs)
    assert len(ask(f"allpaths(//os:p{2 * rungs - 1}, //os:p0)", ladder)) == 2 * rungs - 2
    short = arrows(40, pairs[:76])
    paths = Links(short).simple_paths([node_id(39)], [node_id(0)], 50)
    assert len(set(map(tuple, paths))) == 50
    assert {len(path) for path in paths} == {20}


def test_a_ring_of_all() -> None:
    """A cycle of 5,000 nodes is gone round once."""
    ring = arrows(5_000, [(one, (one + 1) % 5_000) for one in range(5_000)])
    assert len(ask("deps(//os:p7)", ring)) == len(ask("rdeps(//..., //os:p7)", ring)) == 5_000
    assert len(ask("somepath(//os:p7, //os:p6)", ring)) == 5_000
