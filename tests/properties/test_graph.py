"""The graph's promises: what is an edge and what is none, in which order, which cycle is told, and what a pool reaches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from buildgraph.apk.pool import reach
from buildgraph.apk.version import Requirement
from buildgraph.errors import GraphError
from buildgraph.graph.build import build_graph, cycle_error, locals_by_architecture
from buildgraph.graph.model import LocalPackage, Node
from buildgraph.graph.resolve import Locals, Walk
from buildgraph.structs import replace
from tests.properties.fakes import graph_of, nodes_of, pool_of
from tests.properties.model import External, Package, Target, World
from tests.properties.oracle import AmbiguousError, CleanBuild, distance, reachable
from tests.properties.worlds import EXTERNALS, KINDS, VIRTUALS, externals, worlds

FOLDER = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map("/".join)


@given(worlds())
def test_dependencies_are_what_the_recipes_declare(world: World) -> None:
    """For each node: the nodes whose packages its box holds, by the naive rules; the order has dependencies first."""
    try:
        graph = graph_of(world)
    except GraphError:
        assume(False)
    clean = CleanBuild(world)
    assert {name: set(below) for name, below in graph.dependencies.items()} == {
        name: clean.declared(name) for name in graph.nodes
    }
    assert sorted(graph.order) == sorted(graph.nodes) == sorted(identity for identity, _, _ in world.nodes())
    place = {name: number for number, name in enumerate(graph.order)}
    for name, below in graph.dependencies.items():
        assert list(below) == sorted(set(below))
        assert all(place[other] < place[name] for other in below)
    for edge in graph.edges:
        assert edge.source != edge.target
        assert edge.external or edge.target in graph.nodes
        assert not edge.requirement.startswith("!")
    dependents = graph.dependents()
    assert all(name in dependents[other] for name, below in graph.dependencies.items() for other in below)
    for name in graph.nodes:
        assert graph.closure([name]) == {name}.union(*(graph.closure([other]) for other in graph.dependencies[name]))


class StepByStep(Walk):
    """A walk that asks for each package anew."""

    def _is_as_for_others(self) -> bool:
        return False


@given(worlds())
def test_what_is_known_of_packages_is_what_a_walk_finds(world: World) -> None:
    """The same packages, the same requirements on others, the same refusal, whether or not a walk takes what is known."""
    local = {}
    with suppress(GraphError):
        local = locals_by_architecture(nodes_of(world))

    def outcome(kind: type[Walk], node: Node, architecture: str) -> object:
        try:
            walk = kind(node, local[architecture])
        except GraphError as error:
            return error.what
        return walk.result.packages, walk.result.causes.keys(), walk.result.external.keys(), walk.result.cut, walk.asked()

    for node in nodes_of(world) if local else ():
        for architecture in node.architectures:
            assert outcome(Walk, node, architecture) == outcome(StepByStep, node, architecture)


@given(worlds())
def test_a_refused_world_is_ambiguous(world: World) -> None:
    """GraphError comes for a reason that the naive rules see too, and says where."""
    refused = refusal(world)
    if refused is None:
        return
    assert refused.where is not None
    assert refused.where.line > 0
    made = Counter((target.folder, package.name) for target in world.targets for package in target.packages)
    assert ("made twice" in refused.what) == (max(made.values()) > 1)
    if "made twice" in refused.what:
        return
    clean = CleanBuild(world)
    assert "two recipes" in refused.what
    with pytest.raises(AmbiguousError):
        _ = [clean.asked(identity) for identity, _, _ in world.nodes()]


def refusal(world: World) -> GraphError | None:
    """The error that the graph of a world ends in, None where it has one."""
    try:
        graph_of(world)
    except GraphError as error:
        return error
    return None


@given(st.lists(FOLDER, min_size=1, max_size=4, unique=True), FOLDER)
def test_the_nearest_package_of_a_name_is_meant(folders: list[str], asking: str) -> None:
    """Fewest steps up, then fewest down; two equally near are an error that names both recipes. Provides count alike."""
    packages = [
        LocalPackage("same", "1-r0", f"//{folder}:t@x86_64", folder, (), ("virtual=1", "virtual=2"), f"{folder}/t.yaml", 2)
        for folder in folders
    ]
    local = Locals(packages)
    nearest = min(distance(asking, folder) for folder in folders)
    near = [package for package in packages if distance(asking, package.folder) == nearest]
    for requirement in map(Requirement.parse, ("same", "virtual")):
        if len(near) == 1:
            assert local.meets(requirement, asking, "") == near[0]
            continue
        with pytest.raises(GraphError) as caught:
            local.meets(requirement, asking, "")
        assert caught.value.where is not None
        told = f"{caught.value.where}\n{caught.value.details}"
        assert sum(f"{package.path}:2" in told for package in near) >= 2


def test_a_recipes_own_folder_comes_first_and_its_parents_next() -> None:
    """The rule by example: own folder, parent, grandparent; then down from there."""
    folders = ["app/web/api", "app/web", "app", "", "app/web/api/deep", "lib"]
    packages = [LocalPackage("same", "1-r0", f"//{folder}:t@x86_64", folder, path=f"{folder}/t.yaml") for folder in folders]
    expected = ["app/web/api", "app/web/api/deep", "app/web", "app", "", "lib"]
    while packages:
        found = Locals(packages).meets(Requirement.parse("same"), "app/web/api", "")
        assert found is not None
        assert found.folder == expected.pop(0)
        packages.remove(found)


def test_a_package_of_the_name_comes_before_those_that_provide_it() -> None:
    """Where no package has the name, apko's order of providers decides: version of the name, priority, own version, name."""
    named = LocalPackage("java", "1-r0", "//:named@x86_64", "far/away")
    providers = [LocalPackage(f"jdk{n}", "1-r0", f"//:jdk{n}@x86_64", "", provides=("java=2",)) for n in range(2)]
    assert Locals([named, *providers]).meets(Requirement.parse("java"), "", "") == named
    assert Locals(providers).meets(Requirement.parse("java"), "", "") == providers[0]
    assert Locals([named, *providers]).meets(Requirement.parse("java>=2"), "", "") == providers[0]
    assert Locals([named, *providers]).meets(Requirement.parse("java"), "", "//:named@x86_64") == providers[0]
    newer = LocalPackage("old-jdk", "0-r0", "//:newer@x86_64", "", provides=("java=3",))
    urgent = replace(providers[1], priority=5)
    later = replace(providers[1], version="1-r1")
    for better in (newer, urgent, later):
        assert Locals([providers[0], better]).meets(Requirement.parse("java"), "", "") == better
    refused = [Requirement.parse("java<3"), Requirement.parse("!jdk0")]
    assert Locals([newer, *providers]).meets(Requirement.parse("java"), "", "", refused) == providers[1]


