"""Killed, stopped, run twice at once, out of space: the next build is right and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from tests.e2e.tiny import chain, package
from tests.e2e.workspace import Ran, Workspace
from tests.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Background = Callable[..., "subprocess.Popen[str]"]


def clean_build(workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    """The digests of a build with a cache of its own: what every other build has to give."""
    return workspace.build("//...", env={"BG_CACHE_DIR": str(tmp_path / "clean")}).digests()


def wrong_blobs(cache: Path) -> list[str]:
    """The blobs whose content is not what their name says."""
    blobs = [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    return [path.name for path in blobs if blake3(path.read_bytes()).hexdigest() != path.name]


def left_behind(workspace: Workspace) -> list[str]:
    """Scratch folders, mounts and processes that belong to a workspace."""
    scratch = [path.name for path in (workspace.root / "cache/tmp").glob("*") if path.is_dir()]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(workspace.root) in line]
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = (process / "mountinfo").read_text()  # of a step in a box: what is bound into that
        except OSError:
            continue
        if str(workspace.root) in command + inside and "pytest" not in command:
            processes.append(command)
    return scratch + mounts + processes


def start(workspace: Workspace, in_background: Background, *arguments: str) -> subprocess.Popen[str]:
    command = workspace.command("build", *(arguments or ("//...",)))
    return in_background(
        command, cwd=workspace.root, env=workspace.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def forget(workspace: Workspace, *parts: str) -> None:
    """Removes parts of the cache, and the outputs: with them in place nothing would be looked at."""
    for folder in (*(workspace.root / "cache" / part for part in parts), workspace.root / "out"):
        shutil.rmtree(folder, ignore_errors=True)
    if "records" in parts:  # which would be made again
        (workspace.root / "cache/records.journal").unlink(missing_ok=True)


@pytest.mark.parametrize("draw", [4711, 815])
def test_kill_at_fifty_random_moments(empty: Workspace, tmp_path: Path, in_background: Background, draw: int) -> None:
    """After kill -9 of bg and all its children every blob is what its name says; the next build and every record are right."""
    chain(empty)
    expected = clean_build(empty, tmp_path)
    empty.build("//...")
    forget(empty, "records")
    began = time.monotonic()
    assert empty.build("//...").outcome("hit") == set()
    usual = time.monotonic() - began
    chance = random.Random(draw)
    met = 0
    for attempt in range(50):
        if attempt % 2 == 0:  # every other time there is much to do again, else the killed build's rest
            forget(empty, *chance.choice([("records",), ("blobs",), ("records", "apk")]))
        child = start(empty, in_background)
        time.sleep(chance.uniform(0, usual))
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        met += any(path.is_dir() for path in (empty.root / "cache/tmp").glob("*"))
        assert wrong_blobs(empty.root / "cache") == []
        if attempt % 5 == 4:
            assert empty.build("//...").digests() == expected
            checked = empty.bg("cache", "verify")
            assert checked.code == 0, checked.out
    print(f"{met} of 50 kills met an action; {usual:.1f} s a build")
    assert met >= 10, "hardly a kill met an action: the test shows nothing"
    wait_for(lambda: left_behind(empty) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(empty: Workspace, tmp_path: Path, in_background: Background, number: signal.Signals) -> None:
    """Long before its actions would end, with nothing left behind; what was finished stays finished."""
    chain(empty)
    empty.write("recipes/slow.yaml", package("slow", "sleep 600"))
    for moment in ("asking apko", "build  //:", "done   //:two@"):
        child = start(empty, in_background, "-j", "2", "//...")
        assert child.stderr is not None
        said = next(line for line in child.stderr if moment in line)
        child.send_signal(number)
        said += child.communicate(timeout=60)[1]
        assert child.returncode == 130, said
        assert "Traceback" not in said
        assert left_behind(empty) == []
    assert empty.bg("build", "--json", "//:two").outcome("hit") == {"//:two"}
    (empty.root / "recipes/slow.yaml").unlink()
    assert empty.build("//...").digests() == clean_build(empty, tmp_path)
    assert wrong_blobs(empty.root / "cache") == []


def test_two_builds_at_once_do_each_action_once(empty: Workspace, tmp_path: Path, in_background: Background) -> None:
    """On one cache, in one workspace and in a copy of it: all are right, no action runs twice."""
    labels = chain(empty)
    expected = clean_build(empty, tmp_path)
    copy = Workspace(tmp_path / "copy", empty.home, empty.tools)
    shutil.copytree(empty.root, copy.root, ignore=shutil.ignore_patterns("cache", "out"))
    for workspace in (empty, copy):
        workspace.environment["BG_CACHE_DIR"] = str(tmp_path / "shared")
    children = [start(workspace, in_background, "--json", "//...") for workspace in (empty, empty, copy)]
    done = []
    for child in children:
        out, err = child.communicate(timeout=300)
        assert child.returncode == 0, err
        done.append(Ran(0, out, err))
    assert [one.digests() for one in done] == [expected] * 3
    assert sum(len(one.ran) for one in done) == len(labels)
    assert wrong_blobs(tmp_path / "shared") == []


@pytest.mark.parametrize("size", ["64k", "1m", "9m", "18m"])
def test_a_full_disk(empty: Workspace, tmp_path: Path, size: str) -> None:
    """Whatever meets it first: a clear error; with room again the build goes on from what there was."""
    chain(empty)
    expected = clean_build(empty, tmp_path)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        env = {"BG_CACHE_DIR": str(small / "cache")}
        failed = empty.bg("build", "//...", env=env)
        assert "no space left on device" in failed.err
        told = "hint: free some space there, or choose a cache folder on another disk" in failed.err and failed.code == 9
        assert told or ("hint: a disk is full" in failed.err and failed.code == 1), failed.err  # melange met it, or apko
        before = {path.name for path in (small / "cache/blobs").rglob("*") if path.is_file()}
        assert wrong_blobs(small / "cache") == []
        subprocess.run(["mount", "-o", "remount,size=900m", small], check=True)
        assert empty.build("//...", env=env).digests() == expected
        assert before <= {path.name for path in (small / "cache/blobs").rglob("*") if path.is_file()}
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_source_that_changes_while_it_is_built(empty: Workspace, in_background: Background) -> None:
    """The result belongs to what was copied; the next build sees the change."""
    chain(empty)
    empty.write("recipes/one/data", "before")
    recipe = (empty.root / "recipes/one.yaml").read_text()
    empty.write("recipes/one.yaml", recipe.replace("echo one", "sleep 1; cat data"))
    child = start(empty, in_background, "//:one")
    # melange has begun: its log is not empty.
    wait_for(lambda: any(log.stat().st_size for log in (empty.root / "cache/tmp").glob("*/log")))
    empty.write("recipes/one/data", "after")
    child.communicate(timeout=60)
    assert child.returncode == 0
    again = empty.build("//:one")
    assert again.ran == {"//:one"}
    assert again.reasons("//:one") == "recipes/one/data changed"
