"""External packages: indexes, keys and package files, from where the manifest's mirrors say they lie.

Nothing that comes from here is trusted as it is: an index counts because apko verified its signature, a package because it
has the checksum that the lock names.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildgraph.apk.index import IndexEntry, read_index_archive
from buildgraph.apk.package import read_package
from buildgraph.cache.cas import Cas
from buildgraph.cache.files import fault, is_full
from buildgraph.cache.records import Records
from buildgraph.errors import RepositoryError
from buildgraph.execute.download import download, is_remote
from buildgraph.keys.digest import Digest, digest_text, parse_digest
from buildgraph.workspace.lockfile import Locked
from buildgraph.workspace.manifest import Manifest
from buildgraph.workspace.state import stamp_to_read
from buildgraph.workspace.stats import stamp

INDEX = "APKINDEX.tar.gz"
MAX_INDEX_BYTES = 512 << 20
SEED = ".seed"  # what the example repository calls its mirror


@dataclass(slots=True)
class Repositories:
    """The repositories of a workspace. Safe to use from several threads.

    ``key_files``: the public keys that were asked for, with their stats (empty for what was not there) before they were read.
    """

    manifest: Manifest
    cas: Cas
    records: Records
    folder: Path
    progress: Callable[[str], None]
    offline: bool = False
    key_files: dict[Path, list[int]] = field(default_factory=dict)
    _indexes: dict[tuple[str, str], tuple[Path, list[IndexEntry]]] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def location(self, address: str) -> str:
        """Where ``address`` is to be had: a URL, or an absolute path where a mirror is a folder."""
        mirrored = self.manifest.mirrored(address)
        if mirrored.startswith(("https://", "http://")):
            return mirrored
        return str(self.manifest.root / mirrored)

    def index(self, repository: str, architecture: str) -> tuple[Path, list[IndexEntry]]:
        """A folder that apko can use as this repository, and the entries of its index.

        All of them are of that architecture, as for apko, whatever the index says (``noarch``). Raises RepositoryError where
        the index cannot be had or read.
        """
        key = (repository, architecture)
        if key not in self._indexes:
            folder = self._index_folder(repository, architecture)
            path = folder / architecture / INDEX
            try:
                entries = [_of(architecture, entry) for entry in read_index_archive(path.read_bytes())]
            except OSError as error:
                raise self._missing(repository, path, error) from error
            self._indexes[key] = (folder, entries)
        return self._indexes[key]

    def _index_folder(self, repository: str, architecture: str) -> Path:
        location = self.location(repository)
        if not is_remote(location):
            return Path(location)
        folder = self.folder / "index" / digest_text(location)[:16]
        target = folder / architecture / INDEX
        target.parent.mkdir(parents=True, exist_ok=True)
        self.progress(f"fetching the index of {repository} for {architecture}")
        self._download(f"{location}/{architecture}/{INDEX}", target)
        return folder

    def key_file(self, line: str) -> Path:
        """The public key that a keyring line names, as a file of the same name.

        A copy is kept, so that planning needs no repository once a key was seen; a folder's own file goes before it.
        """
        location = self.location(line)
        kept = self.folder / "keys" / digest_text(location)[:16] / location.rpartition("/")[2]
        if is_remote(location):
            if not kept.is_file():
                kept.parent.mkdir(parents=True, exist_ok=True)
                self._download(location, kept)
            self.key_files.setdefault(kept, stamp(kept))
            return kept
        path = Path(location)
        self.key_files.setdefault(path, stamp_to_read(path))
        if not path.is_file():
            self.key_files.setdefault(kept, stamp(kept))
            if kept.is_file():
                return kept
            raise self._missing(line, path, None)
        if not kept.is_file() or kept.read_bytes() != path.read_bytes():
            self._keep(path, kept)
        return path

    def _keep(self, path: Path, kept: Path) -> None:
        temporary = kept.with_name(f"{kept.name}.{os.getpid()}")
        with suppress(OSError):  # a cache that cannot be written costs nothing here
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, temporary)
            temporary.replace(kept)

    def package(self, locked: Locked) -> Digest:
        """The blob of an external package, fetched if it is not there; its bytes have the lock's checksum.

        Raises RepositoryError where it cannot be had or is another one.
        """
        checksum = locked.entry.checksum
        with self._guard:
            lock = self._locks.setdefault(checksum, threading.Lock())
        with lock:
            known = self.records.get("external", checksum) or {}
            digest = parse_digest(known.get("digest"))
            if digest is not None and self.cas.has(digest):
                return digest
            return self._fetch(locked)

    def _fetch(self, locked: Locked) -> Digest:
        entry = locked.entry
        location = f"{self.location(locked.repository)}/{entry.arch}/{entry.filename}"
        with self.cas.scratch() as scratch:
            copy = scratch / entry.filename
            if is_remote(location):
                self._download(location, copy)
            else:
                try:
                    shutil.copyfile(location, copy)
                except OSError as error:
                    if is_full(error):
                        raise fault(error, f"copy {entry.filename} into the cache") from error
                    raise self._missing(f"{entry.filename} of {locked.repository}", Path(location), error) from error
            found = read_package(copy, verify=True)
            if found.entry.checksum != entry.checksum:
                message = f"{entry.filename} of {locked.repository} is not the package that the lock names"
                raise RepositoryError(
                    message,
                    details=f"at {location}\nthe lock says {entry.checksum}, the file has {found.entry.checksum}",
                    hint=f"`bg lock --upgrade {entry.name}` takes what the repository has now",
                )
            digest = Digest(self.cas.put_file(copy, move=True))
        self.records.put("external", entry.checksum, {"digest": digest, "package": f"{entry.arch}/{entry.filename}"})
        return digest

    def _download(self, address: str, target: Path) -> None:
        if self.offline:
            message = f"{address} is not at hand, and may not be fetched now"
            raise RepositoryError(message)
        download(address, target)

    def _missing(self, what: str, path: Path, error: OSError | None) -> RepositoryError:
        reason = (error.strerror if error else None) or "no such file"
        mirrors = [mirror for _, mirror in self.manifest.mirrors if str(path).startswith(str(self.manifest.root / mirror))]
        absent = [mirror for mirror in mirrors if not (self.manifest.root / mirror).exists()]
        hint = f"the manifest's mirror `{absent[0]}` is not there" if absent else ""
        if absent == [SEED]:
            hint += "; `make seed` makes it"
        return RepositoryError(f"cannot read {what} at {path}: {reason}", hint=hint)


def _of(architecture: str, entry: IndexEntry) -> IndexEntry:
    return entry if entry.arch == architecture else replace(entry, arch=architecture)