def test_neither_a_conflict_nor_a_node_itself_makes_an_edge() -> None:
    """``!x`` keeps a package out; what a node asks for of itself is the previous generation's, from outside."""
    itself = Target(
        "", "t0", "package", (Package("p0", depends=("p0-dev",)), Package("p0-dev", provides=("v0",))), ("p0", "v0", "!p1")
    )
    other = Target("", "t1", "package", (Package("p1", depends=("!p0",)),), ("!p0",))
    graph = graph_of(World((itself, other)))
    assert graph.dependencies == {"//:t0@x86_64": (), "//:t1@x86_64": ()}
    assert {(edge.target, edge.external) for edge in graph.edges} == {("p0", True), ("v0", True)}


@given(
    st.integers(2, 7).flatmap(
        lambda size: st.tuples(st.just(size), st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))
    )
)
def test_cycles_are_cut_and_the_shortest_can_be_told(drawn: tuple[int, set[tuple[int, int]]]) -> None:
    """No box holds a package of its own cycle. Where nothing else has it either: a shortest cycle, each step with its line."""
    size, arrows = drawn
    asks: dict[int, list[int]] = {
        number: sorted({to for source, to in arrows if source == number} - {number}) for number in range(size)
    }
    world = World(
        tuple(Target("", f"t{n}", "package", (Package(f"p{n}"),), tuple(f"p{to}" for to in asks[n])) for n in range(size))
    )
    below = {f"//:t{n}@x86_64": frozenset(f"//:t{to}@x86_64" for to in asks[n]) for n in range(size)}
    graph = graph_of(world)
    together = {name: CleanBuild(world).cycle_of(name) for name in below}
    assert set(graph.cycles) == {tuple(sorted(cycle)) for cycle in together.values() if cycle}
    assert graph.dependencies == {name: tuple(sorted(others - together[name])) for name, others in below.items()}
    assert {(edge.source, edge.target) for edge in graph.edges if edge.cut} == {
        (name, other) for name, others in below.items() for other in others & together[name]
    }
    unmet = [(name, f"p{other[4:].partition('@')[0]}", other) for name in below for other in below[name] & together[name]]
    if not unmet:
        assert not shortest(below)
        return
    refused = cycle_error(graph, unmet)
    told = refused.details.splitlines()
    assert len(told) == shortest(below)
    for line in told:
        place, _, rest = line.partition(": ")
        source, _, target = rest.partition(" needs ")
        number, to = int(source[4:]), int(target.partition(" of //:t")[2])
        assert place == f"t{number}.yaml:{10 + asks[number].index(to)}"
    assert str(refused.where) == told[0].partition(": ")[0]


