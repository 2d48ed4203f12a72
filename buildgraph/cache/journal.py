"""The journal of the records: each change of one as a line, from which the database is made again where it is lost.

It lies beside the database and is written within the database's transactions, so that its lines are in the order of the changes.
A kill leaves at most a change here that the database does not have, or the last line cut off. Every line has a check of its own,
and begins with its line break: what is appended to a line that was cut off is whole.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from buildgraph.cache.files import remove_tree, replacing
from buildgraph.cache.rows import MAX_BYTES, is_sound
from buildgraph.structs import Struct, field

_HEAD = b"buildgraph-records 1 %016d"
_HEAD_BYTES = len(_HEAD % 0)
_HEAD_FORM = re.compile(rb"buildgraph-records 1 (\d{16})")
_LONGEST = MAX_BYTES + (1 << 16)
# A journal is written anew when it is more than twice as long as what it comes to, and this many bytes.
_SLACK = 16 << 20


class Noted(NamedTuple):
    """A record as a row has it: the row's name, when it was stored (seconds since 1970), the row's value."""

    name: str
    stored_at: float
    value: bytes


class Entries(Struct):
    """What a journal comes to: by name the rows that are there at its end, and how many of its lines are none."""

    rows: dict[str, Noted] = field(default_factory=dict)
    damaged: int = 0


class Journal:
    """The journal at a path. Whoever writes to it holds the database's lock for writing; methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._limit = 0

    def note(self, changes: Mapping[str, bytes | None], now: float, everything: Callable[[], Iterable[Noted]]) -> None:
        """Append changes, None for a row that is removed.

        A journal that is missing, or far longer than what it comes to, is replaced by ``everything`` that the database then has.
        """
        size = self._size()
        lines = b"".join(_line(name, now, value) for name, value in changes.items())
        if size is None or size + len(lines) > self._limit:
            self.renew(everything())
            return
        assert self._descriptor is not None  # noqa: S101 - it has a size
        _write(self._descriptor, lines)

    def renew(self, rows: Iterable[Noted]) -> None:
        """Replace the journal, in one step, by one that comes to these rows."""
        self.close()
        if self.path.is_dir() and not self.path.is_symlink():
            remove_tree(self.path)
        with replacing(self.path) as temporary, temporary.open("xb") as stream:
            stream.write(_HEAD % 0)
            for row in (row for row in rows if is_sound(row.name, row.value)):
                stream.write(_line(row.name, row.stored_at, row.value))
            size = stream.tell()
            stream.seek(0)
            stream.write(_HEAD % size)

    def read(self) -> Entries | None:
        """What it comes to; None where there is none, or one of another format."""
        try:
            descriptor = self._open(os.O_RDONLY)
        except OSError:
            return None
        if descriptor is None:
            return None
        found = Entries()
        with open(descriptor, "rb") as stream:
            if not _HEAD_FORM.fullmatch(stream.readline(_HEAD_BYTES + 1).rstrip(b"\n")):
                return None
            for line in _lines(stream):
                if not _take(line, found.rows):
                    found.damaged += 1
        return found

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _size(self) -> int | None:
        """The bytes of the journal, which is open then; None where there is none that could be appended to."""
        if self._descriptor is not None:
            info = os.fstat(self._descriptor)
            if info.st_nlink and info.st_size >= _HEAD_BYTES:
                return info.st_size
            self.close()  # somebody replaced, removed or emptied it
        self._descriptor = self._open(os.O_RDWR | os.O_APPEND)
        if self._descriptor is None:
            return None
        head = _HEAD_FORM.fullmatch(os.pread(self._descriptor, _HEAD_BYTES, 0))
        if head is None:
            self.close()
            return None
        size = os.fstat(self._descriptor).st_size
        self._limit = 2 * min(int(head[1]), size) + _SLACK
        return size

    def _open(self, flags: int) -> int | None:
        """A descriptor of the journal; None where there is no plain file."""
        try:
            descriptor = os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # missing, a folder, a link, another user's
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None


def _line(name: str, at: float, value: bytes | None) -> bytes:
    if value is None:
        return b"\n- %.6f %s %08x" % (at, name.encode(), zlib.crc32(name.encode()))
    return b"\n+ %.6f %s %s" % (at, name.encode(), value)


def _take(line: bytes, rows: dict[str, Noted]) -> bool:
    """Apply a line; False for one that is none. A record that is stored again comes last."""
    sign, _, rest = line.partition(b" ")
    at, _, rest = rest.partition(b" ")
    raw, _, value = rest.partition(b" ")
    try:
        name, stored_at = raw.decode("ascii"), float(at)
    except ValueError:
        return False
    if sign == b"+" and is_sound(name, value):
        rows.pop(name, None)
        rows[name] = Noted(name, stored_at, value)
        return True
    if sign == b"-" and value == b"%08x" % zlib.crc32(raw):
        rows.pop(name, None)
        return True
    return False


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, those that are too long for a record cut off."""
    while line := stream.readline(_LONGEST):
        yield line.rstrip(b"\n")
        while line and not line.endswith(b"\n"):
            line = stream.readline(_LONGEST)


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
