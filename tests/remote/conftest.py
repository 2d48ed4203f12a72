"""The programs that stores are tested against."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from tests.remote.servers import find_bazel_remote


@pytest.fixture(scope="session")
def bazel_remote_program() -> Path:
    """bazel-remote."""
    return find_bazel_remote(Path(user_cache(os.environ), "tests"))
