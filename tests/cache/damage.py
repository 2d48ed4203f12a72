"""What becomes of a database's file, or of any other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def cut(share: float) -> Damage:
    """Only the first part of the file is left."""
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def overwrite(start: int, data: bytes) -> Damage:
    """From some byte on the file has these."""

    def change(path: Path) -> None:
        with path.open("r+b") as stream:
            stream.seek(start)
            stream.write(data)

    return change
