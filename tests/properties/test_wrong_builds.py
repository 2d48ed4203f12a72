"""Builds that are wrong on purpose. The oracle that the right one meets must reject each of them, or it proves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from buildgraph.execute import scheduler
from buildgraph.execute.scheduler import Result
from buildgraph.graph.model import Graph
from buildgraph.graph.resolve import Built, Resolution
from buildgraph.keys.document import Entry
from buildgraph.plan.rebuild import Action, Rebuilder
from buildgraph.plan.record import DeepRecord
from tests.properties.fakes import MemoryStore, make_rebuilder
from tests.properties.history import History
from tests.properties.model import World
from tests.properties.worlds import Step, histories, play


def caught(examples: int = 1500, **parts: Any) -> str:
    """What the oracle says of a history with these parts; fails where it says nothing."""

    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories())
    def property_of_test_correct(story: tuple[World, list[Step]]) -> None:
        history = History(**parts)
        play(*story, history.build, history.lose)

    try:
        property_of_test_correct()
    except (AssertionError, KeyError) as error:
        return str(error)
    pytest.fail("the oracle takes a wrong build for a right one")


def rebuilders(kind: type[Rebuilder]) -> Callable[[Graph, World, MemoryStore], Rebuilder]:
    """Makes rebuilders of a class of its own."""

    def make(graph: Graph, world: World, store: MemoryStore) -> Rebuilder:
        right = make_rebuilder(graph, world, store)
        return kind(right.graph, right.local, right.pools, right.own, right.store)

    return make


class ByNameAndVersion(Rebuilder):
    """Dependencies count by name and version, as in ``make``-like tools over package files; their content does not."""

    def _package_entries(self, architecture: str, resolution: Resolution) -> list[Entry]:
        return [replace(entry, value="") for entry in super()._package_entries(architecture, resolution)]


class WithoutMakers(Rebuilder):
    """Who made a package does not count, so that records tell of nodes that have moved since."""

    def _package_entries(self, architecture: str, resolution: Resolution) -> list[Entry]:
        return [replace(entry, value=entry.value.split()[0]) for entry in super()._package_entries(architecture, resolution)]


class AsDeclared(Rebuilder):
    """Only what recipes declare is known of packages, never what building showed."""

    def _metadata(self, name: str) -> Built | None:
        return None


class HitsUnchecked(Rebuilder):
    """A deep key that led somewhere once always does."""

    def _still_holds(self, led: DeepRecord) -> bool:
        return True


class OwnDiscoveriesOnly(Rebuilder):
    """A deep hit looks at what the node's own box showed, not at what the boxes of its dependencies did."""

    def deep_record(self, name: str, action: Action) -> DeepRecord | None:
        noted, self._noted = self._noted, {key: (deep, _without_discoveries(led)) for key, (deep, led) in self._noted.items()}
        try:
            return super().deep_record(name, action)
        finally:
            self._noted = {**noted, **{name: self._noted[name]}} if name in self._noted else noted


class NamesUnchecked(Rebuilder):
    """A deep hit looks at the discovered nodes and at the pool, not at who else now has the names that were asked for."""

    def _answer(self, architecture: str, requirements: Sequence[str], names: Sequence[str]) -> Any:
        return super()._answer(architecture, requirements, ())


class PoolUnchecked(Rebuilder):
    """External packages do not count."""

    def _answer(self, architecture: str, requirements: Sequence[str], names: Sequence[str]) -> Any:
        return super()._answer(architecture, (), names)


def _without_discoveries(led: DeepRecord) -> DeepRecord:
    found = {architecture: replace(part, requirements=(), names=()) for architecture, part in led.found.items()}
    return replace(led, nodes={}, found=found)


CONTENT = ""


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (ByNameAndVersion, "two actions under one key|under another key|not what|was in the store|not what was missing"),
        (WithoutMakers, "two actions under one key"),
        (AsDeclared, ""),
        (HitsUnchecked, CONTENT),
        (OwnDiscoveriesOnly, CONTENT),
        (NamesUnchecked, CONTENT),
        (PoolUnchecked, CONTENT),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_wrong_rebuilder_is_rejected(kind: type[Rebuilder], complaint: str) -> None:
    """Each class states what it does wrong; the oracle says that it is wrong."""
    said = caught(rebuilder=rebuilders(kind))
    assert re.search(complaint, said), said
