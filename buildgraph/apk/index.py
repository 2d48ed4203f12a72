"""The index of an apk repository: its entries, its text (APKINDEX) and its archive (APKINDEX.tar.gz).

Sources: apko v1.2.37, pkg/apk/apk/apkindex.go (template, parser, limits) and repo.go (what meets a requirement).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator

from buildgraph.apk.version import Requirement
from buildgraph.errors import Place, RepositoryError
from buildgraph.structs import Struct

INDEX_NAME = "APKINDEX"
# apkindex.go: DefaultMaxAPKIndexDecompressedSize.
MAX_INDEX_SIZE = 300 << 20
_UINT64_MAX = (1 << 64) - 1
_INT64_MAX = (1 << 63) - 1
_UINT64_DIGITS = 20
_EXCERPT = 1000
_END_OF_ARCHIVE = b"\0" * 1024


class IndexEntry(Struct, frozen=True):
    """One package as an index lists it.

    ``checksum`` is ``Q1`` and the base64 of the control segment's SHA-1, or empty; ``size`` and ``installed_size`` are
    bytes; ``build_date`` counts seconds since 1970, 0 for none; requirements and provides are texts as written.
    """

    name: str
    version: str
    arch: str = ""
    checksum: str = ""
    size: int = 0
    installed_size: int = 0
    description: str = ""
    origin: str = ""
    license: str = ""
    url: str = ""
    commit: str = ""
    build_date: int = 0
    provider_priority: int = 0
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    install_if: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        """The name of its file in the repository's folder of the architecture."""
        return f"{self.name}-{self.version}.apk"

    def provided(self) -> Iterator[tuple[str, str | None]]:
        """Each name that it offers, its own first, with the version to compare, None where a `provides` states none."""
        yield self.name, self.version
        for text in self.provides:
            offer = Requirement.parse(text)
            yield offer.name, offer.version or None

    def meets(self, requirement: Requirement) -> bool:
        """Whether apko takes this package for the requirement (`constrain` and `filterPackages` together).

        A `provides` of the name with a version must fit; one without leaves it to the package's own version or to any
        version that it provides.
        """
        if self.name == requirement.name:
            return requirement.accepts(self.version)
        offers = [version for name, version in self.provided() if name == requirement.name]
        if not offers or not all(requirement.accepts(version) for version in offers):
            return False
        return any(requirement.accepts(version) for _, version in self.provided() if version is not None)


def parse_index(text: str, path: str = INDEX_NAME) -> list[IndexEntry]:
    """The entries of an APKINDEX text in its order; unknown fields are passed over.

    Raises RepositoryError with the line that cannot be read; ``path`` is the name to show.
    """
    entries = []
    fields: dict[str, str] = {}
    lines = text.split("\n")
    for number, line in enumerate([*lines, ""], start=1):
        if line[1:2] == ":":
            fields[line[0]] = line[2:].rstrip("\r")
        elif line.strip("\r"):
            message = "this is not one letter, a colon and a value"
            raise _unreadable(message, Place(path, number, excerpt=line[:_EXCERPT]))
        elif fields:
            if "P" in fields:
                try:
                    entries.append(_entry(fields))
                except _BadFieldError as error:
                    raise _unreadable(str(error), _field_place(path, lines[: number - 1], error.letter)) from error
            fields = {}
    return entries


def render_index(entries: Iterable[IndexEntry]) -> str:
    """The APKINDEX text of the entries: apko's fields in apko's order, a blank line after each record."""
    return "".join(map(_record, entries))


def read_index_archive(content: bytes, path: str = f"{INDEX_NAME}.tar.gz") -> list[IndexEntry]:
    """The entries of an APKINDEX.tar.gz, signed or not; no signature is checked.

    Raises RepositoryError where it is not such an archive, or larger than apko would read.
    """
    from buildgraph.apk.archive import inflated_members, malformed  # a plan reads no index

    text: str | None = None
    with malformed(path, "the index"):
        # To the end, although the text comes first: only there does gzip find out that bytes have changed.
        for info, file in inflated_members(io.BytesIO(content), MAX_INDEX_SIZE):
            if info.name == INDEX_NAME and file is not None:
                text = file.read().decode("utf-8", "replace")
    if text is None:
        message = f"the index has no {INDEX_NAME} file in it"
        raise RepositoryError(message, where=Place(path))
    return parse_index(text, path)


