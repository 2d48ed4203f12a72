"""A store that fails in the middle of real builds: they end as if there were none, and say why it was of no use."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.e2e import tiny
from tests.e2e.test_remote import EVERYTHING, IMAGE, another
from tests.e2e.workspace import Workspace
from tests.remote import faults
from tests.remote.faults import Fault, relay
from tests.remote.servers import BazelRemote

pytestmark = pytest.mark.e2e


@pytest.fixture
def first(empty: Workspace, server: BazelRemote) -> Workspace:
    """A machine that has built everything and given it to the server."""
    tiny.chain(empty)
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(f"remotes: [{{url: '{server.http}', mode: read-write, unsigned: true, name: far}}]\n")
    assert empty.build("//...").ran == EVERYTHING
    return empty


def test_a_store_that_fails_changes_no_result(first: Workspace, server: BazelRemote) -> None:
    """Whatever the way to it does, the image has the bytes that it has without; without faults nothing runs."""
    assert another(first, "good").build("//...").ran == set()
    broken: dict[str, tuple[Fault, str]] = {
        "reset": (faults.reset, "reset by peer"),
        "busy": (faults.answers("500 Internal Server Error"), "the server answers 500"),
        "ended": (faults.answers("401 Unauthorized"), "the server answers 401"),
        # Everything that is compressed, which packages and layers are.
        "swapped": (faults.swaps(b"\x1f\x8b\x08", b"\x1f\x8b\x09"), "a blob has other bytes than its name says"),
    }
    for name, (fault, reason) in broken.items():
        with relay(urlsplit(server.http).port or 0, fault) as port:
            machine = another(first, name)
            machine.edit("buildgraph.yaml", server.http, f"http://127.0.0.1:{port}")
            done = machine.build("//...")
        assert done.ran == EVERYTHING, name
        assert (machine.root / IMAGE).read_bytes() == (first.root / IMAGE).read_bytes()
        assert reason in done.err
