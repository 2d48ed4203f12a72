"""What every store must do, whatever is behind it. A test of a store is this class with a title and a fixture ``store``."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from buildgraph.remote.store import AbsentError, Blob, Store
from tests.remote.makers import CI, blob_of, cas_in, give, sharing

KEYS = [f"{number:064x}" for number in range(1, 9)]


class StoreContract:
    """The contract of ``remote.store.Store``. ``title`` is what docs/stores.md calls the store."""

    title: ClassVar[str]

    def keep(self, store: Store, folder: Path, data: bytes) -> Blob:
        """Puts some bytes into a store."""
        blob = blob_of(data)
        source = folder / blob.sha256
        source.write_bytes(data)
        store.write(blob, source)
        return blob

    def read(self, store: Store, blob: Blob) -> bytes:
        """Gets them back."""
        stream = io.BytesIO()
        store.read(blob, stream)
        return stream.getvalue()

    def test_a_store_begins_empty(self, store: Store) -> None:
        assert store.result(KEYS[0]) is None
        assert store.missing([blob_of(b"nowhere")]) == [blob_of(b"nowhere")]
        with pytest.raises(AbsentError):
            self.read(store, blob_of(b"nowhere"))

    def test_a_blob_comes_back_as_it_was(self, store: Store, tmp_path: Path) -> None:
        for data in (b"x", b"\0\r\n\xff" * 1000, os.urandom(3 << 20), os.urandom(11 << 20)):  # the last in several parts
            blob = self.keep(store, tmp_path, data)
            assert store.missing([blob]) == []
            assert self.read(store, blob) == data

    def test_the_empty_blob_too(self, store: Store, tmp_path: Path) -> None:
        assert self.read(store, self.keep(store, tmp_path, b"")) == b""

    def test_missing_tells_which(self, store: Store, tmp_path: Path) -> None:
        there = [self.keep(store, tmp_path, f"here {number}".encode()) for number in range(5)]
        gone = [blob_of(f"gone {number}".encode()) for number in range(5)]
        asked = [blob for pair in zip(there, gone, strict=True) for blob in pair]
        assert store.missing(asked) == gone
        assert store.missing([]) == []

    def test_a_blob_may_be_written_again(self, store: Store, tmp_path: Path) -> None:
        blob = self.keep(store, tmp_path, b"twice")
        assert self.keep(store, tmp_path, b"twice") == blob
        assert self.read(store, blob) == b"twice"

    def test_a_result_comes_back_and_is_replaced(self, store: Store, tmp_path: Path) -> None:
        blob = self.keep(store, tmp_path, b"an output")
        store.put_result(KEYS[1], b'{"one": 1}', [blob])
        assert store.result(KEYS[1]) == b'{"one": 1}'
        store.put_result(KEYS[1], b"\xff\0 another", [blob])
        assert store.result(KEYS[1]) == b"\xff\0 another"
        assert store.result(KEYS[2]) is None

    def test_a_large_result(self, store: Store, tmp_path: Path) -> None:
        """As that of an image with thousands of files beside it."""
        value = os.urandom(1 << 20)
        store.put_result(KEYS[3], value, [self.keep(store, tmp_path, b"its blob")])
        assert store.result(KEYS[3]) == value

    def test_threads_share_it(self, store: Store, tmp_path: Path) -> None:
        def one(number: int) -> bytes:
            data = f"thread {number}".encode() * 1000
            blob = self.keep(store, tmp_path, data)
            store.put_result(KEYS[number], data[:100], [blob])
            return self.read(store, blob)

        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(one, range(8)))
        assert found == [f"thread {number}".encode() * 1000 for number in range(8)]
        assert [store.result(key) for key in KEYS] == [data[:100] for data in found]

    def test_machines_share_results_through_it(self, store: Store, tmp_path: Path) -> None:
        """What one machine built is there for another, its outputs byte for byte."""
        record, key = give(store, tmp_path / "one", CI)
        cas = cas_in(tmp_path / "two")
        shared = sharing(store, cas)
        (found,) = shared.look_up("deep", [key])
        assert found.record == record
        assert shared.bring_all([found.record]) == [True]
        assert cas.read(record.outputs[0].digest) == b"the package one"
        assert [one.record for one in sharing(store, cas).look_up("action", [record.action])] == [record]