def test_one_folder_makes_a_package_once() -> None:
    """Two recipes of one folder cannot make the same package; of two folders they can."""
    one, two = Target("a", "one", "package", (Package("p0"),)), Target("a", "two", "package", (Package("p0"),))
    with pytest.raises(GraphError, match="made twice") as caught:
        graph_of(World((one, two)))
    assert "a/one.yaml:2" in f"{caught.value.details} {caught.value.where}"
    assert "a/two.yaml:2" in f"{caught.value.details} {caught.value.where}"
    graph_of(World((one, Target("b", "two", "package", (Package("p0"),)))))


@given(worlds())
def test_the_order_of_the_nodes_does_not_matter(world: World) -> None:
    """The same nodes in any order give the same graph, or the same error."""

    def outcome(nodes: Sequence[object]) -> object:
        try:
            return build_graph(nodes)  # type: ignore[arg-type]
        except GraphError as error:
            return error.what

    assert outcome(nodes_of(world)) == outcome(nodes_of(world)[::-1])


POOL = st.lists(st.sampled_from([*EXTERNALS, "p0"]).flatmap(externals), max_size=7, unique_by=lambda e: (e.name, e.version)).map(
    tuple
)
ASKED = st.lists(st.sampled_from([*EXTERNALS, *KINDS, *VIRTUALS, "p0", "e1>=2", "e2=1-r0", "!e0", "nothing"]), max_size=4)
NAMES = st.frozensets(st.sampled_from([*EXTERNALS, "p0", "p1", "v0", "so:s0"]), max_size=2)


def reached(
    pool: Sequence[External], asked: Sequence[str], shadowed: frozenset[str] = frozenset(), provided: frozenset[str] = frozenset()
) -> tuple[set[str], set[str]]:
    """The file names and the missing requirements."""
    found = reach(pool_of(World((), tuple(pool))), asked, shadowed, provided)
    assert [entry.filename for entry in found.sorted()] == sorted(entry.filename for entry in found.entries.values())
    return set(found.entries), set(found.missing)


@given(POOL, ASKED, NAMES, NAMES)
def test_a_pool_reaches_the_least_closed_set(
    pool: tuple[External, ...], asked: list[str], shadowed: frozenset[str], provided: frozenset[str]
) -> None:
    """Every provider of everything asked, every install_if whose conditions could hold, and nothing else."""
    found, missing = reachable(pool, asked, shadowed, provided)
    assert reached(pool, asked, shadowed, provided) == ({f"{name}.apk" for name in found}, missing)


@given(POOL, ASKED, NAMES, NAMES, st.data())
def test_reaching_is_monotone(
    pool: tuple[External, ...], asked: list[str], shadowed: frozenset[str], provided: frozenset[str], data: st.DataObject
) -> None:
    """More in the pool, more requirements or fewer shadows never reach less; a larger pool misses no more for the same set."""
    part = data.draw(st.lists(st.sampled_from(pool), unique=True)) if pool else []
    fewer = data.draw(st.lists(st.sampled_from(asked), unique=True)) if asked else []
    whole = reached(pool, asked, shadowed, provided)[0]
    assert reached(part, asked, shadowed, provided)[0] <= whole
    assert reached(pool, fewer, shadowed, provided)[0] <= whole
    assert whole <= reached(pool, asked, frozenset(), provided)[0]


@given(POOL, ASKED)
def test_every_choice_of_a_solver_is_within_reach(pool: tuple[External, ...], asked: list[str]) -> None:
    """Whatever set of packages meets all requirements with none to spare lies within what is reached."""
    found, _ = reached(pool, asked)
    texts = [text for text in asked if not text.startswith("!")]
    for size in range(4):
        for chosen in combinations(pool, size):
            parts = (part for fewer in range(size) for part in combinations(chosen, fewer))
            if _meets_all(chosen, texts) and not any(_meets_all(part, texts) for part in parts):
                assert {f"{entry.name}-{entry.version}.apk" for entry in chosen} <= found


def _meets_all(chosen: Sequence[External], texts: Sequence[str]) -> bool:
    needed = [*texts, *(text for entry in chosen for text in entry.depends if not text.startswith("!"))]
    return all(any(pool_of(World((), (entry,))).providers(Requirement.parse(text)) for entry in chosen) for text in needed)


def test_locals_are_apart_by_architecture() -> None:
    """A package is there for an architecture where a node makes it for that one."""
    world = World((Target("", "t0", "package", (Package("p0"),)),), (), ("aarch64", "x86_64"))
    local = locals_by_architecture(nodes_of(world))
    for architecture in world.architectures:
        found = local[architecture].meets(Requirement.parse("p0"), "", "")
        assert found is not None
        assert found.node == f"//:t0@{architecture}"


def shortest(below: Mapping[str, frozenset[str]]) -> int:
    """The length of a shortest cycle, 0 for none: breadth first from every node."""
    lengths = []
    for start in below:
        seen: set[str] = set()
        edge, length = set(below[start]), 1
        while edge and start not in edge:
            seen |= edge
            edge = {other for name in edge for other in below[name]} - seen
            length += 1
        lengths += [length] if start in edge else []
    return min(lengths, default=0)
