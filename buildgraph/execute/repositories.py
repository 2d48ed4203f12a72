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
from pathlib import Path

from buildgraph.apk.index import MAX_INDEX_SIZE, IndexEntry, read_index_archive
from buildgraph.cache.cas import Cas
from buildgraph.cache.files import fault, faults, is_full
from buildgraph.cache.records import Records
from buildgraph.errors import NoSuchFileError, RepositoryError
from buildgraph.keys.digest import Digest, digest_text, parse_digest
from buildgraph.recipes.values import is_remote
from buildgraph.structs import Struct, field, replace
from buildgraph.web.access import Access
from buildgraph.workspace.lockfile import Locked
from buildgraph.workspace.manifest import Manifest
from buildgraph.workspace.state import stamp_to_read
from buildgraph.workspace.stats import stamp

INDEX = "APKINDEX.tar.gz"
_MOST_OF_A_KEY = 64 << 10  # bytes
SEED = ".seed"  # what the example repository calls its mirror


class Repositories(Struct):
    """The repositories of a workspace. Safe to use from several threads.

    ``scratch`` makes a folder for as long as indexes are asked for: they are not kept. ``access`` is how servers are asked, None
    where none may be. ``key_files``: the public keys that were asked for, with their stats (empty for what was not there) before
    they were read.
    """

    manifest: Manifest
    cas: Cas
    records: Records
    folder: Path
    progress: Callable[[str], None]
    scratch: Callable[[], Path]
    access: Access | None
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
                where = f"{self.location(repository)}/{architecture}/{INDEX}"
                entries = [_of(architecture, entry) for entry in read_index_archive(path.read_bytes(), where)]
            except OSError as error:
                raise self._missing(repository, path, error) from error
            except RepositoryError as error:
                error.hint = f"is that the index of an apk repository? `mirrors:` in the manifest says where {repository} lies"
                raise
            self._indexes[key] = (folder, entries)
        return self._indexes[key]

    def _index_folder(self, repository: str, architecture: str) -> Path:
        location = self.location(repository)
        if not is_remote(location):
            return Path(location)
        folder = self.scratch() / digest_text(location)[:16]
        target = folder / architecture / INDEX
        target.parent.mkdir(parents=True, exist_ok=True)
        self.progress(f"fetching the index of {repository} for {architecture}")
        self._download(f"{location}/{architecture}/{INDEX}", target, most=MAX_INDEX_SIZE)
        return folder

    def key_file(self, line: str) -> Path:
        """The public key that a keyring line names, as a file of the same name.

        A copy is kept, so that planning needs no repository once a key was seen; a folder's own file goes before it. Raises
        RepositoryError for what is no public key: it would lie in the box and in the image, whatever file a recipe names.
        """
        location = self.location(line)
        kept = self.folder / "keys" / digest_text(location)[:16] / location.rpartition("/")[2]
        if is_remote(location):
            if not kept.is_file():
                self._fetch_key(location, kept)
            self.key_files.setdefault(kept, stamp(kept))
            return kept
        path = Path(location)
        self.key_files.setdefault(path, stamp_to_read(path))
        if not path.is_file():
            self.key_files.setdefault(kept, stamp(kept))
            if kept.is_file():
                return kept
            raise self._missing(line, path, None)
        _expect_public_key(path, location)
        if not kept.is_file() or kept.read_bytes() != path.read_bytes():
            self._keep(path, kept)
        return path

    def _fetch_key(self, location: str, kept: Path) -> None:
        with self.cas.scratch() as scratch:
            copy = scratch / kept.name
            self._download(location, copy, most=_MOST_OF_A_KEY)
            hint = "look at it: does something between here and there answer with a page for people?"
            _expect_public_key(copy, location, hint)
            with faults(f"write to the cache in {self.folder}"):
                kept.parent.mkdir(parents=True, exist_ok=True)
                copy.replace(kept)

    def _keep(self, path: Path, kept: Path) -> None:
        temporary = kept.with_name(f"{kept.name}.{os.getpid()}")
        with suppress(OSError):  # a cache that cannot be written costs nothing here
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, temporary)
            temporary.replace(kept)

    def has(self, locked: Locked) -> bool:
        """Whether an external package is at hand."""
        return self._known(locked) is not None

    def _known(self, locked: Locked) -> Digest | None:
        digest = parse_digest((self.records.get("external", locked.entry.checksum) or {}).get("digest"))
        return digest if digest is not None and self.cas.has(digest) else None

    def package(self, locked: Locked) -> Digest:
        """The blob of an external package, fetched if it is not there; its bytes have the lock's checksum.

        Raises RepositoryError where it cannot be had or is another one.
        """
        checksum = locked.entry.checksum
        with self._guard:
            lock = self._locks.setdefault(checksum, threading.Lock())
        with lock:
            return self._known(locked) or self._fetch(locked)

    def _fetch(self, locked: Locked) -> Digest:
        entry = locked.entry
        with self.cas.scratch() as scratch:
            copy = scratch / entry.filename
            self._copy(locked, copy)
            _check(copy, locked, self._package_location(locked))
            digest = Digest(self.cas.put_file(copy, move=True))
        self.records.put("external", entry.checksum, {"digest": digest, "package": f"{entry.arch}/{entry.filename}"})
        return digest

    def _package_location(self, locked: Locked) -> str:
        return f"{self.location(locked.repository)}/{locked.entry.arch}/{locked.entry.filename}"

    def _copy(self, locked: Locked, target: Path) -> None:
        """Gets a package file as it lies in its repository."""
        location = self._package_location(locked)
        try:
            if is_remote(location):
                self._download(location, target)
            else:
                shutil.copyfile(location, target)
        except NoSuchFileError as error:
            raise _gone(locked, location) from error
        except OSError as error:
            if is_full(error):
                raise fault(error, f"copy {target.name} into the cache") from error
            if isinstance(error, FileNotFoundError) and Path(location).parent.is_dir():
                raise _gone(locked, location) from error
            raise self._missing(f"{target.name} of {locked.repository}", Path(location), error) from error

    def _download(self, address: str, target: Path, *, most: int | None = None) -> None:
        if self.access is None:
            message = f"{address} is not at hand, and may not be fetched now"
            raise RepositoryError(message, hint="`bg fetch` brings it")
        from buildgraph.execute.download import download  # a plan downloads nothing

        download(address, target, access=self.access, most=most)

    def _missing(self, what: str, path: Path, error: OSError | None) -> RepositoryError:
        reason = (error.strerror if error else None) or "no such file"
        mirrors = [mirror for _, mirror in self.manifest.mirrors if str(path).startswith(str(self.manifest.root / mirror))]
        absent = [mirror for mirror in mirrors if not (self.manifest.root / mirror).exists()]
        hint = f"the manifest's mirror `{absent[0]}` is not there" if absent else ""
        if absent == [SEED]:
            hint += "; `make seed` makes it"
        return RepositoryError(f"cannot read {what} at {path}: {reason}", hint=hint)


def _expect_public_key(path: Path, location: str, hint: str = "") -> None:
    """Raises RepositoryError for a file that is none, or has something besides that nobody is to know."""
    with path.open("rb") as stream:
        data = stream.read(_MOST_OF_A_KEY + 1)
    if len(data) > _MOST_OF_A_KEY or b"-----BEGIN PUBLIC KEY-----" not in data or b"PRIVATE KEY-----" in data:
        message = f"what lies at {location} is no public key"
        raise RepositoryError(message, hint=hint)


def _of(architecture: str, entry: IndexEntry) -> IndexEntry:
    return entry if entry.arch == architecture else replace(entry, arch=architecture)


def _check(copy: Path, locked: Locked, location: str) -> None:
    """Raises RepositoryError where a file is not the package that the lock names."""
    from buildgraph.apk.package import read_package

    try:
        found = read_package(copy, verify=True).entry.checksum
        reason = "" if found == locked.entry.checksum else f"the lock says {locked.entry.checksum}, the file has {found}"
    except RepositoryError as error:
        reason = error.what
    if reason:
        name = locked.entry.name
        message = f"{locked.entry.filename} of {locked.repository} is not the package that the lock names"
        hint = f"ask who keeps the repository; if the change is meant, `bg lock --upgrade {name}` takes what it has now"
        raise RepositoryError(message, details=f"at {location}\n{reason}", hint=hint)


def _gone(locked: Locked, location: str) -> RepositoryError:
    message = f"{locked.entry.filename} has left {locked.repository}"
    hint = f"`bg lock --upgrade {locked.entry.name}` takes what is there; `mirrors:` can name a place that keeps old packages"
    return RepositoryError(message, details=f"at {location}", hint=hint)
