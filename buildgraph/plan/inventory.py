"""What a cache holds, as things that are kept or go as a whole: results, what was fetched, and the rest.

A result is an action's record with the deep keys that lead to it, and all blobs that these name. Blobs may belong to several
things. When a result was used last is told by its key document: builds touch that file (`Cas.touch`), which is never an output.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from buildgraph.cache.cas import BlobStat, Cas, open_unnoticed
from buildgraph.cache.records import Records, Row
from buildgraph.cache.storage import Stored, damaged, unpacked
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.plan.record import FORMAT, DeepRecord, Record, deep_from_json, record_from_json
from buildgraph.plan.roots import WANTED, Wanted, wanted_from_json
from buildgraph.plan.store import ACTION, DEEP, LAST, Last, last_from_json
from buildgraph.structs import Struct, field, replace

FETCHED = ("external", "source")  # the kinds of records on what came from outside; any digest in them names a blob
Kind = Literal["result", "fetched", "stray", "unpacked", "damaged", "workspace"]
# The lines of a key document whose value may be the digest of a stored text (docs/format.md, Key documents).
_TEXT = re.compile(rb'^\["(?:recipe|pipeline|setting)",.*?"([0-9a-f]{64})"', re.MULTILINE)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Held(Struct, frozen=True):
    """Something that is kept or goes as a whole.

    ``name`` says what it is, to people; ``stored`` is the file or folder that it is, if it is no rows and blobs.
    """

    kind: Kind
    name: str
    used_at: float
    rows: tuple[tuple[str, str], ...] = ()
    blobs: frozenset[str] = frozenset()
    stored: Stored | None = None
    stored_at: float = 0.0
    record: Record | None = None
    deep: Mapping[Digest, DeepRecord] = field(default_factory=dict)
    action: str = ""

    @property
    def target(self) -> str:
        """The label of the target that a result is of; empty where there is no record."""
        return self.record.node.partition("@")[0] if self.record else ""


class Inventory(Struct):
    """All that a cache holds.

    ``blobs`` are all, by digest; ``held`` covers each of them but those in ``foreign``, which only rows name that this bg does
    not know; ``wrong`` are rows of known kinds without a sound record; ``counts`` and ``bytes`` are of rows by kind.
    """

    blobs: dict[str, BlobStat]
    held: list[Held] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    wrong: list[Row] = field(default_factory=list)
    lasts: dict[str, Last] = field(default_factory=dict)
    wanted: dict[str, tuple[Wanted, float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    @property
    def results(self) -> list[Held]:
        """The results that have a record."""
        return [held for held in self.held if held.record is not None]

    def size(self) -> int:
        """The bytes of all blobs, unpacked packages and damaged files."""
        return sum(blob.size for blob in self.blobs.values()) + sum(held.stored.size for held in self.held if held.stored)

    def size_of(self, held: Held) -> int:
        """The bytes of all that a thing names, whether or not others name it too."""
        own = held.stored.size if held.stored else 0
        return own + sum(self.blobs[digest].size for digest in held.blobs if digest in self.blobs)


def take_inventory(root: Path, cas: Cas, records: Records, *, texts: bool = False) -> Inventory:
    """Looks at everything in a cache; blob contents are not read, but for key documents where ``texts`` asks for it.

    With ``texts`` a result holds the texts too that its documents name (recipes, pipelines, keys); without, they count as strays.
    Raises CacheError.
    """
    found = Inventory(cas.stats())
    actions: dict[str, tuple[Record, float]] = {}
    deeps: dict[str, list[tuple[str, DeepRecord, float]]] = {}
    for row in records.rows():
        found.counts[row.kind] += 1
        found.bytes[row.kind] += row.size
        if not _take_row(row, found, actions, deeps):
            found.wrong.append(row)
    explained: dict[str, set[str]] = {}
    for last in found.lasts.values():
        explained.setdefault(last.action, set()).add(last.deep_document)
    for action in actions.keys() | deeps.keys():
        held = _result(action, actions.get(action), deeps.get(action, []), found.blobs)
        held = replace(held, blobs=held.blobs | explained.get(action, set()))
        found.held.append(_with_texts(held, cas) if texts else held)
    found.held += [Held("unpacked", stored.path.name, stored.used_at, stored=stored) for stored in unpacked(root)]
    found.held += [Held("damaged", stored.path.name, stored.used_at, stored=stored) for stored in damaged(root)]
    named = found.foreign.union(*(held.blobs for held in found.held))
    found.held += [
        Held("stray", digest, blob.used_at, blobs=frozenset({digest}))
        for digest, blob in found.blobs.items()
        if digest not in named
    ]
    return found


def _take_row(
    row: Row,
    found: Inventory,
    actions: dict[str, tuple[Record, float]],
    deeps: dict[str, list[tuple[str, DeepRecord, float]]],
) -> bool:
    """Takes a row in; False for one of a known kind that says nothing."""
    if row.value is None:
        return False
    if row.kind in FETCHED:
        blobs = frozenset(digests_in(row.value))
        used_at = max((found.blobs[digest].used_at for digest in blobs if digest in found.blobs), default=row.stored_at)
        name = str(row.value.get("package") or row.value.get("address") or row.key)
        found.held.append(Held("fetched", name, used_at, ((row.kind, row.key),), blobs, stored_at=row.stored_at))
        return True
    if row.kind not in {ACTION, DEEP, LAST, WANTED} or is_newer(row.value):
        found.foreign.update(digests_in(row.value))
        return True
    record = record_from_json(row.value, Digest(row.key)) if row.kind == ACTION else None
    deep = deep_from_json(row.value) if row.kind == DEEP and parse_digest(row.key) else None
    last = last_from_json(row.value) if row.kind == LAST else None
    wanted = wanted_from_json(row.value) if row.kind == WANTED else None
    if record is not None:
        actions[record.action] = record, row.stored_at
    elif deep is not None:
        deeps.setdefault(deep.action, []).append((row.key, deep, row.stored_at))
    elif last is not None:
        found.lasts[row.key] = last
    elif wanted is not None:
        found.wanted[row.key] = wanted, row.stored_at
    return any((record, deep, last, wanted))


def is_newer(value: Mapping[str, Any]) -> bool:
    """Whether a later version of bg wrote a record, which this one cannot judge."""
    number = value.get("format", FORMAT)
    return isinstance(number, int) and number > FORMAT


def _result(
    action: str,
    known: tuple[Record, float] | None,
    deeps: Iterable[tuple[str, DeepRecord, float]],
    blobs: Mapping[str, BlobStat],
) -> Held:
    deeps = list(deeps)
    record = known[0] if known else None
    stored_at = max([*([known[1]] if known else []), *(at for _, _, at in deeps)])
    noted = blobs.get(record.document) if record else None
    rows = [*([(ACTION, action)] if known else []), *((DEEP, key) for key, _, _ in deeps)]
    named = {str(digest) for _, deep, _ in deeps for digest in (deep.document, deep.envelope) if digest}
    named |= blobs_of(record) if record else set()
    return Held(
        "result",
        record.node if record else "a deep key without a result",
        max(stored_at, noted.used_at if noted else 0.0),
        tuple(rows),
        frozenset(named),
        stored_at=stored_at,
        record=record,
        deep={Digest(key): deep for key, deep, _ in deeps},
        action=action,
    )


def blobs_of(record: Record) -> set[str]:
    """The blobs that a record names."""
    beside = {digest for digest in (record.log, record.envelope) if digest}
    return {record.document, *beside, *(output.digest for output in record.outputs)}


def _with_texts(held: Held, cas: Cas) -> Held:
    documents = [held.record.document] if held.record else []
    documents += [deep.document for deep in held.deep.values()]
    texts = {text for document in documents for text in texts_of(document, cas)}
    return replace(held, blobs=held.blobs | texts) if texts else held


def texts_of(document: Digest, cas: Cas) -> list[str]:
    """The stored texts that a key document names; none where it is not there."""
    try:
        with open_unnoticed(cas.path(document)) as stream:
            data = stream.read()
    except OSError:
        return []
    return [found.decode() for found in _TEXT.findall(data)]


def digests_in(value: object) -> Iterator[str]:
    """All texts in some JSON that can be digests, whatever they stand for."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            if _DIGEST.fullmatch(one):
                yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
