"""Results as one file, for machines that share no store but can hand on a file: what CI services call a cache.

The file is a tar archive, with gzip where its name ends so. Its first member is the index: a head, then every blob with its size,
then every record. The blobs follow, in that order. So a reader knows what it takes before it takes anything, needs no memory for
content, and stores records only after every blob was there and right. docs/format.md has the details.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from buildgraph.cache.cas import Cas, open_unnoticed
from buildgraph.cache.files import faults, replacing
from buildgraph.cache.records import Records
from buildgraph.cache.rows import MAX_BYTES
from buildgraph.errors import CacheError
from buildgraph.keys.digest import Digest, new_hasher, parse_digest
from buildgraph.plan.inventory import Held, Inventory
from buildgraph.plan.record import DeepRecord, Record, deep_from_json, deep_to_json, record_from_json, record_to_json
from buildgraph.plan.store import ACTION, DEEP

FORMAT = 1
INDEX = "index.jsonl"
_BLOB = "blobs/"
_BLOCK = 512
_CHUNK = 1 << 20
_MOST_INDEX = 256 << 20
_MOST_BLOBS = 1_000_000
_MOST_ROWS = 1_000_000
_BATCH = 256
_GZIP = b"\x1f\x8b"
TRUSTED = "trusted"


@dataclass(frozen=True, slots=True)
class Packed:
    """What an archive has: results, blobs, and their bytes."""

    results: int
    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of an archive: results, blobs that were new with their bytes, and results left out with the reason."""

    results: int
    blobs: int
    size: int
    left_out: dict[str, int]


def pack(path: Path, results: Iterable[Held], inventory: Inventory, cas: Cas) -> Packed:
    """Writes an archive of results whose files are all there; the same results give the same bytes. Raises CacheError."""
    chosen = sorted((held for held in results if is_whole(held, inventory)), key=lambda held: held.action)
    blobs = sorted({digest for held in chosen for digest in held.blobs if digest in inventory.blobs})
    sizes = {digest: inventory.blobs[digest].size for digest in blobs}
    lines = [{"buildgraph-cache": FORMAT, "blobs": len(blobs), "bytes": sum(sizes.values())}, *map(list, sizes.items())]
    lines += [[kind, key, value] for held in chosen for kind, key, value in _rows(held)]
    index = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines).encode()
    with faults(f"write {path}"), replacing(path) as temporary, _writing(temporary, zipped=_is_zipped(path)) as archive:
        archive.addfile(_member(INDEX, len(index)), BytesIO(index))
        for digest, size in sizes.items():
            with _sound(digest, cas) as stream:
                archive.addfile(_member(_BLOB + digest, size), stream)
                stream.finish()
    return Packed(len(chosen), len(blobs), sum(sizes.values()))


def is_whole(held: Held, inventory: Inventory) -> bool:
    """Whether a result has a record, and all of its outputs are in the cache."""
    return held.record is not None and all(
        (blob := inventory.blobs.get(output.digest)) is not None and blob.size == output.size for output in held.record.outputs
    )


def _rows(held: Held) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if held.record is not None:
        yield ACTION, held.record.action, record_to_json(replace(held.record, fetched=False))
    for key, deep in sorted(held.deep.items()):
        yield DEEP, key, deep_to_json(deep)


class _Checked:
    """A blob that is read and compared with its name: what an archive has is right, or is not written."""

    def __init__(self, stream: BinaryIO, digest: str) -> None:
        self._stream, self._digest, self._hasher = stream, digest, new_hasher()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hasher.update(data)
        return data

    def finish(self) -> None:
        if self._hasher.hexdigest() != self._digest:
            raise CacheError(f"the blob {self._digest} is damaged", hint="`bg cache repair` drops what is wrong")


@contextmanager
def _sound(digest: str, cas: Cas) -> Iterator[Any]:
    with open_unnoticed(cas.path(digest)) as stream:
        yield _Checked(stream, digest)


@contextmanager
def _writing(path: Path, *, zipped: bool) -> Iterator[tarfile.TarFile]:
    with ExitStack() as open_files:
        file = open_files.enter_context(path.open("xb"))
        target: BinaryIO | gzip.GzipFile = file
        if zipped:  # without a name or time in its head
            target = open_files.enter_context(gzip.GzipFile("", "wb", 1, file, mtime=0))
        yield open_files.enter_context(tarfile.open(fileobj=target, mode="w|", format=tarfile.GNU_FORMAT))


def _is_zipped(path: Path) -> bool:
    return path.name.endswith((".gz", ".tgz"))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o444
    return member


@dataclass(slots=True)
class _Index:
    sizes: dict[Digest, int]
    records: dict[Digest, Record]
    deeps: dict[Digest, DeepRecord]
    left_out: dict[str, int]

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def unpack(path: Path, cas: Cas, records: Records, tier: str, room: int) -> Taken:
    """Takes in an archive: every blob by its digest, then the records whose outputs are all there.

    Records are stored under ``tier``; those that say another are left out, but for trusted ones. ``room`` is how many bytes
    the cache may grow by. Whatever is not exactly such an archive raises CacheError, and no record of it is stored then.
    """
    with faults(f"read {path}"), path.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        try:
            read = gzip.GzipFile(fileobj=file, mode="rb").read if zipped else file.read
            return _Reader(read, path, cas, records, tier).take(room)
        except _NO_ARCHIVE as error:
            raise _damaged(path, str(error)) from error


# What hostile or cut bytes make of reading: of gzip, of a tar header, of JSON.
_NO_ARCHIVE = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.HeaderError, ValueError, TypeError, RecursionError)


def _damaged(path: Path, why: str) -> CacheError:
    return CacheError(f"{path} is no sound archive of results: {why}", hint="nothing of it counts; without it `bg build` builds")


