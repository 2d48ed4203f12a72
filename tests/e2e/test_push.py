"""`bg cache push`: a store that comes later gets what was built before it, and nothing twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from buildgraph.keys import ed25519
from tests.e2e import tiny
from tests.e2e.workspace import Workspace
from tests.remote.faults import answers, heard, relay
from tests.remote.servers import BazelRemote

pytestmark = pytest.mark.e2e

MINE, FORK = ed25519.generate(), ed25519.generate()
COUNT = 6  # results of the chain, each under its action and its deep key


@pytest.fixture
def built(empty: Workspace) -> Workspace:
    """Six targets, built on a machine that knew of no store."""
    tiny.chain(empty)
    empty.build()
    return empty


def configure(machine: Workspace, *remotes: str) -> None:
    """Names stores, and whom to believe."""
    with (machine.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(
            f"remotes: [{', '.join(remotes)}]\n"
            "trust:\n"
            f"  me: {{key: {ed25519.public(MINE)!r}, tiers: [local, trusted]}}\n"
            f"  forks: {{key: {ed25519.public(FORK)!r}, tiers: [pr/*]}}\n"
        )
    machine.environment["BG_CACHE_KEY"] = MINE


def another(machine: Workspace, name: str) -> Workspace:
    """A machine with the same files, nothing built and no key."""
    base = machine.root.parent / name
    shutil.copytree(machine.root, base / "ws", ignore=shutil.ignore_patterns("cache", "out"))
    shutil.copytree(machine.home / ".config", base / "home/.config")
    return Workspace(base / "ws", base / "home", machine.tools)


def stored(server: BazelRemote) -> int:
    """The bytes of all that a server keeps."""
    return sum(path.stat().st_size for path in server.folder.rglob("*") if path.is_file())


def test_another_machine_then_runs_nothing(built: Workspace, server: BazelRemote) -> None:
    """All results arrive, signed, each file once; a second push sends nothing but questions."""
    sent: list[bytes] = []
    with relay(int(server.http.rpartition(":")[2]), heard(sent)) as port:
        configure(built, f"{{url: http://127.0.0.1:{port}/own, mode: read-write, name: share}}")
        first = built.bg("cache", "push", "--json")
        on_wire = sum(map(len, sent))
        sent.clear()
        again = built.bg("cache", "push")
    assert first.code == 0, first.err
    assert first.answer["results"] == COUNT
    assert first.answer["left_out"] == {}
    assert first.answer["stores"]["share"]["keys"] == 2 * COUNT
    assert first.answer["stores"]["share"]["there"] == 0
    assert first.answer["stores"]["share"]["size"] > 10_000
    # Besides files: results, which are in envelopes, and heads of requests.
    assert first.answer["stores"]["share"]["size"] < on_wire < first.answer["stores"]["share"]["size"] + 2 * COUNT * 20_000

    assert again.code == 0, again.err
    assert again.out == f"{COUNT} results\n  share: 0 keys and 0 B sent, {2 * COUNT} keys there already\n"
    assert b"PUT" not in b"".join(sent)
    assert sum(map(len, sent)) < 20_000
    manifest = built.root / "buildgraph.yaml"
    manifest.write_text(manifest.read_text().replace(f"http://127.0.0.1:{port}", server.http))
    assert another(built, "second").build("//...").ran == set()


def test_only_what_is_lacking_is_sent(built: Workspace, server: BazelRemote) -> None:
    """Some targets first, then the rest; then one result that was built since."""
    configure(built, f"{{url: {server.http}, mode: read-write, name: share}}")
    assert built.bg("cache", "push", "//:one", "//:two", "--json").answer["stores"]["share"]["keys"] == 4
    rest = built.bg("cache", "push", "--json").answer["stores"]["share"]
    assert (rest["keys"], rest["there"]) == (2 * COUNT - 4, 4)
    before = stored(server)
    built.edit("recipes/five.yaml", "echo five", "echo 5")
    built.bg("build", "//:five", env={"BG_CACHE_KEY": ""})
    new = built.bg("cache", "push", "--json").answer["stores"]["share"]
    assert (new["keys"], new["there"]) == (2, 2 * COUNT)
    assert 0 < stored(server) - before < 2 * new["size"] + 100_000


def test_only_what_this_run_may_answer_for_is_sent(built: Workspace, server: BazelRemote) -> None:
    """Not what another tier built or another machine made; and the second machine believes what came."""
    configure(built, f"{{url: {server.http}, mode: read-write, name: share}}")
    trusted = built.bg("cache", "push", "--json", env={"BG_CACHE_TIER": "trusted"})
    assert trusted.answer["results"] == 0
    assert trusted.answer["left_out"] == {"of the tier `local`": COUNT}
    built.bg("cache", "push", "//:one")
    second = another(built, "second")
    second.environment["BG_CACHE_KEY"] = MINE
    second.build("//...")
    pushed = second.bg("cache", "push", "--json").answer
    assert pushed["left_out"] == {"made by another machine": 1}
    assert pushed["results"] == COUNT - 1


def test_a_key_that_may_not_write_the_tier_sends_nothing(built: Workspace, server: BazelRemote) -> None:
    """Nobody would believe it; nor without a key."""
    configure(built, f"{{url: {server.http}, mode: read-write, name: share}}")
    for key in (FORK, ""):
        done = built.bg("cache", "push", env={"BG_CACHE_KEY": key})
        assert done.code == 2
        assert "there is no store that may be written" in done.err
    assert stored(server) < 10_000


def test_one_store_of_several(built: Workspace, tmp_path: Path) -> None:
    """`--to` takes a name or an address; what the manifest does not name, or only reads, is an error that helps."""
    folders = [tmp_path / name for name in ("near", "far", "read")]
    for folder in folders:
        folder.mkdir()
    near, far, read = folders
    configure(
        built,
        f"{{url: {near}, mode: read-write, name: near}}",
        f"{{url: {far}, mode: write}}",
        f"{{url: {read}, name: readonly}}",
    )
    assert built.bg("cache", "push", "--to", str(far)).code == 0
    assert not list(near.iterdir())
    assert len(list((far / "results").rglob("*/*"))) == 2 * COUNT
    assert built.bg("cache", "push", "--to", "near").code == 0
    assert len(list((near / "results").rglob("*/*"))) == 2 * COUNT
    mistaken = built.bg("cache", "push", "--to", "naer")
    assert (mistaken.code, "did you mean `near`?" in mistaken.err) == (2, True)
    refused = built.bg("cache", "push", "--to", "readonly")
    assert (refused.code, "`readonly` is only read" in refused.err) == (2, True)


def test_a_store_that_fails_is_an_error(built: Workspace, server: BazelRemote) -> None:
    """Unlike in a build, sending is what was asked for; the next push sends the rest."""
    port = int(server.http.rpartition(":")[2])
    with relay(port, answers("507 Insufficient Storage")) as broken:
        configure(built, f"{{url: http://127.0.0.1:{broken}, mode: read-write, name: share}}")
        failed = built.bg("cache", "push")
    assert failed.code == 9
    assert "507" in failed.err
    assert "hint: `bg cache push` again" in failed.err
    manifest = built.root / "buildgraph.yaml"
    manifest.write_text(manifest.read_text().replace(str(broken), str(port)))
    assert built.bg("cache", "push").code == 0
    assert another(built, "second").build("//...").ran == set()


def test_there_is_no_store(built: Workspace) -> None:
    """Said at once."""
    done = built.bg("cache", "push")
    assert done.code == 2
    assert "there is no store to send to" in done.err
