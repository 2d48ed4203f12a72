"""The state file as it lies there: parts, each read only when it is asked for.

Like all that a run loads which finds nothing to do, this module imports little (``workspace/stats.py`` says why).
"""

from __future__ import annotations

import json
import os
import zlib
from hashlib import blake2b
from typing import Self

from buildgraph.workspace.stats import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

MAGIC = b"buildgraph state 4\n"
ANSWER = "answer "  # the names of parts with answers begin so; what was asked follows
_HEAD = 1 << 14  # bytes that are read at first; what stands before the parts is seldom longer


def state_path(user_cache: str | Path, root: str | Path) -> str:
    """The state file of the workspace ``root``; beside the other things that bg keeps per user."""
    return os.path.join(user_cache, "state", blake2b(os.fsencode(root), digest_size=16).hexdigest() + ".state")


class StateFile:
    """A state file as it lies there; parts that are missing, damaged or another version's are None. To be used in ``with``.

    It stays open meanwhile, so that all parts come from one file however often it is replaced.
    """

    def __init__(self, path: str | Path, version: str) -> None:
        self._table: dict[str, list[int]] = {}
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1
            return
        try:
            self._size = os.fstat(self._file).st_size
            head, more = os.pread(self._file, _HEAD, 0), b""
            while b"\n\n" not in head and (more := os.pread(self._file, _HEAD, len(head))):
                head += more
            head = head.partition(b"\n\n")[0]
            table = json.loads(head.removeprefix(MAGIC)) if head.startswith(MAGIC) else {}
            if table.get("version") == version and isinstance(table.get("parts"), dict):
                self._table, self._start = table["parts"], len(head) + 2
        except (OSError, ValueError, AttributeError, RecursionError):
            self._table = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing can be asked for any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def part(self, name: str) -> bytes | None:
        """The bytes of a part."""
        try:
            start, length, checksum = self._table[name]
            if start + length > self._size:
                return None
            data = os.pread(self._file, length, self._start + start)
            return data if len(data) == length and zlib.crc32(data) == checksum else None
        except (OSError, KeyError, ValueError, TypeError, OverflowError):
            return None

    def json(self, name: str) -> object:
        """The value of a part that is JSON."""
        data = self.part(name)
        try:
            return None if data is None else json.loads(data)
        except (ValueError, RecursionError):
            return None

    def tree(self) -> Tree:
        """The files that were seen; an empty tree where that is not known."""
        found: Any = self.json("tree")
        try:
            return Tree(
                {path: tuple(known) for path, known in found["loose"].items()},
                by_folder=found["files"],
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


def write_parts(path: str | Path, version: str, parts: Mapping[str, bytes]) -> None:
    """Replaces a state file in one step; a failure to do so is no error, since nothing depends on it."""
    table: dict[str, list[int]] = {}
    start = 0
    for name, data in parts.items():
        table[name] = [start, len(data), zlib.crc32(data)]
        start += len(data)
    head = json.dumps({"version": version, "parts": table}, separators=(",", ":")).encode()
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as stream:
            stream.writelines([MAGIC, head, b"\n\n", *parts.values()])
        os.replace(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
