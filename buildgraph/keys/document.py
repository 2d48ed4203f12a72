"""Key documents: everything that an action's outputs depend on, one entry each, and how two documents differ.

The walk that writes a document is the only place that decides what counts, so a key and its explanation cannot disagree.
Of an entry, ``section``, ``name`` and ``value`` are hashed; ``why`` and ``place`` only explain. Entries are a set: their
order never matters, and a second entry of the same section and name with another value is a defect (ValueError).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from buildgraph.keys.digest import Digest, digest_bytes
from buildgraph.structs import Struct, to_json

FORMAT = 1

# Sections, in the order in which differences are told: causes close to the user's hand first.
SECTIONS = ("recipe", "source", "fetched", "pipeline", "setting", "local", "package", "external", "tool", "format")


class Entry(NamedTuple):
    """One thing that the outputs depend on.

    ``value`` is a digest or a short text; ``why`` says in a few words why it counts; ``place`` is ``file`` or ``file:line``.
    """

    section: str
    name: str
    value: str
    why: str = ""
    place: str = ""


_JSON = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class Change(Struct, frozen=True):
    """An entry that differs between two documents; None where it is absent."""

    section: str
    name: str
    old: Entry | None
    new: Entry | None


class KeyDocument(Struct, frozen=True):
    """A sorted, duplicate-free list of entries."""

    entries: tuple[Entry, ...]

    @staticmethod
    def of(entries: Iterable[Entry]) -> KeyDocument:
        """The document of some entries, in any order; ValueError for two values of one section and name."""
        ordered = sorted(entries)
        unique = {entry[:2]: entry for entry in ordered}
        if len(unique) < len(ordered):
            for entry in ordered:
                if unique[entry[:2]].value != entry.value:
                    raise _contradiction(entry.section, entry.name)
        return KeyDocument(tuple(unique.values()))

    def key(self) -> Digest:
        """The digest over what counts, independent of explanations."""
        return _key([entry[:3] for entry in self.entries])

    def to_bytes(self) -> bytes:
        """One JSON array a line: section, name, value, why, place."""
        return "".join(f"{_JSON(entry)}\n" for entry in self.entries).encode()

    @staticmethod
    def from_bytes(data: bytes) -> KeyDocument:
        """The document that ``to_bytes`` wrote; ValueError where the bytes are none."""
        entries = []
        for line in data.splitlines():
            fields = json.loads(line)
            if not (isinstance(fields, list) and len(fields) == 5 and all(isinstance(field, str) for field in fields)):  # noqa: PLR2004 - the five fields of Entry
                message = "not a key document"
                raise ValueError(message)
            entries.append(Entry(*fields))
        return KeyDocument.of(entries)


def key_of(values: Iterable[tuple[str, str, str]]) -> Digest:
    """The key of the document whose entries have these sections, names and values; ValueError as ``KeyDocument.of``.

    A key is asked for far more often than what explains it.
    """
    ordered = sorted(set(values))
    for one, other in itertools.pairwise(ordered):
        if one[:2] == other[:2]:
            raise _contradiction(one[0], one[1])
    return _key(ordered)


def _key(values: Sequence[tuple[str, str, str]]) -> Digest:
    document = [FORMAT, values]
    # What is plain ASCII, as nearly all of them are, the quick writer writes as the other does.
    quick = to_json(document)
    return digest_bytes(quick if quick.isascii() and b"\x7f" not in quick else _JSON(document).encode())


def _contradiction(section: str, name: str) -> ValueError:
    return ValueError(f"two values for {section} {name}")


def difference(old: KeyDocument, new: KeyDocument) -> list[Change]:
    """What changed from ``old`` to ``new``, nearest causes first."""
    before = {(entry.section, entry.name): entry for entry in old.entries}
    after = {(entry.section, entry.name): entry for entry in new.entries}
    rank = {section: position for position, section in enumerate(SECTIONS)}
    changed = [
        Change(section, name, before.get((section, name)), after.get((section, name)))
        for section, name in before.keys() | after.keys()
        if (before.get((section, name)) or _NOTHING).value != (after.get((section, name)) or _NOTHING).value
    ]
    return sorted(changed, key=lambda change: (rank.get(change.section, len(rank)), change.name))


_NOTHING = Entry("", "", "\0absent")
