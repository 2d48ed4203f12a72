"""What the last run saw, in one file: so that a run with nothing to do reads no recipe, no manifest and no database.

The file is trusted only as far as stat confirms it, is replaced in one step, and may vanish or be truncated at any time: then
a run takes longer, nothing else. It imports the standard library only; docs/format.md describes its fields.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buildgraph.workspace.tree import FileStat, Tree, file_stat

FORMAT = 1
MAX_BUILDS = 50
# A file changed within this time of being looked at may change again and keep its stat: clocks of file systems tick slowly.
RACY_NS = 50_000_000
_NEVER: FileStat = (0, -1, 0, 0, 0)


@dataclass(slots=True)
class State:
    """``digests``: of files, valid while their stat in ``tree`` holds; ``builds``: finished builds by what was asked."""

    tree: Tree = field(default_factory=Tree)
    digests: dict[str, str] = field(default_factory=dict)
    builds: dict[str, dict[str, Any]] = field(default_factory=dict)


def state_path(user_cache: Path, root: Path) -> Path:
    """The state file of the workspace ``root``; beside the other things that bg keeps per user."""
    return user_cache / "state" / f"{hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()}.json"


def load_state(path: Path, version: str) -> State:
    """The state in a file; an empty one for a file that is missing, damaged, or another version's."""
    try:
        raw = json.loads(path.read_bytes())
        if raw["format"] != FORMAT or raw["version"] != version:
            return State()
        found = raw["tree"]
        tree = Tree(
            files={name: tuple(stat) for name, stat in found["files"].items()},
            folders=found["folders"],
            links=set(found["links"]),
            odd=set(found["odd"]),
            loose=set(found["loose"]),
        )
        return State(tree, raw["digests"], raw["builds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State()


def save_state(path: Path, version: str, state: State, walked_at: int) -> None:
    """Replaces the state file; a failure to do so is no error, since nothing depends on it.

    ``walked_at`` is the time (ns) before the tree was walked: what changed about then or later is not trusted.
    """
    tree = state.tree
    racy = {name for name, stat in tree.files.items() if max(stat[2], stat[4]) >= walked_at - RACY_NS}
    content = {
        "format": FORMAT,
        "version": version,
        "tree": {
            "files": {name: _NEVER if name in racy else stat for name, stat in tree.files.items()},
            "folders": tree.folders,
            "links": sorted(tree.links),
            "odd": sorted(tree.odd),
            "loose": sorted(tree.loose),
        },
        "digests": {name: digest for name, digest in state.digests.items() if name not in racy},
        "builds": dict(list(state.builds.items())[-MAX_BUILDS:]),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, separators=(",", ":")), "utf-8", "surrogateescape")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def stamp(path: str | Path) -> list[int]:
    """The stat of a file outside the tree (an output, a tool, the manifest), to be compared later; empty where it is missing."""
    try:
        return list(file_stat(os.stat(path)))  # noqa: PTH116 - called for each output of a null build
    except OSError:
        return []


def now() -> int:
    """The time against which file times are compared, in nanoseconds."""
    return time.time_ns()
