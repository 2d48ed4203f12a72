"""From an address to a store, and from the settings to all that a run shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from buildgraph.errors import ManifestError, Place, did_you_mean
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.level import Level
from buildgraph.remote.store import Store, StoreError
from buildgraph.remote.trust import Trust, Writer
from buildgraph.structs import replace
from buildgraph.web.access import Access, Own, without_login
from buildgraph.workspace.manifest import FILE_NAME, Manifest
from buildgraph.workspace.sharing import Remote

Open = Callable[[str, Access], Store]


def connect(url: str, root: Path, access: Access) -> Store:
    """The store at an address; a folder may be relative to the workspace ``root``. Raises ManifestError for another address."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        return FolderStore(root / url)
    if scheme not in _OPENERS:
        message = f"`{_shown(url)}` is no address of a cache"
        known = ", ".join(f"{one}://" for one in _OPENERS)
        raise ManifestError(message, hint=did_you_mean(scheme, _OPENERS) or f"a folder, or an address that begins with {known}")
    if scheme in {"http", "https", "grpc", "grpcs"} and not _names_a_host(url):
        message = f"`{_shown(url)}` names no host, or no port that there can be"
        raise ManifestError(message)
    return _OPENERS[scheme](url, access)


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _folder(url: str, access: Access) -> Store:
    del access
    return FolderStore(Path("/", url.removeprefix("file://")))


def _bazel(url: str, access: Access) -> Store:
    from buildgraph.remote.bazel import BazelStore

    return BazelStore(url, access)


def _objects(url: str, access: Access) -> Store:
    try:
        from buildgraph.remote.objects import ObjectStore

        return ObjectStore(url, access.timeout, aws=access.aws)
    except ModuleNotFoundError as error:
        raise _lacking(url, "objects") from error
    except StoreError as error:
        raise ManifestError(f"`{_shown(url)}` cannot be used: {error}") from error


def _remote_execution(url: str, access: Access) -> Store:
    try:
        from buildgraph.remote.reapi import RemoteExecutionStore
    except ModuleNotFoundError as error:
        raise _lacking(url, "reapi") from error
    return RemoteExecutionStore(url, access)


def _registry(url: str, access: Access) -> Store:
    from buildgraph.remote.oci import RegistryStore

    try:
        return RegistryStore(url, access)
    except StoreError as error:
        raise ManifestError(f"`{_shown(url)}` cannot be used: {error}") from error


def _shown(url: str) -> str:
    """An address without the password that it may carry."""
    return without_login(url) if "://" in url else url


def _lacking(url: str, extra: str) -> ManifestError:
    return ManifestError(f"`{_shown(url)}` needs a library that is not here", hint=f"pip install 'buildgraph[{extra}]'")


_OPENERS: dict[str, Open] = {
    "file": _folder,
    **dict.fromkeys(("http", "https"), _bazel),
    **dict.fromkeys(("s3", "gs", "az"), _objects),
    **dict.fromkeys(("oci", "oci+http"), _registry),
    **dict.fromkeys(("grpc", "grpcs"), _remote_execution),
}


def _connected(remote: Remote, root: Path, access: Access) -> Store:
    try:
        return connect(remote.url, root, access)
    except ManifestError as error:
        where = error.where or Place(FILE_NAME, remote.line)
        raise ManifestError(error.what, where=where, hint=error.hint) from error


def levels(
    remotes: tuple[Remote, ...],
    root: Path,
    access: Access,
    own: Callable[[str], Own | None] = lambda _: None,
    *,
    reads: bool = True,
) -> list[Level]:
    """The stores of a run in the order in which they are asked; without ``reads`` results are only given to them.

    ``own`` says of an address whether the user's own file knows who to be there.
    """
    return [
        Level(
            name=remote.name or _shown(remote.url),
            store=_connected(remote, root, replace(access, own=own(remote.url), own_store=remote.url)),
            reads=reads and remote.reads,
            writes=remote.writes,
            unsigned=remote.unsigned,
        )
        for remote in remotes
    ]


def trust(manifest: Manifest, tier: str) -> Trust:
    """Who is believed."""
    return Trust(tier, {name: Writer(given.key, given.tiers) for name, given in manifest.trust.items()})
