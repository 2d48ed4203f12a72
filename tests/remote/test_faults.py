"""Whatever goes wrong on the way to a store, or there, is a miss with a reason; what a machine builds stays right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.objects import ObjectStore
from buildgraph.remote.oci import RegistryStore
from buildgraph.remote.reapi import RemoteExecutionStore
from buildgraph.remote.store import Store
from buildgraph.web.access import Access
from tests.remote import faults
from tests.remote.faults import relay
from tests.remote.makers import CI, cas_in, give, made, sharing
from tests.remote.servers import BazelRemote, bazel_remote, docker_registry
from tests.servers import free_port

GOOD = b"the package one"
PATIENT, IMPATIENT = Access(timeout=10), Access(timeout=0.5)


@dataclass(frozen=True)
class Way:
    """A real server's port, and how to open it, or a relay to it, as a store."""

    port: int
    open: Callable[[int, Access], Store]
    encrypted: Callable[[int, Access], Store]


@pytest.fixture(scope="module")
def bazel(tmp_path_factory: pytest.TempPathFactory, bazel_remote_program: Path) -> Iterator[BazelRemote]:
    with bazel_remote(bazel_remote_program, tmp_path_factory.mktemp("bazel-remote")) as server:
        yield server


@pytest.fixture(scope="module")
def http(bazel: BazelRemote) -> Way:
    return Way(
        urlsplit(bazel.http).port or 0,
        lambda port, access: BazelStore(f"http://127.0.0.1:{port}", access),
        lambda port, access: BazelStore(f"https://localhost:{port}", access),
    )


@pytest.fixture(scope="module")
def grpc(bazel: BazelRemote) -> Way:
    return Way(
        urlsplit(bazel.grpc).port or 0,
        lambda port, access: RemoteExecutionStore(f"grpc://127.0.0.1:{port}", access),
        lambda port, access: RemoteExecutionStore(f"grpcs://localhost:{port}", access),
    )


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory, registry_program: Path) -> Iterator[Way]:
    with docker_registry(registry_program, tmp_path_factory.mktemp("registry")) as host:
        yield Way(
            int(host.partition(":")[2]),
            lambda port, access: RegistryStore(f"oci://127.0.0.1:{port}/cache", access),
            # By another of this machine's names, since by this one it would not be encrypted.
            lambda port, access: RegistryStore(f"oci://127.1:{port}/cache", access),
        )


@pytest.fixture(scope="module")
def s3() -> Iterator[Way]:
    from moto.server import ThreadedMotoServer
    from urllib3 import request

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    assert request("PUT", f"http://127.0.0.1:{port}/bucket").status == 200

    def opened(scheme: str, port: int, access: Access) -> Store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT", f"{scheme}://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
            patch.setenv("AWS_REGION", "us-east-1")
            return ObjectStore("s3://bucket/cache", access.timeout)

    yield Way(port, lambda port, access: opened("http", port, access), lambda port, access: opened("https", port, access))
    server.stop()


