"""Submodules count as they are checked out, and at a commit as it has recorded them."""

from __future__ import annotations

from pathlib import Path

from tests.affected.checkout import WITH_LIB, Checkout, example
from tests.layouts.repository import melange


def with_submodule(checkout: Checkout, path: str, files: dict[str, str]) -> Checkout:
    """Adds a submodule, which has files; the repository that it comes from."""
    origin = Checkout(checkout.top.parent / f"origin-of-{Path(path).name}", checkout.capsys)
    origin.top.mkdir()
    origin.git("init", "-q")
    origin.commit(files)
    checkout.git("submodule", "--quiet", "add", f"file://{origin.top}", path)
    checkout.commit()
    return origin


def test_submodules_with_sources_and_with_recipes(checkout: Checkout) -> None:
    """They count as they are checked out, and at the commit as it has recorded them."""
    sources = with_submodule(checkout, "tool", {"tool.c": "1\n"})
    recipes = with_submodule(checkout, "vendored", {"extra.yaml": melange("extra"), "other.yaml": melange("other")})
    assert checkout.affected() == set()
    tool = {"//:tool", "//images:tool"}
    checkout.write({"tool/tool.c": "2\n"})
    assert checkout.affected() == tool
    checkout.git("checkout", "-q", ".", folder="tool")
    sources.commit({"tool.c": "3\n"})
    recipes.edit("extra.yaml", "runs: make", "runs: make all")
    recipes.git("rm", "-q", "other.yaml")
    recipes.commit()
    checkout.git("submodule", "--quiet", "update", "--remote")
    changes = {**dict.fromkeys([*tool, "//vendored:extra"], "changed"), "//vendored:other": "removed"}
    assert checkout.changes() == changes
    checkout.commit()
    assert checkout.affected() == set()
    assert checkout.changes("--since", "HEAD~") == changes
    checkout.write({"tool/ignored.o": ""})
    assert checkout.affected() == set()


def test_a_submodule_that_is_not_checked_out(checkout: Checkout) -> None:
    """Is an empty folder in both states."""
    origin = with_submodule(checkout, "vendored", {"extra.yaml": melange("extra")})
    origin.commit({"extra.yaml": melange("extra", needs="busybox")})
    checkout.git("submodule", "--quiet", "update", "--remote")
    checkout.commit()
    there = checkout.clone("there")
    assert not (there.root / "vendored/extra.yaml").exists()
    assert there.affected("--since", "HEAD~") == set()
    there.git("submodule", "--quiet", "update", "--init", "--depth=1")
    _, said = there.bg("affected", "--since", "HEAD~", code=8)
    assert said.startswith("error: the submodule vendored is not here as it was at ")
    assert f"hint: `git -C {there.root}/vendored fetch origin " in said
    there.git("fetch", "-q", "--unshallow", folder="vendored")
    assert there.affected("--since", "HEAD~") == {"//vendored:extra"}


def test_a_submodule_that_comes_or_goes(checkout: Checkout) -> None:
    """With its targets. Of one that is gone git keeps the repository, if it ever was checked out."""
    with_submodule(checkout, "vendored", {"extra.yaml": melange("extra"), ".gitignore": "*.o\n", "x.o": ""})
    assert checkout.changes("--since", "HEAD~") == {"//vendored:extra": "new"}
    checkout.git("rm", "-q", "vendored")
    checkout.commit()
    assert checkout.changes("--since", "HEAD~") == {"//vendored:extra": "removed"}
    there = checkout.clone("there")
    _, said = there.bg("affected", "--since", "HEAD~", code=8)
    assert "hint: it is no longer checked out here" in said


def test_a_submodule_in_a_submodule(checkout: Checkout) -> None:
    """To any depth."""
    inner = Checkout(checkout.top.parent / "inner", checkout.capsys)
    inner.top.mkdir()
    inner.git("init", "-q")
    inner.commit({"tool.c": "1\n"})
    outer = Checkout(checkout.top.parent / "outer", checkout.capsys)
    outer.top.mkdir()
    outer.git("init", "-q")
    outer.commit({"x": ""})
    outer.git("submodule", "--quiet", "add", f"file://{inner.top}", "deep")
    outer.commit()
    checkout.git("submodule", "--quiet", "add", f"file://{outer.top}", "tool")
    checkout.git("submodule", "--quiet", "update", "--init", "--recursive")
    checkout.commit()
    assert checkout.affected() == set()
    checkout.write({"tool/deep/tool.c": "2\n"})
    assert checkout.rows("--since", "HEAD")["//:tool"]["reasons"] == ["tool/deep/tool.c changed"]


def test_links_into_a_submodule(empty: Checkout) -> None:
    """Out of the workspace, to what another repository has."""
    empty.inner = "ws"
    empty.write(example())
    (empty.root / "extra.yaml").symlink_to("../vendored/extra.txt")
    origin = with_submodule(empty, "vendored", {"extra.txt": melange("extra")})
    assert empty.affected() == set()
    origin.commit({"extra.txt": melange("extra", needs="busybox")})
    empty.git("submodule", "--quiet", "update", "--remote")
    assert empty.affected() == {"//:extra"}


def test_a_workspace_in_a_submodule(checkout: Checkout) -> None:
    """Belongs to the submodule's repository."""
    origin = with_submodule(checkout, "vendored", example())
    there = Checkout(checkout.top / "vendored", checkout.capsys)
    assert there.affected() == set()
    there.edit("lib/lib.c", "1;", "2;")
    assert there.affected() == WITH_LIB
    assert origin.affected() == set()
