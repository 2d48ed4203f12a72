"""What lies in a cache besides blobs and records: packages that apko has unpacked, and what turned out to be damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from buildgraph.cache.files import remove_tree
from buildgraph.structs import Struct

_CORRUPT = "records.corrupt-"


class Stored(Struct, frozen=True):
    """A file, or a folder with all that is in it: where it is, its bytes, and the latest time that something in it has."""

    path: Path
    size: int
    used_at: float

    def remove(self) -> bool:
        """Whether nothing of it is left."""
        if self.path.is_dir() and not self.path.is_symlink():
            return remove_tree(self.path)
        with suppress(OSError):
            self.path.unlink()
        return not os.path.lexists(self.path)


def unpacked(root: Path) -> list[Stored]:
    """The packages that apko has unpacked, ``REPOSITORY/ARCH/NAME-VERSION`` in its cache."""
    folders = (package for repository in _inner(root / "apk") for arch in _inner(repository) for package in _inner(arch))
    return [_measured(folder) for folder in folders]


def damaged(root: Path) -> list[Stored]:
    """Blobs in quarantine and databases that were moved aside."""
    aside = [path for path in _inner(root) if path.name.startswith(_CORRUPT)]
    return [_measured(path) for path in (*_inner(root / "quarantine"), *aside)]


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; 0 where there is nothing."""
    return _measured(path).size


def _inner(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except OSError:
        return []


def _measured(path: Path) -> Stored:
    """Sums up what is there; what goes meanwhile, or cannot be read, counts as nothing."""
    size, used_at = 0, 0.0
    for info in _stats(path):
        size += info.st_size
        used_at = max(used_at, info.st_atime, info.st_mtime, info.st_ctime)
    return Stored(path, size, used_at)


def _stats(path: Path) -> Iterator[os.stat_result]:
    waiting = [os.fspath(path)]
    while waiting:
        name = waiting.pop()
        if os.path.isdir(name) and not os.path.islink(name):
            with suppress(OSError):
                waiting += [os.path.join(name, inner) for inner in os.listdir(name)]
        else:
            with suppress(OSError):
                yield os.lstat(name)
