"""The content-addressed store: blobs as plain read-only files named by their digest.

A blob appears by a rename of a complete file, so a reader sees all of it or nothing, also after a kill. Nothing is synced
(see the package's docstring for what a power cut can do): an fsync costs milliseconds per blob, and a lost blob costs one
action that runs again.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4

from buildgraph.cache.files import CHUNK, copy_file, fault, faults, replacing
from buildgraph.cache.layout import prepare
from buildgraph.cache.scratch import ScratchArea
from buildgraph.errors import CacheError
from buildgraph.structs import Struct

Hex = str

_MODE = 0o444
_DIGITS = 64
_PIECES = 1024  # of one call (IOV_MAX)
_HELD = 256 << 10  # bytes of an arrival that wait to be written
_DIGEST = re.compile("[0-9a-f]{64}")
# Another file system, too many links to one file, a file system without links, links to others' files forbidden
# (fs.protected_hardlinks).
NOT_LINKABLE = frozenset({errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})
# Reading these blobs fails for good, as if they were wrong.
_UNREADABLE = frozenset({errno.EIO, errno.EUCLEAN})
# The blob is not there: of the last, that another machine removed it, a network file system tells.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class BlobStat(Struct, frozen=True):
    """What the system says of a blob: bytes, and when it was last put, given out or noted as used (seconds since 1970).

    ``used_at`` is the latest of the file's times: linking changes the one of the inode, `Cas.touch` that of access.
    """

    size: int
    used_at: float


class Hasher(Protocol):
    """A digest under construction."""

    def update(self, data: bytes, /) -> object:
        """Feed the next bytes."""

    def hexdigest(self) -> Hex:
        """The digest of all bytes so far, as 64 lower-case hex digits."""


class MissingBlobError(CacheError):
    """The store does not have the blob, or had it with wrong content; whoever makes it has to make it again."""

    def __init__(self, digest: Hex) -> None:
        super().__init__(f"the cache has no blob {digest[:_DIGITS]}")


class Cas:
    """Blobs under ``root/blobs``; threads and processes share it freely.

    Digests are those of ``new_hasher``. A string that is no digest names no blob. Methods raise CacheError where the system
    refuses (a full disk, a fault of the disk, no permission); nothing half-written stays behind then.
    """

    def __init__(self, root: Path, new_hasher: Callable[[], Hasher]) -> None:
        """Use the cache in ``root``, made where it is missing; see `layout.prepare` for the errors."""
        prepare(root)
        self._root = root
        self._blobs = root / "blobs"
        self._prefix = f"{self._blobs}/"
        self._new_hasher = new_hasher
        self._empty = new_hasher().hexdigest()
        self._scratch = ScratchArea(root / "tmp")

    def put_bytes(self, data: bytes) -> Hex:
        """Store some bytes and return their digest."""
        hasher = self._new_hasher()
        hasher.update(data)
        digest = hasher.hexdigest()
        if self.has(digest, size=len(data)):
            self.touch(digest)
            return digest
        with self._writing(), self._scratch.file() as (descriptor, path):
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(data)
            self._admit(descriptor, path, digest)
        return digest

    @contextmanager
    def arrivals(self) -> Iterator[Callable[[], Arrival]]:
        """What begins a blob that comes piece by piece, at little cost for each of many. What is not kept goes with the block."""
        with self._scratch_folder() as folder:
            begun: list[Arrival] = []

            def begin() -> Arrival:
                begun.append(Arrival(self, f"{folder}/{len(begun)}", self._new_hasher()))
                return begun[-1]

            try:
                yield begin
            finally:
                for arrival in begun:
                    arrival.drop()

    def put_file(self, path: Path, *, move: bool = False) -> Hex:
        """Store the content of a regular file and return its digest; with ``move`` the file itself is gone afterwards.

        A file to move must not be written to any more. A move within a file system copies nothing.
        """
        with self._source(path) as stream:
            digest = self._rename_in(path, stream) if move else None
            if digest is None:
                digest = self._copy_in(path, stream)
                if move:
                    with faults(f"move {path} into the cache"):
                        path.unlink()
        return digest

    def path(self, digest: Hex) -> Path:
        """Where the blob is, whether or not the store has it; not to be written to. Raises MissingBlobError for no digest."""
        if not _is_digest(digest):
            raise MissingBlobError(digest)
        return self._blobs / digest[:2] / digest

    def has(self, digest: Hex, *, size: int | None = None) -> bool:
        """Whether the store has the blob, and of the given size in bytes; its content is not read."""
        found = self._size(digest)
        return found is not None and size in {None, found}

    def size(self, digest: Hex) -> int:
        """The size of a blob in bytes. Raises MissingBlobError."""
        found = self._size(digest)
        if found is None:
            raise MissingBlobError(digest)
        return found

    def _size(self, digest: Hex) -> int | None:
        if not _is_digest(digest):
            return None
        try:
            info = os.lstat(f"{self._prefix}{digest[:2]}/{digest}")  # asked of every output: a Path takes longer than the system
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise fault(error, f"read the cache in {self._root}") from error
        # What a power cut makes of a file that never reached the disk is most often an empty one.
        is_blob = stat.S_ISREG(info.st_mode) and (info.st_size > 0 or digest == self._empty)
        return info.st_size if is_blob else None

    def read(self, digest: Hex) -> bytes:
        """The content of a blob, checked. A wrong blob goes to quarantine. Raises MissingBlobError."""
        with self._checking(digest) as stream:
            data = stream.read()
            hasher = self._new_hasher()
            hasher.update(data)
            if hasher.hexdigest() == digest:
                return data
            self._quarantine(digest, stream)
        raise MissingBlobError(digest)

    def verify(self, digest: Hex) -> bool:
        """Whether the store has the blob with the right content; reads all of it. A wrong blob goes to quarantine."""
        try:
            with self._checking(digest) as stream:
                if self._digest_of(stream) == digest:
                    return True
                self._quarantine(digest, stream)
        except MissingBlobError:
            pass
        return False

    def is_sound(self, digest: Hex) -> bool:
        """As ``verify``, but a wrong blob stays where it is, and looking counts as no use."""
        try:
            with self._checking(digest, looking=True) as stream:
                return self._digest_of(stream) == digest
        except MissingBlobError:
            return False

    def set_aside(self, digest: Hex) -> None:
        """Move a blob, or whatever has its name, to quarantine; never fails."""
        self._quarantine(digest)

    def remove(self, digest: Hex) -> None:
        """Remove a blob if there is one. Whoever relies on it must not be at work: see `locks.UseLock`."""
        with faults(f"remove a blob from the cache in {self._root}"), suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def touch(self, digest: Hex) -> None:
        """Note in the access time that a blob was used or put again, so that what goes by age sees it as young; never fails."""
        with suppress(OSError):
            path = self.path(digest)
            modified = path.stat().st_mtime_ns
            os.utime(path, ns=(max(modified, time.time_ns()), modified))

    def stats(self) -> dict[Hex, BlobStat]:
        """All that has the name of a blob, sound or not, by digest; blobs that come or go meanwhile may be among it or not."""
        found = {}
        for folder in self._names(self._blobs):
            inside = os.path.join(self._blobs, folder)
            for name in self._names(self._blobs / folder):
                if name[:2] != folder or not _is_digest(name):
                    continue
                try:
                    info = os.lstat(f"{inside}/{name}")  # there may be many
                except OSError as error:
                    if error.errno in _ABSENT:
                        continue
                    raise fault(error, f"read the cache in {self._root}") from error
                found[name] = BlobStat(info.st_size, max(info.st_atime, info.st_mtime, info.st_ctime))
        return found

    def link(self, digest: Hex, destination: Path, *, executable: bool = False) -> None:
        """Put a blob at ``destination`` in place of what is there, as a hard link, or a copy where links cannot be.

        Links share the blob's mode, 0444, so an executable is a copy (0555). The folder must exist. Raises MissingBlobError.
        """
        if executable:
            self.copy(digest, destination, 0o555)
            return
        source = self._present(digest)
        with self._giving(digest, destination):
            try:
                os.link(source, destination)
            except OSError as error:
                if error.errno not in NOT_LINKABLE | {errno.EEXIST}:
                    raise
                self._link_over(source, destination)

    def copy(self, digest: Hex, destination: Path, mode: int) -> None:
        """Put a copy of a blob at ``destination`` in place of what is there, with these permissions. Raises MissingBlobError."""
        source = self._present(digest)
        with self._giving(digest, destination), replacing(destination) as temporary:
            copy_file(source, temporary, mode)

    def folders(self) -> list[Path]:
        """The folders that hold blobs, whether or not they are there: each changes its times when one comes or goes."""
        return [self._blobs / f"{number:02x}" for number in range(256)]

    def iter_blobs(self) -> Iterator[Hex]:
        """The digests of all blobs, sorted; blobs that come or go meanwhile may be among them or not."""
        for folder in self._names(self._blobs):
            for name in self._names(self._blobs / folder):
                if name[:2] == folder and self.has(name):
                    yield name

    def scratch(self) -> AbstractContextManager[Path]:
        """A new folder on the disk of the cache, removed at the end of the block with all that is in it."""
        return self._scratch_folder()

    def sweep(self) -> int:
        """Remove what dead processes left half-done and return how many files and folders that were; never fails."""
        return self._scratch.sweep()

    @contextmanager
    def _scratch_folder(self) -> Iterator[Path]:
        area = self._scratch.tree()
        with self._writing():
            folder = area.__enter__()
        # Entered by hand, because an OSError of the block is not one of the cache.
        try:
            yield folder
        finally:
            area.__exit__(None, None, None)

    def _writing(self) -> AbstractContextManager[None]:
        return faults(f"write to the cache in {self._root}")

    @contextmanager
    def _source(self, path: Path) -> Iterator[BinaryIO]:
        """A regular file to take in, open for reading."""
        with faults(f"read {path}"):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not block
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise CacheError(f"cannot read {path}: not a regular file")
        with open(descriptor, "rb", buffering=0) as stream:
            yield stream

    def _copy_in(self, path: Path, source: BinaryIO) -> Hex:
        hasher = self._new_hasher()
        with self._writing(), self._scratch.file() as (descriptor, temporary):
            with open(descriptor, "wb", closefd=False) as target:
                source.seek(0)
                while chunk := _read(source, path):
                    hasher.update(chunk)
                    target.write(chunk)
            digest = hasher.hexdigest()
            self._admit(descriptor, temporary, digest)
        return digest

    def _rename_in(self, path: Path, source: BinaryIO) -> Hex | None:
        """Make the file itself a blob; None where it has to be copied: links, others' files, another file system."""
        info = os.fstat(source.fileno())
        try:
            movable = info.st_nlink == 1 and os.path.samestat(info, path.lstat()) and info.st_dev == self._root.stat().st_dev
            if not movable:
                return None
            digest = self._digest_of(source, path)
            os.fchmod(source.fileno(), _MODE)
            if self.has(digest, size=info.st_size):
                self.touch(digest)
                path.unlink()
            else:
                self._rename(path, digest)
        except OSError as error:
            if error.errno in {errno.EXDEV, errno.EPERM}:
                return None
            raise fault(error, f"move {path} into the cache") from error
        return digest

    def _admit(self, descriptor: int, path: Path, digest: Hex) -> None:
        """Give a complete temporary file the name of its blob, unless there is one. Raises OSError."""
        os.fchmod(descriptor, _MODE)
        # Network file systems tell of a full disk only when a descriptor is closed; closing the original would free its lock.
        os.close(os.dup(descriptor))
        if self.has(digest, size=os.fstat(descriptor).st_size):
            self.touch(digest)
        else:
            self._rename(path, digest)

    def _rename(self, path: Path | str, digest: Hex) -> None:
        target = f"{self._prefix}{digest[:2]}/{digest}"
        try:
            os.replace(path, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(path, target)

    def _link_over(self, source: Path, destination: Path) -> None:
        with suppress(FileNotFoundError):
            if os.path.samestat(source.lstat(), destination.lstat()):
                return
        with replacing(destination) as temporary:
            try:
                os.link(source, temporary)
            except OSError as error:
                if error.errno not in NOT_LINKABLE:
                    raise
                copy_file(source, temporary, _MODE)

    def _present(self, digest: Hex) -> Path:
        self.size(digest)
        return self.path(digest)

    @contextmanager
    def _giving(self, digest: Hex, destination: Path) -> Iterator[None]:
        """Tell a blob that went away meanwhile from a destination that cannot be written."""
        try:
            yield
        except OSError as error:
            self._present(digest)
            raise fault(error, f"write {destination} from the cache") from error

    @contextmanager
    def _checking(self, digest: Hex, *, looking: bool = False) -> Iterator[BinaryIO]:
        """A blob open for reading; one that the disk cannot read any more counts as wrong. With ``looking`` nothing changes."""
        source = self._present(digest)
        try:
            with open_unnoticed(source) if looking else open(source, "rb", buffering=0) as stream:
                yield stream
        except OSError as error:
            if error.errno in _ABSENT:
                raise MissingBlobError(digest) from None
            if error.errno not in _UNREADABLE:
                raise fault(error, f"read the cache in {self._root}") from error
            if not looking:
                self._quarantine(digest)
            raise MissingBlobError(digest) from error

    def _quarantine(self, digest: Hex, read: BinaryIO | None = None) -> None:
        # A cache that cannot be written keeps the wrong blob; it is reported as missing all the same. What another process has
        # put in place of what was read stays.
        with suppress(OSError):
            if read is not None and not os.path.samestat(os.fstat(read.fileno()), os.lstat(self.path(digest))):
                return
            folder = self._root / "quarantine"
            folder.mkdir(exist_ok=True)
            self.path(digest).replace(folder / f"{digest}.{uuid4().hex[:8]}")

    def _digest_of(self, stream: BinaryIO, path: Path | None = None) -> Hex:
        hasher = self._new_hasher()
        while chunk := _read(stream, path):
            hasher.update(chunk)
        return hasher.hexdigest()

    def _names(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise fault(error, f"read the cache in {self._root}") from error


class Arrival:
    """A blob that comes piece by piece. Its methods raise CacheError where the system refuses."""

    def __init__(self, cas: Cas, path: str, hasher: Hasher) -> None:
        """For ``Cas.arrivals``; ``path`` is free, and in a folder that is removed with all that is in it."""
        self._cas = cas
        self._path = path
        self._hasher = hasher
        self._pieces: list[bytes] = []
        self._held = 0  # bytes in these
        self._descriptor: int | None = None
        self._is_dropped = False
        self._guard = threading.Lock()  # a thread that nobody waits for any more may still write

    def write(self, data: bytes) -> None:
        """Takes the next bytes, until it is dropped."""
        with self._guard:
            if self._is_dropped:
                raise CacheError("a blob came when nobody waited for it any more")
            self._hasher.update(data)
            self._pieces.append(data)
            self._held += len(data)
            if self._held >= _HELD:
                with self._cas._writing():  # noqa: SLF001 - a part of it
                    self._flush()

    def keep(self, digest: Hex) -> bool:
        """Stores the blob if this is its digest, also in place of the one that is there; else nothing stays of it."""
        if self._hasher.hexdigest() != digest:
            self.drop()
            return False
        with self._cas._writing():  # noqa: SLF001
            os.fchmod(self._flush(), _MODE)
            self._close()  # network file systems tell of a full disk only now
            self._cas._rename(self._path, digest)  # noqa: SLF001
        return True

    def drop(self) -> None:
        """Gives up what was not kept."""
        with self._guard:
            self._is_dropped = True
            if self._descriptor is not None:
                with suppress(OSError):
                    self._close()
                with suppress(OSError):
                    os.unlink(self._path)

    def _flush(self) -> int:
        """Writes what is held, and returns the descriptor of the file. Raises OSError."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        pieces, self._pieces, held, self._held = self._pieces, [], self._held, 0
        written = os.writev(self._descriptor, pieces[:_PIECES]) if pieces else 0
        if written < held:
            with open(self._descriptor, "wb", closefd=False) as rest:
                rest.write(memoryview(b"".join(pieces))[written:])
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def open_unnoticed(path: Path) -> BinaryIO:
    """A blob open for reading that counts as no use of it, as far as the system lets this user. Raises OSError."""
    return open(path, "rb", opener=_unnoticed)


def _unnoticed(path: str, flags: int) -> int:
    """Open a file so that its access time stays, which only its owner may."""
    with suppress(PermissionError):
        return os.open(path, flags | os.O_NOATIME | os.O_CLOEXEC)
    return os.open(path, flags | os.O_CLOEXEC)


def _read(stream: BinaryIO, path: Path | None) -> bytes:
    """The next piece of a file; where ``path`` is given, a fault is told as one of that file and not of the cache."""
    try:
        return stream.read(CHUNK)
    except OSError as error:
        if path is None:
            raise
        raise fault(error, f"read {path}") from error
