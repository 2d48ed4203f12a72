"""From an address to a store, and from the settings to all that a run shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from buildgraph.errors import ManifestError, did_you_mean
from buildgraph.keys import ed25519
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.level import Level
from buildgraph.remote.store import Store
from buildgraph.remote.trust import TRUSTED, Trust, Writer
from buildgraph.workspace.manifest import FILE_NAME, Manifest
from buildgraph.workspace.sharing import Remote

Open = Callable[[str], Store]


def connect(url: str, root: Path) -> Store:
    """The store at an address; a folder may be relative to the workspace ``root``. Raises ManifestError for another address."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return FolderStore(root / url)
    openers: dict[str, Open] = {"file": lambda rest: FolderStore(Path("/", rest))}
    if scheme not in openers:
        message = f"`{url}` is no address of a cache"
        hint = (
            did_you_mean(scheme, openers)
            or f"a folder, or an address that begins with {', '.join(f'{one}://' for one in openers)}"
        )
        raise ManifestError(message, hint=hint)
    return openers[scheme](rest)


def levels(remotes: tuple[Remote, ...], root: Path, *, reads: bool = True) -> list[Level]:
    """The stores of a run in the order in which they are asked; without ``reads`` results are only given to them."""
    return [
        Level(
            name=remote.name or remote.url,
            store=connect(remote.url, root),
            reads=reads and remote.reads,
            writes=remote.writes,
            unsigned=remote.unsigned,
        )
        for remote in remotes
    ]


def trust(manifest: Manifest, tier: str) -> Trust:
    """Who is believed. Raises ManifestError for a key that is none."""
    for name, given in manifest.trust.items():
        if not ed25519.is_key(given.key):
            message = f"{FILE_NAME}: the key `{name}` of `trust:` is none"
            raise ManifestError(message, hint="`bg keygen --results` prints the line to put there")
    return Trust(tier, {name: Writer(given.key, given.tiers) for name, given in manifest.trust.items()})


def believed_here(tier: str) -> frozenset[str]:
    """The tiers whose results a run of some tier takes from the cache of its own machine, besides its own."""
    del tier
    return frozenset({TRUSTED})
