"""How long a store is waited for: a server may say nothing, or say it a byte at a time, in each part of what it does."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.objects import ObjectStore
from buildgraph.remote.oci import RegistryStore
from buildgraph.remote.patience import AT_LEAST, patience
from buildgraph.remote.reapi import RemoteExecutionStore
from buildgraph.remote.store import Blob, Store, StoreError
from buildgraph.web.access import Access
from tests.remote import faults
from tests.remote.contract import KEYS
from tests.remote.faults import relay
from tests.remote.makers import blob_of
from tests.remote.servers import BazelRemote, docker_registry

MARK = b"from here on it is slow"
SOON = 0.5  # seconds, the patience of these tests
At = tuple[int, Callable[[int, float], Store]]  # a real server's port, and how to open it, or a relay to it
# Of a size that goes in one message or request, and one that takes several.
SIZES = pytest.mark.parametrize("size", [1 << 20, 9 << 20], ids=["one request", "a stream"])


@pytest.fixture(params=["grpc", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> At:
    """Each kind of server."""
    found = request.getfixturevalue(request.param)
    return cast("At", found)


@pytest.fixture
def grpc(bazel_remote_server: BazelRemote, tmp_path: Path) -> At:
    port = int(bazel_remote_server.grpc.rpartition(":")[2])
    return port, lambda port, timeout: RemoteExecutionStore(f"grpc://127.0.0.1:{port}/{tmp_path.name}", Access(timeout=timeout))


@pytest.fixture
def s3() -> Iterator[At]:
    from moto.server import ThreadedMotoServer
    from urllib3 import request

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    assert request("PUT", f"http://127.0.0.1:{port}/bucket").status == 200

    def opened(port: int, timeout: float) -> Store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
            patch.setenv("AWS_REGION", "us-east-1")
            return ObjectStore("s3://bucket/cache", timeout)

    yield port, opened
    server.stop()


@pytest.fixture
def http(bazel_remote_server: BazelRemote, tmp_path: Path) -> At:
    port = int(bazel_remote_server.http.rpartition(":")[2])
    return port, lambda port, timeout: BazelStore(f"http://127.0.0.1:{port}/{tmp_path.name}", Access(timeout=timeout))


@pytest.fixture
def oci(registry_program: Path, tmp_path: Path) -> Iterator[At]:
    with docker_registry(registry_program, tmp_path / "registry") as host:
        port = int(host.rpartition(":")[2])
        yield port, lambda port, timeout: RegistryStore(f"oci://127.0.0.1:{port}/cache", Access(timeout=timeout))


def blob_in(folder: Path, size: int) -> tuple[Blob, Path]:
    """A blob in whose middle things go wrong."""
    half = size // 2
    data = os.urandom(half) + MARK + os.urandom(size - half - len(MARK))
    source = folder / "blob"
    source.write_bytes(data)
    return blob_of(data), source


@pytest.mark.parametrize("fault", [faults.stalls(MARK), faults.trickles(MARK, 0.05)], ids=["silence", "a byte at a time"])
@SIZES
def test_a_blob_that_does_not_go_on(opened: At, fault: faults.Fault, size: int, tmp_path: Path) -> None:
    port, at = opened
    blob, source = blob_in(tmp_path, size)
    at(port, 10).write(blob, source)
    with relay(port, fault) as broken, pytest.raises(StoreError, match="the server fell silent"):
        at(broken, SOON).read(blob, io.BytesIO())


@pytest.mark.parametrize("fault", [faults.stalls(MARK), faults.trickles(MARK, 0.05)], ids=["silence", "a byte at a time"])
def test_a_result_that_does_not_go_on(opened: At, fault: faults.Fault, tmp_path: Path) -> None:
    port, at = opened
    at(port, 10).put_result(KEYS[0], MARK * 100, [])
    with relay(port, fault) as broken, pytest.raises(StoreError, match="the server fell silent"):
        at(broken, SOON).result(KEYS[0])


@pytest.mark.parametrize("opened", ["http", "oci"], indirect=True)
@pytest.mark.parametrize("ask", ["result", "missing", "read", "write", "put_result"])
def test_a_head_that_goes_on_and_on(opened: At, ask: str, tmp_path: Path) -> None:
    """A byte at a time; only bytes of a body gain a server time, and not headers."""
    port, at = opened
    blob, source = blob_in(tmp_path, 1 << 10)
    at(port, 10).write(blob, source)
    at(port, 10).put_result(KEYS[0], b"a result", [blob])
    with relay(port, faults.pads_heads(0.02)) as slow:
        store = at(slow, SOON)
        asked: dict[str, Callable[[], object]] = {
            "result": lambda: store.result(KEYS[0]),
            "missing": lambda: store.missing([blob]),
            "read": lambda: store.read(blob, io.BytesIO()),
            "write": lambda: store.write(blob, source),
            "put_result": lambda: store.put_result(KEYS[1], b"a result", [blob]),
        }
        with pytest.raises(StoreError, match="the server fell silent"):
            asked[ask]()


@SIZES
def test_a_blob_that_is_not_taken(opened: At, size: int, tmp_path: Path) -> None:
    """What is large may take longer, in proportion."""
    port, at = opened
    blob, source = blob_in(tmp_path, size)
    with relay(port, faults.deafens(size // 2)) as broken, pytest.raises(StoreError, match="the server fell silent"):
        at(broken, SOON).write(blob, source)


def test_what_is_large_may_take_longer() -> None:
    """64 KiB a second, with the setting that builds have."""
    assert patience(20, 0) == 20
    assert patience(20, AT_LEAST) == 40
    assert patience(20, 100 << 20) == 20 + (100 << 20) / (64 << 10)
