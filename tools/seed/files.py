"""What both kinds of downloads share: whether a file is what was promised, and a voice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]


def has_digest(path: Path, size: int, algorithm: str, digest: str) -> bool:
    """Whether a file is there with that size in bytes and that digest in hex."""
    try:
        if path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest() == digest
    except FileNotFoundError:
        return False