def index_archive(entries: Iterable[IndexEntry], description: str = "") -> bytes:
    """The unsigned APKINDEX.tar.gz of the entries; equal entries give equal bytes."""
    from buildgraph.apk.archive import plain_file, store

    members = plain_file(INDEX_NAME, render_index(entries).encode()) + plain_file("DESCRIPTION", description.encode())
    return store(members + _END_OF_ARCHIVE)


class _BadFieldError(ValueError):
    """A field of a record whose value is not of its type."""

    def __init__(self, letter: str, what: str) -> None:
        super().__init__(what)
        self.letter = letter


def _unreadable(why: str, where: Place) -> RepositoryError:
    return RepositoryError(f"the index cannot be read: {why}", where=where)


def _field_place(path: str, lines: list[str], letter: str) -> Place:
    """The last line that states a field: the one that counted."""
    number = max(number for number, line in enumerate(lines, start=1) if line.startswith(f"{letter}:"))
    return Place(path, number, 3, len(lines[number - 1]) - 2, lines[number - 1][:_EXCERPT])


def _entry(fields: dict[str, str]) -> IndexEntry:
    get = fields.get
    return IndexEntry(
        name=fields["P"],
        version=get("V", ""),
        arch=get("A", ""),
        checksum=_checksum(get("C", "")),
        size=_number(fields, "S"),
        installed_size=_number(fields, "I"),
        description=get("T", ""),
        origin=get("o", ""),
        license=get("L", ""),
        url=get("U", ""),
        commit=get("c", ""),
        build_date=_number(fields, "t", _INT64_MAX),
        provider_priority=_number(fields, "k"),
        depends=_words(get("D", "")),
        provides=_words(get("p", "")),
        install_if=_words(get("i", "")),
        replaces=_words(get("r", "")),
    )


def _record(entry: IndexEntry) -> str:
    before: tuple[tuple[str, object], ...] = (("A", entry.arch), ("S", entry.size), ("I", entry.installed_size))
    after: tuple[tuple[str, object], ...] = (
        ("U", entry.url),
        ("L", entry.license),
        ("o", entry.origin),
        ("t", entry.build_date),
        ("c", entry.commit),
        ("D", " ".join(entry.depends)),
        # apko's own template prints a Go list here, which its parser cannot read back.
        ("i", " ".join(entry.install_if)),
        ("p", " ".join(entry.provides)),
        ("r", " ".join(entry.replaces)),
        ("k", entry.provider_priority),
    )
    lines = [f"C:{entry.checksum or 'Q1'}", f"P:{entry.name}", f"V:{entry.version}"]
    lines += [f"{letter}:{value}" for letter, value in before if value]
    lines.append(f"T:{entry.description}")
    lines += [f"{letter}:{value}" for letter, value in after if value]
    return "\n".join(_one_line(line) for line in lines) + "\n\n"


def _one_line(line: str) -> str:
    """The line without breaks of its own: a description of two lines must not end the record."""
    return line.replace("\r", " ").replace("\n", " ") if "\n" in line or "\r" in line else line


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(" "))) if text else ()


def _number(fields: dict[str, str], letter: str, largest: int = _UINT64_MAX) -> int:
    text = fields.get(letter, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _UINT64_DIGITS and int(text) <= largest):
        raise _BadFieldError(letter, f"`{text[:40]}` is not a number in its range")
    return int(text)


def _checksum(text: str) -> str:
    if text in {"", "Q1"}:
        return ""
    if text.startswith("Q1"):
        try:
            base64.b64decode(text[2:], validate=True)
        except ValueError as error:
            message = "C"
            raise _BadFieldError(message, f"`{text[:60]}` is not a checksum") from error
    return text
