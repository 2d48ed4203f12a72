"""The system's clock jumps while bg runs, days ahead and back: what is fresh stays, what is stale runs, nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.tiny import chain
from tests.e2e.workspace import ROOT, Workspace

pytestmark = pytest.mark.e2e

# Python runs this before anything else: no two questions for the time get answers of one day.
JUMPS = """
import random, time
real, real_ns, draw, day = time.time, time.time_ns, random.Random({seed}), 86400
time.time = lambda: real() + draw.randint(-9, 9) * day
time.time_ns = lambda: real_ns() + draw.randint(-9, 9) * day * 10**9
"""


@pytest.fixture(params=[1, 2, 3])
def jumping(empty: Workspace, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    """A workspace of six targets, and a bg that sees such a clock."""
    chain(empty)
    (tmp_path / "jumps").mkdir()
    (tmp_path / "jumps/sitecustomize.py").write_text(JUMPS.format(seed=request.param))
    empty.environment["PYTHONPATH"] = f"{tmp_path / 'jumps'}:{ROOT}"
    return empty


def clean(workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    """The digests of a build from nothing with a clock that goes as it should."""
    return workspace.build("//...", env={"PYTHONPATH": str(ROOT), "BG_CACHE_DIR": str(tmp_path / "clean")}).digests()


def test_builds(jumping: Workspace, tmp_path: Path) -> None:
    """Each edit runs what it must and nothing else, also of a file whose own time is years ahead; every blob stays sound."""
    first = jumping.build()
    assert len(first.ran) == 6
    assert jumping.build().ran == set()

    jumping.edit("recipes/three.yaml", "cat /usr/share/one", "cat /usr/share/one /usr/share/one")
    ahead = 4_000_000_000
    os.utime(jumping.root / "recipes/three.yaml", (ahead, ahead))
    assert jumping.build().ran == {"//:three", "//:four", "//:all"}
    assert jumping.build().ran == set()

    jumping.edit("recipes/one.yaml", "echo one", "echo 1")
    os.utime(jumping.root / "recipes/one.yaml", (0, 0))
    assert jumping.build().ran == {"//:one", "//:three", "//:four", "//:all"}
    assert jumping.build().digests() == clean(jumping, tmp_path)
    assert jumping.bg("cache", "verify").code == 0


def test_making_room(jumping: Workspace, tmp_path: Path) -> None:
    """What goes by size is built again where it is wanted, and nothing comes out otherwise."""
    jumping.build()
    for size in ("200K", "50K", "0"):
        assert jumping.bg("cache", "gc", "--max-size", size).code == 0
        assert jumping.build().digests() == clean(jumping, tmp_path)
    assert jumping.bg("cache", "verify").code == 0
