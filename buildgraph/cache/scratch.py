"""Temporary files and folders of the cache that are known to be abandoned once their process is dead.

Each is locked by the process that made it: a ``<id>.part`` file by its own lock, a folder ``<id>`` by that of the file
``<id>.owner`` beside it. The system frees the locks of a dead process, so what is not locked is rubbish. Makers hold the
``gate`` shared and the sweeper holds it alone, so that nothing is seen after it was made and before it was locked.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from buildgraph.cache.files import open_lock, remove_tree, try_lock

_NAME = re.compile(r"([0-9a-f]{32})(\.part|\.owner)?")


class ScratchArea:
    """The folder of temporary files and folders; threads and processes share it. Methods raise OSError but for `sweep`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def file(self) -> Iterator[tuple[int, Path]]:
        """An empty file, open for reading and writing: its descriptor and path. It is removed if it is still there at the end."""
        with self._gate(fcntl.LOCK_SH):
            path = self._folder / f"{uuid4().hex}.part"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield descriptor, path
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    @contextmanager
    def tree(self) -> Iterator[Path]:
        """An empty folder that is removed at the end, whatever is in it; what cannot be removed now is left to `sweep`."""
        with self._gate(fcntl.LOCK_SH):
            folder = self._folder / uuid4().hex
            owner = folder.with_suffix(".owner")
            descriptor = open_lock(owner)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            folder.mkdir()
        try:
            yield folder
        finally:
            remove_tree(folder)
            with suppress(OSError):
                owner.unlink()
            os.close(descriptor)

    def sweep(self) -> int:
        """Remove what dead processes left and return how many files and folders that were; never fails."""
        removed = 0
        if self._folder.is_dir():
            with suppress(OSError), ExitStack() as owners:
                with self._gate(fcntl.LOCK_EX):
                    removed, folders = self._abandoned(owners)
                # Big folders take their time: the gate is open again, and the owners' locks keep other sweepers away.
                for folder in folders:
                    removed += remove_tree(folder)
        return removed

    def _abandoned(self, owners: ExitStack) -> tuple[int, list[Path]]:
        """Remove abandoned files; return their number, and the abandoned folders, whose owner files ``owners`` closes."""
        removed = 0
        used = set()
        folders = []
        for name in os.listdir(self._folder):
            match = _NAME.fullmatch(name)
            if match and match[2] is None:
                folders.append(name)
            elif match:
                with suppress(OSError):  # it may just have become a blob
                    locked = owners.enter_context(_taken(self._folder / name))
                    if not locked:
                        used.add(match[1])
                    removed += locked and match[2] == ".part"
        return removed, [self._folder / name for name in folders if name not in used]

    @contextmanager
    def _gate(self, how: int) -> Iterator[None]:
        try:
            descriptor = open_lock(self._folder / "gate")
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = open_lock(self._folder / "gate")
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _taken(path: Path) -> Iterator[bool]:
    """Lock an abandoned file and remove it at the end; False where it is in use. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        locked = try_lock(descriptor)
        yield locked
        if locked:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
