"""Writes apk packages: the same fields and files always give the same bytes (data level 0: with any zlib).

The layout is melange's (pkg/build/package.go, pkg/tarball): control segment, then data segment, parents before children,
and for every file and symlink the SHA-1 that apko wants (pkg/tarfs/fs.go).
"""

from __future__ import annotations

import base64
import hashlib
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from buildgraph.apk.archive import GzipWriter, copy, plain_file, replacing, store, tar_entry
from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pkginfo import PKGINFO_NAME, render_pkginfo
from buildgraph.structs import Struct, replace

_CHECKSUM_HEADER = "APK-TOOLS.checksum.SHA1"
_END_OF_ARCHIVE = b"\0" * 1024
_DIRECTORY_MODE = 0o755


class PackageFile(Struct, frozen=True):
    """A file, directory or symlink of a package; ``mode`` holds the permission bits, ``target`` is the symlink's text."""

    kind: Literal["file", "dir", "symlink"]
    mode: int = 0o644
    data: bytes = b""
    target: str = ""


def write_package(destination: Path, info: IndexEntry, files: Mapping[str, PackageFile], *, level: int = 6) -> IndexEntry:
    """Writes an unsigned apk and returns its index entry: ``info`` with checksum, size and installed size filled in.

    ``files`` maps paths (relative, `/` between parts) to what is there; parent directories that it leaves out get mode
    0755. Each value is asked for once, in sorted order, so a mapping may load them as they are needed. Everything belongs
    to root and has no time. ``level`` is the gzip level of the data segment. Raises OutputError where it cannot be
    written, ValueError for a path that leaves the package.
    """
    with replacing(destination) as file, tempfile.TemporaryFile(dir=destination.parent) as data:
        digest = hashlib.sha256()
        installed = 0
        segment = GzipWriter(_Tee(data, digest), level)
        for path in _with_parents(files):
            entry = files[path] if path in files else PackageFile("dir", _DIRECTORY_MODE)
            segment.write(_data_member(path, entry))
            installed += len(entry.data) if entry.kind == "file" else 0
        segment.write(_END_OF_ARCHIVE)
        segment.close()

        unchecked = replace(info, installed_size=installed, size=0, checksum="")
        control = control_segment(unchecked, digest.hexdigest())
        data_size = data.tell()
        data.seek(0)
        file.write(control)
        copy(data, [file])
    return replace(unchecked, checksum=control_checksum(control), size=len(control) + data_size)


def control_segment(info: IndexEntry, datahash: str) -> bytes:
    """The control segment with nothing but the `.PKGINFO` of an entry."""
    return store(plain_file(PKGINFO_NAME, render_pkginfo(info, datahash)))


def control_checksum(control: bytes) -> str:
    """The checksum by which an index and apk's database know a package: over the bytes of its control segment."""
    return "Q1" + base64.b64encode(hashlib.sha1(control, usedforsecurity=False).digest()).decode()


class _Tee(Struct):
    """Writes to a file and a digest at once."""

    file: IO[bytes]
    digest: hashlib._Hash

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.file.write(data)


def _with_parents(files: Mapping[str, PackageFile]) -> list[str]:
    """Every path and its parents, sorted by parts, so that a directory comes before what is in it."""
    paths: set[PurePosixPath] = set()
    for text in files:
        path = PurePosixPath(text)
        if str(path) != text or path.is_absolute() or ".." in path.parts or not path.parts:
            message = f"`{text}` is not a plain relative path"
            raise ValueError(message)
        paths.add(path)
        paths.update(parent for parent in path.parents if parent.parts)
    return [str(path) for path in sorted(paths, key=lambda path: path.parts)]


def _data_member(path: str, entry: PackageFile) -> bytes:
    info = tarfile.TarInfo(path)
    info.mode = entry.mode
    info.uname = info.gname = "root"
    if entry.kind == "dir":
        info.type = tarfile.DIRTYPE
        return tar_entry(info)
    content = entry.data
    if entry.kind == "symlink":
        info.type = tarfile.SYMTYPE
        info.linkname = entry.target
        content = b""
    else:
        info.size = len(content)
    checked = entry.data if entry.kind == "file" else entry.target.encode("utf-8", "surrogateescape")
    info.pax_headers = {_CHECKSUM_HEADER: hashlib.sha1(checked, usedforsecurity=False).hexdigest()}
    return tar_entry(info, content)
