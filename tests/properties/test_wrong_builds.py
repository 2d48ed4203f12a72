"""Builds that are wrong on purpose. The oracle that the right one meets must reject each of them, or it proves nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from buildgraph.execute import scheduler
from buildgraph.execute.scheduler import Result
from buildgraph.graph.model import Graph
from buildgraph.graph.resolve import Built, Resolution
from buildgraph.keys.digest import Digest
from buildgraph.keys.document import Entry
from buildgraph.plan.rebuild import Action, Rebuilder
from buildgraph.plan.record import DeepRecord
from buildgraph.structs import replace
from tests.properties import stories
from tests.properties.fakes import MemoryRunner, MemoryStore, make_rebuilder
from tests.properties.history import History
from tests.properties.model import World
from tests.properties.stories import Story
from tests.properties.worlds import Step, histories, play

Factory = Callable[[Graph, World, MemoryStore], Rebuilder]


def caught(**parts: Any) -> bool:
    """Whether the property of ``test_correct`` fails with these parts, on histories that it draws by itself."""

    @settings(
        max_examples=300,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories())
    def every_build_is_the_clean_build(story: tuple[World, list[Step]]) -> None:
        rejects(story, **parts)

    try:
        every_build_is_the_clean_build()
    except AssertionError:
        return True
    return False


def rejects(story: Story, **parts: Any) -> None:
    """Plays a story; AssertionError where the oracle rejects a build of it."""
    history = History(**parts)
    play(*story, history.build, history.lose)


def rebuilders(kind: type[Rebuilder]) -> Factory:
    """Makes rebuilders of a class of its own."""

    def make(graph: Graph, world: World, store: MemoryStore) -> Rebuilder:
        right = make_rebuilder(graph, world, store)
        return kind(right.graph, right.local, right.pools, right.own, right.store)

    return make


class ByNameAndVersion(Rebuilder):
    """Dependencies count by name and version, as for tools that look at file names; their content does not."""

    def _package_entries(self, architecture: str, resolution: Resolution) -> list[Entry]:
        return [entry._replace(value="") for entry in super()._package_entries(architecture, resolution)]


class WithoutMakers(Rebuilder):
    """Who made a package does not count, so that a record may tell of nodes that have moved since."""

    def _package_entries(self, architecture: str, resolution: Resolution) -> list[Entry]:
        return [entry._replace(value=entry.value.split()[0]) for entry in super()._package_entries(architecture, resolution)]


class AsDeclared(Rebuilder):
    """Only what recipes declare is known of packages, never what building showed."""

    def _metadata(self, name: str) -> Built | None:
        return None


class HitsUnchecked(Rebuilder):
    """A deep key that led somewhere once always does."""

    def _still_holds(self, led: DeepRecord) -> bool:
        return True


class OwnBoxOnly(Rebuilder):
    """A deep hit looks at what the node's own box showed, not at what the boxes of its dependencies did."""

    def deep_record(self, name: str, action: Action) -> DeepRecord | None:
        led = super().deep_record(name, action)
        self._noted = {
            other: (
                key,
                replace(noted, nodes={}, found={a: replace(f, requirements=(), names=()) for a, f in noted.found.items()}),
            )
            for other, (key, noted) in self._noted.items()
        }
        return led


class NamesUnchecked(Rebuilder):
    """A deep hit looks at discovered nodes and at the pool, not at who else has the names that were asked for by now."""

    def _answer(self, architecture: str, requirements: Iterable[str], names: Iterable[str]) -> Digest:
        return super()._answer(architecture, requirements, ())


class PoolUnchecked(Rebuilder):
    """A deep hit looks at local packages only."""

    def _answer(self, architecture: str, requirements: Iterable[str], names: Iterable[str]) -> Digest:
        return Digest("0" * 64)


def modeless(graph: Graph, world: World, store: MemoryStore) -> Rebuilder:
    """A source file's content counts, its mode does not."""
    rebuilder = make_rebuilder(graph, world, store)
    right = rebuilder.own
    rebuilder.own = lambda name: [entry._replace(value=entry.value.removesuffix(" executable")) for entry in right(name)]
    return rebuilder


WRONG: dict[str, tuple[Factory, Story]] = {
    "by name and version": (rebuilders(ByNameAndVersion), stories.CONTENT),
    "without makers": (rebuilders(WithoutMakers), stories.MOVE),
    "as declared": (rebuilders(AsDeclared), stories.DISCOVERY),
    "hits unchecked": (rebuilders(HitsUnchecked), stories.UPDATE),
    "own box only": (rebuilders(OwnBoxOnly), stories.UPDATE),
    "names unchecked": (rebuilders(NamesUnchecked), stories.NEWCOMER),
    "pool unchecked": (rebuilders(PoolUnchecked), stories.CONDITION),
    "modeless": (modeless, stories.MODE),
}


@pytest.mark.parametrize(("rebuilder", "story"), WRONG.values(), ids=WRONG)
def test_a_wrong_rebuilder_is_rejected(rebuilder: Factory, story: Story) -> None:
    """On the same story the right rebuilder passes."""
    rejects(story)
    with pytest.raises(AssertionError):
        rejects(story, rebuilder=rebuilder)


@pytest.mark.parametrize("name", ["by name and version", "as declared", "modeless"])
def test_a_wrong_rebuilder_is_found_by_chance(name: str) -> None:
    """The common kinds need no story: drawn histories find them."""
    assert caught(rebuilder=WRONG[name][0])


class Hasty(scheduler._Run):
    """Starts a node while something that it needs is still building, with what that gave last time."""

    def _wait_for(self, name: str, others: Iterable[str]) -> None:
        assert isinstance(self.runner, MemoryRunner)
        old = {other: self.runner.store.last[other][1] for other in others if other in self.runner.store.last}
        self.staleness.known.update({other: record for other, record in old.items() if other not in self.staleness.known})
        super()._wait_for(name, [other for other in others if other not in old])


class Crowded(scheduler._Run):
    """Takes one job more than it was given."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.jobs += 1


class Stubborn(scheduler._Run):
    """Goes on after a failure, although nobody said so."""

    def _stopping(self) -> bool:
        return self.cancelled.is_set()


def runs(kind: type[scheduler._Run]) -> Callable[..., Result]:
    """``scheduler.run`` by another class."""

    def run(wanted: Sequence[str], staleness: Any, runner: Any, *, jobs: int, listener: Any, keep_going: bool) -> Result:
        return kind(staleness, runner, jobs, listener, keep_going, dict, threading.Event()).go(wanted)

    return run


@pytest.mark.parametrize(
    ("kind", "story"),
    [(Hasty, stories.CONTENT), (Crowded, stories.FAILURE), (Stubborn, stories.FAILURE)],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_wrong_scheduler_is_rejected(kind: type[scheduler._Run], story: Story) -> None:
    """Each class says what it does wrong; on the same story the right scheduler passes."""
    rejects(story, nap=0.02)
    with pytest.raises(AssertionError):
        rejects(story, run=runs(kind), nap=0.02)


def test_a_wrong_scheduler_is_found_by_chance() -> None:
    """A node that starts too early shows on drawn histories too."""
    assert caught(run=runs(Hasty))
