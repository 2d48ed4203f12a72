"""What earlier runs left behind changes no answer: bg says what it would say from nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildgraph.workspace import state as states
from tests.properties.edits import EDITS, Edit
from tests.properties.twins import KEY, MANIFEST, Image, Recipe, Twins

PLAN = ("plan", "--json", "--locked")
ALL = (*PLAN, "//...")
LIST, GRAPH = ("list", "--json"), ("graph", "--json")
A, B, C, LIBQ = "recipes/packages/a.yaml", "recipes/packages/b.yaml", "recipes/packages/c.yaml", "recipes/libs/libq/melange.yaml"
ONE, TWO = "recipes/images/one.yaml", "recipes/images/two/apko.yaml"
TICK = 0.012  # seconds in which the clock of any file system ticks


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Twins:
    """A workspace whose files bg trusts as soon as a clock tick has passed."""
    monkeypatch.setattr(states, "RACY_NS", 0)
    made = Twins(tmp_path)
    time.sleep(TICK)
    return made


def compare(twins: Twins, *commands: tuple[str, ...]) -> None:
    """Asks both ways, when a clock tick has passed since the last edit."""
    time.sleep(TICK)
    for command in commands:
        twins.compare(*command)


def _edit(twins: Twins, path: str, **changes: object) -> None:
    known = twins.recipes.get(path) or twins.images[path]
    for name, value in changes.items():
        assert hasattr(known, name)
        setattr(known, name, value)
    twins.write(path, known.text())


def _manifest(twins: Twins, more: str) -> None:
    twins.write("buildgraph.yaml", MANIFEST + more)


# What happens between two plans of everything; each was a wrong answer once, or may become one.
def a_query_between_an_edit_and_a_plan(twins: Twins) -> None:
    """What `bg list` saw of an edit, the plan sees too, though the keys were not asked for meanwhile."""
    _edit(twins, A, version="2.0")
    compare(twins, LIST)


def a_new_dependency_seen_by_a_query_first(twins: Twins) -> None:
    """A graph that a query found to be another is not taken over later."""
    _edit(twins, A, needs=["libq", "c"])
    compare(twins, GRAPH)


def an_error_seen_by_a_query_first(twins: Twins) -> None:
    """An error comes each time."""
    twins.write(A, "package: [\n")
    compare(twins, LIST, (*PLAN, "//packages:c"))


def an_edit_seen_by_a_lock_check_first(twins: Twins) -> None:
    """What was planned before is not taken over after another command has seen an edit."""
    _edit(twins, A, version="2.0")
    compare(twins, ("lock", "--check"))


def an_edit_seen_by_the_plan_of_another_target_first(twins: Twins) -> None:
    """What one plan worked out after an edit leaves nothing old to the next."""
    _edit(twins, A, version="2.0")
    compare(twins, (*PLAN, "//packages:c"), (*PLAN, "//images:one"))


def a_source_becomes_executable(twins: Twins) -> None:
    """Of a source's mode it counts whether its owner may execute it, though its content is what it was."""
    (twins.root / "recipes/packages/a/data.txt").chmod(0o755)


def a_local_package_meets_what_an_external_one_asks(twins: Twins) -> None:
    """An external package may ask for a version of a local package."""
    _edit(twins, A, needs=["old"])
    compare(twins, ALL)
    _edit(twins, LIBQ, version="0.5")
    compare(twins, ALL)
    _edit(twins, LIBQ, version="1.5")


def what_only_an_external_package_asks_for_changes(twins: Twins) -> None:
    """A local package that no recipe asks for is in a box all the same."""
    twins.pretend("//...")
    compare(twins, ALL)
    _edit(twins, LIBQ, script="echo other")


def a_file_among_sources_becomes_an_image(twins: Twins) -> None:
    """A YAML file among the sources of a recipe may become a recipe."""
    twins.write("recipes/packages/a/extra.yaml", "key: value\n")
    compare(twins, ALL)
    twins.write("recipes/packages/a/extra.yaml", Image().text())


def material_becomes_an_image(twins: Twins) -> None:
    """A recipe among another one's sources is no target; an image is one there."""
    twins.write("recipes/packages/a/extra.yaml", Recipe("extra").text())
    compare(twins, ALL)
    twins.write("recipes/packages/a/extra.yaml", Image().text())


def pipelines_above_the_recipes(twins: Twins) -> None:
    """A folder that was looked for in vain may appear."""
    _edit(twins, B, uses="outer")
    compare(twins, ALL)
    twins.write("pipelines/outer.yaml", "pipeline:\n  - runs: echo outer\n")


def a_named_source_appears(twins: Twins) -> None:
    """So may a source that the manifest names and that was not there."""
    _manifest(twins, "targets:\n  //packages:a: {sources: [vendor/a]}\n")
    compare(twins, ALL)
    assert twins.compare(*PLAN, "//packages:c").code == 0, "of other targets it is no error"
    twins.write("vendor/a/x.txt", "x\n")


