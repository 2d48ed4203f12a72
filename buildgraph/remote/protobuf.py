"""Messages of Protocol Buffers, as far as caches need them: fields that are numbers or bytes.

The encoding is https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT = 63


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


def messages(data: bytes, number: int) -> list[bytes]:
    """What a field that holds bytes, or may be repeated, has: messages, texts, bytes. Raises ValueError."""
    return [value for found, value in fields(data) if found == number and isinstance(value, bytes)]


def integer(data: bytes, number: int) -> int:
    """What a field that holds a number has; 0 where it is not there. Raises ValueError."""
    return next((value for found, value in fields(data) if found == number and isinstance(value, int)), 0)


def integers(data: bytes, number: int) -> list[int]:
    """What a repeated field of numbers has, packed or not. Raises ValueError."""
    found: list[int] = []
    for name, value in fields(data):
        if name == number and isinstance(value, int):
            found.append(value)
        elif name == number and isinstance(value, bytes):
            position = 0
            while position < len(value):
                one, position = _read_varint(value, position)
                found.append(one)
    return found


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
