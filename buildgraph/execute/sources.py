"""Sources that recipes pin: brought before an action, checked by the recipe's own digest, kept as blobs, given to its box.

melange's pipelines find them there by their own means: ``fetch`` looks for a file named by the digest in melange's cache folder,
``git-checkout`` clones from an address that git's settings in the home folder lead elsewhere.
"""

from __future__ import annotations

import hashlib
import posixpath
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from buildgraph.cache.cas import Cas
from buildgraph.cache.files import fault, is_full
from buildgraph.cache.records import Records
from buildgraph.errors import NoSuchFileError, RepositoryError
from buildgraph.execute import checkouts
from buildgraph.execute.checkouts import Checkout, checkout_from_json
from buildgraph.execute.download import download
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.recipes.values import PinnedSource, is_remote
from buildgraph.structs import Struct, field
from buildgraph.web.access import Access, without_login
from buildgraph.workspace.manifest import Manifest

CACHE_DIR = "cache"  # in a box; melange shows it to the recipe's steps as this:
_INSIDE = "/var/cache/melange"
_SETTINGS = "src/.gitconfig"  # which melange copies into the home folder of the steps
_RECORD = "source"
AT_ONCE = 4


class Sources(Struct):
    """The pinned sources of a workspace. Safe to use from several threads.

    ``environment`` is that of the user, for git; ``access`` says how servers are asked, None that none is: then only what lies on
    this machine is brought.
    """

    manifest: Manifest
    cas: Cas
    records: Records
    progress: Callable[[str], None]
    environment: Mapping[str, str]
    access: Access | None
    brought: set[str] = field(default_factory=set)
    _lost: set[str] = field(default_factory=set)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def offline(self) -> bool:
        """Whether no server may be asked."""
        return self.access is None

    def bring(self, sources: Sequence[PinnedSource]) -> None:
        """Has some sources at hand. Raises RepositoryError for one that cannot be had or is not what the recipe says."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(partial(self._kept, present=self.cas.has), sources))

    def give(self, sources: Sequence[PinnedSource], box: Path) -> None:
        """Puts sources where the steps in a box look for them. Raises as ``bring``, and OSError.

        They are copies, not links: steps find a file like the one that they would have downloaded, which they may write to.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(partial(self._kept, present=self.cas.verify), sources))
        repositories: dict[str, str] = {}
        folder = box / CACHE_DIR
        folder.mkdir()
        for number, (source, kept) in enumerate(zip(sources, found, strict=True)):
            if isinstance(kept, Checkout):
                name = f"git/{number}"
                kept.lay_out(folder / name, self.cas)
                repositories[source.address] = f"{_INSIDE}/{name}"
            else:
                self.cas.copy(kept, folder / source.digest, 0o644)
        if repositories:
            with (box / _SETTINGS).open("a") as settings:
                settings.write(checkouts.settings_for(repositories))

    def _kept(self, source: PinnedSource, *, present: Callable[[Digest], bool]) -> Digest | Checkout:
        """A source as it is kept, brought if it is not; ``present`` tells whether a blob is there."""
        with self._alone(source):
            record = self.records.get(_RECORD, source.content)
            if source.is_git:
                checkout = checkout_from_json(record)
                if checkout is not None and present(checkout.pack) and present(checkout.index):
                    return checkout
                return self._bring_checkout(source)
            known = parse_digest((record or {}).get("digest"))
            return known if known is not None and present(known) else self._bring_archive(source)

    @contextmanager
    def _alone(self, source: PinnedSource) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(source.content, threading.Lock())
        with lock:
            yield

    def _bring_archive(self, source: PinnedSource) -> Digest:
        with self.cas.scratch() as scratch:
            copy = scratch / "source"
            self._find(source, copy)
            digest = Digest(self.cas.put_file(copy, move=True))
        self._note(source, {"digest": digest})
        return digest

    def _find(self, source: PinnedSource, target: Path) -> None:
        """Puts the bytes of an archive into ``target``, from the first place that has them."""
        said = []
        for mirror, place in self._archive_places(source):
            try:
                self._copy(place, target)
            except RepositoryError as error:
                said.append(f"{without_login(place)}: {error.what}")
                if not isinstance(error, NoSuchFileError):
                    self._lost.add(mirror)  # a server that is away will be so for the next source too
                continue
            found = _digest(target, source)
            if found == source.digest:
                return
            said.append(f"{without_login(place)}: it has {found}")
        message = f"cannot bring the source {without_login(source.address)} with {source.digest} ({source.place})"
        raise RepositoryError(message, details="\n".join(said), hint=self._hint())

    def _archive_places(self, source: PinnedSource) -> Iterator[tuple[str, str]]:
        """Where an archive may lie, and in which mirror: there by digest, then by file name; then at its address."""
        kind, _, digits = source.digest.partition(":")
        name = posixpath.basename(urlsplit(source.address).path)
        for mirror in self._mirrors():
            for path in dict.fromkeys((source.digest, f"{kind}/{digits}", digits, name)):
                place = f"{mirror}/{path}"
                asked = is_remote(mirror) and not self.offline and mirror not in self._lost
                if path and (Path(place).is_file() or asked):
                    yield mirror, place
        yield "", self._located(source.address)

    def _copy(self, place: str, target: Path) -> None:
        if is_remote(place):
            self._refuse_if_offline()
            self.progress(f"fetch  {without_login(place)}")
            download(place, target, access=self.access)
            return
        try:
            shutil.copyfile(place, target)
        except OSError as error:
            if is_full(error):
                raise fault(error, f"copy {place} into the cache") from error
            message = error.strerror or str(error)
            raise RepositoryError(message) from error

    def _bring_checkout(self, source: PinnedSource) -> Checkout:
        with self.cas.scratch() as scratch:
            found = checkouts.bring(source, self._git_places(source), scratch, self.cas, self.environment)
        self._note(source, found.to_json())
        return found

    def _note(self, source: PinnedSource, kept: Mapping[str, Any]) -> None:
        self.records.put(_RECORD, source.content, {**kept, "address": source.address})
        self.brought.add(source.content)

    def _git_places(self, source: PinnedSource) -> Iterable[str]:
        """Repositories that may have a commit: in the mirrors by the last part of the address, then at the address."""
        name = posixpath.basename(source.address.rstrip("/"))
        for mirror in self._mirrors():
            for path in dict.fromkeys((name, f"{name.removesuffix('.git')}.git", name.removesuffix(".git"))):
                place = f"{mirror}/{path}"
                if Path(place).is_dir() or ("://" in mirror and not self.offline):
                    yield place
        address = self._located(source.address)
        if self.offline and not address.startswith("/"):
            message = f"the source {source.address} at {source.digest} is not at hand ({source.place})"
            raise RepositoryError(message, hint=self._hint())
        self.progress(f"fetch  {address} {source.digest}")
        yield address

    def _mirrors(self) -> Iterator[str]:
        for mirror in self.manifest.source_mirrors:
            yield mirror if "://" in mirror else str(self.manifest.root / mirror)

    def _located(self, address: str) -> str:
        mirrored = self.manifest.mirrored(address)
        return mirrored if "://" in mirrored else str(self.manifest.root / mirrored)

    def _refuse_if_offline(self) -> None:
        if self.offline:
            message = "it is not at hand, and may not be fetched now"
            raise RepositoryError(message)

    def _hint(self) -> str:
        return "`bg fetch` brings it" if self.offline else "`source-mirrors:` in the manifest can name another place"


def _digest(path: Path, source: PinnedSource) -> str:
    kind = source.digest.partition(":")[0]
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"