def a_cache_folder_that_holds_sources(twins: Twins) -> None:
    """A folder named as the cache is a folder of sources where somebody has put some."""
    twins.write("buildgraph.yaml", MANIFEST.replace("recipes: recipes\n", ""))
    _edit(twins, ONE, include="recipes/images/base.yaml")
    (twins.root / "cache").mkdir()
    compare(twins, ALL)
    twins.write("cache/z.yaml", Recipe("z").text())


def an_ignored_gitignore_changes(twins: Twins) -> None:
    """A .gitignore that ignores itself counts."""
    twins.write("recipes/packages/.gitignore", "*\n!*.yaml\n")
    compare(twins, ALL)
    twins.write("recipes/packages/.gitignore", "")


def a_cache_tag_goes(twins: Twins) -> None:
    """A folder that is no cache any more is looked at."""
    twins.write("recipes/packages/CACHEDIR.TAG", "Signature")
    compare(twins, ALL)
    (twins.root / "recipes/packages/CACHEDIR.TAG").unlink()


def an_ignored_folder_becomes_a_file(twins: Twins) -> None:
    """Git ignores files and folders by different rules."""
    twins.write(".gitignore", "more/\n")
    compare(twins, ALL)
    shutil.rmtree(twins.root / "recipes/packages/a/more")
    twins.write("recipes/packages/a/more", "a file\n")


def a_link_to_a_folder_becomes_a_folder(twins: Twins) -> None:
    """What was no file may become a folder."""
    (twins.root / "recipes/packages/b/extra").symlink_to("../a")
    compare(twins, ALL)
    (twins.root / "recipes/packages/b/extra").unlink()
    twins.write("recipes/packages/b/extra/x.txt", "x\n")


def another_cache(twins: Twins) -> None:
    """What one cache has says nothing of another."""
    twins.pretend("//...")
    compare(twins, ALL)
    twins.cache = "other"


def the_cache_is_emptied(twins: Twins) -> None:
    """What was cached is not any more."""
    twins.pretend("//...")
    compare(twins, ALL)
    twins.forget()


def a_key_changes_after_an_edit_elsewhere(twins: Twins) -> None:
    """A key counts in every answer that it is part of, also in one that did not need to read it."""
    _edit(twins, TWO, packages=[])
    compare(twins, ALL)
    _edit(twins, C, script="echo other")
    compare(twins, ALL, ALL)
    twins.write("mirror/os/repo.rsa.pub", "another key\n")


def a_comment_moves_lines(twins: Twins) -> None:
    """Lines in reasons are those of now."""
    twins.pretend("//...")
    _edit(twins, B, script="echo other", runtime=["libq", "a"])
    compare(twins, ALL)
    _edit(twins, B, comment="new")


def an_edit_that_only_one_target_suffers_from(twins: Twins) -> None:
    """An error in a target that nobody asked for is none."""
    text = f"contents:\n  packages: [busybox, c]\n  keyring: ['{KEY}']\n"
    twins.write(TWO, text)
    compare(twins, ALL)
    twins.write(TWO, text.replace("repo.rsa", "gone.rsa"))
    compare(twins, (*PLAN, "//packages:a"))


def a_melange_linked_with_another_apko(twins: Twins) -> None:
    """The tools are those that PATH leads to now."""
    tool = twins.folder / "tools/melange"
    tool.write_text(tool.read_text() + "# dep\tchainguard.dev/apko\tv0.0.1\n")


def another_melange_before_it_on_path(twins: Twins) -> None:
    """Also where the one that was found before is still there."""
    tool = twins.folder / "tools/melange"
    tool.rename(twins.folder / "melange-1")
    tool.symlink_to("../melange-1")
    compare(twins, ALL)
    other = twins.folder / "melange-2"
    other.write_text((twins.folder / "melange-1").read_text() + "# dep\tchainguard.dev/apko\tv0.0.1\n")
    other.chmod(0o755)
    tool.unlink()
    tool.symlink_to("../melange-2")


def two_recipes_are_broken(twins: Twins) -> None:
    """The error that is told is that of the file that comes first, or of what is read first."""
    _edit(twins, A, uses="nothing")
    twins.write(C, "package: [\n")


def the_lock_goes_and_comes(twins: Twins) -> None:
    """What was worked out with another lock says nothing."""
    (twins.root / "buildgraph.lock").unlink()
    compare(twins, ALL, ("lock", "--check"))
    twins.locked.remove("puller")
    twins.write_lock()
    compare(twins, ALL, ("lock", "--check"))
    twins.locked.append("puller")
    twins.write_lock()


def a_file_is_damaged(twins: Twins) -> None:
    """A state that is half there is as good as none."""
    data = bytearray(twins.state_file.read_bytes())
    data[data.index(b'"files"')] ^= 1
    twins.state_file.write_bytes(data)


def what_was_planned_for_one_target(twins: Twins) -> None:
    """A plan of one target has what it waits for, whether or not it was planned before."""
    compare(twins, (*PLAN, "//packages:c"), (*PLAN, "--all", "//packages:c"), ("explain", "--json", "--locked", "//packages:c"))


