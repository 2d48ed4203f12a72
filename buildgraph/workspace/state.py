"""What the last run saw, in one file: so that a run with little to do reads no recipe, no manifest and no database.

The file is trusted only as far as stat confirms it, is replaced in one step, and may vanish, be cut off or be another
version's at any time: then a run takes longer, nothing else. It has parts, each read only when it is asked for; what is not
changed is written back as it was. It imports the standard library only; docs/format.md describes the parts.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from buildgraph.workspace.tree import FileStat, Tree, file_stat

MAGIC = b"buildgraph state 3\n"
MAX_ANSWERS = 50
ANSWER = "answer "  # the names of parts with answers begin so; what was asked follows
# A file changed within this time of being looked at may change again and keep its stat: clocks of file systems tick slowly.
RACY_NS = 50_000_000
NEVER: FileStat = (0, -1, 0, 0, 0)  # the stat of no file


@dataclass(slots=True)
class State:
    """The state of a workspace.

    ``tree``: the files; ``digests``: of files, valid while their stat in ``tree`` holds; ``answers``: what commands
    printed, as it is kept, by what was asked; ``parts``: others by name, as they lie in the file, for those that know them.
    """

    tree: Tree = field(default_factory=Tree)
    digests: dict[str, str] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)


def state_path(user_cache: Path, root: Path) -> Path:
    """The state file of the workspace ``root``; beside the other things that bg keeps per user."""
    return user_cache / "state" / f"{blake2b(os.fsencode(root), digest_size=16).hexdigest()}.state"


class StateFile:
    """A state file as it lies there; parts that are missing, damaged or another version's are None."""

    def __init__(self, path: Path, version: str) -> None:
        self._data = b""
        self._table: dict[str, list[int]] = {}
        try:
            data = path.read_bytes()
            head, _, self._data = data.partition(b"\n\n")
            table = json.loads(head.removeprefix(MAGIC)) if head.startswith(MAGIC) else {}
            if table.get("version") == version and isinstance(table.get("parts"), dict):
                self._table = table["parts"]
        except (OSError, ValueError, AttributeError):
            self._table = {}

    def part(self, name: str) -> bytes | None:
        """The bytes of a part."""
        try:
            start, length, checksum = self._table[name]
            data = self._data[start : start + length]
            return data if len(data) == length and zlib.crc32(data) == checksum else None
        except (KeyError, ValueError, TypeError):
            return None

    def json(self, name: str) -> Any:
        """The value of a part that is JSON."""
        data = self.part(name)
        try:
            return None if data is None else json.loads(data)
        except (ValueError, RecursionError):
            return None

    def tree(self) -> Tree:
        """The files that were seen; an empty tree where that is not known."""
        found = self.json("tree")
        try:
            files = {
                f"{folder}/{name}" if folder else name: tuple(known)
                for folder, names in found["files"].items()
                for name, known in names.items()
            }
            files.update({path: tuple(known) for path, known in found["loose"].items()})
            return Tree(
                files=files,
                folders=found["folders"],
                links=set(found["links"]),
                odd=set(found["odd"]),
                loose=set(found["loose"]),
                rules={path: None if known is None else tuple(known) for path, known in found["rules"].items()},
            )
        except (KeyError, TypeError, AttributeError):
            return Tree()

    def names(self) -> list[str]:
        """The names of the parts."""
        return list(self._table)


def load_state(path: Path, version: str) -> State:
    """The state in a file; an empty one for a file that is missing, damaged, or another version's."""
    file = StateFile(path, version)
    known = {name: data for name in file.names() if name not in {"tree", "digests"} and (data := file.part(name)) is not None}
    answers = {name: known.pop(name) for name in list(known) if name.startswith(ANSWER)}
    return State(file.tree(), _mapping(file.json("digests")), answers, known)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def save_state(path: Path, version: str, state: State, walked_at: int) -> None:
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
    blobs = {name: json.dumps(value, separators=(",", ":")).encode() for name, value in parts.items()}
    _write(path, version, blobs | state.parts | dict(list(state.answers.items())[-MAX_ANSWERS:]))


def _write(path: Path, version: str, parts: Mapping[str, bytes]) -> None:
    table: dict[str, list[int]] = {}
    start = 0
    for name, data in parts.items():
        table[name] = [start, len(data), zlib.crc32(data)]
        start += len(data)
    head = json.dumps({"version": version, "parts": table}, separators=(",", ":")).encode()
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.writelines([MAGIC, head, b"\n\n", *parts.values()])
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def _is_racy(found: Sequence[int], looked_at: int) -> bool:
    return max(found[2], found[4]) >= looked_at - RACY_NS


def stamp_to_read(path: Path) -> list[int]:
    """The stat of a file outside the tree that is about to be read; one that fits no file if it is too new to be trusted."""
    looked_at, found = now(), stamp(path)
    return list(NEVER) if found and _is_racy(found, looked_at) else found


def stamp(path: str | Path) -> list[int]:
    """The stat of a file outside the tree (an output, a tool, the manifest), to be compared later; empty where it is missing."""
    try:
        return list(file_stat(os.stat(path)))  # noqa: PTH116 - called for each output of a null build
    except OSError:
        return []


def now() -> int:
    """The time against which file times are compared, in nanoseconds."""
    return time.time_ns()
