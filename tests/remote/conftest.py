"""The programs that stores are tested against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.programs import find_azurite, find_bazel_remote, find_casd, find_fake_gcs, store_folder
from tests.remote.servers import BazelRemote, bazel_remote, strict_s3
from tests.remote.strict import Strict
from tests.servers import find_packaged


@pytest.fixture(scope="session")
def bazel_remote_program() -> Path:
    """bazel-remote."""
    return find_bazel_remote(store_folder())


@pytest.fixture(scope="module")
def bazel_remote_server(tmp_path_factory: pytest.TempPathFactory, bazel_remote_program: Path) -> Iterator[BazelRemote]:
    """A bazel-remote that all tests of a module share; each takes an instance of its own."""
    with bazel_remote(bazel_remote_program, tmp_path_factory.mktemp("bazel-remote")) as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    """An S3 that checks who asks; whoever runs the tests is nobody there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        with strict_s3(tmp_path_factory.mktemp("strict")) as url:
            made = Strict(url, {})
            made.begin()
            yield made


@pytest.fixture(scope="session")
def casd_program() -> Path:
    """buildbox-casd."""
    return find_casd(store_folder())


@pytest.fixture(scope="session")
def registry_program() -> Path:
    """The distribution's docker-registry."""
    return find_packaged("docker-registry", "usr/bin/docker-registry", store_folder())


@pytest.fixture(scope="session")
def fake_gcs_program() -> Path:
    """Google's storage."""
    return find_fake_gcs(store_folder())


@pytest.fixture(scope="session")
def azurite_program() -> list[str | Path]:
    """Azure's storage."""
    return find_azurite(store_folder())
