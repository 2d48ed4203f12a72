"""Putting results where the user finds them: hard links out of the CAS, and what has to be signed.

    out/oci/FOLDER/NAME/          an OCI image layout, its index naming the tag
    out/sbom/FOLDER/NAME/         the SBOMs that apko wrote
    out/provenance/FOLDER/NAME.json   a SLSA provenance statement
    out/packages/ARCH/*.apk       signed packages with a signed APKINDEX.tar.gz, and beside each
    out/packages/ARCH/*.spdx.json, *.provenance.json   the SBOM that melange wrote into it, and its provenance
    out/packages/NAME.rsa.pub     the key to verify them with
    out/packages/FOLDER/ARCH/     the same for packages of whose name several recipes make one: a repository for each such folder

What is there already and is the same is left alone; files of an older result are removed; the file that names the others
(index.json, APKINDEX.tar.gz) is replaced last, in one step.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from buildgraph.apk import signing
from buildgraph.apk.index import IndexEntry, index_archive
from buildgraph.apk.package import package_sbom, read_package
from buildgraph.cache.cas import Cas
from buildgraph.errors import OutputError
from buildgraph.execute.collect import LAYOUT, SBOM
from buildgraph.graph.model import Node
from buildgraph.keys.digest import digest_bytes, digest_text
from buildgraph.outputs import provenance
from buildgraph.outputs.provenance import Subject, file_subject
from buildgraph.plan.record import Output, Record, record_to_json
from buildgraph.structs import Struct

INDEX = "APKINDEX.tar.gz"
NOTES = ".exported.json"  # what lies in out/packages, by node: the file name, its blob, and the stat it was written with

# The provenance of what came of a record, as a file; None where the key document that tells of it is gone.
Attest = Callable[[Record, Iterable[Subject]], bytes | None]


class SigningKey(Struct, frozen=True):
    """The key that repositories are signed with; ``name`` is the file's stem, by which verifiers look for its other half."""

    name: str
    pem: bytes

    @property
    def public_name(self) -> str:
        """The file name of the public key."""
        return f"{self.name}.rsa.pub"


def image_folder(out: Path, folder: str, name: str) -> Path:
    """Where an image's OCI layout goes."""
    return out / "oci" / folder / name


def image_name(folder: str, name: str) -> str:
    """What an image is called in its provenance."""
    return f"{folder}/{name}".lstrip("/")


def image_provenance(out: Path, folder: str, name: str) -> Path:
    """Where an image's provenance goes."""
    return out / "provenance" / folder / f"{name}.json"


def export_image(record: Record, out: Path, folder: str, name: str, cas: Cas, attest: Attest) -> list[Path]:
    """Makes an image's layout, SBOMs and provenance what the record says; the files that are now there. Raises OutputError."""
    present = []
    with _told(out):
        for part, target in ((LAYOUT, image_folder(out, folder, name)), (SBOM, out / "sbom" / folder / name)):
            files = {
                output.path.removeprefix(f"{part}/"): output for output in record.outputs if output.path.startswith(f"{part}/")
            }
            present += _mirror(files, target, cas)
        index = json.loads((image_folder(out, folder, name) / "index.json").read_bytes())
        stated = attest(record, provenance.image_subjects(image_name(folder, name), index))
        target = image_provenance(out, folder, name)
        if stated is None:
            target.unlink(missing_ok=True)  # that of another build, which says what is not so of this one
        else:
            if not target.is_file() or target.read_bytes() != stated:
                target.parent.mkdir(parents=True, exist_ok=True)
                _replace(target, stated)
            present.append(target)
    return present


