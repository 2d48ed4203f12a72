"""The rules of the locks on actions."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.cache.locks import ActionLocks
from buildgraph.errors import CacheError, Interrupted

KEY = "ab" * 32
Spawn = Callable[..., "subprocess.Popen[str]"]

HOLD = """
with ActionLocks(root).hold(sys.argv[2], on_wait=lambda: None, cancelled=lambda: False):
    print("held", flush=True)
    sys.stdin.readline()
"""


def never() -> bool:
    return False


def nothing() -> None:
    pass


def test_a_free_lock_takes_no_wait_and_leaves_no_file(root: Path) -> None:
    """The folder holds a file for each action that runs, and no others."""
    locks = ActionLocks(root)

    with (
        locks.hold(KEY, on_wait=pytest.fail, cancelled=never) as waited,
        locks.hold("other", on_wait=pytest.fail, cancelled=never),
    ):
        assert not waited
        assert sorted(os.listdir(root / "locks")) == [KEY, "other"]

    assert os.listdir(root / "locks") == []


def test_the_lock_is_freed_by_an_error(root: Path) -> None:
    """An action that fails holds up nobody."""
    locks = ActionLocks(root)
    with pytest.raises(ZeroDivisionError), locks.hold(KEY, on_wait=nothing, cancelled=never):
        raise ZeroDivisionError

    with locks.hold(KEY, on_wait=pytest.fail, cancelled=never) as waited:
        assert not waited


def test_threads_exclude_each_other(root: Path) -> None:
    """At no time do two threads hold one key, and each of them gets its turn."""
    inside: list[int] = []
    seen: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with ActionLocks(root).hold(KEY, on_wait=nothing, cancelled=never):
                inside.append(number)
                time.sleep(0.0005)
                seen.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [1] * 160
    assert os.listdir(root / "locks") == []


def test_processes_exclude_each_other(root: Path, spawn: Spawn, tmp_path: Path) -> None:
    """A counter that is read and written under the lock loses no step, whoever unlinks the lock's file when."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    lines = """
counter = Path(sys.argv[2])
for _ in range(100):
    with ActionLocks(root).hold("counter", on_wait=lambda: None, cancelled=lambda: False):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
    processes = [spawn(lines, counter) for _ in range(6)]

    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 6
    assert counter.read_text() == "600"
    assert os.listdir(root / "locks") == []


def test_the_death_of_the_holder_frees_the_lock(root: Path, spawn: Spawn) -> None:
    """Who waited takes over and is told that there was a wait; `on_wait` came once."""
    with spawn(HOLD, KEY) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        calls: list[str] = []

        def on_wait() -> None:
            calls.append("waits")
            threading.Timer(0.3, holder.send_signal, (signal.SIGKILL,)).start()

        with ActionLocks(root).hold(KEY, on_wait=on_wait, cancelled=never) as waited:
            assert holder.wait() == -signal.SIGKILL

    assert waited
    assert calls == ["waits"]
    assert os.listdir(root / "locks") == []


def test_waiting_ends_when_cancelled(root: Path, spawn: Spawn) -> None:
    """Ctrl-C is heard by who waits, at the first time of asking, and the holder is not disturbed."""
    with spawn(HOLD, KEY) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        answers = [True, False, False]

        with pytest.raises(Interrupted), ActionLocks(root).hold(KEY, on_wait=nothing, cancelled=answers.pop):
            pytest.fail("held by two")

        assert answers == []
        assert os.listdir(root / "locks") == [KEY]
        holder.communicate("\n")
    assert holder.returncode == 0


def test_the_files_of_the_dead_are_swept_and_those_in_use_stay(root: Path, spawn: Spawn) -> None:
    """A lock file says nothing; its lock does."""
    with spawn(HOLD, KEY) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    locks = ActionLocks(root)
    assert os.listdir(root / "locks") == [KEY]

    with locks.hold("live", on_wait=nothing, cancelled=never):
        assert locks.sweep() == 1
        assert os.listdir(root / "locks") == ["live"]
    assert ActionLocks(root / "missing").sweep() == 0


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../x", "a\n", "a" * 129, "é"])
def test_a_key_is_a_plain_word(root: Path, key: str) -> None:
    """A key cannot lead out of the folder."""
    with pytest.raises(ValueError, match="not an action key"), ActionLocks(root).hold(key, on_wait=nothing, cancelled=never):
        pytest.fail("held")


def test_a_folder_that_cannot_be_made_is_an_error(root: Path) -> None:
    """The message names the folder."""
    root.mkdir()
    (root / "locks").touch()

    with pytest.raises(CacheError, match="locks"), ActionLocks(root).hold(KEY, on_wait=nothing, cancelled=never):
        pytest.fail("held")
