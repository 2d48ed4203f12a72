"""The remote execution API's cache as a store, with bazel-remote and with buildbox-casd."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.protobuf import field
from buildgraph.remote.reapi import RemoteExecutionStore, _parsed, _Server
from buildgraph.remote.store import AbsentError, Blob, RefusedError, Store, StoreError
from buildgraph.web.access import Access
from tests.conftest import ROOT
from tests.remote.contract import KEYS, StoreContract
from tests.remote.faults import relay, silent
from tests.remote.makers import CI, blob_of, cas_in, give, sharing
from tests.remote.servers import BazelRemote, casd
from tests.servers import free_port
from tests.waiting import wait_for


class TestBazelRemote(StoreContract):
    """bazel-remote keeps the contract; each test has an instance of its own."""

    title = "gRPC: bazel-remote"

    @pytest.fixture
    def store(self, bazel_remote_server: BazelRemote, tmp_path: Path) -> RemoteExecutionStore:
        return RemoteExecutionStore(f"{bazel_remote_server.grpc}/{tmp_path.name}", Access())


class TestCasd(StoreContract):
    """So does buildbox-casd, which BuildStream and others use."""

    title = "gRPC: buildbox-casd"

    @pytest.fixture
    def store(self, casd_program: Path, tmp_path: Path) -> Iterator[RemoteExecutionStore]:
        with casd(casd_program, tmp_path / "casd") as address:
            yield RemoteExecutionStore(address, Access())


def test_large_blobs_are_streamed(bazel_remote_server: BazelRemote, tmp_path: Path) -> None:
    """Around the size that one message may have, and in chunks that do not end with the blob."""
    store = RemoteExecutionStore(f"{bazel_remote_server.grpc}/streams", Access())
    limit = store._server().batch
    for size in (limit - 1, limit, limit + 1, 3 * limit + 7):
        data = os.urandom(size)
        blob, source, stream = blob_of(data), tmp_path / str(size), io.BytesIO()
        source.write_bytes(data)
        for _ in range(2):  # the second time it is there already
            store.write(blob, source)
        store.read(blob, stream)
        assert stream.getvalue() == data


def test_a_large_blob_that_is_gone(bazel_remote_server: BazelRemote) -> None:
    """Streams say so in their own way."""
    store = RemoteExecutionStore(bazel_remote_server.grpc, Access())
    with pytest.raises(AbsentError):
        store.read(Blob("0" * 64, 100 << 20), io.BytesIO())


def test_more_blobs_than_fit_into_one_question(bazel_remote_server: BazelRemote) -> None:
    store = RemoteExecutionStore(bazel_remote_server.grpc, Access())
    asked = [blob_of(f"nowhere {number}".encode()) for number in range(25_000)]
    assert store.missing(asked) == asked


@pytest.mark.parametrize("first", ["grpc", "http"])
def test_a_result_whose_blob_was_lost_is_a_miss(bazel_remote_server: BazelRemote, tmp_path: Path, first: str) -> None:
    """The first who asks for the blob does not get it; after that the server has no such result, over either protocol."""
    stores: dict[str, Store] = {
        "grpc": RemoteExecutionStore(f"{bazel_remote_server.grpc}/lost-{first}", Access()),
        "http": BazelStore(f"{bazel_remote_server.http}/lost-{first}", Access()),
    }
    _, key = give(stores["http"], tmp_path / "one", CI, name=f"lost {first}")
    (path,) = bazel_remote_server.folder.rglob(f"{blob_of(f'the package lost {first}'.encode()).sha256}-*")
    path.unlink()
    shared = sharing(stores[first], cas_in(tmp_path / "reader"))
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [False]
    assert sum(shared.levels[0].failed.values()) == 1
    for store in stores.values():
        shared = sharing(store, cas_in(tmp_path / "another"))
        assert shared.look_up("deep", [key]) == []
        assert (shared.levels[0].misses, shared.levels[0].failed) == (1, {})


def test_both_protocols_read_the_same_cache(bazel_remote_server: BazelRemote, tmp_path: Path) -> None:
    """Whether a result is in its message or, as a large one, a blob."""
    over_grpc, over_http = (
        RemoteExecutionStore(f"{bazel_remote_server.grpc}/both", Access()),
        BazelStore(f"{bazel_remote_server.http}/both", Access()),
    )
    blob, source = blob_of(b"an output"), tmp_path / "output"
    source.write_bytes(b"an output")
    over_grpc.write(blob, source)
    for key, size in zip(KEYS, (10, 1 << 20, 5 << 20), strict=False):
        value = os.urandom(size)
        over_grpc.put_result(key, value, [blob])
        assert over_http.result(key) == value
        over_http.put_result(key, value[::-1], [blob])
        assert over_grpc.result(key) == value[::-1]


def test_the_library_is_loaded_when_it_is_used(tmp_path: Path) -> None:
    """A null build, and any build without such a cache, does without."""
    program = "import sys, pathlib; from buildgraph.remote.connect import connect; from buildgraph.web.access import Access; "
    program += "connect('https://cache.example', pathlib.Path(), Access()); assert 'grpc' not in sys.modules; "
    program += "connect('grpc://cache.example', pathlib.Path(), Access()); assert 'grpc' in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def capabilities(digest_functions: bytes, *, updates: bool, batch: int) -> bytes:
    """A message as a server sends it."""
    return field(1, digest_functions + field(2, field(1, 1) if updates else b"") + field(4, batch))


def test_what_servers_can_do() -> None:
    """Repeated numbers come packed or one by one; no limit is gRPC's own."""
    for functions in (field(1, 1), field(1, 2) + field(1, 1), field(1, bytes([2, 9, 1]))):
        assert _parsed(capabilities(functions, updates=True, batch=0)) == _Server()
        assert _parsed(capabilities(functions, updates=False, batch=1 << 20)) == _Server(
            (1 << 20) - (64 << 10), takes_results=False
        )
    with pytest.raises(StoreError, match="SHA-256"):
        _parsed(capabilities(field(1, bytes([9])), updates=True, batch=0))


