"""An ordinary user to run bg as where the tests themselves run as root."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.workspace import ROOT

USER = 1000


def give(folder: Path) -> None:
    """Makes the ordinary user the owner of a folder and all that is in it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)


def as_ordinary_user(base: Path, needed: Iterable[Path]) -> list[str]:
    """A command prefix: an ordinary user, to whom what is needed is open for reading. Empty for who is one already.

    Python, the clone and the tools may lie in folders closed to others, such as root's home. A mount namespace of its own covers
    each of these by an empty folder, and binds into that what is needed, at its own place. ``base`` is a folder for the mounts.
    """
    if os.geteuid() != 0:
        return []
    paths = {path.resolve() for path in (Path(sys.prefix), Path(sys.base_prefix), ROOT, *needed)}
    lines = []
    for number, closed in enumerate(sorted({folder for path in paths if (folder := _closed_above(path))})):
        stash = base / f"closed-{number}"
        stash.mkdir()
        lines += [f"mount --rbind '{closed}' '{stash}'", f"mount -t tmpfs -o mode=755 tmpfs '{closed}'"]
        for path in sorted(path for path in paths if path.is_relative_to(closed)):
            folder = path if path.is_dir() else path.parent
            make = f"mkdir -p '{folder}'" + ("" if path.is_dir() else f"; touch '{path}'")
            lines += [f"{make}; mount --rbind '{stash / path.relative_to(closed)}' '{path}'"]
    identity = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*lines, 'exec "$@"']), "sh", *identity]


def _closed_above(path: Path) -> Path | None:
    """The first folder above a path that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)
