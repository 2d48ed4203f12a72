"""A result as it travels: what a deep key or an action key led to, with the wire's names of all blobs that it needs.

The payload is one JSON object; docs/format.md lists its fields. What is not exactly such an object, or belongs under another
key, is a miss: whoever could put it there may be anybody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.plan.record import (
    MAX_OUTPUTS,
    DeepRecord,
    Record,
    deep_from_json,
    deep_to_json,
    record_from_json,
    record_to_json,
)
from buildgraph.remote.store import Blob
from buildgraph.structs import Struct, field, from_json, replace

FORMAT = 1
Kind = Literal["deep", "action"]


class Result(Struct, frozen=True):
    """What is kept under one key in one tier.

    ``deep`` is there for a deep key; ``record`` is that of the action; ``blobs`` has the wire's name of every blob that these
    name; ``builder`` says in words who built it, with what and from which commit, and is believed as far as the signature is.
    """

    kind: Kind
    key: Digest
    tier: str
    record: Record
    blobs: Mapping[Digest, Blob]
    deep: DeepRecord | None = None
    builder: Mapping[str, str] = field(default_factory=dict)


def place(kind: Kind, key: Digest, tier: str) -> str:
    """The key under which stores keep a result, 64 hex digits."""
    return hashlib.sha256(f"buildgraph result {FORMAT}\n{kind}\n{tier}\n{key}\n".encode()).hexdigest()


def named_blobs(record: Record, deep: DeepRecord | None) -> dict[Digest, int | None]:
    """The blobs that a result names, with their sizes where it says them: its outputs, and what explains it."""
    found: dict[Digest, int | None] = {record.document: None}
    if record.log is not None:
        found[record.log] = None
    if deep is not None:
        found[deep.document] = None
    return found | {output.digest: output.size for output in record.outputs}


def to_bytes(result: Result) -> bytes:
    """The payload."""
    content = {
        "format": FORMAT,
        "kind": result.kind,
        "key": result.key,
        "tier": result.tier,
        "record": record_to_json(replace(result.record, envelope=None)),
        "deep": None if result.deep is None else deep_to_json(replace(result.deep, envelope=None)),
        "blobs": {digest: list(blob) for digest, blob in sorted(result.blobs.items())},
        "builder": dict(result.builder),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def from_bytes(data: bytes, kind: Kind, key: Digest, tier: str) -> Result | None:
    """The result that a payload is, if it belongs under this key; None for anything else."""
    try:
        content = from_json(data)
        if (content["format"], content["kind"], content["key"], content["tier"]) != (FORMAT, kind, key, tier):
            return None
        deep = deep_from_json(content["deep"]) if kind == "deep" else None
        action = deep.action if deep else key
        record = record_from_json(content["record"], action)
        # On this machine the tier of these is what counts: nobody may say a higher one there than he signed for.
        if record is None or record.tier != tier or (kind == "deep" and (deep is None or deep.tier != tier)):
            return None
        blobs = _blobs(content["blobs"])
        builder = {str(name): str(value) for name, value in content["builder"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    # Where an envelope is kept is this machine's.
    record, deep = replace(record, envelope=None), deep and replace(deep, envelope=None)
    named = named_blobs(record, deep)
    whole = all(digest in blobs and size in {None, blobs[digest].size} for digest, size in named.items())
    return Result(kind, key, tier, record, {digest: blobs[digest] for digest in named}, deep, builder) if whole else None


def _blobs(raw: Mapping[str, Any]) -> dict[Digest, Blob]:
    if len(raw) > MAX_OUTPUTS:
        raise ValueError
    found = {}
    for name, (sha256, size) in raw.items():
        digest, on_wire = parse_digest(name), parse_digest(sha256)
        if digest is None or on_wire is None or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ValueError
        found[digest] = Blob(str(on_wire), size)
    return found
