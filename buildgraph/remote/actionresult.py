"""The ActionResult of the remote execution API, as far as caches look into it: which blobs there must be for it to hold.

Bazel's caches keep such messages under ``ac/`` and drop those whose blobs they lost. bg's own result rides in ``stdout_raw``, the
blobs are ``output_files``. The fields are those of build/bazel/remote/execution/v2/remote_execution.proto (v2.3): ActionResult
output_files 2, stdout_raw 5; OutputFile path 1, digest 2; Digest hash 1, size_bytes 2. The encoding is
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from buildgraph.remote.store import Blob

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OUTPUT_FILES, _STDOUT_RAW = 2, 5
_MAX_SHIFT = 63


def wrap(value: bytes, blobs: Iterable[Blob]) -> bytes:
    """The message that carries a result."""
    files = (field(1, f"blobs/{blob.sha256}".encode()) + field(2, digest(blob)) for blob in blobs)
    return b"".join(field(_OUTPUT_FILES, file) for file in files) + field(_STDOUT_RAW, value)


def unwrap(data: bytes) -> bytes:
    """The result in a message. Raises ValueError for what is no message, or has none."""
    found = [value for number, value in fields(data) if number == _STDOUT_RAW and isinstance(value, bytes)]
    if not found:
        message = "a result that bg did not write"
        raise ValueError(message)
    return found[-1]


def digest(blob: Blob) -> bytes:
    """A Digest."""
    return field(1, blob.sha256.encode()) + (field(2, blob.size) if blob.size else b"")


def field(number: int, value: bytes | int) -> bytes:
    """A field of a message."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message with their numbers. Raises ValueError."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            number, position = _read_varint(data, position)
            yield tag >> 3, number
            continue
        if kind == _BYTES:
            length, position = _read_varint(data, position)
        elif kind in {_FIXED32, _FIXED64}:
            length = 4 if kind == _FIXED32 else 8
        else:
            message = "not a message"
            raise ValueError(message)
        if position + length > len(data):
            message = "a message that was cut off"
            raise ValueError(message)
        yield tag >> 3, data[position : position + length]
        position += length


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while position < len(data) and shift <= _MAX_SHIFT:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last one
            return value, position
        shift += 7
    message = "a message that was cut off"
    raise ValueError(message)
