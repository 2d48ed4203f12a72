"""BLAKE3 digests, the names of blobs and keys; the only door to blake3.

A digest is 64 lower-case hex digits, the same that ``b3sum FILE`` prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NewType

from blake3 import blake3

Digest = NewType("Digest", str)

HEX_DIGITS = 64
_MMAP_FROM = 1 << 20
_DIGEST = re.compile(f"[0-9a-f]{{{HEX_DIGITS}}}")


def digest_bytes(data: bytes) -> Digest:
    """The digest of some bytes."""
    return Digest(blake3(data).hexdigest())


def digest_text(text: str) -> Digest:
    """The digest of a text's UTF-8 form; lone surrogates (from file names that are not UTF-8) count as their bytes."""
    return digest_bytes(text.encode("utf-8", "surrogateescape"))


def digest_file(path: Path) -> Digest:
    """The digest of a file's content, in constant memory.

    Raises OSError.
    """
    hasher = blake3()
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_MMAP_FROM):
            hasher.update(chunk)
    return Digest(hasher.hexdigest())


def new_hasher() -> blake3:
    """A hasher to feed piece by piece: ``update(bytes)`` and ``hexdigest()``."""
    return blake3()


def parse_digest(text: object) -> Digest | None:
    """The digest that ``text`` spells, or None where it spells none; the gate for digests that come from outside."""
    return Digest(text) if isinstance(text, str) and _DIGEST.fullmatch(text) else None
