"""Bazel's HTTP cache as a store, with bazel-remote and with nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildgraph.remote.bazel import BazelStore
from buildgraph.web.access import Access
from tests.remote.contract import StoreContract
from tests.remote.servers import bazel_remote
from tests.servers import nginx_server


@pytest.fixture(scope="module")
def bazel_remote_address(tmp_path_factory: pytest.TempPathFactory, bazel_remote_program: Path) -> Iterator[str]:
    """A bazel-remote that all tests of this module share."""
    with bazel_remote(bazel_remote_program, tmp_path_factory.mktemp("bazel-remote")) as server:
        yield server.http


class TestBazelRemote(StoreContract):
    """bazel-remote keeps the contract; each test has an instance of its own."""

    title = "HTTP: bazel-remote"

    @pytest.fixture
    def store(self, bazel_remote_address: str, tmp_path: Path) -> BazelStore:
        return BazelStore(f"{bazel_remote_address}/{tmp_path.name}", Access())


class TestNginx(StoreContract):
    """So does nginx with WebDAV, which knows nothing of results."""

    title = "HTTP: nginx"

    @pytest.fixture
    def store(self, nginx: Path, tmp_path: Path) -> Iterator[BazelStore]:
        folder, scratch = tmp_path / "served", tmp_path / "scratch"
        folder.mkdir()
        scratch.mkdir()
        with nginx_server(nginx, folder, scratch, dav=True) as address:
            yield BazelStore(address, Access())
