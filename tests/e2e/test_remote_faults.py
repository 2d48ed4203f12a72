"""A store that fails in the middle of real builds: they end as if there were none, and say why it was of no use."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e import tiny
from tests.e2e.test_remote import EVERYTHING, IMAGE, another
from tests.e2e.workspace import Workspace
from tests.remote import faults
from tests.remote.faults import Fault, relay
from tests.remote.servers import BazelRemote
from tests.servers import free_port

pytestmark = pytest.mark.e2e


@pytest.fixture
def first(empty: Workspace, server: BazelRemote) -> Workspace:
    """A machine that has built everything and given it to the server."""
    tiny.chain(empty)
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(f"remotes: [{{url: '{server.http}', mode: read-write, unsigned: true, name: far}}]\n")
    assert empty.build("//...").ran == EVERYTHING
    return empty


def expect_it_is_right(first: Workspace, name: str, address: str, reason: str) -> None:
    """Another machine builds all of it by itself, the image to the byte, and says why the store at an address was of no use."""
    machine = another(first, name)
    manifest = machine.root / "buildgraph.yaml"
    manifest.write_text(re.sub(r"url: '[^']*'", f"url: '{address}'", manifest.read_text()))
    done = machine.build("//...")
    assert done.ran == EVERYTHING, name
    assert (machine.root / IMAGE).read_bytes() == (first.root / IMAGE).read_bytes()
    (line,) = (line for line in done.err.splitlines() if line.startswith("cache  far: "))
    assert reason in line


def test_a_store_that_fails_changes_no_result(first: Workspace, server: BazelRemote, tmp_path: Path) -> None:
    """Whatever the way to it does, the image has the bytes that it has without; without faults nothing runs."""
    assert another(first, "good").build("//...").ran == set()
    gzip = b"\x1f\x8b\x08"  # how everything begins that is compressed, which packages and layers are
    broken: dict[str, tuple[Fault, str]] = {
        "reset": (faults.reset, "reset by peer"),
        "busy": (faults.answers("500 Internal Server Error"), "the server answers 500"),
        "ended": (faults.answers("401 Unauthorized"), "the server answers 401"),
        "swapped": (faults.swaps(gzip, b"\x1f\x8b\x09"), "a blob has other bytes than its name says"),
        "cut": (faults.cuts(gzip), "too early"),
    }
    port = urlsplit(server.http).port or 0
    for name, (fault, reason) in broken.items():
        with relay(port, fault) as way:
            expect_it_is_right(first, name, f"http://127.0.0.1:{way}", reason)
    with relay(port, faults.encrypted(tmp_path)) as way:
        expect_it_is_right(first, "stranger", f"https://localhost:{way}", "certificate verify failed")
    expect_it_is_right(first, "refused", f"http://127.0.0.1:{free_port()}", "Connection refused")


@pytest.mark.slow
def test_a_silent_store_changes_no_result(first: Workspace, server: BazelRemote) -> None:
    """It is waited for, and then left alone."""
    with relay(urlsplit(server.http).port or 0, faults.silent) as way:
        expect_it_is_right(first, "silent", f"http://127.0.0.1:{way}", "the server fell silent")