WAYS = ["http", "grpc", "oci", "s3"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """Each kind of server."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Way)
    return found


def kind(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["way"])


def expect_misses(way: Way, broken: Store, folder: Path, *, is_found: bool = False) -> str:
    """A result that is there cannot be had through a broken way, and what the machine builds itself is right. The reason.

    ``is_found``: the result itself may come through, but not its blobs.
    """
    record, key = give(way.open(way.port, PATIENT), folder / "origin", CI)
    cas = cas_in(folder / "victim")
    shared = sharing(broken, cas, CI)
    found = shared.look_up("deep", [key])
    assert bool(found) is is_found
    assert shared.bring_all([one.record for one in found]) == [False] * len(found)
    level = shared.levels[0]
    assert level.failed, "nothing was counted"
    (reason, _), *_ = level.failed.most_common()
    assert reason in level.summary()
    assert not cas.has(record.outputs[0].digest)
    built, own, deep = made(cas)  # the build goes on, and makes it
    shared.share(built, own, deep)
    shared.finish(lambda _: None)
    assert cas.read(built.outputs[0].digest) == GOOD
    return reason


def test_nobody_listens(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    reason = expect_misses(way, way.open(free_port(), PATIENT), tmp_path)
    assert "Connection refused" in reason


def test_connections_are_reset(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with relay(way.port, faults.reset) as port:
        reason = expect_misses(way, way.open(port, PATIENT), tmp_path)
    assert {"grpc": "cannot be reached"}.get(kind(request), "Connection reset by peer") in reason


def test_the_server_falls_silent(way: Way, tmp_path: Path) -> None:
    """It is waited for as long as the settings say, and not longer."""
    with relay(way.port, faults.silent) as port:
        reason = expect_misses(way, way.open(port, IMPATIENT), tmp_path)
    assert reason == "the server fell silent"


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"])
def test_the_server_fails(way: Way, request: pytest.FixtureRequest, tmp_path: Path, status: str) -> None:
    """Over gRPC it is something that speaks another protocol."""
    with relay(way.port, faults.answers(status)) as port:
        reason = expect_misses(way, way.open(port, PATIENT), tmp_path)
    assert {"grpc": "cannot be reached"}.get(kind(request), f"the server answers {status}") in reason


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_credentials_have_ended(way: Way, request: pytest.FixtureRequest, tmp_path: Path, status: str) -> None:
    with relay(way.port, faults.answers(status, 'WWW-Authenticate: Basic realm="x"\r\n')) as port:
        reason = expect_misses(way, way.open(port, PATIENT), tmp_path)
    said = f"the server answers {status}"
    asks = "the registry asks for a user and password" if status.startswith("401") else said
    assert {"oci": asks, "grpc": "cannot be reached"}.get(kind(request), said) in reason


def test_nobody_knows_the_certificate(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with relay(way.port, faults.encrypted(tmp_path)) as port:
        reason = expect_misses(way, way.encrypted(port, PATIENT), tmp_path)
    said = {"s3": "its certificate is not trusted", "grpc": "handshake failed"}
    assert said.get(kind(request), "certificate verify failed") in reason


def test_encryption_where_there_is_none(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The server does not speak it."""
    reason = expect_misses(way, way.encrypted(way.port, PATIENT), tmp_path)
    assert {"s3": "error sending request", "grpc": "handshake failed"}.get(kind(request), "SSL") in reason


def test_other_bytes_arrive(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """As many, so that nothing but their digest tells, or the checksum of what is compressed."""
    with relay(way.port, faults.swaps(GOOD, GOOD[::-1])) as port:
        reason = expect_misses(way, way.open(port, PATIENT), tmp_path, is_found=True)
    assert reason == {"grpc": "a compressed blob is damaged"}.get(kind(request), "a blob has other bytes than its name says")


@pytest.mark.parametrize("way", ["http", "grpc", "oci"], indirect=True)
def test_a_blob_is_cut_off(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with relay(way.port, faults.cuts(GOOD)) as port:
        reason = expect_misses(way, way.open(port, PATIENT), tmp_path, is_found=True)
    assert {"grpc": "cannot be reached"}.get(kind(request), "the answer ended 8 bytes too early") in reason


def test_a_client_that_asks_for_the_rest_has_a_hit(s3: Way, tmp_path: Path) -> None:
    """That of object storage."""
    record, key = give(s3.open(s3.port, PATIENT), tmp_path / "origin", CI)
    cas = cas_in(tmp_path / "reader")
    with relay(s3.port, faults.cuts(GOOD)) as port:
        shared = sharing(s3.open(port, PATIENT), cas)
        (found,) = shared.look_up("deep", [key])
        assert shared.bring_all([found.record]) == [True]
    assert cas.read(record.outputs[0].digest) == GOOD


@pytest.mark.parametrize("way", ["http", "grpc", "oci"], indirect=True)
def test_a_result_is_cut_off(way: Way, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with relay(way.port, faults.cuts(b"artifactType" if kind(request) == "oci" else b"payloadType")) as port:
        reason = expect_misses(way, way.open(port, PATIENT), tmp_path)
    said = {"grpc": "cannot be reached", "oci": "bytes too early", "http": "bytes too early"}
    assert said[kind(request)] in reason
