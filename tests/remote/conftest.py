"""The programs that stores are tested against."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from tests.remote.servers import find_bazel_remote, find_casd
from tests.servers import find_packaged


@pytest.fixture(scope="session")
def bazel_remote_program() -> Path:
    """bazel-remote."""
    return find_bazel_remote(Path(user_cache(os.environ), "tests"))


@pytest.fixture(scope="session")
def casd_program() -> Path:
    """buildbox-casd."""
    return find_casd(Path(user_cache(os.environ), "tests"))


@pytest.fixture(scope="session")
def registry_program() -> Path:
    """The distribution's docker-registry."""
    return find_packaged("docker-registry", "usr/bin/docker-registry", Path(user_cache(os.environ), "tests"))
