"""What the last run saw, in one file: so that a run with little to do reads no recipe, no manifest and no database.

The file is trusted only as far as stat confirms it, is replaced in one step, and may vanish, be cut off or be another
version's at any time: then a run takes longer, nothing else. It has parts, each read only when it is asked for; what is not
changed is written back as it was. docs/format.md describes the parts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from buildgraph.structs import Struct, field, to_json
from buildgraph.workspace.statefile import ANSWER, StateFile, write_parts
from buildgraph.workspace.stats import RACY_NS, FileStat, Tree, stamp

MAX_ANSWERS = 50
NEVER: FileStat = (0, -1, 0, 0, 0)  # the stat of no file


class State(Struct):
    """The state of a workspace.

    ``tree``: the files; ``digests``: of files, valid while their stat in ``tree`` holds; ``answers``: what commands
    printed, as it is kept, by what was asked; ``parts``: others by name, as they lie in the file, for those that know them.
    """

    tree: Tree = field(default_factory=Tree)
    digests: dict[str, str] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)


def load_state(path: str | Path, version: str) -> State:
    """The state in a file; an empty one for a file that is missing, damaged, or another version's."""
    with StateFile(path, version) as file:
        return state_in(file, file.tree())


def state_in(file: StateFile, tree: Tree) -> State:
    """The state in an open file, whose ``tree`` was read already."""
    names = [name for name in file.names() if name not in {"tree", "digests"}]
    known = {name: data for name in names if (data := file.part(name)) is not None}
    answers = {name: known.pop(name) for name in list(known) if name.startswith(ANSWER)}
    return State(tree, _mapping(file.json("digests")), answers, known)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def save_state(path: str | Path, version: str, state: State, walked_at: int) -> None:
    """Replaces the state file; a failure to do so is no error, since nothing depends on it.

    ``walked_at`` is the time (ns) before the tree was walked: what changed about then or later is not trusted.
    """
    tree = state.tree
    racy = {name for name, stat in tree.files.items() if _is_racy(stat, walked_at)}
    # The mode is kept: it counts for itself where the content turns out to be what it was.
    trusted = {name: (stat[0], *NEVER[1:]) if name in racy else stat for name, stat in tree.files.items()}
    rules = {name: NEVER if stat and _is_racy(stat, walked_at) else stat for name, stat in tree.rules.items()}
    parts = {
        "tree": {
            "files": Tree(files=trusted, loose=tree.loose).grouped(),
            "folders": tree.folders,
            "links": sorted(tree.links),
            "odd": sorted(tree.odd),
            "loose": {name: trusted[name] for name in sorted(tree.loose)},
            "rules": rules,
        },
        "digests": {name: digest for name, digest in state.digests.items() if name not in racy},
    }
    blobs = {name: to_json(value) for name, value in parts.items()}
    write_parts(path, version, blobs | state.parts | dict(list(state.answers.items())[-MAX_ANSWERS:]))


def _is_racy(found: Sequence[int], looked_at: int) -> bool:
    return max(found[2], found[4]) >= looked_at - RACY_NS


def stamp_to_read(path: Path) -> list[int]:
    """The stat of a file outside the tree that is about to be read; one that fits no file if it is too new to be trusted."""
    looked_at, found = now(), stamp(path)
    return list(NEVER) if found and _is_racy(found, looked_at) else found


def now() -> int:
    """The time against which file times are compared, in nanoseconds."""
    return time.time_ns()
