"""What git ignores: the rules of the library, asked all at once before one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from buildgraph.workspace.ignore import IgnoreRules

LINES = st.sampled_from(
    ["*.o", "/a/b/", "!keep.o", "foo/**/x", "**/z", "a*", "b/", "[ab]c", "!a/c", "?x", r"\#h", "x y", "**", "# no"]
)
NAMES = st.sampled_from(["a", "b", "c", "keep.o", "x.o", "foo", "x", "z", "ac", "bc", "#h", "x y", "ax"])


@given(st.lists(LINES, max_size=5), st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.booleans())
def test_a_file_is_ignored_as_the_library_says(lines: list[str], path: str, is_folder: bool) -> None:
    """That nearly no file matches any pattern is found out by one expression; the answers are those of all of them."""
    verdict = GitIgnoreSpec.from_lines(lines).check_file(path + "/" * is_folder).include
    assert IgnoreRules.none().below("", "\n".join(lines)).ignores(path, is_folder=is_folder) == bool(verdict)


@given(st.lists(LINES, max_size=3), st.lists(LINES, max_size=3), st.lists(NAMES, min_size=1, max_size=3).map("/".join))
def test_deeper_rules_come_first(outer: list[str], inner: list[str], path: str) -> None:
    """A folder's own file decides; where it says nothing, the one above."""
    own, above = GitIgnoreSpec.from_lines(inner).check_file(path), GitIgnoreSpec.from_lines(outer).check_file(f"deep/{path}")
    rules = IgnoreRules.none().below("", "\n".join(outer)).below("deep", "\n".join(inner))
    assert rules.ignores(f"deep/{path}", is_folder=False) == bool(above.include if own.include is None else own.include)
