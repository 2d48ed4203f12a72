"""What is affected: the targets whose keys differ, no fewer and no more."""

from __future__ import annotations

import json
import os

import pytest

from tests.affected.checkout import ALL, MANIFEST, WITH_LIB, Checkout, locked
from tests.layouts.repository import apko, melange


def test_nothing_is_affected_where_nothing_changed(checkout: Checkout) -> None:
    """Not by files that git ignores either, nor by what bg itself writes."""
    checkout.write({"lib/lib.o": "x"})
    assert checkout.affected() == set()
    assert checkout.bg("affected", "--since", "HEAD") == ("", "nothing is affected\n")
    assert checkout.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("program.yaml", "# of the program\n" + melange("program", needs="busybox, lib", more="  - uses: install # it\n")),
        ("pipelines/install.yaml", "# installs\npipeline:\n  - runs: 'make install'\n"),
        (
            "images/base.yaml",
            "contents:\n  packages:\n    - busybox # a shell\n  repositories: [https://packages.wolfi.dev/os]\n",
        ),
        ("lib.yaml", melange("lib", needs="busybox, make", more="test:\n  pipeline:\n    - runs: ./test.sh\n")),
        ("README.md", "Recipes.\n"),
        ("buildgraph.yaml", "# settings\n" + MANIFEST + "jobs: 3\nout: built\n"),
    ],
)
def test_what_means_nothing_affects_nothing(checkout: Checkout, path: str, text: str) -> None:
    """Comments, quotes, the order of keys, tests, files that are nobody's, settings of how to build."""
    checkout.write({path: text})
    assert checkout.affected() == set()


def test_a_source_file(checkout: Checkout) -> None:
    """Its package, and all that depends on it; what is told of each."""
    checkout.edit("lib/lib.c", "1;", "2;")
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == WITH_LIB
    assert rows["//:lib"] == {
        "target": "//:lib",
        "node": "//:lib@x86_64",
        "kind": "package",
        "change": "changed",
        "reasons": ["lib/lib.c changed"],
        "files": ["lib/lib.c"],
    }
    assert rows["//images:program"]["kind"] == "image"
    assert rows["//images:program"]["reasons"] == ["//:lib: lib/lib.c changed"]
    assert rows["//images:program"]["files"] == []


@pytest.mark.parametrize(
    ("path", "old", "new", "affected", "reasons"),
    [
        (
            "program.yaml",
            "runs: make",
            "runs: make all",
            {"//:program", "//images:program"},
            "program.yaml:11: pipeline[0].runs changed",
        ),
        (
            "pipelines/install.yaml",
            "install",
            "setup",
            {"//:program", "//images:program"},
            "pipelines/install.yaml: pipeline[0].runs changed",
        ),
        (
            "images/base.yaml",
            "[busybox]",
            "[busybox, make]",
            {"//images:program", "//images:tool"},
            "images/program.yaml: contents.packages[1] changed (it includes images/base.yaml)",
        ),
        ("buildgraph.yaml", MANIFEST, f"{MANIFEST}salt: x\n", ALL, "salt: (none) -> x"),
        (
            "buildgraph.yaml",
            MANIFEST,
            f"{MANIFEST}targets: {{//:tool: {{network: on}}}}\n",
            {"//:tool", "//images:tool"},
            "network: (none) -> on",
        ),
    ],
)
def test_a_value(checkout: Checkout, path: str, old: str, new: str, affected: set[str], reasons: str) -> None:
    """Of a recipe, a pipeline, an included file, the manifest: who uses it, and whoever depends on those, each with the file."""
    checkout.edit(path, old, new)
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == affected
    told = [row for row in rows.values() if reasons in row["reasons"]]
    assert told
    assert [row["files"] for row in told] == [[path]] * len(told)


def test_an_entry_of_the_lock(checkout: Checkout) -> None:
    """Whoever may take the package, and those above; not the others. The lock itself is left as it is."""
    moved = locked(busybox="1.36-r0", make="4.5-r0")
    checkout.write({"buildgraph.lock": moved})
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == WITH_LIB
    assert rows["//:lib"]["reasons"][0].startswith("external package make: 4.4-r0 ")
    assert rows["//:lib"]["files"] == ["buildgraph.lock"]
    assert (checkout.root / "buildgraph.lock").read_text() == moved


