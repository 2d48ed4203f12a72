"""A folder as a store: a network share, a disk that is carried around, a volume that CI jobs mount.

``results/`` and ``blobs/`` hold plain files by their names, spread over 256 folders each. A file appears by a rename when it is
whole; writers of the same name write the same bytes, or results of which the last one stays.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from buildgraph.remote.store import MAX_RESULT_BYTES, AbsentError, Blob, RefusedError, Sink, StoreError

_CHUNK = 1 << 20


class FolderStore:
    """The store in a folder, which must be there: one that is made by mistake would hide that a share is not mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def result(self, key: str) -> bytes | None:
        """As Store."""
        with self._failing():
            try:
                with _opened(self._path("results", key)) as stream:
                    return stream.read(MAX_RESULT_BYTES + 1)
            except FileNotFoundError:
                self._root.stat()
                return None

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        del blobs
        with self._failing(), self._replacing(self._path("results", key)) as temporary:
            temporary.write_bytes(value)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        with self._failing():
            return [blob for blob in blobs if not self._has(blob)]

    def _has(self, blob: Blob) -> bool:
        try:
            return self._path("blobs", blob.sha256).stat().st_size == blob.size
        except FileNotFoundError:
            return False

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        with self._failing():
            try:
                source = _opened(self._path("blobs", blob.sha256))
            except FileNotFoundError:
                raise AbsentError("a blob is gone") from None
            with source:
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        with self._failing(), self._replacing(self._path("blobs", blob.sha256)) as temporary:
            shutil.copyfile(source, temporary)

    def close(self) -> None:
        """As Store."""

    def _path(self, kind: str, name: str) -> Path:
        return self._root / kind / name[:2] / name

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise RefusedError(f"{error.strerror}") from error
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    @contextmanager
    def _replacing(self, path: Path) -> Iterator[Path]:
        self._root.stat()
        if path.parent.is_symlink() or path.parent.parent.is_symlink():  # others who write here do not say where else bg writes
            raise OSError(errno.ELOOP, "a folder of the store is a link")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:16]}.{uuid4().hex}")
        try:
            yield temporary
            temporary.replace(path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()


def _opened(path: Path) -> BinaryIO:
    """A regular file, open for reading: somebody may have put a named pipe there, which would never end. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor
