"""The store on disk: one run at a time, results that appear whole, the link to one of them, the signing key.

Below the store's folder::

    <set>-<digest>/     a repository: <arch>/*.apk, <arch>/APKINDEX.tar.gz, wolfi-signing.rsa.pub, manifest.json
    made/<request>      the name of the repository that a request gave last
    apks/               what repositories are put together from (they are hard links)
    debs/               what was downloaded: Debian's packages, npm's tarballs
    apt-<arch>/         apt's state; apt-<release>-<arch>/ of an older release
    lock                held by the run at work
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildgraph.errors import OutputError, Place, RepositoryError
from buildgraph.structs import Struct, asdict

if TYPE_CHECKING:  # a seed that is made already is found without loading what makes one
    from tools.seed.files import Say
    from tools.seed.plan import Item
    from tools.seed.wrap import Wrapped

KEY_NAME = "wolfi-signing"
"""The name of Wolfi's own key: a keyring line that names it finds the seed's public key when its place is mirrored."""

_MANIFEST = "manifest.json"
_KEY_BITS = 2048


class Key(Struct, frozen=True):
    """The user's signing key: both halves as PEM."""

    private: bytes
    public: bytes


def signing_key(folder: Path, say: Say) -> Key:
    """The key in ``folder``, made if there is none; raises OutputError if it cannot be written."""
    from buildgraph.apk.signing import generate_key, public_key

    private, public = folder / f"{KEY_NAME}.rsa", folder / f"{KEY_NAME}.rsa.pub"
    if not private.exists():
        say(f"key: making {private}")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(private, generate_key(_KEY_BITS), 0o600)
    pem = private.read_bytes()
    try:
        text = public_key(pem)
    except RepositoryError as error:
        raise RepositoryError(error.what, where=Place(str(private)), hint="remove it, and a new one is made") from error
    if not public.exists() or public.read_bytes() != text:
        _write_new(public, text, 0o644, replace=True)
    return Key(pem, text)


def _write_new(path: Path, content: bytes, mode: int, *, replace: bool = False) -> None:
    """Write a file that is there whole or not at all; without ``replace`` one that appeared meanwhile wins."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    scratch.chmod(mode)
    try:
        if replace:
            scratch.replace(path)
        else:
            os.link(scratch, path)
    except FileExistsError:
        pass
    finally:
        scratch.unlink(missing_ok=True)


class Store:
    """The folder in which seeds are made and kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.debs = root / "debs"
        self.apks = root / "apks"

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """One run at a time; what an interrupted run left half-made is removed."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting: another run is at work in {self.root}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for leftover in self.root.glob(".tmp-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield

    def made_before(self, request: str) -> Path | None:
        """The repository that this request gave last, if it is whole: the manifest's files are there with their sizes."""
        try:
            folder = self.root / (self.root / "made" / request).read_text().strip()
            manifest = json.loads((folder / _MANIFEST).read_text())
            whole = all((folder / apk["file"]).stat().st_size == apk["size"] for apk in manifest["packages"])
            whole = whole and all((folder / arch / "APKINDEX.tar.gz").exists() for arch in manifest["architectures"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return folder if whole else None

    @staticmethod
    def is_signed(folder: Path, by: Key | Path) -> bool:
        """Whether a repository carries the public half of a key, or the public key in a key's folder."""
        name = f"{KEY_NAME}.rsa.pub"
        try:
            return (folder / name).read_bytes() == (by.public if isinstance(by, Key) else (by / name).read_bytes())
        except OSError:
            return False

    def note_made(self, request: str, folder: Path) -> None:
        """Remember what a request gave."""
        (self.root / "made").mkdir(exist_ok=True)
        _write_new(self.root / "made" / request, f"{folder.name}\n".encode(), 0o644, replace=True)

    def publish(self, set_name: str, packages: Mapping[Item, Wrapped], key: Key) -> Path:
        """Put a repository together from wrapped packages and give it its name; one that is whole and signed stays."""
        checksums = sorted(wrapped.sha256 for wrapped in packages.values())
        name = f"{set_name}-{hashlib.sha256(chr(10).join(checksums).encode()).hexdigest()[:16]}"
        folder = self.root / name
        if _is_linked(folder, packages) and self.is_signed(folder, key):
            return folder
        scratch = self.root / f".tmp-{os.getpid()}"
        scratch.mkdir(mode=0o755)
        _fill(scratch, set_name, packages, key)
        if folder.exists():
            folder.rename(self.root / f".tmp-{os.getpid()}-old")
        scratch.rename(folder)
        shutil.rmtree(self.root / f".tmp-{os.getpid()}-old", ignore_errors=True)
        return folder

    def prune(self, in_use: Sequence[Wrapped]) -> None:
        """Remove wrapped packages that no repository has: those of earlier versions of the maker or of Debian's packages."""
        keep = {wrapped.path.stem for wrapped in in_use}
        for path in self.apks.iterdir():
            if path.stem not in keep and (path.suffix != ".apk" or path.stat().st_nlink == 1):
                note_of_kept = path.suffix == ".json" and path.with_suffix(".apk").exists()
                if not note_of_kept:
                    path.unlink(missing_ok=True)
                    path.with_suffix(".json").unlink(missing_ok=True)


def _is_linked(folder: Path, packages: Mapping[Item, Wrapped]) -> bool:
    """Whether a repository's packages are the very files that were wrapped."""
    try:
        same = all((folder / item.arch / done.entry.filename).samefile(done.path) for item, done in packages.items())
        return same and all((folder / item.arch / "APKINDEX.tar.gz").exists() for item in packages)
    except OSError:
        return False


def _fill(folder: Path, set_name: str, packages: Mapping[Item, Wrapped], key: Key) -> None:
    from buildgraph.apk.index import index_archive
    from buildgraph.apk.signing import sign_index

    arches = sorted({item.arch for item in packages})
    described = []
    for arch in arches:
        (folder / arch).mkdir(mode=0o755)
        entries = []
        for item, wrapped in sorted(packages.items(), key=lambda pair: pair[0].name):
            if item.arch == arch:
                os.link(wrapped.path, folder / arch / wrapped.entry.filename)
                entries.append(wrapped.entry)
                described.append(_describe(item, wrapped))
        index = sign_index(index_archive(entries), key.private, KEY_NAME)
        _write_new(folder / arch / "APKINDEX.tar.gz", index, 0o644)
    _write_new(folder / f"{KEY_NAME}.rsa.pub", key.public, 0o644)
    manifest = {"format": 1, "set": set_name, "architectures": arches, "packages": described}
    _write_new(folder / _MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode(), 0o644)
    for path in (folder, *(folder / arch for arch in arches)):
        path.chmod(0o755)


def _describe(item: Item, wrapped: Wrapped) -> dict[str, Any]:
    return {
        "name": item.name,
        "version": item.version,
        "file": f"{item.arch}/{wrapped.entry.filename}",
        "size": wrapped.entry.size,
        "installed_size": wrapped.entry.installed_size,
        "sha256": wrapped.sha256,
        "debs": [{"package": deb.name, "version": deb.version, "arch": deb.arch, "sha256": deb.sha256} for deb in item.debs],
        **({"npm": asdict(item.npm)} if item.npm else {}),
    }


def make_link(path: Path, folder: Path) -> None:
    """Let the symbolic link ``path`` point to the folder, in one step; raises OutputError if something else is there."""
    if path.is_symlink():
        if path.readlink() == folder:
            return
    elif path.exists():
        what = f"{path} is there and is no symbolic link"
        raise OutputError(what, hint="remove it, or give --link another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(folder)
    scratch.replace(path)
