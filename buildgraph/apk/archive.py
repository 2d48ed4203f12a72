"""Tar and gzip as apk uses them: deterministic to write, bounded to read.

An apk, and a signed index, is a row of gzip members (segments), each holding a piece of one tar stream; only the last
piece carries the end-of-archive blocks.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, Self

from buildgraph.errors import OutputError, Place, RepositoryError

CHUNK = 1 << 16
# apko/pkg/apk/expandapk/options.go: DefaultMaxControlSize and DefaultMaxDataSize.
MAX_CONTROL_SIZE = 10 << 20
MAX_DATA_SIZE = 16 << 30
# Paths and extended attributes of packages take far less; tarfile reads a whole extended header into memory.
_MAX_EXTENDED_HEADER = 1 << 15
_EXTENDED_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# What tarfile, gzip and zlib raise on bytes that are not what they claim to be; RecursionError comes from chained headers.
_MALFORMED = (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RecursionError, LookupError, OSError)

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_STORED_BLOCK = 0xFFFF


class Writable(Protocol):
    """The part of a binary file that writing needs."""

    def write(self, data: bytes, /) -> object:
        """Takes some bytes."""


class Readable(Protocol):
    """The part of a binary file that reading a stream needs."""

    def read(self, size: int, /) -> bytes:
        """Gives up to ``size`` bytes, none at the end."""


class GzipWriter:
    """Writes one gzip member without name or time; level 0 stores, so that the bytes are the same with any zlib."""

    def __init__(self, sink: Writable, level: int = 0) -> None:
        self._sink = sink
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS) if level else None
        self._pending = bytearray()
        self._checksum = 0
        self._size = 0
        sink.write(_GZIP_HEADER)

    def write(self, data: bytes) -> int:
        """Takes some bytes of the content."""
        self._checksum = zlib.crc32(data, self._checksum)
        self._size += len(data)
        if self._compressor:
            self._sink.write(self._compressor.compress(data))
            return len(data)
        self._pending += data
        while len(self._pending) > _STORED_BLOCK:
            self._store(bytes(self._pending[:_STORED_BLOCK]), last=False)
            del self._pending[:_STORED_BLOCK]
        return len(data)

    def close(self) -> None:
        """Ends the member; the sink stays open."""
        if self._compressor:
            self._sink.write(self._compressor.flush())
        else:
            self._store(bytes(self._pending), last=True)
        self._sink.write(self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))

    def _store(self, block: bytes, *, last: bool) -> None:
        length = len(block)
        self._sink.write(bytes([last]) + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little") + block)


def store(content: bytes) -> bytes:
    """The content as one gzip member of stored blocks."""
    buffer = io.BytesIO()
    writer = GzipWriter(buffer)
    writer.write(content)
    writer.close()
    return buffer.getvalue()


def tar_entry(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """The header and padded content of one tar member, in PAX form where ustar is too small."""
    padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + content + padding


def plain_file(name: str, content: bytes) -> bytes:
    """A tar member for a file of root with mode 0644 and no time."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.uname = info.gname = "root"
    return tar_entry(info, content)


class _StrictInfo(tarfile.TarInfo):
    """A member whose header is right or else an error; tarfile itself takes a broken header for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None
        limit = _MAX_EXTENDED_HEADER if info.type in _EXTENDED_TYPES else MAX_DATA_SIZE
        if not 0 <= info.size <= limit:
            message = f"a header claims {info.size} bytes"
            raise tarfile.ReadError(message)
        return info


class _Inflating:
    """The content of gzip members, one after the other, up to a limit. ``single`` stops after the first."""

    def __init__(self, source: Readable, limit: int, *, single: bool = False) -> None:
        self._source = source
        self._left = limit
        self._single = single
        self._input = b""
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        self.consumed = 0

    def read(self, size: int, /) -> bytes:
        """Some of the content, none at its end."""
        while not self._inflater.eof or self._next_member():
            if not self._input:
                self._input = self._source.read(CHUNK)
                if not self._input:
                    message = "it ends in the middle"
                    raise EOFError(message)
            before = len(self._input)
            output = self._inflater.decompress(self._input, size)
            self._input = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            self.consumed += before - len(self._input)
            self._left -= len(output)
            if self._left < 0:
                message = "its content is larger than bg accepts"
                raise ValueError(message)
            if output:
                return output
        return b""

    def _next_member(self) -> bool:
        if self._single:
            return False
        self._input = self._input or self._source.read(CHUNK)
        if not self._input:
            return False
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)
        return True


def read_member(source: Readable, limit: int = MAX_CONTROL_SIZE) -> tuple[bytes, int]:
    """The content of the first gzip member and the number of compressed bytes that it takes.

    Boundaries of members can only be found by decompressing. Raises what `malformed` turns into a RepositoryError.
    """
    stream = _Inflating(source, limit, single=True)
    content = bytearray()
    while chunk := stream.read(CHUNK):
        content += chunk
    return bytes(content), stream.consumed


def tar_members(stream: Readable) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of a tar stream in their order, each with its content to read before the next is asked for."""
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo, bufsize=CHUNK) as archive:  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            if info.size < 0:
                message = "a header claims a negative size"
                raise tarfile.ReadError(message)
            yield info, archive.extractfile(info) if info.isreg() else None
            # A stream is read once; without this tarfile would keep every header it saw.
            archive.members.clear()


def inflated_members(source: Readable, limit: int) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of a gzip'd tar stream, which may be spread over several gzip members; ``limit`` bounds its content.

    Reads the source to its end, beyond the end of the archive, so that gzip's own check of the content is made.
    """
    stream = _Inflating(source, limit)
    yield from tar_members(stream)
    while stream.read(CHUNK):
        pass


@contextmanager
def malformed(path: str | Path, what: str) -> Iterator[None]:
    """Turns whatever reading hostile or broken bytes raises into a RepositoryError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        message = f"{what} is not there"
        raise RepositoryError(message, where=Place(str(path))) from error
    except _MALFORMED as error:
        message = f"{what} cannot be read: {error}"
        raise RepositoryError(message, where=Place(str(path))) from error


@contextmanager
def replacing(destination: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the name ``destination`` once it is complete; raises OutputError where it cannot be written."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.parent)
    except OSError as error:
        message = f"cannot write: {error.strerror}"
        raise OutputError(message, where=Place(str(destination))) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            # mkstemp makes private files; a package is for everybody.
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(destination)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            message = f"cannot write: {error.strerror or error}"
            raise OutputError(message, where=Place(str(destination))) from error
        raise


def copy(source: Readable, sinks: Iterable[Writable], length: int = -1) -> int:
    """Copies up to ``length`` bytes (all for -1) to every sink; returns how many there were."""
    targets = tuple(sinks)
    copied = 0
    while length < 0 or copied < length:
        chunk = source.read(CHUNK if length < 0 else min(CHUNK, length - copied))
        if not chunk:
            break
        copied += len(chunk)
        for target in targets:
            target.write(chunk)
    return copied
