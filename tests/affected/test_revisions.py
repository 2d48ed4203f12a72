"""Which commit is meant, and in which repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.affected.checkout import WITH_LIB, Checkout, example


def test_ways_to_name_a_commit(checkout: Checkout) -> None:
    """Branches, tags, hashes, expressions; where HEAD is makes no difference."""
    first = checkout.commit()
    checkout.git("tag", "-a", "-m", "x", "v1")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.commit()
    tool = {"//:tool", "//images:tool"}
    for name in ("HEAD", "main", "@", "refs/heads/main", ":/^x"):
        assert checkout.affected("--since", name) == set()
    for name in ("HEAD~", "HEAD^", "main~1", "HEAD~1^0"):
        assert checkout.affected("--since", name) == tool, name
    for name in ("v1", "HEAD~2", first, first[:10], "v1^{}"):
        assert checkout.affected("--since", name) == tool | WITH_LIB, name
    checkout.git("checkout", "-q", "--detach", "v1")
    assert checkout.affected("--since", "main") == tool | WITH_LIB


def test_the_merge_base(checkout: Checkout) -> None:
    """REF is the commit itself, unless its merge base with HEAD is asked for: what happened on REF since then does not count."""
    checkout.git("checkout", "-q", "-b", "work")
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.commit()
    checkout.git("checkout", "-q", "main")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    checkout.git("checkout", "-q", "work")
    assert checkout.affected("--since", "main") == {"//:tool", "//images:tool"} | WITH_LIB
    assert checkout.affected("--since", "main", "--merge-base") == {"//:tool", "//images:tool"}
    checkout.git("checkout", "-q", "--orphan", "other")
    checkout.commit()
    _, said = checkout.bg("affected", "--since", "main", "--merge-base", code=2)
    assert "have no common commit here" in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mian", "git knows no revision `mian`\n\nhint: did you mean `main`?"),
        ("develop", "git knows no revision `develop`\n\nhint: did you mean `origin/develop`?"),
        ("v1.0", "git knows no revision `v1.0`\n\nhint: did you mean `v1.0.0`?"),
        ("HEAD~7", "there is no `HEAD~7`: the history ends before it"),
        ("deadbeef", "git knows no revision `deadbeef`"),
        ("--all", "argument --since: expected one argument"),
        ("-x", "argument --since: expected one argument"),
        ("main..v1.0.0", "`main..v1.0.0` is no single revision\n\nhint: --since takes one"),
        ("main...", "`main...` is no single revision"),
        ("HEAD:lib.yaml", "`HEAD:lib.yaml` is no commit"),
        ("", "git knows no revision ``"),
    ],
)
def test_a_name_that_git_does_not_know(checkout: Checkout, name: str, says: str) -> None:
    """Branches, tags and remote branches that are meant are suggested."""
    checkout.git("tag", "v1.0.0")
    checkout.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    _, said = checkout.bg("affected", "--since", name, code=2)
    assert said.startswith(f"error: {says}")


def test_no_repository_no_commit_no_git(empty: Checkout, tmp_path: Path) -> None:
    """Each is told, with a code of its own kind."""
    empty.write(example())
    _, said = empty.bg("affected", "--since", "HEAD", code=2)
    assert said == "error: git knows no revision `HEAD`\n\nhint: this repository has no commit yet\n"
    empty.environment["PATH"] = str(tmp_path)
    _, said = empty.bg("affected", "--since", "HEAD", code=8)
    assert said.startswith("error: cannot run git: No such file or directory\n\nhint: ")
    del empty.environment["PATH"]
    shutil.rmtree(empty.top / ".git")
    empty.environment["GIT_CEILING_DIRECTORIES"] = str(empty.top.parent)
    _, said = empty.bg("affected", "--since", "HEAD", code=2)
    assert said.startswith(f"error: {empty.root} is in no git repository\n")


def test_a_hooks_environment(checkout: Checkout) -> None:
    """git sets variables for its hooks that name a repository and an index: the workspace's folder says which is meant."""
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.environment |= {"GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index", "GIT_WORK_TREE": "/", "GIT_PREFIX": "x/"}
    assert checkout.affected() == {"//:tool", "//images:tool"}


def test_another_owner(checkout: Checkout) -> None:
    """git refuses a repository that belongs to somebody else; what it says is passed on."""
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    subprocess.run(["chown", "-R", "12345", checkout.top], check=True)
    _, said = checkout.bg("affected", "--since", "HEAD", code=8)
    assert "detected dubious ownership" in said


def test_nothing_of_the_repository_is_written(checkout: Checkout) -> None:
    """But the times of files in git's index, as `git diff` does: no refs, objects, hooks run, worktrees."""
    (checkout.top / ".git/hooks").mkdir(exist_ok=True)
    for name in ("post-index-change", "post-checkout", "reference-transaction"):
        hook = checkout.top / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {checkout.top.parent}/ran-{name}\n")
        hook.chmod(0o755)
    checkout.git("config", "core.splitIndex", "true")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.git("status")
    for ran in checkout.top.parent.glob("ran-*"):
        ran.unlink()

    def files() -> set[str]:
        return {str(path) for path in (checkout.top / ".git").rglob("*") if not path.name.startswith("sharedindex")}

    before = files()
    assert checkout.affected() == WITH_LIB | {"//:tool", "//images:tool"}
    assert files() == before
    assert not list(checkout.top.parent.glob("ran-post-checkout"))
    assert not [path for path in (checkout.root / "cache/tmp").iterdir() if path.name != "gate"]
