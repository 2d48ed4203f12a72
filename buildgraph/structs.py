"""What bg's values are made of, and quick JSON for what it keeps; the only door to the msgspec library.

A ``Struct`` is declared like a dataclass and differs in cost alone: a hundred dataclasses take a third of the time that a run
takes which plans one changed recipe, since Python writes and compiles each of their methods when they are declared, and a frozen
one is four times as slow to create.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

# Where typing_extensions is there, msgspec takes it in place of typing, to the same effect: it would load inspect, ast and
# tokenize, which takes longer than the rest of msgspec.
_hidden = {} if "typing_extensions" in sys.modules else {"typing_extensions": None}
sys.modules.update(_hidden)  # type: ignore[arg-type]
from msgspec import DecodeError, Raw, Struct, field  # noqa: E402 - see above
from msgspec.json import Decoder, Encoder  # noqa: E402
from msgspec.structs import replace  # noqa: E402

for _name in _hidden:
    del sys.modules[_name]

__all__ = ["Alike", "Raw", "Struct", "asdict", "field", "from_json", "reader", "replace", "to_json"]

Value = TypeVar("Value")

_encode = Encoder().encode
_decode = Decoder().decode


class Alike(Struct, eq=False):  # noqa: PLW1641 - what compares by its content may be changed
    """A struct that equals others of its class by what ``compared`` gives, not by all its fields."""

    def compared(self) -> object:
        """What counts in a comparison."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.compared() == other.compared()

    def __ne__(self, other: object) -> bool:
        return not self == other


def asdict(value: Struct) -> dict[str, Any]:
    """The fields by name, and those of values within it, as JSON has them."""
    return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def to_json(value: object) -> bytes:
    """JSON in few bytes."""
    try:
        return _encode(value)
    except UnicodeEncodeError:  # the name of a file may have bytes that are no UTF-8, which Python holds as lone surrogates
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(data: bytes | str | Raw) -> Any:
    """The value that ``to_json`` wrote. Raises ValueError, or RecursionError, for what it did not."""
    try:
        return _decode(data)
    except (DecodeError, UnicodeError):  # lone surrogates are refused
        return json.loads(bytes(data) if isinstance(data, Raw) else data)


def reader(shape: type[Value]) -> Callable[[bytes], Value]:
    """A reader of JSON of one shape, which may leave parts of it as they are (``Raw``). It raises ValueError for other JSON."""
    decode = Decoder(shape).decode

    def read(data: bytes) -> Value:
        try:
            return decode(data)
        except DecodeError as error:
            raise ValueError(str(error)) from error

    return read
