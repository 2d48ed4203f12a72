"""`bg clean`: removes what builds have put into the workspace."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from buildgraph.cache.files import remove_tree
from buildgraph.cache.layout import prepare
from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import CacheError, OutputError
from buildgraph.report.graphs import counted
from buildgraph.report.inspection import size
from buildgraph.report.views import to_json
from buildgraph.structs import Struct, asdict
from buildgraph.workspace.manifest import OUTPUTS

# The cache stays one, empty: whoever waits for it goes on in it, and its folder may be under version control.
_KEPT = frozenset({".gitkeep", ".gitignore", "CACHEDIR.TAG", "FORMAT", "users.lock"})


class Removal(Struct, frozen=True):
    """What goes from one folder: how many files, and their bytes in all."""

    path: str
    files: int
    size: int


def clean(options: argparse.Namespace, session: Session) -> int:
    """Removes the outputs, and the cache if asked, and says what that was. Raises OutputError, CacheError."""
    out, cache = session.out_folder, session.cache_folder
    outputs = [folder for name in OUTPUTS if (folder := out / name).is_dir() and not folder.is_symlink()]
    removals = [_measured(folder, [folder]) for folder in outputs]
    is_cache = options.cache and (cache / "FORMAT").is_file()
    if is_cache and (cached := _content(cache)):
        removals.append(_measured(cache, cached))
    if not options.dry_run:
        _remove_outputs(out, outputs)
    if is_cache and not options.dry_run:
        with session.use.alone():
            _empty(cache)
    show([to_json([asdict(removal) for removal in removals])] if options.json else _lines(removals, dry_run=options.dry_run))
    return 0


def _lines(removals: Sequence[Removal], *, dry_run: bool) -> list[str]:
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {removal.path}: {counted(removal.files, 'file')}, {size(removal.size)}" for removal in removals]
    return lines or ["there is nothing to remove"]


def _measured(folder: Path, tops: Sequence[Path]) -> Removal:
    sizes = [number for top in tops for number in _sizes(top)]
    relative = os.path.relpath(folder)
    return Removal(str(folder) if relative.startswith("..") else relative, len(sizes), sum(sizes))


def _sizes(top: Path) -> Iterator[int]:
    if not top.is_dir() or top.is_symlink():
        yield top.lstat().st_size
        return
    for folder, _, names in os.walk(top):
        for name in names:
            yield os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a cache has many files


def _remove_outputs(out: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        if not remove_tree(folder):
            message = f"cannot remove {folder}"
            raise OutputError(message)
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()


def _content(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.name not in _KEPT]


def _empty(cache: Path) -> None:
    for path in _content(cache):
        gone = remove_tree(path) if path.is_dir() and not path.is_symlink() else _unlink(path)
        if not gone:
            message = f"cannot remove {path}"
            raise CacheError(message)
    _unlink(cache / "FORMAT")  # which may be another bg's
    prepare(cache)


def _unlink(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True
