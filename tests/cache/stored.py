"""Results in a cache without a build: records whose files are a few bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.keys.digest import Digest
from buildgraph.keys.document import Entry, KeyDocument
from buildgraph.plan.inventory import Inventory, take_inventory
from buildgraph.plan.record import DeepRecord, Output, Record
from buildgraph.plan.store import Last, RecordStore

WORKSPACE = "0123456789abcdef"


@dataclass
class Filled:
    """A cache that results are put into as builds do it, and what was put."""

    root: Path

    def __post_init__(self) -> None:
        self.cas = Cas(self.root, blake3)
        self.records = Records(self.root)
        self.store = RecordStore(self.cas, self.records, WORKSPACE)

    def put(self, name: str, *contents: bytes, tier: str = "local") -> Record:
        """Stores the result of a node: its files, what explains it, its deep key, and that it is the node's latest."""
        given = [blake3(content).hexdigest() for content in contents]
        recipe = self.cas.put_bytes(f"recipe of {name}".encode())
        document = KeyDocument.of([Entry("recipe", f"{name}.yaml", recipe), Entry("setting", "contents", " ".join(given))])
        kept = Digest(self.cas.put_bytes(document.to_bytes()))
        outputs = tuple(
            Output(f"x86_64/{name}-{number}.apk", Digest(self.cas.put_bytes(content)), len(content))
            for number, content in enumerate(contents)
        )
        log = Digest(self.cas.put_bytes(f"log of {name} {given}".encode()))
        record = Record(document.key(), f"//:{name}@x86_64", kept, outputs, log=log, seconds=1.5, tier=tier)
        store = RecordStore(self.cas, self.records, WORKSPACE, tier)
        store.put(record)
        deep = KeyDocument.of([*document.entries, Entry("setting", "deep", "yes")])
        of_deep = Digest(self.cas.put_bytes(deep.to_bytes()))
        store.put_deep(deep.key(), DeepRecord(record.action, of_deep, {}, {}))
        store.put_last(record.node, Last(record.action, of_deep, kept, 1.5))
        return record

    def inventory(self) -> Inventory:
        """What is there."""
        return take_inventory(self.root, self.cas, self.records, texts=True)

    def results(self) -> set[str]:
        """The names of the nodes that have whole results."""
        return {
            held.name.removeprefix("//:").partition("@")[0]
            for held in self.inventory().results
            if held.record and self.store.record(held.record.action)
        }

    def files(self) -> dict[str, bytes]:
        """The blobs."""
        return {digest: self.cas.path(digest).read_bytes() for digest in self.cas.stats()}
