"""Nothing outlives bg when it unwinds, at whatever instant; signals reach those whom they are meant for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.errors import ToolError
from buildgraph.execute import process
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
ENV = {"PATH": "/usr/bin:/bin"}
# Notes the ids of a shell and of what it started, which both do not care about being asked to stop.
STUBBORN = "trap '' TERM; sleep 600 & echo $$ $! > {pids}; wait; sleep 600"
PRELUDE = """
import os, signal, sys, threading, time
from pathlib import Path
from buildgraph.execute import process
ENV = {"PATH": "/usr/bin:/bin"}
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def python(lines: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process of its own: what is tested stops everything, or takes signals."""
    command = [sys.executable, "-c", PRELUDE + lines, *map(str, arguments)]
    env = {**ENV, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How it ended."""
    with child:
        try:
            out, err = child.communicate(timeout=50)
        finally:
            child.kill()
    return child.returncode, out, err


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids_in(path: Path) -> list[int]:
    """The ids that STUBBORN noted, once they are there."""
    wait_for(lambda: path.is_file() and len(path.read_text().split()) == 2)
    return [int(pid) for pid in path.read_text().split()]


def test_how_a_child_ended_is_told() -> None:
    said = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], env=ENV)
    ended = process.run(["sh", "-c", "kill -KILL $$"], env=ENV)

    assert (said.returncode, said.stdout, said.stderr) == (3, "out\n", "err\n")
    assert ended.returncode == -signal.SIGKILL


def test_what_is_not_utf8_is_replaced() -> None:
    assert process.run(["printf", r"a\377b"], env=ENV).stdout == "a\ufffdb"


def test_a_child_reads_nothing_of_the_terminal() -> None:
    assert process.run(["cat"], env=ENV, timeout=10).stdout == ""


@pytest.mark.parametrize("how", ["run", "logged", "foreground"])
def test_a_program_that_cannot_be_started_is_a_tool_error(how: str, tmp_path: Path) -> None:
    missing = [str(tmp_path / "missing")]
    start: dict[str, Callable[[], object]] = {
        "run": lambda: process.run(missing, env=ENV),
        "logged": lambda: process.run_logged(missing, env=ENV, cwd=tmp_path, log=tmp_path / "log"),
        "foreground": lambda: process.run_foreground(missing, env=ENV),
    }
    with pytest.raises(ToolError, match=r"cannot run .*missing: No such file"):
        start[how]()


def test_a_timeout_ends_the_child_and_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="did not end within 1 s"):
        process.run(["sh", "-c", STUBBORN.format(pids=tmp_path / "pids")], env=ENV, timeout=1)

    wait_for(lambda: not any(map(is_running, pids_in(tmp_path / "pids"))))


def test_a_signal_while_a_child_is_being_started_is_no_deadlock(tmp_path: Path) -> None:
    """The handler runs in the main thread, at any instant: here when the child exists and is not yet known."""
    lines = """
started = process.subprocess.Popen
def starts(*arguments, **settings):
    child = started(*arguments, **settings)
    print(child.pid, flush=True)
    process.kill_all()
    return child
process.subprocess.Popen = starts
try:
    process.run(["sleep", "60"], env=ENV)
except process.Interrupted as error:
    print(error)
"""
    code, out, err = outcome(python(lines))
    pid, said = out.split()

    assert (code, said, err) == (0, "interrupted", "")
    assert not is_running(int(pid))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_handler_that_raises_while_a_child_is_being_started_loses_none(number: signal.Signals) -> None:
    """The signal comes when the child is there and nobody knows it yet; it ends all the same."""
    lines = """
signal.signal(signal.SIGTERM, signal.default_int_handler)
started = process.subprocess.Popen
def starts(*arguments, **settings):
    child = started(*arguments, **settings)
    print(child.pid, flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
    return child
process.subprocess.Popen = starts
try:
    process.run(["sh", "-c", "trap '' TERM; sleep 600; sleep 600"], env=ENV)
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    code, out, err = outcome(python(lines, int(number)))
    pid, *said = out.split()

    assert (code, said, err) == (0, ["interrupted", "True"], "")
    assert not is_running(int(pid))


def test_signals_while_children_come_and_go_end_them_soon() -> None:
    """The same with real signals at random instants, by the handler that bg has."""
    lines = """
def stop(*_):
    process.kill_all()
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
threading.Timer(0.05 + int(sys.argv[1]) * 0.0013, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    while True:
        process.run(["true"], env=ENV)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert [outcome(python(lines, number)) for number in range(8)] == [(0, "interrupted\n", "")] * 8


def test_ctrl_c_ends_the_child_that_is_waited_for(tmp_path: Path) -> None:
    lines = """
try:
    process.run(["sh", "-c", sys.argv[1]], env=ENV)
except KeyboardInterrupt:
    print("interrupted")
"""
    bg = python(lines, STUBBORN.format(pids=tmp_path / "pids"))
    pids = pids_in(tmp_path / "pids")
    bg.send_signal(signal.SIGINT)

    assert outcome(bg) == (0, "interrupted\n", "")
    wait_for(lambda: not any(map(is_running, pids)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_runs_in_the_foreground_gets_the_signals_of_bg(number: signal.Signals, tmp_path: Path) -> None:
    """It may end in its own way, and bg with it, by its exit code."""
    lines = """
print(process.run_foreground([sys.executable, "-c", sys.argv[1]], env=ENV))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    # One that waits for signals in a way that misses none.
    program = f"""
import signal
from pathlib import Path
ends = {{signal.SIGINT, signal.SIGTERM, signal.SIGHUP}}
signal.pthread_sigmask(signal.SIG_BLOCK, ends)
Path({str(tmp_path / "ready")!r}).touch()
print("ending by", signal.sigwait(ends).name, flush=True)
raise SystemExit(7)
"""
    bg = python(lines, program)
    wait_for((tmp_path / "ready").exists)
    bg.send_signal(number)

    assert outcome(bg) == (0, f"ending by {number.name}\n7\nTrue\n", "")


def test_the_exit_code_of_a_signal_is_that_of_a_shell() -> None:
    assert process.run_foreground(["sh", "-c", "kill -TERM $$"], env=ENV) == 143


def test_a_child_is_not_ended_by_the_terminals_ctrl_c() -> None:
    """It has a group of its own, so bg decides when and how it ends."""
    own = process.run(["sh", "-c", "ps -o pgid= -p $$ || cut -d' ' -f5 /proc/$$/stat"], env=ENV).stdout.strip()

    assert int(own) != os.getpgrp()
