"""Bazel's HTTP cache as a store, with bazel-remote and with nginx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from buildgraph.remote import http
from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.store import StoreError
from buildgraph.web.access import Access
from tests.remote.contract import KEYS, StoreContract
from tests.remote.servers import BazelRemote
from tests.servers import Handler, faulty_server, nginx_server


class TestBazelRemote(StoreContract):
    """bazel-remote keeps the contract; each test has an instance of its own."""

    title = "HTTP: bazel-remote"

    @pytest.fixture
    def store(self, bazel_remote_server: BazelRemote, tmp_path: Path) -> BazelStore:
        return BazelStore(f"{bazel_remote_server.http}/{tmp_path.name}", Access())


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


@pytest.mark.parametrize("code", [200, 404])
def test_a_server_that_sends_a_byte_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """It never falls silent, and never ends; it is given up, whatever it says, and so is the page of its error."""
    monkeypatch.setattr(http, "_GRACE", 0.1)

    def trickle(handler: Handler, _content: bytes) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "60000")
        handler.end_headers()
        with suppress(OSError):
            while not handler.server.files.ended.wait(0.02):
                handler.wfile.write(b"x")

    with faulty_server(tmp_path) as files:
        files.faults[f"/ac/{KEYS[0]}"] = [trickle]
        with pytest.raises(StoreError, match="it is too slow"):
            BazelStore(files.url, Access()).result(KEYS[0])
