"""What every store on another machine can do, and how it may fail.

A store keeps *results*, small values under a key that somebody else chose, and *blobs*, named by their SHA-256, which is what
others' caches know (BLAKE3 is for this machine). Nothing that a store gives is believed: results carry signatures, and whoever
asks for a blob checks it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

MAX_RESULT_BYTES = 16 << 20
_SHA256 = re.compile("[0-9a-f]{64}")


class Blob(NamedTuple):
    """The name of a blob on the wire: its SHA-256 as 64 lower-case hex digits, and its size in bytes."""

    sha256: str
    size: int


class Sink(Protocol):
    """What takes the bytes of a blob."""

    def write(self, data: bytes, /) -> object:
        """Takes the next bytes. Raises StoreError where there are more than there should be."""


Arriving = TypeVar("Arriving", bound=Sink)


class StoreError(Exception):
    """A store did not do what it was asked; never an error of the build. The message is for the summary of a run."""


class AbsentError(StoreError):
    """The store does not have this blob."""


class RefusedError(StoreError):
    """The store does not let us: credentials are missing, have ended, or do not allow writing."""


class Store(Protocol):
    """A cache on another machine. Threads share it. Every method raises StoreError, and nothing else, where it fails."""

    def result(self, key: str) -> bytes | None:
        """The result under a key (64 hex digits), of at most MAX_RESULT_BYTES; None where there is none."""

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """Keeps a result in place of the one that was there. ``blobs`` are those that it names; they are there already."""

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """Those of some blobs that the store does not have."""

    def read(self, blob: Blob, sink: Sink) -> None:
        """Gives a blob's bytes, which may be others: the caller checks. Raises AbsentError."""

    def write(self, blob: Blob, source: Path) -> None:
        """Keeps the content of a file, which is that of the blob."""

    def close(self) -> None:
        """Ends connections."""


@runtime_checkable
class ManyStore(Store, Protocol):
    """A store that is asked for many things at once, and answers as they come, in any order; iterators are to be closed."""

    def results(self, keys: Iterable[str]) -> Generator[tuple[str, bytes | StoreError | None]]:
        """Each key with its result, as ``Store.result``, or why there is none to be had."""

    def read_many(self, wanted: Iterable[tuple[Blob, Arriving]]) -> Generator[tuple[Arriving, StoreError | None]]:
        """Gives blobs' bytes to a sink for each; each sink once it has all, or with why it has not."""


def read_result(store: Store, blob: Blob) -> bytes:
    """A result that a store keeps as a blob. Raises StoreError.

    Who wrote the name may be anybody, and it becomes part of an address: a path in it would be asked for as the user.
    """
    if not _SHA256.fullmatch(blob.sha256):
        message = "a result that bg did not write"
        raise StoreError(message)
    stream = _Limited()
    store.read(blob, stream)
    return stream.getvalue()


class _Limited(io.BytesIO):
    """Takes no more than a result may have."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > MAX_RESULT_BYTES:
            message = "a result is too large"
            raise StoreError(message)
        return super().write(data)
