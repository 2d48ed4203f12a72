"""The signing key: for its owner alone, out of git's reach, and what is signed with it is the same each time."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_new_key_is_private(empty: Workspace) -> None:
    """Its owner alone may read it, whatever the umask; it is never made over another one."""
    assert empty.bg("keygen", "team.rsa", umask=0o000).code == 0
    assert stat.S_IMODE((empty.root / "team.rsa").stat().st_mode) == 0o600
    assert (empty.root / "team.rsa.pub").read_text().startswith("-----BEGIN PUBLIC KEY")
    before = (empty.root / "team.rsa").read_bytes()
    assert empty.bg("keygen", "team.rsa").code == 12
    assert (empty.root / "team.rsa").read_bytes() == before


@pytest.mark.parametrize(("name", "code", "message"), [("team.key", 2, "must end in .rsa"), ("my key.rsa", 11, "cannot name")])
def test_a_name_that_apk_cannot_use_is_refused(empty: Workspace, name: str, code: int, message: str) -> None:
    """Before anything is written."""
    git(empty.root, "init", "-q")
    done = empty.bg("keygen", name)
    assert done.code == code
    assert message in done.err
    assert not (empty.root / name).exists()
    assert not (empty.root / ".gitignore").exists()


def test_git_ignores_a_new_key(empty: Workspace) -> None:
    """The private half only; what .gitignore said stays, and nothing is added where git ignores the key already."""
    git(empty.root, "init", "-q")
    empty.write("keys/.gitignore", "*.tmp")
    done = empty.bg("keygen", "keys/team.rsa")
    assert done.code == 0, done.err
    assert "now has git ignore the private key" in done.out
    assert (empty.root / "keys/.gitignore").read_text() == "*.tmp\n/team.rsa\n"
    git(empty.root, "add", "-A")
    assert {"keys/team.rsa.pub"} == {name for name in git(empty.root, "ls-files").split() if "team" in name}

    empty.write(".gitignore", "*.rsa\n")
    assert "has git ignore" not in empty.bg("keygen", "other/team.rsa").out
    assert not (empty.root / "other/.gitignore").exists()


def test_outside_of_git_nothing_is_written(empty: Workspace) -> None:
    assert empty.bg("keygen", "team.rsa").code == 0
    assert not (empty.root / ".gitignore").exists()


@pytest.mark.parametrize("how", ["ignored", "not-ignored", "tracked", "readable"])
def test_a_key_that_may_leak_is_told(empty: Workspace, how: str) -> None:
    """When it is used: a key that others can read, that git does not ignore, or that git keeps track of all the same."""
    git(empty.root, "init", "-q")
    shutil.copy(empty.home / ".config/buildgraph/buildgraph.rsa", empty.root / "team.rsa")
    (empty.root / "team.rsa").chmod(0o644 if how == "readable" else 0o600)
    if how == "tracked":
        git(empty.root, "add", "team.rsa")
    if how != "not-ignored":
        empty.write(".gitignore", "/team.rsa\n")
    empty.write("buildgraph.yaml", (empty.root / "buildgraph.yaml").read_text() + "signing-key: team.rsa\n")
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    err = empty.build("//:one").err
    assert ("git does not ignore the signing key" in err) is (how in {"not-ignored", "tracked"})
    assert ("others can read the signing key" in err) is (how == "readable")


@pytest.mark.parametrize(("text", "told"), [(None, "cannot read the signing key"), ("salt: x", "is no private key in PEM form")])
def test_what_cannot_be_signed_is_not_built_first(empty: Workspace, text: str | None, told: str) -> None:
    """A key that is missing or none is told at once, if packages are asked for."""
    if text:
        empty.write("team.rsa", text)
    empty.write("buildgraph.yaml", (empty.root / "buildgraph.yaml").read_text() + "signing-key: team.rsa\n")
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    done = empty.bg("build", "//:one")
    assert done.code == 12
    assert told in done.err
    assert "build  //:one" not in done.err


def test_two_exports_are_equal(empty: Workspace) -> None:
    """Packages, index, SBOMs and provenance: with one key, from one cache, to the byte."""
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    exports = []
    for _ in range(2):
        empty.build("//:one")
        folder = empty.root / "out/packages"
        exports.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()})
        shutil.rmtree(empty.root / "out")
    assert exports[0] == exports[1]
    assert {path.name for path in exports[0]} == {
        "buildgraph.rsa.pub", "APKINDEX.tar.gz", "one-1.0.0-r0.apk", "one-1.0.0-r0.spdx.json", "one-1.0.0-r0.provenance.json",
    }  # fmt: skip
