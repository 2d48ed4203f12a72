"""What a walk sees, and whether a later look may be skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.workspace import state as states
from buildgraph.workspace.statefile import MAGIC
from buildgraph.workspace.stats import RACY_NS, Tree, changed_files, stat_of
from buildgraph.workspace.tree import walk

NOTHING: frozenset[str] = frozenset()


def unchanged(root: Path, tree: Tree) -> bool:
    """Whether a second look sees the same again."""
    return changed_files(root, tree) == {}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "a.yaml": "a", "pkg/b.yaml": "b", "pkg/src/c.c": "c", "pkg/src/.gitignore": "*.o\n!keep.o\n", "pkg/src/x.o": "o",
        "pkg/src/keep.o": "k", ".gitignore": "/out\nsecret*\n", "out/big": "x", "pkg/secret.txt": "s", ".git/HEAD": "ref",
        "cached/CACHEDIR.TAG": "Signature", "cached/blob": "x",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_a_walk_leaves_out_what_git_ignores(root: Path) -> None:
    """.gitignore files of every level count, deeper ones first; .git and caches are never entered."""
    tree = walk(root, [""], frozenset({"excluded"}))
    assert sorted(tree.files) == [".gitignore", "a.yaml", "pkg/b.yaml", "pkg/src/.gitignore", "pkg/src/c.c", "pkg/src/keep.o"]


def test_named_sources_count_although_git_ignores_them(root: Path) -> None:
    """What the manifest names is seen wherever it lies."""
    tree = walk(root, ["pkg"], NOTHING, ["out", "pkg/secret.txt", "not/there"])
    assert {"out/big", "pkg/secret.txt", "pkg/b.yaml"} <= set(tree.files)
    assert unchanged(root, tree)
    (root / "pkg/secret.txt").write_text("other!")
    assert not unchanged(root, tree)


def test_links_and_odd_files(root: Path) -> None:
    """Links to files count as what they point to; dangling ones and sockets do not, until they become files."""
    (root / "pkg/link.yaml").symlink_to("b.yaml")
    (root / "pkg/dangling").symlink_to("nowhere")
    os.mkfifo(root / "pkg/pipe")
    tree = walk(root, [""], NOTHING)
    assert tree.links == {"pkg/link.yaml"}
    assert tree.odd == {"pkg/dangling", "pkg/pipe"}
    assert unchanged(root, tree)
    (root / "pkg/nowhere").write_text("now")
    assert not unchanged(root, tree)


EDITS: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "pkg/src/c.c").write_text("cc"),
    "new file": lambda root: (root / "pkg/new").write_text(""),
    "removed file": lambda root: (root / "pkg/b.yaml").unlink(),
    "renamed file": lambda root: (root / "pkg/b.yaml").rename(root / "pkg/c.yaml"),
    "mode": lambda root: (root / "pkg/src/c.c").chmod(0o755),
    "new folder": lambda root: (root / "pkg/empty").mkdir(),
    "removed folder": lambda root: shutil.rmtree(root / "pkg/src"),
    "ignore rules": lambda root: (root / "pkg/src/.gitignore").write_text("*.c\n"),
    "same size and time": lambda root: _swap(root / "pkg/src/c.c", "d"),
    "file to folder": lambda root: _to_folder(root / "a.yaml"),
}


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _swap(path: Path, text: str) -> None:
    found = path.stat()
    path.write_text(text)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_every_change_is_noticed(root: Path, edit: Callable[[Path], object]) -> None:
    """Nothing that a walk would see differently passes for unchanged."""
    tree = walk(root, [""], NOTHING)
    assert unchanged(root, tree)
    edit(root)
    assert not unchanged(root, tree)


def test_changed_files_come_with_their_stats(root: Path) -> None:
    """Where the same files are there, those that are others are told, so that the tree need not be walked."""
    tree = walk(root, [""], NOTHING)
    (root / "pkg/src/c.c").write_text("cc")
    (root / "a.yaml").chmod(0o755)
    changed = changed_files(root, tree)
    assert changed == {path: stat_of(root / path) for path in ("pkg/src/c.c", "a.yaml")}
    assert tree.with_files(changed) == walk(root, [""], NOTHING)


OTHER_FILES: dict[str, Callable[[Path], object]] = {
    "file came": lambda root: (root / "pkg/new").write_text(""),
    "file went": lambda root: (root / "a.yaml").unlink(),
    "file to link": lambda root: _to_link(root / "a.yaml", "pkg/b.yaml"),
    "link to file": lambda root: _to_file(root / "link.yaml"),
    "link to a folder becomes one": lambda root: _to_folder(root / "pkg/there"),
    "dangling link becomes a folder": lambda root: _to_folder(root / "pkg/dangling"),
    "ignored file becomes a folder": lambda root: _to_folder(root / "pkg/only-file"),
    "ignored folder becomes a file": lambda root: _to_file(root / "pkg/only-folder"),
    "rules of a folder": lambda root: (root / "pkg/src/.gitignore").write_text("*.o\n!keep.o\n# the same\n"),
    "rules that ignore themselves": lambda root: (root / "quiet/.gitignore").write_text(""),
    "rules that ignore themselves go": lambda root: (root / "quiet/.gitignore").unlink(),
    "cache tag came": lambda root: (root / "pkg/CACHEDIR.TAG").write_text(""),
    "cache tag went": lambda root: (root / "cached/CACHEDIR.TAG").unlink(),
    "top went": shutil.rmtree,
}  # fmt: skip


def _to_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _to_file(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    path.write_text("text")


@pytest.mark.parametrize("edit", OTHER_FILES.values(), ids=OTHER_FILES.keys())
def test_other_files_take_a_walk(root: Path, edit: Callable[[Path], object]) -> None:
    """Where a walk might see other files than before, it is not guessed which."""
    (root / "pkg/.gitignore").write_text("only-folder/\nonly-file\n!only-file/\n")
    (root / "pkg/only-file").write_text("")
    (root / "pkg/only-folder").mkdir()
    (root / "pkg/there").symlink_to("src")
    (root / "pkg/dangling").symlink_to("nowhere")
    (root / "link.yaml").symlink_to("a.yaml")
    (root / "quiet").mkdir()
    (root / "quiet/.gitignore").write_text("*\n")
    (root / "quiet/file").write_text("")
    tree = walk(root, [""], NOTHING)
    assert changed_files(root, tree) == {}
    edit(root)
    assert changed_files(root, tree) is None


def test_what_is_cached_by_others_may_change(root: Path) -> None:
    """Nothing in a tagged folder is looked at but the tag."""
    tree = walk(root, [""], NOTHING)
    assert tree.folders["cached"] == ["CACHEDIR.TAG"]
    (root / "cached/new").mkdir()
    (root / "cached/blob").unlink()
    assert changed_files(root, tree) == {}


def test_rules_above_what_is_walked_count(root: Path) -> None:
    """A .gitignore above the recipes counts, and so does that there is none."""
    (root / "pkg/.gitignore").unlink(missing_ok=True)
    tree = walk(root, ["pkg/src"], NOTHING)
    assert tree.rules == {".gitignore": stat_of(root / ".gitignore"), "pkg/.gitignore": None}
    assert changed_files(root, tree) == {}
    (root / "pkg/.gitignore").write_text("*.c\n")
    assert changed_files(root, tree) is None
    again = walk(root, ["pkg/src"], NOTHING)
    assert sorted(again.files) == ["pkg/src/.gitignore", "pkg/src/keep.o"]
    (root / ".gitignore").write_text("")
    assert changed_files(root, again) is None


def test_files_named_one_by_one(root: Path) -> None:
    """They may change like others; one that is no file any more takes a walk."""
    tree = walk(root, ["pkg"], NOTHING, ["out/big"])
    (root / "out/big").write_text("bigger")
    assert changed_files(root, tree) == {"out/big": stat_of(root / "out/big")}
    _to_folder(root / "out/big")
    assert changed_files(root, tree) is None
    shutil.rmtree(root / "out")
    assert changed_files(root, tree) is None


def test_of_a_tree_that_is_not_known_nothing_is_unchanged(root: Path) -> None:
    """A state that was lost says nothing."""
    assert changed_files(root, Tree()) is None
    assert not unchanged(root, Tree())


def test_what_is_ignored_may_change(root: Path) -> None:
    """Ignored files and folders are not looked at."""
    tree = walk(root, [""], NOTHING)
    (root / "out/big").write_text("bigger")
    (root / "pkg/secret.txt").write_text("other")
    assert unchanged(root, tree)


def test_the_state_file_is_read_back(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is saved is what is loaded, if it is this version's."""
    tree = walk(root, [""], NOTHING)
    state = states.State(tree, {"a.yaml": "0" * 64}, {"answer x": b"{}"}, {"graph": b"1\n"})
    path = tmp_path_factory.mktemp("user") / "state" / "s.json"
    states.save_state(path, "1", state, states.now())
    racy = states.load_state(path, "1")
    assert not unchanged(root, racy.tree), "files changed about now are not trusted"
    for name in tree.files:
        os.utime(root / name, ns=(0, 0))
    later = states.State(walk(root, [""], NOTHING), state.digests, state.answers, state.parts)
    settled = max(stat[4] for stat in later.tree.files.values()) + 2 * RACY_NS
    states.save_state(path, "1", later, settled)
    loaded = states.load_state(path, "1")
    assert loaded == later
    assert unchanged(root, loaded.tree)
    assert states.load_state(path, "2") == states.State()


HEAD = MAGIC


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", HEAD, HEAD + b"[]\n\n", HEAD + b'{"version":"1"}\n\n', HEAD + b'{"version":"1","parts":[]}\n\n', b"\xff\xfe",
        HEAD + b'{"version":"1","parts":{"tree":5}}\n\n', HEAD + b'{"version":"1","parts":{"tree":[0,2,0]}}\n\n{}',
        HEAD + b'{"version":"1","parts":{"tree":[0,2,2745614147]}}\n\n{}',
    ],
)  # fmt: skip
def test_a_damaged_state_file_is_no_state(tmp_path: Path, damage: bytes) -> None:
    """Truncation and noise cost time, nothing else."""
    path = tmp_path / "s.json"
    path.write_bytes(damage)
    assert states.load_state(path, "1") == states.State()
    assert states.load_state(tmp_path / "missing", "1").tree == Tree()
