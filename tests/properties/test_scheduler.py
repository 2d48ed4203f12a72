"""The scheduler with real threads: cancellation at any moment, errors of any kind, a lock that grows, graphs that are large."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildgraph.errors import GraphError
from buildgraph.execute import scheduler
from buildgraph.execute.events import Outcome
from buildgraph.execute.scheduler import Result
from buildgraph.plan.rebuild import Action, Unlocked
from buildgraph.plan.record import Record
from tests.properties import stories
from tests.properties.fakes import Log, MemoryRunner, MemoryStore, graph_of, make_rebuilder, own_of, pools_of
from tests.properties.history import History
from tests.properties.model import External, Input, Package, World
from tests.properties.oracle import clean_build
from tests.properties.stories import image, recipe, source
from tests.properties.worlds import worlds


def test_a_changed_comment_runs_one_node() -> None:
    """Early cutoff, by example: the library runs, the program is spared, the image is spared; then nothing does anything."""
    history = History()
    everything = [identity for identity, _, _ in stories.CHAIN.nodes()]
    first = history.build(stories.CHAIN, everything)
    assert first is not None
    assert first.result.outcomes == dict.fromkeys(everything, "ran")
    changed = source(0, Input("0", "x"))(stories.CHAIN)
    second = history.build(changed, everything)
    assert second is not None
    assert list(second.result.outcomes.values()) == ["ran", "spared", "spared"]
    third = history.build(changed, everything[-1:])
    assert third is not None
    assert third.result.outcomes == {everything[-1]: "hit"}


@pytest.mark.parametrize("keep_going", [False, True])
def test_nodes_that_wait_for_each_other_fail_and_say_so(keep_going: bool) -> None:
    """A cycle that only building shows is an error with its steps, not a silent end."""
    history = History()
    world = stories.DEADLOCK[0]
    done = history.build(world, [identity for identity, _, _ in world.nodes()], keep_going=keep_going)
    assert done is not None
    assert done.result.outcomes["//:one@x86_64"] == "ran"
    ((name, error),) = done.result.failures
    assert name in {"//:two@x86_64", "//:three@x86_64"}
    assert isinstance(error, GraphError)
    assert {"//:two@x86_64 needs //:three@x86_64", "//:three@x86_64 needs //:two@x86_64"} == set(error.details.splitlines())


@settings(max_examples=40)
@given(worlds(), st.integers(1, 8), st.booleans(), st.integers(0, 12), st.randoms(use_true_random=False))
def test_a_run_may_be_cancelled_at_any_moment(world: World, jobs: int, keep_going: bool, after: int, chance: object) -> None:
    """It returns, nothing runs on, no node is both done and failed, and the next run goes on from there."""
    del chance
    try:
        graph = graph_of(world)
    except GraphError:
        return
    store, cancelled = MemoryStore(), threading.Event()
    rebuilder, log = make_rebuilder(graph, world, store), Log(graph, jobs, keep_going)
    naps = {name: number * 7 % 4 / 1000 for number, name in enumerate(graph.nodes)}
    runner = MemoryRunner(world, store, rebuilder, log, naps)
    timer = threading.Timer(after / 1000, cancelled.set)
    timer.start()
    wanted = list(graph.nodes)
    result = scheduler.run(wanted, rebuilder, runner, jobs=jobs, listener=log.listen, keep_going=keep_going, cancelled=cancelled)
    timer.join()
    assert not log.running
    assert not log.wrong
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("action")]
    failed = {name for name, _ in result.failures}
    assert not failed & result.records.keys()
    assert set(wanted) >= result.outcomes.keys() - failed - result.records.keys()
    assert result.records.keys() == {name for name, outcome in result.outcomes.items() if outcome not in {"failed", "skipped"}}
    clean = clean_build(world, wanted)
    assert all(tuple(record.content()) == clean[name].outputs for name, record in result.records.items())
    again = History(store=store).build(world, wanted, jobs, keep_going=True)
    assert again is not None
    assert not {key for _, key in again.log.ran} & {record.action for record in result.records.values()}


def test_an_unexpected_error_is_raised_once_nothing_runs() -> None:
    """A defect is not a failure of a node: it is raised, after the others have ended."""
    world = World(tuple(recipe(f"t{number}", Package(f"p{number}")) for number in range(6)))
    graph, store = graph_of(world), MemoryStore()
    rebuilder, log = make_rebuilder(graph, world, store), Log(graph, 3, keep_going=False)

    class Broken(MemoryRunner):
        def run(self, action: Action, waiting: Callable[[str], None]) -> tuple[Record, Outcome]:
            if action.node.id == "//:t1@x86_64":
                raise ZeroDivisionError
            return super().run(action, waiting)

    runner = Broken(world, store, rebuilder, log, dict.fromkeys(graph.nodes, 0.02))
    with pytest.raises(ZeroDivisionError):
        scheduler.run(list(graph.nodes), rebuilder, runner, jobs=3, listener=log.listen)
    assert not log.running


@dataclass
class GrowingRunner(MemoryRunner):
    """Its lock grows to the pool of another world as soon as something is missing."""

    repository: World | None = None

    def unlocked(self, name: str, found: Unlocked) -> None:
        assert self.repository is not None
        self.externals = {f"{e.name}-{e.version}.apk": e for e in self.repository.externals}
        self.rebuilder.use_pools(pools_of(self.repository))


@pytest.mark.parametrize("nap", [0.0, 0.05], ids=["done before", "running meanwhile"])
def test_what_ran_with_a_smaller_lock_is_not_remembered_for_the_larger_one(nap: float) -> None:
    """A lock that grows in the middle of a run may change what earlier boxes would hold: the next run finds out."""
    scripts = (
        recipe("script", Package("p0", calls=("cmd:c0",))),
        recipe("user", Package("p1"), world=("p0",)),
        recipe("other", Package("p2"), world=("v0",)),
        image("picture", "p2", "p1"),
    )
    small = World(scripts, (External("e1", provides=("v0",)),))
    large = replace(small, externals=(*small.externals, External("e2", provides=("v0", "cmd:c0"))))
    store, graph = MemoryStore(), graph_of(small)
    rebuilder, log = make_rebuilder(graph, small, store), Log(graph, 2, keep_going=False)
    rebuilder.own = own_of(large)
    runner = GrowingRunner(small, store, rebuilder, log, {"//:other@x86_64": nap}, repository=large)
    first = scheduler.run(list(graph.nodes), rebuilder, runner, jobs=2, listener=log.listen)
    assert not first.failures
    history = History(store=store)
    again = history.build(large, list(graph.nodes), 2)
    assert again is not None
    assert again.result.outcomes["//:other@x86_64"] == "ran"
    assert again.result.outcomes["//:user@x86_64"] in {"hit", "spared"}


def big(world: World, wanted: str) -> tuple[Counter[Outcome], Counter[Outcome]]:
    """Builds a large world twice; the outcomes."""
    graph, store = graph_of(world), MemoryStore()
    results: list[Result] = []
    for _ in range(2):
        rebuilder = make_rebuilder(graph, world, store)
        runner = MemoryRunner(world, store, rebuilder, Log(graph, 2, keep_going=False))
        runner.log.done = set(graph.nodes)
        results.append(scheduler.run([wanted], rebuilder, runner, jobs=2, listener=lambda _: None))
    counts = [Counter(result.outcomes.values()) for result in results]
    return counts[0], counts[1]


def chain(length: int) -> World:
    """Each target is built with the one before; the last one has an image."""
    targets = [recipe(f"t{n:04}", Package(f"p{n}"), world=(f"p{n - 1}",) if n else ()) for n in range(length)]
    return World((*targets, image("all", f"p{length - 1}")))


def fan(width: int) -> World:
    """An image of that many packages that do not need each other."""
    targets = [recipe(f"t{n:04}", Package(f"p{n}")) for n in range(width)]
    return World((*targets, image("all", *(f"p{n}" for n in range(width)))))


@pytest.mark.parametrize("shape", [chain, fan])
def test_a_graph_of_three_thousand_nodes(shape: Callable[[int], World]) -> None:
    """However long or wide it is: no recursion, everything runs once, and then the wanted node alone is looked at."""
    first, second = big(shape(3000), "//:all")
    assert first == {"ran": 3001}
    assert second == {"hit": 1}


@pytest.mark.parametrize("shape", [chain, fan])
def test_the_work_grows_with_the_graph_and_not_with_its_square(shape: Callable[[int], World]) -> None:
    """Twice the nodes take about twice the steps."""
    big(shape(10), "//:all")  # what is imported on first use is no work of a graph
    once, twice = (steps(partial(big, shape(size), "//:all")) for size in (150, 300))
    assert twice < 2.4 * once


def steps(work: Callable[[], object]) -> int:
    """How many lines of Python this thread runs for some work: a measure that no slow machine changes."""
    count = 0

    def trace(_frame: object, event: str, _value: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
