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
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from buildgraph.cache.cas import Cas, open_unnoticed
from buildgraph.cache.files import faults, replacing
from buildgraph.cache.records import Records
from buildgraph.cache.rows import MAX_BYTES
from buildgraph.errors import CacheError
from buildgraph.keys.digest import Digest, digest_bytes, new_hasher, parse_digest
from buildgraph.plan.inventory import Held, Inventory
from buildgraph.plan.record import DeepRecord, Record, deep_from_json, deep_to_json, record_from_json, record_to_json, told_tier
from buildgraph.plan.store import ACTION, DEEP
from buildgraph.structs import Struct, replace

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


Seal = Callable[[Record, Digest | None, DeepRecord | None], bytes | None]
"""Signs a result under its action, or under a deep key; None where this run is not answerable for it."""


class Opened(Struct, frozen=True):
    """What is in the envelope of a result."""

    record: Record
    deep: DeepRecord | None


class Believed(Struct, frozen=True):
    """Whose records are taken from an archive.

    Those of the run's own ``tier`` and trusted ones. ``unseal`` opens the envelope that a kind and key have, or says why it is
    not believed; ``signed_only`` refuses what is in none.
    """

    tier: str
    unseal: Callable[[str, Digest, bytes], Opened | str] = lambda _kind, _key, _data: "signed, which was not expected"
    signed_only: bool = False


class Packed(Struct, frozen=True):
    """What an archive has: results, how many of them are not signed, blobs, and their bytes."""

    results: int
    unsigned: int
    blobs: int
    size: int


class Taken(Struct, frozen=True):
    """What came of an archive: results, blobs that were new with their bytes, and results left out with the reason."""

    results: int
    blobs: int
    size: int
    left_out: dict[str, int]


def pack(
    path: Path, results: Iterable[Held], inventory: Inventory, cas: Cas, seal: Seal = lambda _record, _key, _deep: None
) -> Packed:
    """Writes an archive of results whose files are all there; the same results give the same bytes. Raises CacheError.

    What ``seal`` signs is signed, and what another machine signed stays so.
    """
    chosen = sorted((held for held in results if is_whole(held, inventory)), key=lambda held: held.action)
    blobs = sorted({digest for held in chosen for digest in held.blobs - _envelopes(held) if digest in inventory.blobs})
    sizes = {digest: inventory.blobs[digest].size for digest in blobs}
    lines = [{"buildgraph-cache": FORMAT, "blobs": len(blobs), "bytes": sum(sizes.values())}, *map(list, sizes.items())]
    unsigned = 0
    for held in chosen:
        rows = [[kind, key, value] for kind, key, value in _rows(held, cas, seal)]
        unsigned += not all(_is_sealed(value) for _, _, value in rows)
        lines += rows
    index = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines).encode()
    with faults(f"write {path}"), replacing(path) as temporary, _writing(temporary, zipped=_is_zipped(path)) as archive:
        archive.addfile(_member(INDEX, len(index)), BytesIO(index))
        for digest, size in sizes.items():
            with _sound(digest, cas) as stream:
                archive.addfile(_member(_BLOB + digest, size), stream)
                stream.finish()
    return Packed(len(chosen), unsigned, len(blobs), sum(sizes.values()))


def is_whole(held: Held, inventory: Inventory) -> bool:
    """Whether a result has a record, and all of its outputs are in the cache."""
    return held.record is not None and all(
        (blob := inventory.blobs.get(output.digest)) is not None and blob.size == output.size for output in held.record.outputs
    )


