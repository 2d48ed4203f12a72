"""What the modules of the cache share about files: faults told to people, locks, copies, and removal of anything."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from buildgraph.errors import CacheError

CHUNK = 1 << 20

_SPACE = "free some space there, or choose a cache folder on another disk with BG_CACHE_DIR"
_ACCESS = "make the folder writable, or choose another cache folder with BG_CACHE_DIR"
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or choose a cache folder on another disk with BG_CACHE_DIR",
    errno.EROFS: _ACCESS,
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EIO: "the disk has a fault: see the system log (dmesg), and choose a cache folder on another disk with BG_CACHE_DIR",
    errno.ENOLCK: "this file system has no locks: choose a cache folder on a local disk with BG_CACHE_DIR",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def fault(error: OSError, doing: str) -> CacheError:
    """The error to show where the system refused: ``doing`` completes "cannot ..."."""
    cause = (error.strerror or str(error)).lower()
    return CacheError(f"cannot {doing}: {cause}", hint=_HINTS.get(error.errno or 0, ""))


def is_full(error: OSError) -> bool:
    """Whether the system refused for want of space: then the place that was written to is at fault, not what was read."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def faults(doing: str) -> Iterator[None]:
    """Turn each OSError of the block into a CacheError; ``doing`` completes "cannot ..."."""
    try:
        yield
    except OSError as error:
        raise fault(error, doing) from error


def open_lock(path: Path) -> int:
    """A descriptor of a lock file, made where it is missing; it is closed when another program is executed. Raises OSError."""
    # Locks of the network file system need a descriptor that can write.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file if it is free; closing the descriptor, or dying, frees it. Raises OSError."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """A free path beside ``destination`` that the block fills and that then takes its place in one step. Raises OSError."""
    temporary = destination.parent / f".bg-{uuid4().hex}"
    try:
        yield temporary
        temporary.replace(destination)
    finally:
        # Also after success: a rename between two links of one file succeeds and does nothing (POSIX rename).
        temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path, mode: int) -> None:
    """Copy a regular file to a path where nothing is yet, sharing its blocks where the file system can. Raises OSError."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb", buffering=0) as reader, open(descriptor, "wb", buffering=0) as writer:
        if not _copy_in_kernel(reader.fileno(), descriptor):
            reader.seek(0)
            writer.seek(0)
            with open(descriptor, "wb", closefd=False) as buffered:  # a raw file may write less than it was given
                shutil.copyfileobj(reader, buffered, CHUNK)
        os.fchmod(descriptor, mode)


def _copy_in_kernel(source: int, target: int) -> bool:
    """Copy with copy_file_range, which shares blocks on btrfs and XFS; False where the kernel or a file system cannot."""
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM}:
            return False
        raise
    # Some FUSE file systems end early without an error.
    return os.fstat(target).st_size == os.fstat(source).st_size


def remove_tree(top: Path) -> bool:
    """Remove a folder with all that is in it, read-only folders and any depth included; False where something stays.

    Each folder inside is first moved up to ``top``, so that no path gets too long and nothing recurses.
    """
    prefix = f".bg-{uuid4().hex}-"
    waiting = [top]
    moved = 0
    while waiting:
        folder = waiting.pop()
        for entry in _entries(folder):
            if not entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    os.unlink(entry.path)
                continue
            lifted = top / f"{prefix}{moved}"
            moved += 1
            with suppress(OSError):
                _make_writable(entry.path)  # moving a folder changes its `..`
                os.rename(entry.path, lifted)
                waiting.append(lifted)
        if folder != top:
            with suppress(OSError):
                folder.rmdir()
    with suppress(OSError):
        top.rmdir()
    return not os.path.lexists(top)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, which is made readable and writable first; none where that fails."""
    try:
        _make_writable(folder)
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _make_writable(folder: str | Path) -> None:
    if stat.S_IMODE(os.lstat(folder).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(folder, stat.S_IRWXU)
