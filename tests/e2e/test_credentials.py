"""A store with a password, which stands in the user's own file: machines share results, and the password is nowhere else."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import tiny
from tests.e2e.workspace import Ran, Workspace
from tests.remote.programs import find_bazel_remote, store_folder
from tests.remote.servers import BazelRemote, bazel_remote

pytestmark = pytest.mark.e2e

USER, PASSWORD = "somebody", "s3cr3t-w0rd"
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BazelRemote]:
    """A bazel-remote that only lets somebody in."""
    folder = tmp_path / "server"
    folder.mkdir()
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "users").write_text(f"{USER}:{{SHA}}{hashed}\n")
    program = find_bazel_remote(store_folder())
    with bazel_remote(program, folder, "--htpasswd_file", str(folder / "users")) as running:
        yield running


@pytest.fixture
def first(empty: Workspace, server: BazelRemote) -> Workspace:
    """A machine with some recipes and that store."""
    tiny.chain(empty)
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(f"remotes: [{{url: {server.http}, mode: read-write, name: share, unsigned: true}}]\n")
    return empty


def say(machine: Workspace, text: str, mode: int = 0o600, folder: str = ".config/buildgraph") -> Path:
    """Writes the user's file."""
    path = machine.home / folder / "credentials.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def is_silent(ran: Ran) -> bool:
    """Whether nothing of the password was printed."""
    return PASSWORD not in ran.out + ran.err and ENCODED.decode() not in ran.out + ran.err


def test_machines_share_and_the_password_is_nowhere(first: Workspace, server: BazelRemote) -> None:
    """Neither in the cache with its records and logs, nor in the state, the outputs, or what is printed."""
    entry = f"stores:\n  {server.http}:\n    user: {USER}\n    password-command: [sh, -c, 'echo {PASSWORD}']\n"
    said = say(first, entry)
    built = first.build("//...")
    assert is_silent(built)
    assert "failed" not in built.err
    second = Workspace(first.root.parent / "second/ws", first.root.parent / "second/home", first.tools)
    shutil.copytree(first.root, second.root, ignore=shutil.ignore_patterns("cache", "out"))
    copied = say(second, entry, folder="conf/buildgraph")
    shutil.copytree(first.home / ".config/buildgraph", copied.parent, dirs_exist_ok=True)
    done = second.build("//...", env={"XDG_CONFIG_HOME": str(second.home / "conf")})
    assert done.ran == set()
    assert is_silent(done)
    for machine, own in ((first, said), (second, copied)):
        for path in [*machine.root.rglob("*"), *machine.home.rglob("*")]:
            if path.is_file() and not path.is_symlink() and path != own:
                data = path.read_bytes()
                assert PASSWORD.encode() not in data, path
                assert ENCODED not in data, path


def test_without_it_the_store_is_left_alone(first: Workspace, server: BazelRemote) -> None:
    """A wrong password, one for another store, or none: the build goes on, and says that it was refused."""
    for text in (
        "",
        f"stores: {{{server.http}: {{user: {USER}, password: other-s3cr3t}}}}\n",
        "stores: {https://x: {token: t}}\n",
    ):
        say(first, text)
        done = first.build("//:one")
        assert "401 Unauthorized" in done.err
        assert "other-s3cr3t" not in done.err
        shutil.rmtree(first.root / "cache")
        shutil.rmtree(first.root / "out")


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (f"stores: {{http://x: {{token: {PASSWORD}}}}}\n", 0o644, "error: others can read or change "),
        (f"stores:\n  http://x:\n    tokne: {PASSWORD}\n", 0o600, "credentials.yaml:3: unknown key `tokne`"),
        (f"stores:\n  http://x: '{PASSWORD}\n", 0o600, "not valid YAML"),
    ],
)
def test_a_file_that_is_wrong_is_an_error(first: Workspace, text: str, mode: int, told: str) -> None:
    """At once, with exit code 4, file, line and hint; but only where there is a store to ask."""
    say(first, text, mode)
    done = first.bg("plan")
    assert (done.code, told in done.err) == (4, True), done.err
    assert "hint:" in done.err or "YAML" in done.err
    assert is_silent(done)
    manifest = first.root / "buildgraph.yaml"
    manifest.write_text("\n".join(line for line in manifest.read_text().splitlines() if not line.startswith("remotes")))
    assert first.bg("plan").code == 0