def _rows(held: Held, cas: Cas, seal: Seal) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The records of a result; instead of one its envelope, where there is one or this run makes it."""
    record = held.record
    if record is None:
        return
    plain = record_to_json(replace(record, fetched=False, envelope=None))
    yield ACTION, record.action, _kept(record.envelope, cas) or _sealed(seal(record, None, None)) or plain
    for key, deep in sorted(held.deep.items()):
        plain = deep_to_json(replace(deep, envelope=None))
        yield DEEP, key, _kept(deep.envelope, cas) or _sealed(seal(record, key, deep)) or plain


def _envelopes(held: Held) -> set[str]:
    """The blobs with envelopes, which are in the index."""
    return {one.envelope for one in (held.record, *held.deep.values()) if one and one.envelope}


def _kept(envelope: Digest | None, cas: Cas) -> dict[str, Any] | None:
    """The envelope that another machine made; None where it is not there."""
    try:
        return None if envelope is None else _sealed(cas.read(envelope))
    except CacheError:
        return None


def _sealed(data: bytes | None) -> dict[str, Any] | None:
    try:
        value = None if data is None else json.loads(data)
    except ValueError:
        return None
    return value if _is_sealed(value) else None


def _is_sealed(value: object) -> bool:
    """Whether the index has an envelope in place of a record."""
    return isinstance(value, dict) and "payloadType" in value


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


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


class _Index(Struct):
    sizes: dict[Digest, int]
    records: dict[Digest, Record]
    deeps: dict[Digest, DeepRecord]
    left_out: dict[str, int]
    envelopes: dict[Digest, bytes]

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def unpack(path: Path, cas: Cas, records: Records, believed: Believed, room: int) -> Taken:
    """Takes in an archive: every blob by its digest, then the records that are believed and whose outputs are all there.

    Records are stored under the run's own tier. ``room`` is how many bytes the cache may grow by. Whatever is not exactly such
    an archive raises CacheError, and no record of it is stored then.
    """
    with faults(f"read {path}"), path.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        try:
            read = gzip.GzipFile(fileobj=file, mode="rb").read if zipped else file.read
            return _Reader(read, path, cas, records, believed).take(room)
        except _NO_ARCHIVE as error:
            raise _damaged(path, str(error)) from error


# What hostile or cut bytes make of reading: of gzip, of a tar header, of JSON.
_NO_ARCHIVE = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.HeaderError, ValueError, TypeError, RecursionError)


def _damaged(path: Path, why: str) -> CacheError:
    return CacheError(f"{path} is no sound archive of results: {why}", hint="nothing of it counts; without it `bg build` builds")


class _Reader:
    """Reads an archive from front to end, once. Only plain files in the expected order are let through."""

    def __init__(self, read: Callable[[int], bytes], path: Path, cas: Cas, records: Records, believed: Believed) -> None:
        self.read, self.path, self.cas, self.records, self.believed = read, path, cas, records, believed

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
        index = _Index({}, {}, {}, {}, {})
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
        if digest is not None and kind in {ACTION, DEEP} and _is_sealed(value):
            self._sealed_row(kind, digest, _canonical(value), index)
            return
        record = record_from_json(value, digest) if kind == ACTION and digest else None
        deep = deep_from_json(value) if kind == DEEP and digest else None
        found = record or deep
        if digest is None or found is None:
            index.leave_out("no record of a kind that is taken")
        elif found.tier not in {self.believed.tier, TRUSTED}:
            index.leave_out(told_tier(found.tier))
        elif self.believed.signed_only:
            index.leave_out("not signed")
        elif record is not None:
            index.records[digest] = replace(record, envelope=None)
        elif deep is not None:
            index.deeps[digest] = replace(deep, envelope=None)

    def _sealed_row(self, kind: str, key: Digest, data: bytes, index: _Index) -> None:
        opened = self.believed.unseal(kind, key, data)
        if isinstance(opened, str):
            index.leave_out(opened)
            return
        envelope = digest_bytes(data)
        index.envelopes[envelope] = data
        if opened.deep is None:
            index.records[key] = replace(opened.record, envelope=envelope)
        else:
            index.records.setdefault(opened.record.action, opened.record)
            index.deeps[key] = replace(opened.deep, envelope=envelope)

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
                whole[action] = replace(record, tier=self.believed.tier, fetched=True)
            else:
                index.leave_out("without all its files")
        leading = {key: replace(deep, tier=self.believed.tier) for key, deep in index.deeps.items() if deep.action in whole}
        for envelope in [*(one.envelope for one in whole.values()), *(one.envelope for one in leading.values())]:
            if envelope is not None:
                self.cas.put_bytes(index.envelopes[envelope])
        for group in _groups(list(whole)):
            self.records.put_many(ACTION, {action: record_to_json(whole[action]) for action in group})
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
