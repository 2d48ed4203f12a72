"""Running programs; the only door to subprocess.

Every child gets exactly the environment that it is given. Long-running ones live in a process group of their own, so that all
that they started can be stopped at once, and are remembered until they have ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildgraph.errors import Interrupted, ToolError

_GRACE = 0.3  # seconds between asking a group to stop and killing it

_running: set[subprocess.Popen[bytes]] = set()
_guard = threading.Lock()
_stopping = threading.Event()


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended: its exit code (negative: the signal that ended it), what it said, how long it took."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float | None = None) -> Completed:
    """Runs a program to its end and keeps what it says.

    Raises ToolError where it cannot be started or takes longer than ``timeout`` seconds.
    """
    started = time.monotonic()
    with _started(argv, env, cwd, subprocess.PIPE, subprocess.PIPE) as child:
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            _stop([child])
            message = f"{argv[0]} did not end within {timeout:.0f} s"
            raise ToolError(message) from error
        finally:
            _forget(child)
    return Completed(child.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), time.monotonic() - started)


def run_logged(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, umask: int = 0o022) -> int:
    """Runs a program with all that it says going to the file ``log``; its exit code. Raises ToolError as ``run`` does."""
    with log.open("wb") as stream:
        child = _started(argv, env, cwd, stream.fileno(), subprocess.STDOUT, umask)
        try:
            return child.wait()
        finally:
            _forget(child)


def run_foreground(argv: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Runs a program on the terminal of bg; its exit code, 128 and more for a signal. It ends when bg is asked to."""
    try:
        with subprocess.Popen(list(argv), env=dict(env)) as child:
            while True:
                try:
                    code = child.wait()
                except KeyboardInterrupt:
                    child.terminate()
                return 128 - code if code < 0 else code
    except OSError as error:
        raise _cannot_start(argv, error) from error


def kill_all() -> None:
    """Stops every running child and all that it started, within a second: asked first, killed after a moment.

    Nothing starts any more after that: a thread that was about to gets Interrupted.
    """
    with _guard:
        _stopping.set()
        children = list(_running)
    _stop(children)


def _started(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, stdout: int, stderr: int, umask: int = -1
) -> subprocess.Popen[bytes]:
    with _guard:
        if _stopping.is_set():
            message = "interrupted"
            raise Interrupted(message)
        try:
            child = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                umask=umask,
            )
        except OSError as error:
            raise _cannot_start(argv, error) from error
        _running.add(child)
        return child


def _forget(child: subprocess.Popen[bytes]) -> None:
    with _guard:
        _running.discard(child)


def _cannot_start(argv: Sequence[str], error: OSError) -> ToolError:
    message = f"cannot run {argv[0]}: {error.strerror}"
    return ToolError(message)


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and any(_alive(child) for child in children):
        time.sleep(0.01)
    for child in children:
        _signal_group(child, signal.SIGKILL)


def _alive(child: subprocess.Popen[bytes]) -> bool:
    try:
        os.killpg(child.pid, 0)
    except OSError:
        return False
    return True


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except OSError:
        return