class _Reader:
    """Reads an archive from front to end, once. Only plain files in the expected order are let through."""

    def __init__(self, read: Callable[[int], bytes], path: Path, cas: Cas, records: Records, tier: str) -> None:
        self.read, self.path, self.cas, self.records, self.tier = read, path, cas, records, tier

    def take(self, room: int) -> Taken:
        index = self._index()
        lacking = {digest: size for digest, size in index.sizes.items() if not self.cas.has(digest, size=size)}
        if sum(lacking.values()) > room:
            message = f"{self.path} would take {sum(lacking.values())} bytes, and there is room for {room}"
            raise CacheError(message, hint="`bg cache gc` makes room; `--max-size` lets an archive be larger")
        for digest, size in index.sizes.items():
            self._blob(digest, size, wanted=digest in lacking)
        self._end()
        return Taken(self._store(index), len(lacking), sum(lacking.values()), index.left_out)

    def _member(self, expected: str) -> int:
        """The size of the next member, which must be the expected plain file."""
        member = tarfile.TarInfo.frombuf(self._exactly(_BLOCK), "ascii", "strict")
        if member.name != expected or member.type != tarfile.REGTYPE or member.size < 0:
            raise ValueError(f"{member.name[:80]!a} stands where `{expected}` should")
        return member.size

    def _exactly(self, size: int) -> bytes:
        data = self.read(size)
        while len(data) < size and (more := self.read(size - len(data))):
            data += more
        if len(data) < size:
            raise EOFError("it ends too early")
        return data

    def _content(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            data = self._exactly(min(_CHUNK, left))
            left -= len(data)
            yield data
        self._exactly(-size % _BLOCK)

    def _index(self) -> _Index:
        size = self._member(INDEX)
        if size > _MOST_INDEX:
            raise ValueError("its index is too large")
        lines = _lines(self._content(size))
        head = json.loads(next(lines, b"null"))
        if not isinstance(head, dict) or head.get("buildgraph-cache") != FORMAT:
            raise ValueError("it is of another format")
        count = head.get("blobs")
        if not isinstance(count, int) or not 0 <= count <= _MOST_BLOBS:
            raise ValueError("it has too many blobs")
        index = _Index({}, {}, {}, {})
        for _ in range(count):
            digest, size = json.loads(next(lines, b"null"))
            known = parse_digest(digest)
            if known is None or known in index.sizes or not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise ValueError("its index has a blob that is none")
            index.sizes[known] = size
        for number, line in enumerate(lines):
            if number >= _MOST_ROWS:
                raise ValueError("it has too many records")
            self._row(json.loads(line), index)
        return index

    def _row(self, line: Any, index: _Index) -> None:
        kind, key, value = line
        digest = parse_digest(key)
        record = record_from_json(value, digest) if kind == ACTION and digest else None
        deep = deep_from_json(value) if kind == DEEP and digest else None
        found = record or deep
        if digest is None or found is None:
            index.leave_out("no record of a kind that is taken")
        elif found.tier not in {self.tier, TRUSTED}:
            index.leave_out(f"of the tier `{found.tier[:80]}`")
        elif record is not None:
            index.records[digest] = record
        elif deep is not None:
            index.deeps[digest] = deep

    def _blob(self, digest: Digest, size: int, *, wanted: bool) -> None:
        if self._member(_BLOB + digest) != size:
            raise ValueError("a blob has another size than the index says")
        if not wanted:
            for _ in self._content(size):
                pass
            return
        hasher = new_hasher()
        with self.cas.scratch() as scratch:
            path = scratch / "blob"
            with path.open("xb") as target:
                for data in self._content(size):
                    hasher.update(data)
                    target.write(data)
            if hasher.hexdigest() != digest:
                raise ValueError("a blob has other content than its name says")
            self.cas.put_file(path, move=True)

    def _end(self) -> None:
        if self._exactly(2 * _BLOCK).strip(b"\0"):
            raise ValueError("it has more members than its index")

    def _store(self, index: _Index) -> int:
        """Stores the records whose outputs are all there, and what leads to them."""
        whole = {}
        for action, record in index.records.items():
            if all(self.cas.has(output.digest, size=output.size) for output in record.outputs):
                whole[action] = replace(record, tier=self.tier, fetched=True)
            else:
                index.leave_out("without all its files")
        for group in _groups(list(whole)):
            self.records.put_many(ACTION, {action: record_to_json(whole[action]) for action in group})
        leading = {key: replace(deep, tier=self.tier) for key, deep in index.deeps.items() if deep.action in whole}
        for group in _groups(list(leading)):
            self.records.put_many(DEEP, {key: deep_to_json(leading[key]) for key in group})
        return len(whole)


def _groups(keys: Sequence[Digest]) -> Iterator[Sequence[Digest]]:
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text that comes in pieces; none may be longer than a record."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > 2 * MAX_BYTES:
            raise ValueError("its index has a line that is too long")
    if rest:
        raise ValueError("its index ends within a line")


def mark_run(root: Path) -> None:
    """Notes that a run begins: what is stored from now on is new. Raises CacheError."""
    with faults(f"note the time in {root}"):
        (root / "run").touch()
        now = time.time_ns()  # the clock that records are stored by; the file system's own may be behind
        os.utime(root / "run", ns=(now, now))


def run_began(root: Path) -> float:
    """When the last mark was made; 0 where there is none."""
    try:
        return (root / "run").stat().st_mtime
    except OSError:
        return 0.0


def free_room(root: Path) -> int:
    """How many bytes the disk of a cache has for this user."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


def new_since(results: Collection[Held], moment: float) -> list[Held]:
    """The results that were stored after some time."""
    return [held for held in results if held.stored_at > moment]
