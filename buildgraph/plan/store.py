"""Records and blobs together: what the cache can answer about actions."""

from __future__ import annotations

from dataclasses import dataclass

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.errors import CacheError
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.keys.document import KeyDocument
from buildgraph.plan.record import DeepRecord, Record, deep_from_json, deep_to_json, record_from_json, record_to_json

ACTION, DEEP, LAST = "action", "deep", "last"


@dataclass(frozen=True, slots=True)
class Last:
    """A node's previous result in this workspace: for explanations and estimates, never for decisions."""

    action: Digest
    deep_document: Digest
    content: Digest
    seconds: float


@dataclass(slots=True)
class RecordStore:
    """The local cache as the rebuilder and the executor see it. ``workspace`` keeps the nodes of workspaces apart."""

    cas: Cas
    records: Records
    workspace: str

    def record(self, action: Digest) -> Record | None:
        """The record of an action, only if all of its outputs are at hand too."""
        record = self.previous(action)
        if record is None or not all(self.cas.has(output.digest, size=output.size) for output in record.outputs):
            return None
        return record

    def previous(self, action: Digest) -> Record | None:
        """The record of an action, whether or not its outputs are still there."""
        return record_from_json(self.records.get(ACTION, action), action)

    def put(self, record: Record) -> None:
        """Stores a record; its blobs must be there already."""
        self.records.put(ACTION, record.action, record_to_json(record))

    def deep(self, key: Digest) -> DeepRecord | None:
        """What a deep key led to."""
        return deep_from_json(self.records.get(DEEP, key))

    def put_deep(self, key: Digest, deep: DeepRecord) -> None:
        """Remembers what a deep key led to."""
        self.records.put(DEEP, key, deep_to_json(deep))

    def last(self, node: str) -> Last | None:
        """A node's previous result."""
        raw = self.records.get(LAST, f"{self.workspace}:{node}") or {}
        action, document, content = (parse_digest(raw.get(name)) for name in ("action", "deep_document", "content"))
        seconds = raw.get("seconds")
        if action is None or document is None or content is None or not isinstance(seconds, int | float):
            return None
        return Last(action, document, content, float(seconds))

    def put_last(self, node: str, last: Last) -> None:
        """Remembers a node's result."""
        value = {"action": last.action, "deep_document": last.deep_document, "content": last.content, "seconds": last.seconds}
        self.records.put(LAST, f"{self.workspace}:{node}", value)

    def document(self, digest: Digest) -> KeyDocument | None:
        """A stored key document, None where it is gone or is none."""
        try:
            return KeyDocument.from_bytes(self.cas.read(digest))
        except (CacheError, ValueError):
            return None

    def text(self, digest: str) -> str | None:
        """A stored text, such as a recipe as it went into a box."""
        parsed = parse_digest(digest)
        try:
            return None if parsed is None else self.cas.read(parsed).decode("utf-8", "surrogateescape")
        except CacheError:
            return None
