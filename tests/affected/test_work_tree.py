"""Which files count: those of the work tree as they are, and those that a checkout of the commit would give."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.affected.checkout import ALL, MANIFEST, WITH_LIB, Checkout, example
from tests.layouts.repository import melange

PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\n"


def test_a_workspace_in_a_subfolder(empty: Checkout) -> None:
    """Only what is in the workspace counts, except where a link leads out of it."""
    empty.inner = "deploy/ws"
    empty.write({**example(), "../../shared/extra.yaml": melange("extra"), "../../shared/other.txt": "x"})
    (empty.root / "extra.yaml").symlink_to("../../shared/extra.yaml")
    empty.commit()
    assert empty.affected() == set()
    empty.write({"../../shared/other.txt": "y", "../new.txt": ""})
    assert empty.affected() == set()
    empty.edit("lib/lib.c", "1;", "2;")
    assert empty.affected() == WITH_LIB
    empty.edit("../../shared/extra.yaml", "runs: make", "runs: make all")
    assert empty.affected() == WITH_LIB | {"//:extra"}
    empty.git("mv", "deploy", "elsewhere")
    empty.inner = "elsewhere/ws"
    assert empty.changes() == dict.fromkeys([*ALL, "//:extra"], "new")


def test_staged_and_unstaged(checkout: Checkout) -> None:
    """The files as they are count, wherever git has them."""
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.git("add", "-A")
    assert checkout.affected() == WITH_LIB
    checkout.edit("lib/lib.c", "2;", "1;")
    assert checkout.affected() == set()
    checkout.git("reset", "-q", "--hard")
    checkout.git("update-index", "--assume-unchanged", "lib/lib.c")
    checkout.git("update-index", "--skip-worktree", "tool.yaml")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.affected() == WITH_LIB | {"//:tool", "//images:tool"}


def test_a_conflict_in_the_index(checkout: Checkout) -> None:
    """In the midst of a merge the file is as it is."""
    checkout.git("checkout", "-q", "-b", "work")
    checkout.commit({"lib/lib.c": "theirs\n"})
    checkout.git("checkout", "-q", "main")
    checkout.commit({"lib/lib.c": "ours\n"})
    with pytest.raises(AssertionError):
        checkout.git("merge", "-q", "work")
    assert checkout.affected() == WITH_LIB
    checkout.write({"lib/lib.c": "ours\n"})
    assert checkout.affected() == set()


def test_files_whose_times_are_all_new(checkout: Checkout) -> None:
    """As in a copy of the repository: git compares contents then, and so nothing is affected."""
    copy = checkout.top.parent / "copy"
    shutil.copytree(checkout.top, copy, copy_function=shutil.copyfile)
    there = Checkout(copy, checkout.capsys)
    assert there.affected() == set()
    there.edit("lib/lib.c", "1;", "2;")
    assert there.affected() == WITH_LIB


def test_symbolic_links(checkout: Checkout) -> None:
    """A recipe may be a link; where it leads counts. One that leads nowhere, out, or in circles is what it is now too."""
    (checkout.root / "kept").mkdir()
    checkout.write({"kept/extra.txt": melange("extra")})
    (checkout.root / "extra.yaml").symlink_to("kept/extra.txt")
    (checkout.root / "gone.yaml").symlink_to("nowhere.yaml")
    (checkout.root / "round.yaml").symlink_to("round.yaml")
    (checkout.root / "folder").symlink_to("kept")
    (checkout.top.parent / "outside.yaml").write_text(melange("outside"))
    (checkout.root / "outside.yaml").symlink_to("../outside.yaml")
    (checkout.root / "absolute.yaml").symlink_to(checkout.top.parent / "outside.yaml")
    (checkout.root / "absolute.yaml").unlink()
    checkout.commit()
    assert checkout.affected() == set()
    checkout.write({"kept/other.txt": melange("extra", needs="busybox")})
    (checkout.root / "extra.yaml").unlink()
    (checkout.root / "extra.yaml").symlink_to("folder/other.txt")
    assert checkout.affected() == {"//:extra"}
    (checkout.root / "extra.yaml").unlink()
    checkout.write({"extra.yaml": melange("extra")})
    assert checkout.affected() == set()


def test_a_recipes_folder_that_is_a_link(empty: Checkout) -> None:
    """Into another part of the repository."""
    empty.inner = "ws"
    empty.write({f"../shared/{path}": text for path, text in example().items() if not path.startswith("buildgraph")})
    empty.write({"buildgraph.yaml": f"{MANIFEST}recipes: recipes\n"})
    (empty.root / "recipes").symlink_to("../shared")
    empty.commit()
    assert empty.affected() == set()
    empty.edit("../shared/lib/lib.c", "1;", "2;")
    assert empty.affected() == WITH_LIB
    empty.write({"../shared/extra.yaml": melange("extra")})
    empty.commit()
    assert empty.changes("--since", "HEAD~") == {**dict.fromkeys(WITH_LIB, "changed"), "//:extra": "new"}


def test_what_git_ignores_is_the_same_in_both_states(checkout: Checkout) -> None:
    """By any of its rules, though bg counts some of these files: a key, a lock, sources that the manifest names."""
    checkout.write(
        {
            ".gitignore": "/cache/\n/generated/\n/buildgraph.lock\n*.pub\n",
            "buildgraph.yaml": MANIFEST + "targets: {//:tool: {sources: [generated]}}\n",
            "generated/x.c": "x",
            "images/tool.yaml": "include: base.yaml\ncontents: {keyring: [own.rsa.pub], packages: [tool]}\n",
            "own.rsa.pub": PUBLIC_KEY,
            "lib/excluded.txt": "x",
        }
    )
    (checkout.top / ".git/info/exclude").write_text("excluded.txt\n")
    checkout.git("rm", "-q", "--cached", "buildgraph.lock")
    checkout.commit()
    assert checkout.affected() == set()
    checkout.write({"own.rsa.pub": PUBLIC_KEY + "another", "generated/x.c": "y"})
    assert checkout.affected() == set()


def test_a_key_under_version_control(checkout: Checkout) -> None:
    """Counts for the images that show it."""
    checkout.commit(
        {
            "own.rsa.pub": PUBLIC_KEY,
            "images/tool.yaml": "include: base.yaml\ncontents: {keyring: [own.rsa.pub], packages: [tool]}\n",
        }
    )
    checkout.write({"own.rsa.pub": PUBLIC_KEY + "another"})
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == {"//images:tool"}
    assert rows["//images:tool"]["files"] == ["own.rsa.pub"]


def test_an_empty_folder(checkout: Checkout) -> None:
    """git has none: one that is there now is there at all commits, although the folder of a recipe's name decides its sources."""
    checkout.commit({"app/app.yaml": melange("app"), "app/app.c": "x"})
    (checkout.root / "app/app").mkdir()
    assert checkout.affected() == set()
    checkout.write({"app/app/new.c": "x"})
    assert checkout.affected() == {"//app:app"}


def test_names_of_all_kinds(checkout: Checkout) -> None:
    """Spaces, quotes, line breaks, what is not UTF-8, what looks like an option or a pattern."""
    names = ["a b.c", 'quo"te.c', "new\nline.c", "-x.c", "[a]*.c", ":(glob)x.c", "tab\t.c", os.fsdecode(b"\xff.c")]
    checkout.commit({f"lib/{name}": "x\n" for name in names})
    assert checkout.affected() == set()
    for name in names:
        checkout.write({f"lib/{name}": "y\n"})
    rows = checkout.rows("--since", "HEAD")
    shown = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in sorted(names)]
    assert rows["//:lib"]["reasons"] == [f"lib/{name} changed" for name in shown]
    checkout.commit({".gitattributes": "* text\n"})
    assert checkout.affected() == set()
    (checkout.top / ".git/info/exclude").write_text("*.txt\n")
    checkout.write({f"lib/{name}.txt": "" for name in names})
    checkout.write({":(top)z.txt": melange("extra"), "nested/x.txt": ""})
    checkout.git("init", "-q", "nested")
    assert checkout.affected() == set()
