"""The lock: made and extended by itself, never moved unasked, and enough to build without any repository."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.apk import signing
from buildgraph.apk.index import index_archive, read_index_archive
from tests.e2e.extras import EXTRAS, WOLFI, Extras, locked, uses
from tests.e2e.workspace import MANIFEST, Workspace

pytestmark = pytest.mark.e2e


@pytest.fixture
def extras(empty: Workspace, seed: Path, tmp_path: Path) -> Extras:
    repository = Extras(tmp_path / "extras")
    repository.publish("motd", "1.0-r0", "hello\n")
    repository.publish("fortune", "1.0-r0", "luck\n")
    empty.write("buildgraph.yaml", MANIFEST.format(seed=seed) + f"  {EXTRAS}: {repository.folder}\n")
    empty.write("recipes/greeter.yaml", uses("greeter", "motd"))
    return repository


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
        assert "buildgraph.lock lacks 1 requirement\n" in done.err
        assert "x86_64: fortune  (for //:other@x86_64, recipes/other.yaml:2)" in done.err
        assert locked(empty) == before
    assert "x86_64: fortune  (for //:other@x86_64, recipes/other.yaml:2)" in empty.bg("lock", "--check").err
    assert empty.bg("lock", "--check").code == 7
    assert locked(empty) == before
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
    again = empty.bg("lock", "--upgrade")
    assert again.out == "nothing newer: buildgraph.lock is as it was\n"
    assert "added" not in again.err


def test_upgrading_says_which_images_change(empty: Workspace, extras: Extras) -> None:
    """Those that hold the package, or something that is built with it; others are not named."""
    contents = {"repositories": [WOLFI, EXTRAS], "keyring": [f"{WOLFI}/wolfi-signing.rsa.pub", f"{EXTRAS}/extras.rsa.pub"]}
    for name, packages in {"holds": ["motd"], "built": ["greeter"], "other": ["fortune"]}.items():
        written = {**contents, "packages": ["wolfi-baselayout", *packages]}
        empty.write(f"recipes/images/{name}.yaml", json.dumps({"contents": written, "archs": ["x86_64"]}))
    assert empty.bg("lock").code == 0
    extras.publish("motd", "1.1-r0", "hello again\n")
    extras.publish("motd", "1.2-r0", "hello once more\n")
    assert empty.bg("lock", "--upgrade", "motd").out.splitlines() == [
        "motd 1.0-r0 -> 1.2-r0",
        "",
        "images that change:",
        "  //images:built  depends on greeter, which changed",
        "  //images:holds  external package motd: 1.0-r0 -> 1.2-r0",
    ]
    assert empty.bg("lock", "--upgrade", "--json").answer == {"packages": [], "images": []}
    extras.publish("fortune", "2-r0", "all the luck\n")
    assert empty.bg("lock", "--upgrade", "--json").answer == {
        "packages": [{"name": "fortune", "arch": "x86_64", "old": "1.0-r0", "new": "2-r0"}],
        "images": [{"target": "//images:other", "reasons": ["external package fortune: 1.0-r0 -> 2-r0"]}],
    }


def test_an_upgrade_that_fails_changes_nothing(empty: Workspace, extras: Extras) -> None:
    """Where the repository has lost a package, the lock goes on naming it."""
    assert empty.bg("lock").code == 0
    before = locked(empty)
    extras.entries = [entry for entry in extras.entries if entry.name != "motd"]
    extras.publish("fortune", "1.1-r0", "more luck\n")
    done = empty.bg("lock", "--upgrade")
    assert done.code == 6
    assert "recipes/greeter.yaml:2: nothing provides `motd`" in done.err
    assert locked(empty) == before
    assert empty.bg("lock", "--check").code == 0


def test_asking_for_the_lock_in_ci(empty: Workspace, extras: Extras) -> None:
    """`bg lock` means what it says there too."""
    assert empty.bg("lock").code == 0
    empty.write("recipes/other.yaml", uses("other", "fortune"))
    assert empty.bg("lock", env={"CI": "true"}).code == 0
    assert any('"name": "fortune"' in line for line in locked(empty))


@pytest.mark.parametrize(("names", "attributes"), [(("apple", "zebra"), ""), (("pear", "plum"), "buildgraph.lock merge=union\n")])
def test_two_people_add_packages(empty: Workspace, extras: Extras, names: tuple[str, str], attributes: str) -> None:
    """git merges the locks of both, neighbouring lines too where it is told to, and the result is the lock that covers both."""
    empty.write(".gitattributes", attributes)
    for name in names:
        extras.publish(name, "1-r0", f"{name}\n")
    empty.write("recipes/base.yaml", uses("base", "motd", "fortune"))

    def git(*arguments: str) -> str:
        identity = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example", *arguments]
        return subprocess.run(command, cwd=empty.root, env=empty.env(identity), capture_output=True, text=True, check=True).stdout

    def commit(text: str) -> None:
        git("add", "recipes", "buildgraph.lock", "buildgraph.yaml", ".gitattributes")
        git("commit", "-qm", text)

    git("init", "-qb", "main")
    assert empty.bg("lock").code == 0
    commit("base")
    for name in names:
        git("checkout", "-qb", name, "main")
        empty.write(f"recipes/{name}s.yaml", uses(f"{name}s", name))
        assert empty.bg("lock").code == 0
        commit(name)
    git("merge", "-q", "--no-edit", names[0])
    assert empty.bg("lock", "--check").code == 0
    merged = sorted(locked(empty))
    assert empty.bg("lock").out == "buildgraph.lock is complete\n"
    assert sorted(locked(empty)) == merged
    by_git = locked(empty)
    (empty.root / "buildgraph.lock").unlink()
    assert empty.bg("lock").code == 0
    assert locked(empty) == by_git


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
    assert "the lock says Q1" in done.err
    assert "`bg lock --upgrade motd` takes what it has now" in done.err
    content = path.read_bytes()
    blobs = [blob for blob in (empty.root / "cache/blobs").rglob("*") if blob.is_file()]
    assert all(blob.read_bytes() != content for blob in blobs)


def test_a_version_that_has_left_the_repository(empty: Workspace, extras: Extras) -> None:
    """It is told with what to do, which then works."""
    assert empty.bg("lock").code == 0
    (extras.folder / "x86_64" / "motd-1.0-r0.apk").unlink()
    extras.entries = [entry for entry in extras.entries if entry.name != "motd"]
    extras.publish("motd", "1.1-r0", "hello again\n")
    done = empty.bg("build", "//...")
    assert done.code == 11
    assert f"motd-1.0-r0.apk has left {EXTRAS}" in done.err
    assert "`bg lock --upgrade motd` takes what is there" in done.err
    assert empty.bg("lock", "--upgrade", "motd").code == 0
    assert empty.build("//...").ran == {"//:greeter"}


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
    assert EXTRAS in done.err
    assert "hint: the recipe's `keyring:`" in done.err
    assert not (empty.root / "buildgraph.lock").exists()
