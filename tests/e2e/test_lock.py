"""The lock: made and extended by itself, never moved unasked, and enough to build without any repository."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.apk import signing
from buildgraph.apk.index import IndexEntry, index_archive, read_index_archive
from buildgraph.apk.writer import PackageFile, write_package
from tests.e2e.tiny import package
from tests.e2e.workspace import MANIFEST, Workspace

pytestmark = pytest.mark.e2e

EXTRAS = "https://extras.example/os"
WOLFI = "https://packages.wolfi.dev/os"


class Extras:
    """A small external repository, signed with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pem = signing.generate_key(2048)
        (folder / "x86_64").mkdir(parents=True)
        (folder / "extras.rsa.pub").write_bytes(signing.public_key(self.pem))
        self.entries: list[IndexEntry] = []

    def publish(self, name: str, version: str, text: str, depends: tuple[str, ...] = ()) -> None:
        """Puts one more package into the repository."""
        info = IndexEntry(name, version, "x86_64", depends=depends, origin=name)
        files = {f"usr/share/{name}": PackageFile("file", 0o644, text.encode())}
        self.entries.append(write_package(self.folder / "x86_64" / info.filename, info, files))
        archive = index_archive(sorted(self.entries, key=lambda entry: (entry.name, entry.version)))
        (self.folder / "x86_64" / "APKINDEX.tar.gz").write_bytes(signing.sign_index(archive, self.pem, "extras"))


def uses(name: str, *needs: str) -> str:
    """A recipe that needs packages of the extra repository and copies what they hold."""
    copies = "\n".join(f'cat /usr/share/{need} >>"$OUT/usr/share/{name}"' for need in needs)
    lines = package(name, copies).splitlines()
    contents = {
        "repositories": [WOLFI, EXTRAS],
        "keyring": [f"{WOLFI}/wolfi-signing.rsa.pub", f"{EXTRAS}/extras.rsa.pub"],
        "packages": ["busybox", *needs],
    }
    lines[1] = f"environment: {{contents: {json.dumps(contents)}}}"
    return "\n".join(lines) + "\n"


@pytest.fixture
def extras(empty: Workspace, seed: Path, tmp_path: Path) -> Extras:
    repository = Extras(tmp_path / "extras")
    repository.publish("motd", "1.0-r0", "hello\n")
    repository.publish("fortune", "1.0-r0", "luck\n")
    empty.write("buildgraph.yaml", MANIFEST.format(seed=seed) + f"  {EXTRAS}: {repository.folder}\n")
    empty.write("recipes/greeter.yaml", uses("greeter", "motd"))
    return repository


def locked(workspace: Workspace) -> list[str]:
    return (workspace.root / "buildgraph.lock").read_text().splitlines()


def test_it_is_made_by_itself_and_only_grows(empty: Workspace, extras: Extras) -> None:
    """A new recipe adds what it needs; nothing else moves, though the repository has moved on."""
    assert empty.build("//...").ran == {"//:greeter"}
    before = locked(empty)
    assert any('"name": "motd", "version": "1.0-r0"' in line for line in before)
    extras.publish("motd", "1.1-r0", "hello again\n")
    extras.publish("both", "1-r0", "both\n", depends=("motd", "fortune"))
    empty.write("recipes/other.yaml", uses("other", "both"))
    assert empty.build("//...").ran == {"//:other"}
    after = locked(empty)
    assert [line for line in after if line in before] == before
    assert sorted(line.split('"name": "')[1].split('"')[0] for line in set(after) - set(before)) == ["both", "fortune"]


def test_locked_says_what_is_missing(empty: Workspace, extras: Extras) -> None:
    """With --locked, and in CI where a lock exists, the lock stays as it is."""
    empty.build("//...")
    before = locked(empty)
    empty.write("recipes/other.yaml", uses("other", "fortune"))
    for arguments, env in [(("--locked",), {}), ((), {"CI": "true"})]:
        done = empty.bg("build", "//...", *arguments, env=env)
        assert done.code == 7
        assert "x86_64: fortune  (for //:other@x86_64)" in done.err
        assert locked(empty) == before
    assert empty.bg("lock", "--check").code == 7
    assert empty.bg("build", "//...", "--unlocked", env={"CI": "true"}).code == 0
    assert empty.bg("lock", "--check").code == 0


def test_upgrading_one_package(empty: Workspace, extras: Extras) -> None:
    """It moves alone, what reaches it is built again, and the reason is told."""
    empty.write("recipes/other.yaml", uses("other", "fortune"))
    empty.build("//...")
    extras.publish("motd", "1.1-r0", "hello again\n")
    extras.publish("fortune", "1.1-r0", "more luck\n")
    assert empty.build("//...").ran == set()
    assert "motd 1.0-r0 -> 1.1-r0" in empty.bg("lock", "--upgrade", "motd").out
    assert not any("fortune" in line and "1.1" in line for line in locked(empty))
    built = empty.build("//...")
    assert built.ran == {"//:greeter"}
    assert built.reasons("//:greeter") == "external package motd: 1.0-r0 -> 1.1-r0"
    assert "fortune 1.0-r0 -> 1.1-r0" in empty.bg("lock", "--upgrade").out
    assert empty.build("//...").ran == {"//:other"}


def test_with_a_full_cache_no_repository_is_needed(empty: Workspace, extras: Extras, seed: Path) -> None:
    """Planning and building ask the lock and the cache alone."""
    empty.build("//...")
    empty.write("buildgraph.yaml", MANIFEST.format(seed="/nowhere") + f"  {EXTRAS}: /nowhere/else\n")
    shutil.rmtree(extras.folder)
    empty.edit("recipes/greeter.yaml", "cat /usr/share/motd", "cat /usr/share/motd /usr/share/motd")
    assert empty.build("//...").ran == {"//:greeter"}


def test_a_package_that_is_not_what_the_lock_says(empty: Workspace, extras: Extras) -> None:
    """Its bytes do not enter the cache."""
    assert empty.bg("lock").code == 0
    path = extras.folder / "x86_64" / "motd-1.0-r0.apk"
    extras.entries.clear()
    extras.publish("motd", "1.0-r0", "evil\n")
    done = empty.bg("build", "//...")
    assert done.code == 11
    assert "motd-1.0-r0.apk of https://extras.example/os is not the package that the lock names" in done.err
    assert "bg lock --upgrade motd" in done.err
    content = path.read_bytes()
    blobs = [blob for blob in (empty.root / "cache/blobs").rglob("*") if blob.is_file()]
    assert all(blob.read_bytes() != content for blob in blobs)


def tampered(extras: Extras) -> None:
    index = extras.folder / "x86_64" / "APKINDEX.tar.gz"
    index.write_bytes(
        signing.sign_index(index_archive(read_index_archive(index.read_bytes())), signing.generate_key(2048), "extras")
    )


def unsigned(extras: Extras) -> None:
    index = extras.folder / "x86_64" / "APKINDEX.tar.gz"
    index.write_bytes(index_archive(read_index_archive(index.read_bytes())))


@pytest.mark.parametrize("change", [tampered, unsigned])
def test_an_index_that_does_not_verify(empty: Workspace, extras: Extras, change: Callable[[Extras], None]) -> None:
    """apko refuses it, and nothing is locked."""
    change(extras)
    done = empty.bg("build", "//...")
    assert done.code == 11, done.err
    assert "does not verify against the keyring" in done.err
    assert not (empty.root / "buildgraph.lock").exists()
