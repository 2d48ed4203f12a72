"""The same world gives the same keys, order and errors: under another hash seed, and however its parts are listed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from buildgraph.errors import GraphError
from buildgraph.execute import scheduler
from buildgraph.execute.events import Finished, Started
from buildgraph.plan.planner import make_plan
from tests.properties import model, stories
from tests.properties.fakes import Log, MemoryRunner, MemoryStore, graph_of, make_rebuilder
from tests.properties.model import World
from tests.properties.worlds import worlds

ROOT = Path(__file__).resolve().parents[2]


def fingerprint(world: World) -> list[str]:
    """All that a build of everything decides, as text: documents, keys, order, outcomes and errors."""
    try:
        graph = graph_of(world)
    except GraphError as error:
        return [error.render()]
    store = MemoryStore()
    rebuilder, log = make_rebuilder(graph, world, store), Log(graph, 1, keep_going=True)
    runner = MemoryRunner(world, store, rebuilder, log)
    result = scheduler.run(list(graph.order), rebuilder, runner, jobs=1, listener=log.listen, keep_going=True)
    lines = [repr(graph.order), repr(graph.edges), repr(sorted(store.deeps.items())), repr(sorted(store.actions.items()))]
    lines += [f"{name} {rebuilder.deep(name).key} {rebuilder.deep(name).document}" for name in graph.order]
    lines += [repr(event) for event in log.events if isinstance(event, Started | Finished)]
    lines += [f"{name} {error.render()}" for name, error in result.failures]
    try:
        lines.append(repr(make_plan(list(graph.nodes), make_rebuilder(graph, world, store), store.reasons, lambda _: ())))
    except GraphError as error:
        lines.append(error.render())
    return lines


def show() -> None:
    """The fingerprint of each world that standard input has, for another process to compare."""
    names = {name: getattr(model, name) for name in ("World", "Target", "Package", "Input", "External")}
    for line in sys.stdin:
        print(fingerprint(eval(line, names)))  # what this test wrote itself


def drawn(count: int) -> list[World]:
    """Some worlds, always the same."""
    found = [story[0] for story in stories.ALL]

    @settings(
        max_examples=count, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(worlds())
    def draw(world: World) -> None:
        found.append(world)

    draw()
    return found


def test_nothing_depends_on_the_hash_seed() -> None:
    """Sets and dictionaries of strings come in another order in each process; keys, order and messages do not."""
    text = "".join(f"{world!r}\n" for world in drawn(40))
    seen = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", "from tests.properties.test_deterministic import show; show()"],
            input=text,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout)
    assert len(seen) == 1


@settings(max_examples=60)
@given(worlds(), st.randoms(use_true_random=False))
def test_nothing_depends_on_how_things_are_listed(world: World, chance: object) -> None:
    """Targets, packages of a recipe's folder and external packages are sets."""
    shuffle = chance.shuffle  # type: ignore[attr-defined]
    targets, externals = list(world.targets), list(world.externals)
    shuffle(targets)
    shuffle(externals)
    assert fingerprint(replace(world, targets=tuple(targets), externals=tuple(externals))) == fingerprint(world)