def _mirror(files: Mapping[str, Output], target: Path, cas: Cas) -> list[Path]:
    """Makes ``target`` hold exactly these files; the index of a layout is linked last and old blobs go after that.

    Folders that none of these files is in stay: images of the folder that is called as this image are there.
    """
    present = [target / path for path in files]
    for path in sorted(files, key=lambda path: (path == "index.json", path)):
        destination = target / path
        blob = cas.path(files[path].digest)
        if not _same_file(blob, destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            cas.link(files[path].digest, destination)
    keep = set(present)
    own = {path.partition("/")[0] for path in files}
    tops = list(target.iterdir()) if target.is_dir() else []
    for found in [path for top in tops for path in (top.rglob("*") if top.name in own else [top])]:
        if found not in keep and not found.is_dir():
            found.unlink()
    return present


def _same_file(blob: Path, destination: Path) -> bool:
    try:
        one, other = blob.stat(), destination.stat()
    except OSError:
        return False
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    return one.st_size == other.st_size and one.st_nlink == 1 and blob.read_bytes() == destination.read_bytes()


class PackageFolders:
    """Which repository below ``out/packages`` the packages of a node go to.

    The common one, but for packages of a name that other recipes make too: one repository cannot hold both.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        self._makers = Counter(
            (architecture, package.name)
            for node in nodes.values()
            for architecture in node.architectures
            for package in node.packages
        )

    def of(self, name: str) -> str:
        """The folder of a node's repository, relative to ``out/packages``; empty for the common one."""
        node = self._nodes[name]
        made = ((architecture, package.name) for architecture in node.architectures for package in node.packages)
        return node.folder if any(self._makers[package] > 1 for package in made) else ""


def export_packages(
    records: Mapping[str, Record], nodes: Mapping[str, Node], out: Path, key: SigningKey, cas: Cas, attest: Attest
) -> list[Path]:
    """Puts the packages of some nodes into the signed repositories; the files that are now there for them.

    What nodes exported that are not among the workspace's ``nodes`` any more is removed. Raises OutputError.
    """
    folder = out / "packages"
    with _told(out):
        folder.mkdir(parents=True, exist_ok=True)
        public = folder / key.public_name
        public_bytes = signing.public_key(key.pem)
        if not public.exists() or public.read_bytes() != public_bytes:
            _replace(public, public_bytes)
        notes = _read_notes(folder)
        present = [public]
        indexed = _indexed(notes)
        for gone in [node for node in notes if node not in nodes]:
            for path in notes.pop(gone):
                (folder / path).unlink(missing_ok=True)
        folders = PackageFolders(nodes)
        for node, record in sorted(records.items()):
            exporting = _Exporting(folder, key, cas, attest, notes.get(node, {}))
            present += exporting.node(record, folders.of(node))
            notes[node] = exporting.after
        for repository in sorted(indexed | _indexed(notes)):
            present.append(_write_index(folder, repository, key, notes))
        _replace(folder / NOTES, json.dumps(notes, indent=1, sort_keys=True).encode())
    return present


def _indexed(notes: Mapping[str, Iterable[str]]) -> set[str]:
    """The folders with an index: ``ARCH``, ``FOLDER/ARCH``."""
    return {posixpath.dirname(path) for files in notes.values() for path in files}


class _Exporting:
    """Puts the packages of one node in place, and what comes with each; ``before`` and ``after`` are notes of what is there."""

    def __init__(self, folder: Path, key: SigningKey, cas: Cas, attest: Attest, before: Mapping[str, list[Any]]) -> None:
        self.folder = folder
        self.key = key
        self.key_id = digest_bytes(signing.public_key(key.pem))[:16]
        self.cas = cas
        self.attest = attest
        self.before = before
        self.after: dict[str, list[Any]] = {}

    def node(self, record: Record, repository: str) -> list[Path]:
        """Makes the files what the record says; the packages that are now there, and the folder, which shows what comes or goes.

        SBOMs and provenance are two thirds of all files: who edits one gets it back at the next build that does something.
        """
        basis = digest_text(json.dumps(record_to_json(record), sort_keys=True))
        for output in record.outputs:
            path = posixpath.join(repository, output.path)
            blob, package = self.cas.path(output.digest), self.folder / path
            stem = path.removesuffix(".apk")
            signed = partial(signing.sign_package, blob, key_pem=self.key.pem, key_name=self.key.name)
            self.file(path, output.digest, signed)
            self.file(f"{stem}.spdx.json", output.digest, partial(_write_sbom, blob))
            self.file(f"{stem}.provenance.json", basis, partial(self.provenance, record, package))
        for path in set(self.before) - set(self.after):
            (self.folder / path).unlink(missing_ok=True)
        packages = [self.folder / path for path in self.after if path.endswith(".apk")]
        return [*packages, *{package.parent for package in packages}]

    def provenance(self, record: Record, package: Path, new: Path) -> None:
        _write(new, self.attest(record, [file_subject(package)]))

    def file(self, path: str, basis: str, make: Callable[[Path], None]) -> None:
        """Has ``make`` write a file anew unless it is what it was when it was made of the same; there may be nothing to write."""
        target = self.folder / path
        known = self.before.get(path)
        if not (known and known[:2] == [basis, self.key_id] and known[2:] == _stat(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            make(temporary)
            if not temporary.exists():
                return
            temporary.replace(target)
        self.after[path] = [basis, self.key_id, *_stat(target)]


def _write_sbom(package: Path, path: Path) -> None:
    _write(path, package_sbom(package))


def _write(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)


def _write_index(folder: Path, repository: str, key: SigningKey, notes: Mapping[str, Iterable[str]]) -> Path:
    paths = sorted({path for files in notes.values() for path in files if posixpath.dirname(path) == repository})
    entries: list[IndexEntry] = [
        read_package(folder / path).entry for path in paths if path.endswith(".apk") and (folder / path).is_file()
    ]
    target = folder / repository / INDEX
    content = signing.sign_index(index_archive(entries), key.pem, key.name)
    if not target.is_file() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content)
    return target


def _read_notes(folder: Path) -> dict[str, Any]:
    try:
        notes = json.loads((folder / NOTES).read_bytes())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _stat(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _replace(target: Path, content: bytes) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(target)


@contextmanager
def _told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot write below {out}: {error.strerror}"
        raise OutputError(
            message, hint="is the folder writable, and the disk not full? `out:` in the manifest names another"
        ) from error
