"""Object storage as a store, with moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildgraph.remote.objects import ObjectStore
from tests.remote.contract import StoreContract


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that behaves as S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, and an environment that says where and how."""
    from urllib3 import request

    settings = {
        "AWS_ENDPOINT": s3,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    name = f"bg-{tmp_path.name.lower().replace('_', '-')[:50]}"
    assert request("PUT", f"{s3}/{name}").status == 200
    return name


class TestS3(StoreContract):
    """S3 keeps the contract."""

    title = "S3: moto"

    @pytest.fixture
    def store(self, bucket: str) -> ObjectStore:
        return ObjectStore(f"s3://{bucket}/some/path", 10)