def test_a_lock_that_covers_nothing_is_not_completed(checkout: Checkout) -> None:
    """What it lacks is the same in both states; where one lacks it, those that need it are affected."""
    (checkout.root / "buildgraph.lock").unlink()
    assert checkout.affected() == ALL
    assert not (checkout.root / "buildgraph.lock").exists()
    checkout.commit()
    assert checkout.affected() == set()
    checkout.edit("tool.yaml", "[busybox]", "[busybox, curl]")
    assert checkout.affected() == {"//:tool", "//images:tool"}


def test_a_mode(checkout: Checkout) -> None:
    """Whether a source may be executed counts, as in git; the rest of its mode, and its time, do not."""
    os.chmod(checkout.root / "lib/test.sh", 0o600)
    os.utime(checkout.root / "lib/test.sh", (1, 1))
    assert checkout.affected() == set()
    os.chmod(checkout.root / "lib/test.sh", 0o755)
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == WITH_LIB
    assert rows["//:lib"]["reasons"] == ["the mode of lib/test.sh changed"]


def test_new_and_removed_targets(checkout: Checkout) -> None:
    """A recipe that was added, one that was deleted and what it was part of, one that was moved: that is another target."""
    checkout.write({"extra.yaml": melange("extra")})
    assert checkout.changes() == {"//:extra": "new"}
    checkout.commit()
    (checkout.root / "tool.yaml").unlink()
    changes = {"//:tool": "removed", "//images:tool": "changed"}
    assert checkout.changes() == changes
    checkout.git("mv", "extra.yaml", "images/extra.yaml")
    assert checkout.changes() == {**changes, "//images:extra": "new", "//:extra": "removed"}
    assert checkout.bg("affected", "--since", "HEAD") == (
        "//images:extra\n//images:tool\n",
        "2 targets of HEAD are no longer there (--why shows which)\n",
    )


def test_a_recipe_under_another_name(checkout: Checkout) -> None:
    """The same target: its package is called as before. The name of the file is in the package, so it counts."""
    checkout.git("mv", "tool.yaml", "handy.yaml")
    assert checkout.affected() == {"//:tool", "//images:tool"}


def test_a_source_that_appears_or_vanishes(checkout: Checkout) -> None:
    """Untracked or staged, not ignored."""
    checkout.write({"lib/new.c": ""})
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == WITH_LIB
    assert rows["//:lib"]["reasons"] == ["lib/new.c is new"]
    checkout.git("add", "-A")
    assert checkout.affected() == WITH_LIB
    (checkout.root / "lib/new.c").unlink()
    assert checkout.affected() == set()
    (checkout.root / "lib/lib.c").unlink()
    assert checkout.rows("--since", "HEAD")["//:lib"]["reasons"] == ["lib/lib.c was removed"]


def test_another_provider(checkout: Checkout) -> None:
    """A package that others take from outside until somebody makes it here affects all that ask for it."""
    checkout.write({"busybox.yaml": melange("busybox")})
    rows = checkout.rows("--since", "HEAD")
    assert {target: row["change"] for target, row in rows.items()} == {**dict.fromkeys(ALL, "changed"), "//:busybox": "new"}
    assert "the package x86_64/busybox is new" in rows["//:tool"]["reasons"]


def test_patterns(checkout: Checkout) -> None:
    """What is asked for is told; that it is affected may have its reason elsewhere. Relative to where one stands."""
    checkout.edit("lib/lib.c", "1;", "2;")
    assert checkout.affected("--since", "HEAD", "//images/...") == {"//images:program"}
    assert checkout.affected("--since", "HEAD", "//...", "-//images/...") == {"//:lib", "//:program"}
    assert checkout.affected("--since", "HEAD", "//:tool") == set()
    assert checkout.bg("-C", str(checkout.root / "images"), "affected", "--since", "HEAD", "./...")[0] == "//images:program\n"


