"""The `.PKGINFO` file of a package's control segment.

Sources: melange v0.59.1, pkg/build/package.go (what is written); apko v1.2.37, pkg/apk/types (what is read, through Go's
ini.v1, whose comments and quotes are followed here so that an index says what `melange index` would).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from buildgraph.apk.index import IndexEntry
from buildgraph.structs import Struct

PKGINFO_NAME: Final = ".PKGINFO"
_SIZE_LINE: Final = re.compile(rb"^size[ \t]*=.*$", re.MULTILINE)
_DATAHASH_LINE: Final = re.compile(rb"^datahash[ \t]*=", re.MULTILINE)
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


class ControlInfo(Struct, frozen=True):
    """What a `.PKGINFO` says: the entry, still without checksum and file size, and the hex SHA-256 of the data segment."""

    entry: IndexEntry
    datahash: str


def parse_pkginfo(content: bytes) -> ControlInfo:
    """Reads a `.PKGINFO`; raises ValueError where the name or version is missing or a number is none."""
    values = _values(content.decode("utf-8", "replace"))
    for key in ("pkgname", "pkgver"):
        if not _first(values, key):
            message = f"its {PKGINFO_NAME} states no {key}"
            raise ValueError(message)
    entry = IndexEntry(
        name=_first(values, "pkgname"),
        version=_first(values, "pkgver"),
        arch=_first(values, "arch"),
        installed_size=_number(values, "size"),
        description=_first(values, "pkgdesc"),
        origin=_first(values, "origin"),
        license=_first(values, "license"),
        url=_first(values, "url"),
        commit=_first(values, "commit"),
        build_date=_number(values, "builddate"),
        provider_priority=_number(values, "provider_priority"),
        depends=_each(values, "depend"),
        provides=_each(values, "provides"),
        install_if=_each(values, "install_if"),
        replaces=_each(values, "replaces"),
    )
    return ControlInfo(entry, _first(values, "datahash"))


def render_pkginfo(entry: IndexEntry, datahash: str) -> bytes:
    """The `.PKGINFO` of an entry, its keys in melange's order; checksum and file size have no place in it."""
    lines = [
        f"pkgname = {entry.name}",
        f"pkgver = {entry.version}",
        f"arch = {entry.arch}",
        f"size = {entry.installed_size}",
        f"origin = {entry.origin}",
        f"pkgdesc = {entry.description}",
        f"url = {entry.url}",
        f"commit = {entry.commit}",
    ]
    if entry.build_date:
        lines.append(f"builddate = {entry.build_date}")
    if entry.license:
        lines.append(f"license = {entry.license}")
    lists = (
        ("depend", entry.depends),
        ("provides", entry.provides),
        ("install_if", entry.install_if),
        ("replaces", entry.replaces),
    )
    lines += [f"{key} = {value}" for key, values in lists for value in values]
    if entry.provider_priority:
        lines.append(f"provider_priority = {entry.provider_priority}")
    lines.append(f"datahash = {datahash}")
    return "".join(line.replace("\r", " ").replace("\n", " ") + "\n" for line in lines).encode()


def with_size(content: bytes, size: int) -> bytes:
    """The same `.PKGINFO`, every other byte kept, with ``size =`` stating this many bytes."""
    line = b"size = %d" % size
    if _SIZE_LINE.search(content):
        return _SIZE_LINE.sub(line, content)
    datahash = _DATAHASH_LINE.search(content)
    position = datahash.start() if datahash else len(content)
    return content[:position] + line + b"\n" + content[position:]


def _values(text: str) -> Mapping[str, list[str]]:
    values: dict[str, list[str]] = {}
    for raw in text.split("\n"):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        delimiter = re.search("[=:]", line)
        if delimiter is None:
            message = f"its {PKGINFO_NAME} has a line without `=`: `{line[:80]}`"
            raise ValueError(message)
        known = values.setdefault(line[: delimiter.start()].strip(), [])
        value = _unquoted(line[delimiter.end() :].strip())
        if value not in known:
            known.append(value)
    return values


def _unquoted(value: str) -> str:
    """The value as ini.v1 sees it: `#` and `;` begin a comment unless quoted, one pair of quotes around it is dropped."""
    for quote in ('"""', "`"):
        if value.startswith(quote) and len(value) > len(quote):
            end = value.rfind(quote)
            if end >= len(quote):
                return value[len(quote) : end]
    value = re.split("[#;]", value, maxsplit=1)[0].strip()
    for quote in "'\"":
        if len(value) > 1 and value[0] == value[-1] == quote and value.count(quote) == 2:  # noqa: PLR2004 - a pair
            return value[1:-1]
    return value


def _first(values: Mapping[str, list[str]], key: str) -> str:
    return values.get(key, [""])[0]


def _each(values: Mapping[str, list[str]], key: str) -> tuple[str, ...]:
    """The values of a repeated key; ini.v1 also splits each at commas."""
    return tuple(part.strip() for value in values.get(key, ()) if value for part in value.split(","))


def _number(values: Mapping[str, list[str]], key: str) -> int:
    text = _first(values, key) or "0"
    if not _NUMBER.fullmatch(text):
        message = f"its {PKGINFO_NAME} has `{text[:40]}` for {key}, which is not a number"
        raise ValueError(message)
    return int(text)
