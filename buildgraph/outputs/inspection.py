"""What a built package or image is: read from the files themselves, and where each part came from, from key document and lock."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from buildgraph.apk.archive import malformed
from buildgraph.apk.index import IndexEntry, parse_index
from buildgraph.apk.package import package_files
from buildgraph.execute.collect import LAYOUT
from buildgraph.plan.record import Output, Record
from buildgraph.structs import Struct

_INSTALLED = "usr/lib/apk/db/installed"  # apko, pkg/apk/apk/const.go


class File(Struct, frozen=True):
    """A file of a package: its path, kind, permission bits, size in bytes, and what a link points to."""

    path: str
    kind: str
    mode: str
    size: int = 0
    target: str = ""


class Package(Struct, frozen=True):
    """A package that a recipe made. ``file`` is its path among the outputs, ``digest`` the BLAKE3 of its unsigned form."""

    file: str
    digest: str
    entry: IndexEntry
    files: tuple[File, ...]


class Source(Struct, frozen=True):
    """Where a package in an image came from: a local ``target``, with the digest and the action key; or a ``repository``."""

    target: str = ""
    digest: str = ""
    action: str = ""
    repository: str = ""


class Installed(Struct, frozen=True):
    """A package in an image: what apk's database there says of it, and where it came from."""

    entry: IndexEntry
    source: Source


class Layer(Struct, frozen=True):
    """A layer of an image, as its manifest has it, and the packages that make it where layers are made of packages."""

    digest: str
    size: int
    media_type: str
    packages: tuple[str, ...] = ()


class Image(Struct, frozen=True):
    """One platform's image; ``config`` is the OCI configuration's part of that name."""

    platform: str
    digest: str
    layers: tuple[Layer, ...]
    config: dict[str, Any]
    packages: tuple[Installed, ...]


Blob = Callable[[Output], Path]
SourceOf = Callable[[IndexEntry], Source]


def packages_of(record: Record, blob: Blob) -> list[Package]:
    """The packages of a record, in the order of their names. Raises RepositoryError where one cannot be read."""
    entries = {f"{entry.arch}/{entry.filename}": entry for entry in record.packages}
    by_name = {entry.filename: entry for entry in record.packages}
    found = []
    for output in record.outputs:
        entry = entries.get(output.path) or by_name[output.path.rpartition("/")[2]]
        found.append(Package(output.path, output.digest, entry, tuple(_files(blob(output)))))
    return found


def _files(package: Path) -> Iterable[File]:
    for info, _ in package_files(package):
        kind = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "hard link"}.get(info.type, "file")
        yield File(info.name, kind, f"{info.mode:04o}", info.size, info.linkname)


def images_of(record: Record, blob: Blob, source_of: SourceOf) -> list[Image]:
    """The images of a record, one for each platform. Raises RepositoryError where a file of the layout cannot be read."""
    files = {output.path.removeprefix(f"{LAYOUT}/"): blob(output) for output in record.outputs}
    with malformed(files["index.json"], "the image"):
        return [_image(entry, files, source_of) for entry in _manifests(files, json.loads(files["index.json"].read_bytes()))]


def _manifests(files: dict[str, Path], index: Any) -> list[Any]:
    """The descriptors of the images below an index, which may list other indexes."""
    found = []
    for entry in index["manifests"]:
        content = json.loads(_path(files, entry["digest"]).read_bytes())
        found += _manifests(files, content) if "manifests" in content else [entry]
    return found


def _path(files: dict[str, Path], digest: str) -> Path:
    return files[f"blobs/{digest.replace(':', '/')}"]


def _image(entry: Any, files: dict[str, Path], source_of: SourceOf) -> Image:
    manifest = json.loads(_path(files, entry["digest"]).read_bytes())
    config = json.loads(_path(files, manifest["config"]["digest"]).read_bytes())
    databases = [_database(_path(files, layer["digest"])) for layer in manifest["layers"]]
    # The last layer's has all packages; those of the layers below list what is in them (apko, pkg/build/layers.go).
    parts = [tuple(package.name for package in database) for database in databases[:-1]]
    layers = tuple(
        Layer(layer["digest"], layer["size"], layer["mediaType"], names)
        for layer, names in zip(manifest["layers"], [*parts, ()], strict=True)
    )
    packages = tuple(Installed(package, source_of(package)) for package in databases[-1])
    platform = "/".join(filter(None, (config["os"], config["architecture"], config.get("variant", ""))))
    return Image(platform, entry["digest"], layers, config.get("config", {}), packages)


def _database(layer: Path) -> list[IndexEntry]:
    """What apk's database in a layer lists, by name."""
    with tarfile.open(layer) as archive:
        for info in archive:
            content = archive.extractfile(info) if info.name.removeprefix("./") == _INSTALLED else None
            if content is not None:
                return sorted(parse_index(content.read().decode("utf-8", "replace"), info.name), key=lambda entry: entry.name)
    return []
