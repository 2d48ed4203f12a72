"""One lock per action between threads and processes, so that two builds do not do the same work at once."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from buildgraph.cache.files import faults, open_lock, try_lock
from buildgraph.errors import Interrupted

_FIRST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1
_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")


class ActionLocks:
    """Locks named by action key, in the folder ``locks`` of the cache; the death of a holder frees its locks.

    A lock belongs to one open file, so two threads exclude each other as two processes do, and one thread that asks twice
    for the same key waits for itself.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "locks"

    @contextmanager
    def hold(self, key: str, *, on_wait: Callable[[], None], cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Hold the lock of ``key`` during the block, whose value is whether another one held it first.

        ``on_wait`` is called once, when it turns out that the lock is taken; ``cancelled`` is asked at least ten times a
        second while waiting. After a wait look again whether the work is done. Raises Interrupted when cancelled,
        CacheError where the folder cannot be used, ValueError for a key that cannot be a file name.
        """
        path = self._path(key)
        with faults(f"lock an action in {self._folder}"):
            descriptor, waited = self._take(path, on_wait, cancelled)
        try:
            yield waited
        finally:
            # Only the holder unlinks, and whoever waits on the unlinked file sees that it has lost its name.
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)

    def sweep(self) -> int:
        """Remove the lock files that dead processes left and return their number; never fails."""
        removed = 0
        with suppress(OSError):
            for name in os.listdir(self._folder):
                path = self._folder / name
                with suppress(OSError):
                    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        if try_lock(descriptor) and _is_named(descriptor, path):
                            path.unlink()
                            removed += 1
                    finally:
                        os.close(descriptor)
        return removed

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            message = f"not an action key: {key!r}"
            raise ValueError(message)
        return self._folder / key

    def _take(self, path: Path, on_wait: Callable[[], None], cancelled: Callable[[], bool]) -> tuple[int, bool]:
        """The descriptor that holds the lock, and whether that took a wait."""
        waited = False
        pause = _FIRST_PAUSE
        while True:
            descriptor = self._open(path)
            try:
                while not try_lock(descriptor):
                    if not waited:
                        waited = True
                        on_wait()
                    if cancelled():
                        raise Interrupted("stopped while another build ran the same action")  # noqa: TRY301 - waits no longer
                    time.sleep(pause)
                    pause = min(pause * 1.5, _LONGEST_PAUSE)
                if _is_named(descriptor, path):
                    return descriptor, waited
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _open(self, path: Path) -> int:
        try:
            return open_lock(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open_lock(path)


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the open file: a lock on a file that was unlinked excludes nobody."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