STORIES = [
    a_query_between_an_edit_and_a_plan, a_new_dependency_seen_by_a_query_first, an_error_seen_by_a_query_first,
    an_edit_seen_by_a_lock_check_first, an_edit_seen_by_the_plan_of_another_target_first, a_source_becomes_executable,
    a_local_package_meets_what_an_external_one_asks, what_only_an_external_package_asks_for_changes,
    a_file_among_sources_becomes_an_image, material_becomes_an_image, pipelines_above_the_recipes, a_named_source_appears,
    a_cache_folder_that_holds_sources, an_ignored_gitignore_changes, a_cache_tag_goes, an_ignored_folder_becomes_a_file,
    a_link_to_a_folder_becomes_a_folder, another_cache, the_cache_is_emptied, a_key_changes_after_an_edit_elsewhere,
    a_comment_moves_lines, an_edit_that_only_one_target_suffers_from, a_melange_linked_with_another_apko,
    another_melange_before_it_on_path, two_recipes_are_broken, the_lock_goes_and_comes, a_file_is_damaged,
    what_was_planned_for_one_target,
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_answers_do_not_rest_on_what_was_before(twins: Twins, story: Callable[[Twins], None]) -> None:
    """Each story happens between two looks at everything; a plan that another one preceded is that from nothing."""
    compare(twins, ALL, LIST, GRAPH)
    story(twins)
    compare(twins, ALL, (*PLAN, "//packages:c"), LIST, GRAPH, ALL)


COMMANDS = (
    ALL, ALL, LIST, GRAPH, (*PLAN, "//packages:c"), (*PLAN, "//images:one"), (*PLAN, "//packages/..."), ("list",),
    ("plan", "--locked", "--all"), ("explain", "--json", "--locked", "//packages:b"), ("lock", "--check"),
    (*PLAN, "--sandbox=off", "//..."),
)  # fmt: skip
EXAMPLES = 60 if settings.default is None or settings.default.max_examples <= 100 else settings.default.max_examples
EDIT = st.tuples(st.sampled_from(EDITS), st.integers(0, 60), st.integers(0, 200))
STEP = st.tuples(st.lists(EDIT, max_size=3), st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=3))


@settings(max_examples=EXAMPLES)
@given(st.lists(STEP, min_size=1, max_size=6), st.booleans())
def test_what_was_before_changes_no_answer(
    steps: list[tuple[list[tuple[Edit, int, int]], list[tuple[str, ...]]]], settled: bool
) -> None:
    """After any edits every command says what it says from nothing, errors too, whatever was asked before.

    Where not ``settled``, files are so new that none is trusted.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if settled:
            patch.setattr(states, "RACY_NS", 0)
        twins = Twins(Path(folder))
        compare(twins, ALL)
        for edits, commands in steps:
            for edit, which, how in edits:
                edit(twins, which, how)
            compare(twins, *commands)


def test_a_state_that_is_cut_off_is_as_good_as_none(twins: Twins) -> None:
    """Wherever the file ends, answers are those from nothing."""
    twins.pretend("//packages:c")
    compare(twins, ALL, LIST)
    whole = twins.state_file.read_bytes()
    expected = [twins.fresh(*ALL), twins.fresh(*LIST)]
    for length in range(0, len(whole), len(whole) // 60):
        twins.state_file.write_bytes(whole[:length])
        assert [twins.kept(*ALL), twins.kept(*LIST)] == expected, f"cut to {length} of {len(whole)} bytes"


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=3), EDIT, st.booleans())
def test_a_state_with_other_bytes_is_as_good_as_none(
    flips: list[tuple[int, int]], change: tuple[Edit, int, int], early: bool
) -> None:
    """Whatever bytes are others, in the table of parts too, answers are those from nothing."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "RACY_NS", 0)
        twins = Twins(Path(folder))
        compare(twins, ALL)
        data = bytearray(twins.state_file.read_bytes())
        for place, bits in flips:
            data[place % (600 if early else len(data))] ^= bits  # the table comes first
        twins.state_file.write_bytes(data)
        edit, which, how = change
        edit(twins, which, how)
        compare(twins, ALL, LIST)


def test_of_two_that_save_at_once_one_is_whole(tmp_path: Path) -> None:
    """A reader sees the file of one of them, never a mixture, and nothing stays behind."""
    path = tmp_path / "state" / "s.state"
    script = (
        "import sys; from pathlib import Path; from buildgraph.workspace import state as s\n"
        "for n in range(200):\n"
        "    part = {'graph': sys.argv[2].encode() * (n * 97 % 5000), 'who': sys.argv[2].encode()}\n"
        "    s.save_state(Path(sys.argv[1]), '1', s.State(parts=part), 0)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            parts = states.load_state(path, "1").parts
            assert parts.keys() == {"graph", "who"}
            assert set(parts["graph"]) <= set(parts["who"])
            seen.add(parts["who"])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {b"a", b"b"}
    assert os.listdir(path.parent) == [path.name]
