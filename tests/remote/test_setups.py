"""The set-ups of docs/stores.md: everybody reads, who has the password writes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from buildgraph.remote.connect import connect
from buildgraph.remote.store import Store
from buildgraph.web.access import Access
from tests.remote.makers import CI, STRANGER, cas_in, give, made, sharing
from tests.remote.servers import bazel_remote, docker_registry
from tests.remote.tokens import token_server
from tests.servers import nginx_server

USER, PASSWORD = "ci", "a secret"


@dataclass(frozen=True)
class Setup:
    """A store as its writer and as anybody opens it."""

    writer: Store
    reader: Store


def opened(url: str, folder: Path) -> Setup:
    """Both, at one address."""
    host = urlsplit(url).netloc
    writer = Access(http_auth=f"basic:{host}:{USER}:{PASSWORD}")
    return Setup(connect(url, folder, writer), connect(url, folder, Access()))


@pytest.fixture(params=["http", "grpc"])
def of_bazel_remote(request: pytest.FixtureRequest, bazel_remote_program: Path, tmp_path: Path) -> Iterator[Setup]:
    """bazel-remote, by either protocol."""
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    users = tmp_path / "users"
    users.write_text(f"{USER}:{{SHA}}{hashed}\n")
    (tmp_path / "server").mkdir()
    options = ["--htpasswd_file", str(users), "--allow_unauthenticated_reads"]
    with bazel_remote(bazel_remote_program, tmp_path / "server", *options) as server:
        yield opened(getattr(server, request.param), tmp_path)


@pytest.fixture
def of_nginx(nginx: Path, tmp_path: Path) -> Iterator[Setup]:
    """nginx with WebDAV."""
    folder, scratch = tmp_path / "served", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    with nginx_server(nginx, folder, scratch, (USER, PASSWORD), dav=True, reads_are_open=True) as address:
        yield opened(address, tmp_path)


@pytest.fixture
def of_registry(registry_program: Path, tmp_path: Path) -> Iterator[Setup]:
    """A registry whose token server lets everybody read."""
    with (
        token_server(tmp_path, USER, PASSWORD) as tokens,
        docker_registry(registry_program, tmp_path / "registry", tokens.settings()) as host,
    ):
        yield opened(f"oci://{host}/cache", tmp_path)


def expect_readers_read_and_writers_write(setup: Setup, folder: Path) -> None:
    """What somebody without the password meets: hits, and a build that goes on where its results are refused."""
    record, key = give(setup.writer, folder / "writer", CI)
    cas = cas_in(folder / "reader")
    shared = sharing(setup.reader, cas, STRANGER)
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    assert cas.read(record.outputs[0].digest) == b"the package one"
    own, own_key, deep = made(cas, "own")
    shared.share(own, own_key, deep)
    shared.finish(lambda _: None)
    level = shared.levels[0]
    assert (level.results_sent, level.writes, level.is_used) == (0, False, True)
    assert [reason for reason in level.failed if "401" in reason or "UNAUTHENTICATED" in reason]
    assert sharing(setup.writer, cas_in(folder / "third")).look_up("deep", [own_key]) == []


def test_bazel_remote(of_bazel_remote: Setup, tmp_path: Path) -> None:
    """--htpasswd_file and --allow_unauthenticated_reads."""
    expect_readers_read_and_writers_write(of_bazel_remote, tmp_path)


def test_nginx(of_nginx: Setup, tmp_path: Path) -> None:
    """limit_except GET."""
    expect_readers_read_and_writers_write(of_nginx, tmp_path)


def test_registry(of_registry: Setup, tmp_path: Path) -> None:
    """Tokens for reading for everybody."""
    expect_readers_read_and_writers_write(of_registry, tmp_path)
