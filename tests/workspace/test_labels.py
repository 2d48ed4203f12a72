"""How people name targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.errors import TargetError, UsageError
from buildgraph.workspace.labels import Label, absolute, parse_label, select

TARGETS = [
    Label("images", "api"),
    Label("images", "worker"),
    Label("packages", "lib"),
    Label("packages/deep", "lib"),
    Label("", "top"),
]


def chosen(*patterns: str, here: str = "") -> list[str]:
    return [str(label) for label in select(patterns, TARGETS, here)]


@pytest.mark.parametrize(
    ("pattern", "here", "expected"),
    [
        ("//images:api", "", ["//images:api"]),
        ("//...", "images", ["//:top", "//images:api", "//images:worker", "//packages/deep:lib", "//packages:lib"]),
        ("//packages/...", "", ["//packages/deep:lib", "//packages:lib"]),
        ("//images:all", "", ["//images:api", "//images:worker"]),
        (":api", "images", ["//images:api"]),
        ("images:api", "", ["//images:api"]),
        ("./...", "packages/deep", ["//packages/deep:lib"]),
        ("../images:api", "packages", ["//images:api"]),
        (":top", "", ["//:top"]),
    ],
)
def test_patterns(pattern: str, here: str, expected: list[str]) -> None:
    """Labels, wildcards and relative forms, each from the folder that one stands in."""
    assert sorted(chosen(pattern, here=here)) == sorted(expected)


def test_exclusions_take_away_what_was_included_before() -> None:
    """-//x leaves out what it matches."""
    assert chosen("//images:all", "-//images:api") == ["//images:worker"]


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("//images:apo", "did you mean `//images:api`"),
        ("//image/...", "did you mean `//images/...`"),
        ("//elsewhere:top", "did you mean `//:top`?"),
    ],
)
def test_a_name_that_is_not_there_gets_a_suggestion(pattern: str, hint: str) -> None:
    """Unknown names are errors that suggest known ones."""
    with pytest.raises(TargetError) as caught:
        chosen(pattern)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("text", ["//", "//a//b:c", "//a:", "//../x:y", "x"])
def test_what_is_no_label_is_refused(text: str) -> None:
    """A label has a folder inside the recipes folder and a name."""
    with pytest.raises(UsageError):
        parse_label(text)


def test_a_relative_pattern_stays_inside() -> None:
    """`../..` cannot leave the recipes folder."""
    with pytest.raises(UsageError):
        absolute("../../x:y", "images")


def test_aliases_are_asked_last() -> None:
    """A label that names no target may mean another one."""
    found = select(["//packages:lib-dev"], TARGETS, "", lambda label: TARGETS[2] if label.name == "lib-dev" else None)
    assert found == [TARGETS[2]]


NAMES = st.from_regex(r"[a-z][a-z0-9+._-]{0,8}", fullmatch=True).filter(lambda name: name not in {"all", "..."})
FOLDERS = st.lists(NAMES.filter(lambda name: ".." not in name), max_size=3).map("/".join)


@given(FOLDERS, NAMES)
def test_every_label_is_read_back(folder: str, name: str) -> None:
    """str() and parse_label() are inverse."""
    label = Label(folder, name)
    assert parse_label(str(label)) == label
