"""A record says which commit the workspace was at when its action ran."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def git(folder: Path, *arguments: str) -> str:
    """What git says, as somebody."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> str:
    """Commits all there is, with what .gitignore leaves; the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Something")
    return git(folder, "rev-parse", "HEAD")


def recorded(workspace: Workspace) -> str:
    """What the record of the package says."""
    [found] = workspace.bg("inspect", "--json", "//:one").answer
    return str(found["commit"])


@pytest.fixture
def workspace(empty: Workspace) -> Workspace:
    """A package in a workspace that lies in a folder of a repository with other files."""
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    git(empty.root.parent, "init", "--quiet")
    (empty.root.parent / ".gitignore").write_text("*\n!/.gitignore\n!/ws\n!/ws/**\n/ws/cache\n/ws/out\n")
    return empty


def test_a_commit(workspace: Workspace) -> None:
    """With nothing else; then with a sign that files are others, changed ones or new ones; outputs are none."""
    workspace.build()
    assert recorded(workspace) == ""  # there is no commit yet
    first = commit(workspace.root)
    workspace.edit("recipes/one.yaml", "echo one", "echo 2")
    workspace.build()
    assert recorded(workspace) == f"{first}+"

    workspace.edit("recipes/one.yaml", "echo 2", "echo 3")
    third = commit(workspace.root)
    workspace.build()
    assert recorded(workspace) == third
    assert f"commit      {third}" in workspace.bg("inspect", "//:one").out

    workspace.edit("recipes/one.yaml", "echo 3", "echo 4")
    fourth = commit(workspace.root)
    workspace.write("recipes/two.yaml", package("two", "true"))
    workspace.build()
    assert recorded(workspace) == f"{fourth}+"


def test_outputs_that_git_does_not_ignore(workspace: Workspace) -> None:
    """They are no files of the workspace; nor does what lies beside it count."""
    (workspace.root.parent / ".gitignore").write_text("*\n!/.gitignore\n!/beside\n!/ws\n!/ws/**\n")
    workspace.build()
    git(workspace.root.parent, "add", ".gitignore", "ws/recipes", "ws/buildgraph.yaml", "ws/buildgraph.lock")
    git(workspace.root.parent, "commit", "--quiet", "--message", "Something")
    (workspace.root.parent / "beside").write_text("new")
    workspace.edit("recipes/one.yaml", "echo one", "echo 1")
    git(workspace.root, "commit", "--quiet", "--all", "--message", "Another")
    workspace.build()
    left = git(workspace.root, "status", "--porcelain", "--", ".").splitlines()
    assert {line.removeprefix("?? ").split("/")[1] for line in left} <= {"out", "cache"}, left
    assert recorded(workspace) == git(workspace.root, "rev-parse", "HEAD")


def test_the_index_is_left_alone(workspace: Workspace) -> None:
    """Whoever commits meanwhile finds no lock, and nothing is written; how the user has `git status` set is no matter."""
    first = commit(workspace.root)
    git(workspace.root, "config", "status.showUntrackedFiles", "no")
    index = workspace.root.parent / ".git/index"
    before = index.read_bytes()
    os.utime(workspace.root / "recipes/one.yaml")  # of which git would take note
    workspace.write("recipes/two.yaml", package("two", "true"))
    workspace.build()
    assert recorded(workspace) == f"{first}+"
    assert index.read_bytes() == before


def test_outside_of_a_repository(workspace: Workspace) -> None:
    """Nothing is said, and a git that fails is no reason to fail."""
    (workspace.root.parent / ".git/HEAD").write_text("nonsense")
    workspace.build()
    assert recorded(workspace) == ""