def test_a_server_that_takes_no_results(bazel_remote_server: BazelRemote, tmp_path: Path) -> None:
    """It is read; nothing is sent there."""
    store = RemoteExecutionStore(bazel_remote_server.grpc, Access())
    store._known = _Server(takes_results=False)
    with pytest.raises(RefusedError, match="takes no results"):
        store.put_result(KEYS[0], b"", [])
    with pytest.raises(RefusedError, match="takes no results"):
        store.write(blob_of(b""), tmp_path / "none")
    assert store.result(KEYS[7]) is None


def test_who_stops_bg_need_not_wait_for_a_silent_server(bazel_remote_server: BazelRemote) -> None:
    """Calls that are under way end, and there are no others."""
    with relay(urlsplit(bazel_remote_server.grpc).port or 0, silent) as port:
        store = RemoteExecutionStore(f"grpc://127.0.0.1:{port}", Access(timeout=600))
        failed: list[str] = []

        def ask() -> None:
            with pytest.raises(StoreError) as error:
                store.missing([blob_of(b"anything")])
            failed.append(str(error.value))

        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: store._channel._opened is not None)
        store._channel.interrupt()
        asking.join(60)
        assert len(failed) == 1
        assert failed[0] != "the server fell silent"
        with pytest.raises(StoreError, match="interrupted"):
            store.result(KEYS[0])


@pytest.mark.parametrize("scheme", ["grpc", "grpcs"])
def test_nothing_but_bg_says_why_there_is_no_connection(bazel_remote_server: BazelRemote, scheme: str) -> None:
    """grpc's core would write lines of its own between those of the build, where a server does not speak TLS for instance."""
    port = urlsplit(bazel_remote_server.grpc).port if scheme == "grpcs" else free_port()
    script = f"""
from buildgraph.remote.reapi import RemoteExecutionStore
from buildgraph.remote.store import StoreError
from buildgraph.web.access import Access
store = RemoteExecutionStore("{scheme}://127.0.0.1:{port}", Access(timeout=5))
try:
    store.missing([])
except StoreError as error:
    print(error)
store.close()
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("the server cannot be reached: ")
    assert done.stderr == ""
