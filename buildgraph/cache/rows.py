"""The form of a record in the database: a row's key and value.

The key is ``kind/key`` with the key percent-encoded, so that any string has one ASCII form; the value is eight hex digits of
CRC-32 over the row's key and the JSON text, a space, and that text. The check finds what SQLite does not: a flipped
bit inside a value, a row under another's key.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from buildgraph.errors import CacheError
from buildgraph.structs import from_json

MAX_BYTES = 16 << 20

_KIND = re.compile(r"[a-z][a-z0-9-]*")
_text_of = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def is_kind(text: str) -> bool:
    """Whether a word can be a kind of record."""
    return _KIND.fullmatch(text) is not None


def row_name(kind: str, key: str) -> str:
    """The key of the row; an empty ``key`` gives what all rows of the kind begin with. Raises ValueError for no kind."""
    if not is_kind(kind):
        message = f"not a kind of record: {kind!r}"
        raise ValueError(message)
    return f"{kind}/{_quoted(key)}"


def row_key(name: str, prefix: str) -> str | None:
    """The key in a row's name; None where the name has another prefix or is not one that `row_name` makes."""
    if not name.startswith(prefix):
        return None
    try:
        key = unquote(name.removeprefix(prefix), errors="surrogatepass")
    except ValueError:
        return None
    return key if prefix + _quoted(key) == name else None


def _quoted(key: str) -> str:
    if key.isascii() and key.isalnum():
        return key  # most keys are digests
    return quote(key, safe="/:@", errors="surrogatepass")


def encode(name: str, value: Mapping[str, Any]) -> bytes:
    """The value of the row. Raises TypeError or ValueError where the record is not JSON, CacheError where it is too big."""
    text = _text_of(dict(value)).encode()
    if len(text) > MAX_BYTES:
        raise CacheError(f"a record of {len(text)} bytes is too big for the cache", details=name[:200])
    return b"%08x %s" % (zlib.crc32(text, zlib.crc32(name.encode())), text)


def is_sound(name: str, value: bytes) -> bool:
    """Whether a row's value is what was stored under this name, as its check says."""
    check, _, text = value.partition(b" ")
    return len(text) <= MAX_BYTES and check == b"%08x" % zlib.crc32(text, zlib.crc32(name.encode()))


def decode(name: str, value: object) -> dict[str, Any] | None:
    """The record in a row's value; None where it is not one, or not this one."""
    if not isinstance(value, bytes) or not is_sound(name, value):
        return None
    try:
        record = from_json(value.partition(b" ")[2])
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
