"""Running programs; the only door to subprocess.

Every child gets exactly the environment that it is given, and a process group of its own, so that all that it started can be
stopped at once; it is remembered until it has ended. A child dies with bg if bg unwinds: by an error, Ctrl-C or SIGTERM. If bg
itself is killed outright, a box still dies with it (bwrap's --die-with-parent); other children go on to their end. Linux could
end those too (PR_SET_PDEATHSIG), but only by Python code between fork and exec, which is not safe beside threads; so what they
make is a temporary folder until bg has taken it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from buildgraph.errors import Interrupted, ToolError
from buildgraph.structs import Struct

_GRACE = 0.3  # seconds between asking a group to stop and killing it

_running: set[subprocess.Popen[bytes]] = set()
_guard = threading.RLock()  # a signal handler calls kill_all in the main thread, which may just be starting a child
_stopping = threading.Event()


class Completed(Struct, frozen=True):
    """How a program ended: its exit code (negative: the signal that ended it), what it said, how long it took."""

    returncode: int
    output: bytes
    stderr: str
    seconds: float

    @property
    def stdout(self) -> str:
        """Its output as text."""
        return self.output.decode("utf-8", "replace")


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float | None = None,
    given: bytes | None = None,
) -> Completed:
    """Runs a program to its end and keeps what it says; ``given`` is what it reads from its standard input.

    Raises ToolError where it cannot be started or takes longer than ``timeout`` seconds, Interrupted where ``kill_all``
    stopped it.
    """
    started = time.monotonic()
    source = subprocess.DEVNULL if given is None else subprocess.PIPE
    with _started(argv, env, cwd, subprocess.PIPE, subprocess.PIPE, stdin=source) as child:
        try:
            out, err = child.communicate(given, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            message = f"{argv[0]} did not end within {timeout:g} s"
            raise ToolError(message) from error
    if _stopping.is_set():
        raise _interrupted()
    return Completed(child.returncode, out, err.decode("utf-8", "replace"), time.monotonic() - started)


def run_logged(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, umask: int = 0o022) -> int:
    """Runs a program with all that it says going to the file ``log``; its exit code (negative: the signal that ended it).

    Raises ToolError where it cannot be started, Interrupted after ``kill_all``.
    """
    with log.open("wb") as stream, _started(argv, env, cwd, stream.fileno(), subprocess.STDOUT, umask) as child:
        return child.wait()


def run_foreground(argv: Sequence[str], *, env: Mapping[str, str]) -> int:
    """Runs a program on the terminal of bg; its exit code as a shell gives it: 128 and more for a signal.

    SIGINT, SIGTERM and SIGHUP are passed on to it, and bg waits for what it makes of them. To be called from the main thread.
    Raises ToolError where it cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        child = subprocess.Popen(list(argv), env=dict(env))
        for asked in early:
            child.send_signal(asked)
        code = child.wait()
    except OSError as error:
        raise _cannot_start(argv, error) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def kill_all() -> None:
    """Stops every running child and all that it started, within a second: asked first, killed after a moment.

    Nothing starts any more after that: whoever was about to gets Interrupted. May be called from a signal handler.
    """
    with _guard:
        _stopping.set()
        children = list(_running)
    _stop(children)


@contextmanager
def _started(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None,
    stdout: int,
    stderr: int,
    umask: int = -1,
    stdin: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a group of its own, which has ended when the block has."""
    child: subprocess.Popen[bytes] | None = None
    try:
        with _signals_held_back():
            child = _start(argv, env, cwd, stdin, stdout, stderr, umask)
        yield child
    except BaseException:
        if child is not None:
            _stop([child])
        raise
    finally:
        if child is not None:
            with child:  # closes its pipes and waits for it
                pass
            with _guard:
                _running.discard(child)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Has SIGINT and SIGTERM handled after the block: a handler that raises in the midst of it would lose the child."""
    noted: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # the only one in which handlers run
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda number, _frame: noted.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in noted:
            signal.raise_signal(late)


def _start(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path | None, stdin: int, stdout: int, stderr: int, umask: int
) -> subprocess.Popen[bytes]:
    with _guard:
        if _stopping.is_set():
            raise _interrupted()
        try:
            child = subprocess.Popen(
                list(argv),
                env=dict(env),
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                umask=umask,
            )
        except OSError as error:
            raise _cannot_start(argv, error) from error
        _running.add(child)
        if not _stopping.is_set():
            return child
    # A signal handler ran in the middle of this function: its kill_all did not know the child yet.
    _stop([child])
    with child, _guard:
        _running.discard(child)
    raise _interrupted()


def _interrupted() -> Interrupted:
    return Interrupted("interrupted")


def _cannot_start(argv: Sequence[str], error: OSError) -> ToolError:
    return ToolError(f"cannot run {argv[0]}: {error.strerror}")


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends the groups of children, with those in them that a child left behind."""
    left = [child for child in children if _signal_group(child, signal.SIGTERM)]
    deadline = time.monotonic() + _GRACE
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [child for child in left if _has_group(child)]
    for child in left:
        _signal_group(child, signal.SIGKILL)


def _has_group(child: subprocess.Popen[bytes]) -> bool:
    child.poll()  # a dead child that nobody has waited for would count
    return _signal_group(child, 0)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> bool:
    """Sends a signal to a child's group; False where there is none."""
    try:
        os.killpg(child.pid, number)
    except OSError:
        return False
    return True