def test_patterns_name_targets_of_either_state(checkout: Checkout) -> None:
    """What is new or gone can be named; what is in neither is a mistake."""
    checkout.git("mv", "tool.yaml", "handy.yaml")
    checkout.edit("handy.yaml", "name: tool", "name: handy")
    assert checkout.changes("--since", "HEAD", "//:tool", "//:handy") == {"//:tool": "removed", "//:handy": "new"}
    assert checkout.changes("--since", "HEAD", "//:tool") == {"//:tool": "removed"}
    assert checkout.changes("--since", "HEAD", "//...", "-//:tool", "-//images/...") == {"//:handy": "new"}
    _, said = checkout.bg("affected", "--since", "HEAD", "//:toll", code=3)
    assert said.startswith("error: no target `//:toll`\n\nhint: did you mean ")


def test_architectures(checkout: Checkout) -> None:
    """One more of them has new nodes; nodes are then what is told."""
    checkout.edit("buildgraph.yaml", "[x86_64]", "[x86_64, aarch64]")
    printed, _ = checkout.bg("affected", "--since", "HEAD", "//:lib", "//images/...")
    assert printed == "//:lib@aarch64\n//images:program\n//images:tool\n"
    checkout.commit()
    checkout.edit("lib.yaml", "runs: make", "runs: make all")
    printed, _ = checkout.bg("affected", "--since", "HEAD", "//:lib")
    assert printed == "//:lib@x86_64\n//:lib@aarch64\n"


def test_what_is_broken_now_is_an_error(checkout: Checkout) -> None:
    """As with every command; it is not laid to the commit."""
    checkout.write({"tool.yaml": "package: [\n"})
    _, said = checkout.bg("affected", "--since", "HEAD", code=5)
    assert said.startswith("tool.yaml:2: ")
    checkout.write({"tool.yaml": melange("tool"), "images/tool.yaml": "include: bass.yaml\n" + apko("tool")})
    _, said = checkout.bg("affected", "--since", "HEAD", code=5)
    assert said.startswith("images/tool.yaml:1: ")


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("tool.yaml", "package: [\n", "tool.yaml:2: "),
        ("buildgraph.yaml", "architecture: [x86_64]\n", "buildgraph.yaml:1: unknown key `architecture`"),
        ("buildgraph.lock", "<<<<<<< HEAD\n", "buildgraph.lock:1: not a lock of a format that this version knows"),
        ("other/tool.yaml", melange("tool") + "package: {}\n", "other/tool.yaml:"),
        ("images/tool.yaml", "include: bass.yaml\n" + apko("tool"), "images/tool.yaml:1: "),
    ],
)
def test_a_commit_that_is_broken_affects_everything(checkout: Checkout, path: str, text: str, why: str) -> None:
    """Whoever mends it must not be kept from it, and nothing may be missed; it is said why."""
    whole = (checkout.root / path).read_text() if (checkout.root / path).exists() else None
    checkout.commit({path: text})
    if whole is None:
        (checkout.root / path).unlink()
    else:
        checkout.write({path: whole})
    assert checkout.affected() == ALL
    printed, said = checkout.bg("affected", "--since", "HEAD", "--why", "//:lib")
    assert printed.splitlines()[0] == "//:lib  changed"
    assert said.startswith(f"HEAD cannot be read: {why}")
    assert said.endswith("; so everything counts as changed\n")


def test_a_commit_without_a_manifest(checkout: Checkout) -> None:
    """Was no workspace: all is new."""
    checkout.git("rm", "-q", "--cached", "buildgraph.yaml")
    checkout.git("commit", "-q", "-m", "x")
    assert checkout.changes() == dict.fromkeys(ALL, "new")
    assert checkout.rows("--since", "HEAD")["//:lib"]["reasons"] == ["HEAD has no buildgraph.yaml"]


def test_another_recipes_folder(checkout: Checkout) -> None:
    """Labels are relative to the folder that the manifest names: with another one all targets are others."""
    checkout.edit("buildgraph.yaml", MANIFEST, f"{MANIFEST}recipes: images\n")
    rows = json.loads(checkout.bg("affected", "--since", "HEAD", "--json")[0])["targets"]
    assert {(row["node"], row["change"]) for row in rows} == {
        *(("//:program", "new"), ("//:tool", "new"), ("//images:program", "removed"), ("//images:tool", "removed")),
        *((f"//:{name}@x86_64", "removed") for name in ("lib", "program", "tool")),
    }
