"""``buildgraph.lock``: the pool of external packages that the workspace may use, one package a line.

The first line names the format; each other line is one JSON object with its keys in the order of ``_FIELDS``; lines are
sorted by architecture, name, version and repository, so that the file diffs and merges line by line. docs/format.md
describes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from buildgraph.apk.index import IndexEntry
from buildgraph.errors import LockError, Place
from buildgraph.structs import Alike, Struct, field, from_json, replace

HEADER = '{"buildgraph.lock":1}'
_FIELDS = (
    "arch", "name", "version", "repository", "checksum", "size", "installed-size", "origin", "priority",
    "depends", "provides", "install-if",
)  # fmt: skip
_TEXTS = ("arch", "name", "version", "repository", "checksum", "origin")
_NUMBERS = ("size", "installed-size", "priority")
_LISTS = ("depends", "provides", "install-if")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")
_CHECKSUM = re.compile(r"Q1[A-Za-z0-9+/]{27}=\Z")


class Locked(Struct, frozen=True):
    """One external package: its index entry and the repository it comes from, as recipes name it."""

    entry: IndexEntry
    repository: str

    @property
    def sort_key(self) -> tuple[str, str, str, str]:
        """Where its line stands."""
        return (self.entry.arch, self.entry.name, self.entry.version, self.repository)


class Lock(Alike, frozen=True):  # type: ignore[misc]  # what it inherits has no fields to change
    """The lock's packages, sorted. ``text`` is what the file holds."""

    packages: tuple[Locked, ...] = ()
    _by_checksum: dict[str, Locked] = field(default_factory=dict)
    _digest: str = ""

    def compared(self) -> object:
        """The packages."""
        return self.packages

    @staticmethod
    def of(packages: Iterable[Locked]) -> Lock:
        """A lock of these packages; of two lines for one package of one repository the last counts."""
        unique = {package.sort_key: package for package in packages}
        ordered = tuple(unique[key] for key in sorted(unique))
        return Lock(ordered, {package.entry.checksum: package for package in ordered})

    def with_packages(self, packages: Iterable[Locked]) -> Lock:
        """This lock and more packages."""
        return Lock.of((*self.packages, *packages))

    def entries(self, architecture: str) -> list[IndexEntry]:
        """The index entries of one architecture."""
        return [package.entry for package in self.packages if package.entry.arch == architecture]

    def source_of(self, checksum: str) -> Locked | None:
        """The package with a checksum."""
        return self._by_checksum.get(checksum)

    def digest(self) -> str:
        """What stands for this lock where locks are compared: of the file that it was read from, or would be written to."""
        return self._digest or _digest_of(self.text().encode())

    def text(self) -> str:
        """The file's content."""
        return "".join(f"{line}\n" for line in (HEADER, *map(_line, self.packages)))


def _digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _line(package: Locked) -> str:
    entry = package.entry
    values = {
        "arch": entry.arch,
        "name": entry.name,
        "version": entry.version,
        "repository": package.repository,
        "checksum": entry.checksum,
        "size": entry.size,
        "installed-size": entry.installed_size,
        "origin": entry.origin,
        "priority": entry.provider_priority,
        "depends": list(entry.depends),
        "provides": list(entry.provides),
        "install-if": list(entry.install_if),
    }
    return json.dumps({key: values[key] for key in _FIELDS if values[key] not in (0, [], "")}, separators=(", ", ": "))


def read_lock(path: Path) -> Lock:
    """The lock in a file; an empty lock where there is none.

    Raises LockError with the line that is wrong.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except FileNotFoundError:
        return Lock.of(())
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {path.name}: {error}"
        raise LockError(message) from error
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        where = Place(path.name, 1, 1, 1, lines[0] if lines else "")
        message = "not a lock of a format that this version knows"
        raise LockError(message, where=where, hint="take it from version control again, or delete it and run `bg lock`")
    lock = Lock.of(_parse(path.name, number, line) for number, line in enumerate(lines[1:], 2) if line.strip())
    return replace(lock, _digest=_digest_of(data))


def _parse(name: str, number: int, line: str) -> Locked:
    try:
        return _locked(from_json(line))
    except (ValueError, RecursionError) as error:
        conflict = line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||"))
        what = "a merge conflict" if conflict else f"not a package line: {error}"
        hint = (
            "keep the lines of both sides and delete the markers"
            if conflict
            else "`bg lock` writes it anew after the line is gone"
        )
        raise LockError(what, where=Place(name, number, 1, min(len(line), 80), line), hint=hint) from error


def _locked(raw: object) -> Locked:
    if not isinstance(raw, dict):
        message = "expected an object"
        raise ValueError(message)  # noqa: TRY004 - caught with json's own ValueError
    for key, value in raw.items():
        if key not in _FIELDS:
            message = f"unknown field `{key}`"
            raise ValueError(message)
        fits = (
            (key in _TEXTS and isinstance(value, str))
            or (key in _NUMBERS and type(value) is int)
            or (key in _LISTS and isinstance(value, list) and all(isinstance(item, str) for item in value))
        )
        if not fits:
            message = f"field `{key}` has the wrong type"
            raise ValueError(message)
    for key in ("arch", "name", "version"):
        if not _SAFE_NAME.match(raw.get(key, "")):
            message = f"field `{key}` is missing or not a plain name"
            raise ValueError(message)
    if not _CHECKSUM.match(raw.get("checksum", "")):
        message = "field `checksum` is missing or not a Q1 checksum"
        raise ValueError(message)
    entry = IndexEntry(
        name=raw["name"],
        version=raw["version"],
        arch=raw["arch"],
        checksum=raw["checksum"],
        size=raw.get("size", 0),
        installed_size=raw.get("installed-size", 0),
        origin=raw.get("origin", ""),
        provider_priority=raw.get("priority", 0),
        depends=tuple(raw.get("depends", ())),
        provides=tuple(raw.get("provides", ())),
        install_if=tuple(raw.get("install-if", ())),
    )
    return Locked(entry, raw.get("repository", ""))


def write_lock(path: Path, lock: Lock) -> None:
    """Replaces the file in one step; LockError where that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(lock.text(), "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = f"cannot write {path.name}: {error.strerror}"
        raise LockError(message) from error
