"""The remote execution API's cache as a store, with bazel-remote and with buildbox-casd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildgraph.remote.reapi import RemoteExecutionStore
from buildgraph.web.access import Access
from tests.remote.contract import StoreContract
from tests.remote.servers import BazelRemote, bazel_remote


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bazel_remote_program: Path) -> Iterator[BazelRemote]:
    """A bazel-remote that all tests of this module share."""
    with bazel_remote(bazel_remote_program, tmp_path_factory.mktemp("bazel-remote")) as server:
        yield server


class TestBazelRemote(StoreContract):
    """bazel-remote keeps the contract; each test has an instance of its own."""

    @pytest.fixture
    def store(self, server: BazelRemote, tmp_path: Path) -> RemoteExecutionStore:
        return RemoteExecutionStore(f"{server.grpc}/{tmp_path.name}", Access())
