"""Blobs compressed on the wire, by Zstandard (RFC 8878); the one door to zstandard.

Nothing here believes what arrives: who asked for a blob knows its size, and gets an error before a byte more.
"""

from __future__ import annotations

from typing import BinaryIO, cast

import zstandard

from buildgraph.remote.store import Sink, StoreError

_LEVEL = 3  # zstd's own default; docs/stores.md has what it gives
_MAX_WINDOW = 32 << 20  # bytes of memory that a sender may ask for; RFC 8878, 3.1.1.1.2 recommends 8 MiB or more
_WORTH = 256  # bytes, below which a message's own fields are most of it
_HEADS = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ")  # gzip (packages and layers are that), zstd, xz


def pays(stream: BinaryIO, size: int) -> bool:
    """Whether compressing a blob is worth it, by how its bytes begin."""
    head = stream.read(max(map(len, _HEADS)))
    stream.seek(0)
    return size >= _WORTH and not head.startswith(_HEADS)


def compress(data: bytes) -> bytes:
    """Some bytes, compressed."""
    return zstandard.ZstdCompressor(_LEVEL).compress(data)


def compressing(stream: BinaryIO, size: int) -> BinaryIO:
    """A stream of ``size`` bytes, as one of compressed bytes."""
    return zstandard.ZstdCompressor(_LEVEL).stream_reader(stream, size=size, closefd=False)


class Expanding:
    """Takes compressed bytes, in frames, and gives what they expand to, of ``size`` bytes at most, to a sink piece by piece."""

    def __init__(self, sink: Sink, size: int) -> None:
        bounded = cast("BinaryIO", _Bounded(sink, size))
        self._stream = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_writer(bounded, closefd=False)

    def write(self, data: bytes) -> None:
        """Takes the next bytes. Raises StoreError for more than the blob has, and for what is no zstd, or damaged."""
        try:
            self._stream.write(data)
        except zstandard.ZstdError as error:
            message = "a compressed blob is damaged"
            raise StoreError(message) from error


class _Bounded:
    """Hands on to a sink, up to a size."""

    def __init__(self, sink: Sink, size: int) -> None:
        self._sink = sink
        self._left = size

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            message = "a blob is longer than it should be"
            raise StoreError(message)
        self._sink.write(bytes(data))
        return len(data)
