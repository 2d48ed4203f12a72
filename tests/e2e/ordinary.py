"""An ordinary user to run bg as where the tests themselves run as root."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildgraph.cli.places import user_cache
from buildgraph.execute.tools import Toolbox
from tests.e2e.workspace import ROOT, Workspace

USER = 1000


def give(folder: Path) -> None:
    """Makes the ordinary user the owner of a folder and all that is in it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)


@contextmanager
def ordinary_workspace(model: Workspace, toolbox: Toolbox, needed: Sequence[Path]) -> Iterator[Workspace]:
    """A copy of a workspace and its home that is an ordinary user's, who is the one that runs bg in it."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        for folder, part in ((model.root, "ws"), (model.home, "home")):
            shutil.copytree(folder, base / part, symlinks=True)
            give(base / part)
        tools = base / "tools"
        tools.mkdir()
        made = Path(user_cache(os.environ), "tools")  # as a whole: a program may need the libraries beside it
        used = [*needed, *([made] if made.is_dir() else [])]
        for tool in ("melange", "apko", "bwrap"):
            path: Path = getattr(toolbox, tool)
            (tools / tool).symlink_to(path)
            used += [] if path.is_relative_to(made) else [path]
        yield Workspace(base / "ws", base / "home", tools, within=as_ordinary_user(base, used))


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
