"""Locks between threads and processes: on actions, so that no work is done twice at once, and on the use of the cache.

The latter is so that nothing is removed that somebody relies on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
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
        while True:
            descriptor = self._open(path)
            try:
                waited |= _wait(partial(try_lock, descriptor), on_wait if not waited else _silent, cancelled)
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


class UseLock:
    """The lock of a cache as a whole: any number of processes use it at once, or one alone removes things from it.

    While it is held, what one saw in the cache stays there. The death of a holder frees it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def shared(self, *, on_wait: Callable[[], None], cancelled: Callable[[], bool]) -> Iterator[None]:
        """Use the cache during the block, after whoever removes things; ``on_wait`` and ``cancelled`` as for actions.

        Where the system lets nobody lock (a read-only disk), it goes without. Raises Interrupted.
        """
        descriptor = self._open_to_share()
        if descriptor is None:
            yield
            return
        try:
            with faults(f"lock the cache in {self._root}"):
                _wait(partial(try_lock, descriptor, shared=True), on_wait, cancelled)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def alone(self, *, on_wait: Callable[[], None], cancelled: Callable[[], bool]) -> Iterator[None]:
        """Be the only one during the block, after all who use the cache now. Raises Interrupted, CacheError."""
        with faults(f"lock the cache in {self._root}"):
            descriptor = open_lock(self._path)
        try:
            with faults(f"lock the cache in {self._root}"):
                _wait(partial(try_lock, descriptor), on_wait, cancelled)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def alone_if_unused(self) -> Iterator[bool]:
        """Be the only one during the block, if nobody uses the cache just now: the block's value. Raises CacheError."""
        with faults(f"lock the cache in {self._root}"):
            descriptor = open_lock(self._path)
        try:
            with faults(f"lock the cache in {self._root}"):
                free = try_lock(descriptor)
            yield free
        finally:
            os.close(descriptor)

    @property
    def _path(self) -> Path:
        return self._root / "users.lock"

    def _open_to_share(self) -> int | None:
        with suppress(OSError):
            return open_lock(self._path)
        with suppress(OSError):  # somebody else's cache
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return None


def _wait(try_once: Callable[[], bool], on_wait: Callable[[], None], cancelled: Callable[[], bool]) -> bool:
    """Whether it took a wait until ``try_once`` succeeded. Raises Interrupted."""
    waited = False
    pause = _FIRST_PAUSE
    while not try_once():
        if not waited:
            waited = True
            on_wait()
        if cancelled():
            raise Interrupted("stopped while waiting for another bg")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return waited


def _silent() -> None:
    """Somebody was told already."""


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the open file: a lock on a file that was unlinked excludes nobody."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
