"""Small results to share, made without melange."""

from __future__ import annotations

import hashlib
from pathlib import Path

from buildgraph.cache.cas import Cas
from buildgraph.keys import ed25519
from buildgraph.keys.digest import Digest, digest_text, new_hasher
from buildgraph.plan.record import DeepRecord, Output, Record
from buildgraph.remote.level import Level
from buildgraph.remote.shared import Author, SharedCache
from buildgraph.remote.store import Blob, Store
from buildgraph.remote.trust import Trust, Writer

CI, FORK, STRANGER = ed25519.generate(), ed25519.generate(), ed25519.generate()
WRITERS = {
    "ci": Writer(ed25519.public(CI), ("trusted", "local")),
    "forks": Writer(ed25519.public(FORK), ("pr/*",)),
}


def cas_in(folder: Path) -> Cas:
    """A new cache of one machine."""
    return Cas(folder, new_hasher)


def made(cas: Cas, name: str = "one", *, tier: str = "local", content: bytes | None = None) -> tuple[Record, Digest, DeepRecord]:
    """A result as a build leaves it: a record whose blobs are in the cache, and what its deep key leads to."""
    data = content if content is not None else f"the package {name}".encode()
    output = Output(f"x86_64/{name}-1-r0.apk", Digest(cas.put_bytes(data)), len(data))
    document = Digest(cas.put_bytes(f'["recipe","{name}","","",""]\n'.encode()))
    log = Digest(cas.put_bytes(b"a log"))
    action = digest_text(f"action {name}")
    record = Record(action, f"//:{name}@x86_64", document, (output,), log=log, seconds=7.5, tier=tier)
    return record, digest_text(f"deep {name}"), DeepRecord(action, document, {}, {}, tier)


def sharing(
    store: Store, cas: Cas, *keys: str, tier: str = "local", reads: bool = True, writes: bool = True, unsigned: bool = False
) -> SharedCache:
    """The part of one machine in a store, which believes WRITERS."""
    level = Level("the store", store, reads=reads, writes=writes, unsigned=unsigned)
    return SharedCache([level], Trust(tier, WRITERS), Author(keys, tier, {"bg": "test"}), cas)


def give(store: Store, folder: Path, *keys: str, tier: str = "local", name: str = "one") -> tuple[Record, Digest]:
    """A machine that builds something and gives it to a store, and is gone then."""
    cas = cas_in(folder)
    record, key, deep = made(cas, name, tier=tier)
    shared = sharing(store, cas, *keys, tier=tier)
    shared.share(record, key, deep)
    shared.finish(lambda _: None)
    assert shared.levels[0].results_sent == 2, (shared.levels[0].failed, shared.lost)
    return record, key


def blob_of(data: bytes) -> Blob:
    """The name of some bytes on the wire."""
    return Blob(hashlib.sha256(data).hexdigest(), len(data))
