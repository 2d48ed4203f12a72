"""Clones and work trees that have less than the whole repository."""

from __future__ import annotations

from tests.affected.checkout import WITH_LIB, Checkout
from tests.layouts.repository import melange


def test_a_shallow_clone(checkout: Checkout) -> None:
    """What it has works; of what it lacks it is said how to bring it."""
    first = checkout.commit()
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.commit()
    shallow = checkout.clone("shallow", "--depth=1")
    assert shallow.affected() == set()
    assert shallow.affected("--since", "origin/main") == set()
    _, said = shallow.bg("affected", "--since", "HEAD~2", code=2)
    assert "this clone is shallow: `git fetch --deepen=100` brings more" in said
    _, said = shallow.bg("affected", "--since", first, code=2)
    assert f"`git fetch --depth=1 origin {first}` brings" in said
    _, said = shallow.bg("affected", "--since", "origin/release", code=2)
    assert "`git fetch --depth=1 origin release` brings" in said
    _, said = shallow.bg("affected", "--since", "main~", "--merge-base", code=2)
    assert "shallow" in said
    shallow.git("fetch", "-q", "--deepen=1")
    assert shallow.affected("--since", "HEAD^") == {"//:tool", "//images:tool"}
    shallow.git("fetch", "-q", "--depth=1", "origin", first)
    assert shallow.affected("--since", first) == {"//:tool", "//images:tool"} | WITH_LIB


def test_a_partial_clone(checkout: Checkout) -> None:
    """git fetches what it lacks of a commit by itself."""
    checkout.git("config", "uploadpack.allowFilter", "true")
    checkout.git("config", "uploadpack.allowAnySHA1InWant", "true")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    partial = checkout.clone("partial", "--filter=blob:none")
    assert partial.affected("--since", "HEAD~") == WITH_LIB


def test_a_linked_worktree(checkout: Checkout) -> None:
    """Has a HEAD and an index of its own."""
    checkout.git("worktree", "add", "-q", "-b", "work", str(checkout.top.parent / "linked"))
    linked = Checkout(checkout.top.parent / "linked", checkout.capsys)
    linked.edit("lib/lib.c", "1;", "2;")
    assert linked.affected() == WITH_LIB
    assert checkout.affected() == set()


def test_a_sparse_checkout(checkout: Checkout) -> None:
    """Targets that are not checked out are in neither state; the rest is compared as it is."""
    checkout.commit({"far/far.yaml": melange("far"), "far/old.yaml": melange("old")})
    checkout.git("rm", "-q", "far/old.yaml")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.edit("far/far.yaml", "runs: make", "runs: make all")
    checkout.commit()
    assert checkout.changes("--since", "HEAD~") == {**dict.fromkeys([*WITH_LIB, "//far:far"], "changed"), "//far:old": "removed"}
    checkout.git("sparse-checkout", "set", "--cone", "lib", "pipelines", "images")
    assert not (checkout.root / "far").exists()
    assert checkout.affected() == set()
    assert checkout.affected("--since", "HEAD~") == WITH_LIB
