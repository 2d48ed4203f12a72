"""Signed results outside of stores: what archives carry is signed, and believed, as what stores keep."""

from __future__ import annotations

import json
from typing import Literal, cast

from buildgraph.cache.cas import Cas
from buildgraph.keys.digest import Digest
from buildgraph.plan.archive import Believed, Opened, Seal
from buildgraph.plan.record import DeepRecord, Record, told_tier
from buildgraph.remote import envelope
from buildgraph.remote import result as results
from buildgraph.remote.result import Kind, Result
from buildgraph.remote.shared import Author, blob_of
from buildgraph.remote.store import Blob
from buildgraph.remote.trust import Refusal, Trust


def sealer(author: Author, cas: Cas) -> Seal:
    """What signs results with the keys of this run: those of its own tier that this machine made and can explain, no others."""
    known: dict[Digest, Blob] = {}

    def blob(digest: Digest) -> Blob:
        if digest not in known:
            known[digest] = blob_of(cas.path(digest))
        return known[digest]

    def seal(record: Record, key: Digest | None, deep: DeepRecord | None) -> bytes | None:
        tiers = {record.tier, deep.tier if deep else record.tier}
        if not author.keys or record.fetched or tiers != {author.tier}:
            return None
        kind: Kind = "action" if deep is None else "deep"
        try:
            blobs = {digest: blob(digest) for digest in results.named_blobs(record, deep)}
        except OSError:
            return None
        made = Result(kind, key or record.action, author.tier, record, blobs, deep, author.builder)
        return envelope.seal(results.to_bytes(made), author.keys)

    return seal


def believed(trust: Trust) -> Believed:
    """Whose records of an archive count: where keys are trusted, only what these signed for the tiers that they may write."""

    def unseal(kind: str, key: Digest, data: bytes) -> Opened | str:
        said = _tier_of(data)
        if said not in trust.tiers():
            return told_tier(said) if said else Refusal.MALFORMED.value
        judged = trust.judge(data, cast("Literal['deep', 'action']", kind), key, said, unsigned=not trust.writers)
        return judged.value if isinstance(judged, Refusal) else Opened(judged.record, judged.deep)

    return Believed(trust.tier, unseal, signed_only=bool(trust.writers))


def _tier_of(data: bytes) -> str:
    """The tier that an envelope claims, whoever made it; empty where it is none."""
    try:
        return str(json.loads(envelope.unseal(data).payload)["tier"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
