"""What is in an archive, as comparable members: apk segments and image layers, and the formats that lie in packages.

Members come in the order that the archive has them in. Contents are read from where they lie, so that a large archive is
not held in memory; only formats within formats are, up to ``MOST_NESTED`` bytes.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from buildgraph.apk.archive import CHUNK, MAX_DATA_SIZE
from buildgraph.structs import Struct

MOST_NESTED = 64 << 20
_IN_MEMORY = 32 << 20
_AR_MAGIC, _AR_HEADER = b"!<arch>\n", 60
_CHECKSUM = "APK-TOOLS.checksum.SHA1"  # of the content, which is compared itself
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
}


class Member(Struct, frozen=True):
    """A member of an archive: what is said of it, by what it is called for people, and its content."""

    name: str
    facts: dict[str, str]
    open: Callable[[], BinaryIO] = io.BytesIO


@contextmanager
def tar_members(stream: IO[bytes]) -> Iterator[list[Member]]:
    """The members of a tar, which may be in gzip members; valid within the block.

    Raises what `apk.archive.malformed` turns into a RepositoryError.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as plain:
        source = gzip.GzipFile(fileobj=stream) if _begins_with(stream, b"\x1f\x8b") else stream
        size = 0
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > MAX_DATA_SIZE:
                message = "its content is larger than bg accepts"
                raise ValueError(message)
            plain.write(chunk)
        plain.seek(0)
        with tarfile.open(fileobj=plain, mode="r:") as archive:
            yield [_tar_member(archive, info) for info in archive.getmembers()]


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    facts = {
        "kind": _KINDS.get(info.type, "unknown"),
        "mode": f"{info.mode:04o}",
        "owner": f"{info.uid}:{info.gid} {info.uname}:{info.gname}",
        "time": f"{info.mtime:.9g}" if info.mtime != int(info.mtime) else str(int(info.mtime)),
        "link target": info.linkname,
    }
    facts |= {f"attribute {key}": value for key, value in info.pax_headers.items() if _is_attribute(key)}

    def content() -> BinaryIO:
        return archive.extractfile(info) or io.BytesIO()  # type: ignore[return-value] # readable and seekable

    return Member(info.name, facts, content if info.isreg() else io.BytesIO)


def _is_attribute(key: str) -> bool:
    """Whether a header says more than the fields of a member do."""
    return key != _CHECKSUM and key not in tarfile.PAX_FIELDS and key not in {"atime", "ctime"}


def _begins_with(stream: IO[bytes], magic: bytes) -> bool:
    start = stream.read(len(magic))
    stream.seek(0)
    return start == magic


def nested_members(data: bytes) -> list[Member] | None:
    """The members of a zip, tar, ar or gzip file, None where it is none of these, or a broken one."""
    try:
        if data.startswith(b"PK\x03\x04"):
            return _zip_members(data)
        if data[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                return [_loaded(_tar_member(archive, info)) for info in archive.getmembers()]
        if data.startswith(_AR_MAGIC):
            return list(_ar_members(data))
        if data.startswith(b"\x1f\x8b"):
            return [_gzip_member(data)]
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError, RuntimeError):
        return None
    return None


def _loaded(member: Member) -> Member:
    return Member(member.name, member.facts, _holding(member.open().read()))


def _holding(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(data)


def _gzip_member(data: bytes) -> Member:
    """The content of a gzip file; its header has a time at byte 4 (RFC 1952, section 2.3)."""
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
    content = inflater.decompress(data, MOST_NESTED)
    if inflater.unconsumed_tail:
        message = "too large"
        raise ValueError(message)
    return Member("(uncompressed)", {"time": str(int.from_bytes(data[4:8], "little"))}, _holding(content))


def _zip_members(data: bytes) -> list[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > MOST_NESTED:
            message = "too large"
            raise ValueError(message)
        return [
            Member(
                info.filename,
                {
                    "mode": f"{stat.S_IMODE(info.external_attr >> 16):04o}",
                    "time": "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*info.date_time),
                    "extra field": info.extra.hex(),
                    "comment": info.comment.hex(),
                },
                _holding(archive.read(info)),
            )
            for info in infos
        ]


def _ar_members(data: bytes) -> Iterator[Member]:
    """The members of a static library: ar(5), with its name, time, owner, mode and size as decimal or octal texts."""
    position = len(_AR_MAGIC)
    while position + _AR_HEADER <= len(data):
        header = data[position : position + _AR_HEADER].decode("latin-1")
        size = int(header[48:58])
        facts = {
            "time": header[16:28].strip(),
            "owner": f"{header[28:34].strip()}:{header[34:40].strip()}",
            "mode": header[40:48].strip(),
        }
        position += _AR_HEADER
        yield Member(header[:16].rstrip(" /") or "(symbols)", facts, _holding(data[position : position + size]))
        position += size + size % 2
