"""apk package files: what they say of themselves, and the one canonical form in which bg keeps them.

A package is gzip members: a signature or none, the control segment with `.PKGINFO`, and the data segment, whose SHA-256
the `.PKGINFO` states. Sources: melange v0.59.1, pkg/build/package.go; apko v1.2.37, pkg/apk/expandapk/split.go.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from buildgraph.apk.archive import (
    CHUNK,
    MAX_CONTROL_SIZE,
    MAX_DATA_SIZE,
    copy,
    inflated_members,
    malformed,
    read_member,
    replacing,
    store,
    tar_entry,
    tar_members,
)
from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pkginfo import PKGINFO_NAME, parse_pkginfo, with_size
from buildgraph.apk.writer import control_checksum
from buildgraph.structs import Struct, replace

_SBOM = re.compile(r"(?:\./)?var/lib/db/sbom/[^/]+\.spdx\.json")


class Segments(Struct, frozen=True):
    """Where the parts of a package file are: byte offsets of the control and data segments, and the file's length.

    A signature, where there is one, takes the bytes before ``control``.
    """

    control: int
    data: int
    end: int


class PackageInfo(Struct, frozen=True):
    """What a package file says: its index entry, the SHA-256 (hex) of its data segment, and where its segments are."""

    entry: IndexEntry
    datahash: str
    segments: Segments


def read_package(path: Path, *, verify: bool = False) -> PackageInfo:
    """Reads a package's control segment; with ``verify`` also checks the data segment against its hash.

    Takes constant memory. Raises RepositoryError where the file is missing or broken, or the hash differs.
    """
    with malformed(path, "the package"), path.open("rb") as file:
        info, _ = _read_control(file)
        if verify:
            data = _HashingReader(file)
            while data.read(CHUNK):
                pass
            _check_datahash(info, data)
        return info


def canonicalise(source: Path, destination: Path) -> PackageInfo:
    """Writes a package in its canonical form, which depends on nothing but its content.

    melange counts directories in `size`, so that it differs between file systems; here it is the sum of the regular files.
    The control segment is written anew with stored deflate blocks, which come out the same from any zlib, and a signature is
    left out; the data segment keeps its bytes. The canonical form of a canonical package is the package itself.

    Raises RepositoryError where the source is broken, OutputError where the destination cannot be written.
    """
    with malformed(source, "the package"), source.open("rb") as file:
        info, content = _read_control(file)
        installed_size = _installed_size(file, info)
        control = _with_installed_size(content, installed_size)
        file.seek(info.segments.data)
        with replacing(destination) as output:
            output.write(control)
            copy(file, [output])
    segments = Segments(0, len(control), len(control) + info.segments.end - info.segments.data)
    entry = replace(info.entry, checksum=control_checksum(control), size=segments.end, installed_size=installed_size)
    return PackageInfo(entry, info.datahash, segments)


def index_entry(info: PackageInfo, size: int) -> IndexEntry:
    """The entry that `melange index` makes for a package whose file has ``size`` bytes."""
    return replace(info.entry, size=size)


def package_files(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """The members of a package's data segment in their order, each with its content to read before the next is asked for.

    Raises RepositoryError where the file is missing or broken.
    """
    with malformed(path, "the package"), path.open("rb") as file:
        _read_control(file)
        yield from inflated_members(file, MAX_DATA_SIZE)


def package_sbom(path: Path) -> bytes | None:
    """The SPDX document that melange puts into a package (pkg/build/sbom/spdx/spdx.go), None where there is none."""
    for member, content in package_files(path):
        if content is not None and _SBOM.fullmatch(member.name):
            return content.read()
    return None


class _HashingReader:
    """A stream that remembers the SHA-256 of what was read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._read: Callable[[int], bytes] = file.read
        self._digest = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        chunk = self._read(size)
        self._digest.update(chunk)
        return chunk

    def hexdigest(self) -> str:
        """The digest so far."""
        return self._digest.hexdigest()


def _read_control(file: BinaryIO) -> tuple[PackageInfo, bytes]:
    """Reads up to the data segment, where the file is left; returns the tar stream of the control segment too."""
    end = os.fstat(file.fileno()).st_size
    start = 0
    content, length = read_member(file, MAX_CONTROL_SIZE)
    if _first_name(content).startswith(".SIGN."):
        start = length
        file.seek(start)
        content, length = read_member(file, MAX_CONTROL_SIZE)
    segments = Segments(start, start + length, end)
    file.seek(segments.control)
    checksum = control_checksum(file.read(length))
    if segments.data == end:
        message = "it has no data segment"
        raise ValueError(message)
    stated = parse_pkginfo(_pkginfo(content))
    return PackageInfo(replace(stated.entry, checksum=checksum, size=end), stated.datahash, segments), content


def _first_name(content: bytes) -> str:
    return next((info.name for info, _ in tar_members(io.BytesIO(content))), "")


def _pkginfo(content: bytes) -> bytes:
    for info, file in tar_members(io.BytesIO(content)):
        if info.name == PKGINFO_NAME and file is not None:
            return file.read()
    message = f"it has no {PKGINFO_NAME}"
    raise ValueError(message)


def _installed_size(file: BinaryIO, info: PackageInfo) -> int:
    """The bytes of all regular files of the data segment, at whose start the file is; checks its hash in passing."""
    data = _HashingReader(file)
    total = sum(member.size for member, content in inflated_members(data, MAX_DATA_SIZE) if content is not None)
    _check_datahash(info, data)
    return total


def _check_datahash(info: PackageInfo, data: _HashingReader) -> None:
    if info.datahash != data.hexdigest():
        message = f"its data segment has sha256 {data.hexdigest()}, but its {PKGINFO_NAME} says {info.datahash or 'nothing'}"
        raise ValueError(message)


def _with_installed_size(content: bytes, installed_size: int) -> bytes:
    members = []
    for info, file in tar_members(io.BytesIO(content)):
        data = file.read() if file else b""
        if info.name == PKGINFO_NAME:
            data = with_size(data, installed_size)
        info.size = len(data)
        # A recorded length would win over the one just set.
        info.pax_headers = {key: value for key, value in info.pax_headers.items() if key != "size"}
        members.append(tar_entry(info, data))
    return store(b"".join(members))
