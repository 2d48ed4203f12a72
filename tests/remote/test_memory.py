"""Blobs go to stores and come from them piece by piece: how large they are makes no difference to a machine's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.remote.servers import BazelRemote, docker_registry

Place = tuple[str, dict[str, str]]  # a store's address, and the environment that it takes
FEW = 40  # MiB
# Moves a blob that takes several messages or requests, then a far larger one; prints the MiB that this took beyond the other.
MOVING = """
import os, sys
from pathlib import Path
from buildgraph.remote.connect import connect
from buildgraph.remote.shared import blob_of
from buildgraph.web.access import Access
from tests.memory import peak

folder = Path(sys.argv[2])
store = connect(sys.argv[1], folder, Access())

class Sink:
    size = 0
    def write(self, data):
        self.size += len(data)

def move(size):
    source = folder / "blob"
    with source.open("wb") as stream:
        for _ in range(size >> 20):
            stream.write(os.urandom(1 << 20))
    blob, sink = blob_of(source), Sink()
    store.write(blob, source)
    store.read(blob, sink)
    assert sink.size == size
    return peak()

before = move(24 << 20)
print(move(240 << 20) - before)
store.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    (tmp_path / "share").mkdir()
    return str(tmp_path / "share"), {}


@pytest.fixture
def http(bazel_remote_server: BazelRemote) -> Place:
    return bazel_remote_server.http, {}


@pytest.fixture
def grpc(bazel_remote_server: BazelRemote) -> Place:
    return bazel_remote_server.grpc, {}


@pytest.fixture
def oci(registry_program: Path, tmp_path: Path) -> Iterator[Place]:
    with docker_registry(registry_program, tmp_path / "registry") as host:
        yield f"oci://{host}/cache", {}


@pytest.fixture
def s3() -> Iterator[Place]:
    from moto.server import ThreadedMotoServer
    from urllib3 import request

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    url = f"http://127.0.0.1:{port}"
    assert request("PUT", f"{url}/bucket").status == 200
    credentials = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_REGION": "us-east-1"}
    yield "s3://bucket/cache", {"AWS_ENDPOINT": url, **credentials}
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "http", "grpc", "oci", "s3"])
def test_a_large_blob_takes_no_more_memory(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A blob of 240 MiB is written and read with what one of 24 MiB takes, and a few MiB."""
    address, environment = request.getfixturevalue(kind)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MOVING, address, scratch],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(scratch), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < FEW
