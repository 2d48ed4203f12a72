"""The database of records is lost or damaged: the next build makes it again, says so in one line, and runs nothing."""

from __future__ import annotations

import pickle
import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.cache.damage import Damage, cut, overwrite
from tests.e2e import tiny
from tests.e2e.workspace import Workspace

NOISE = overwrite(100, random.Random(1).randbytes(19_900))


@pytest.fixture
def built(empty: Workspace) -> Workspace:
    """Six small targets, built. The database is in one file: what is still in SQLite's log would heal that."""
    tiny.chain(empty)
    empty.build()
    with closing(sqlite3.connect(empty.root / "cache/records/cache.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return empty


def forget_state(workspace: Workspace) -> None:
    """So that the next build looks into the cache."""
    shutil.rmtree(workspace.home / ".cache" / "buildgraph" / "state", ignore_errors=True)
    shutil.rmtree(workspace.root / "out")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda database: shutil.rmtree(database.parent), id="gone"),
        pytest.param(cut(0), id="empty"),
        pytest.param(cut(0.01), id="cut in the header"),
        pytest.param(cut(0.6), id="cut"),
        pytest.param(NOISE, id="noise"),
        pytest.param(lambda database: database.write_bytes(pickle.dumps({"x": 1})), id="a pickle"),
    ],
)
def test_the_next_build_runs_nothing(built: Workspace, damage: Damage) -> None:
    """Results, deep keys and fetched packages are there again: a plan has only hits, and a change rebuilds what it would."""
    damage(built.root / "cache/records/cache.db")
    forget_state(built)

    again = built.build()
    assert again.outcome("hit") == {"//:one", "//:two", "//:three", "//:four", "//:five", "//:all"}
    told = [line for line in again.err.splitlines() if "made again from the journal" in line]
    assert len(told) == 1
    assert "left out" not in told[0]
    assert built.bg("cache", "verify").code == 0
    built.edit("recipes/five.yaml", "echo five", "echo 5")
    changed = built.build()
    assert changed.ran == {"//:five", "//:all"}
    assert "made again" not in changed.err


def test_repair_makes_it_again_too(built: Workspace) -> None:
    """And says so; what it then finds to be wrong is told as ever."""
    NOISE(built.root / "cache/records/cache.db")
    mended = built.bg("cache", "repair")
    assert mended.code == 0, mended.err
    assert "made again from the journal" in mended.err
    assert mended.out == "nothing else is wrong\n"
    assert built.bg("cache", "repair", "--json").answer == {"dropped": [], "made_again": 0}
    forget_state(built)
    assert built.build().ran == set()


def test_what_was_removed_is_built_again(built: Workspace) -> None:
    """Nothing that `bg cache rm` took away comes back with the database, nor what another salt disowned."""
    assert built.bg("cache", "rm", "//:two", "//:all").code == 0
    shutil.rmtree(built.root / "cache/records")
    forget_state(built)
    assert built.build().ran == {"//:two", "//:all"}

    manifest = built.root / "buildgraph.yaml"
    manifest.write_text(manifest.read_text() + "salt: another\n")
    shutil.rmtree(built.root / "cache/records")
    assert built.build().ran == {"//:one", "//:two", "//:three", "//:four", "//:five", "//:all"}


def test_a_result_whose_files_are_gone_is_built_again(built: Workspace) -> None:
    """The rebuilt database has no record of it, and the line says how many were left out and why."""
    digest = built.bg("inspect", "//:two", "--json").answer[0]["packages"][0]["digest"].removeprefix("blake3:")
    shutil.rmtree(built.root / "cache/records")
    forget_state(built)
    (built.root / "cache/blobs" / digest[:2] / digest).unlink()

    again = built.build()
    assert "left out: 1 leading to no result, 1 without their files" in again.err
    assert again.ran == {"//:two"}
