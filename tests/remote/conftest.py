"""The programs that stores are tested against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from tests.remote.servers import BazelRemote, bazel_remote, find_bazel_remote, find_casd
from tests.servers import find_packaged


@pytest.fixture(scope="session")
def bazel_remote_program() -> Path:
    """bazel-remote."""
    return find_bazel_remote(Path(user_cache(os.environ), "tests"))


@pytest.fixture(scope="module")
def bazel_remote_server(tmp_path_factory: pytest.TempPathFactory, bazel_remote_program: Path) -> Iterator[BazelRemote]:
    """A bazel-remote that all tests of a module share; each takes an instance of its own."""
    with bazel_remote(bazel_remote_program, tmp_path_factory.mktemp("bazel-remote")) as server:
        yield server


@pytest.fixture(scope="session")
def casd_program() -> Path:
    """buildbox-casd."""
    return find_casd(Path(user_cache(os.environ), "tests"))


@pytest.fixture(scope="session")
def registry_program() -> Path:
    """The distribution's docker-registry."""
    return find_packaged("docker-registry", "usr/bin/docker-registry", Path(user_cache(os.environ), "tests"))
