"""What can be said to `bg cache`, and what is said of mistakes."""

from __future__ import annotations

import pytest

from buildgraph.cli.arguments import parse
from buildgraph.errors import UsageError
from buildgraph.workspace.amounts import parse_age, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("7", 7), ("3K", 3072), ("2M", 2 << 20), ("10G", 10 << 30), ("10Gi", 10 << 30), ("1T", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    """In units of 1024, with or without the i."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "10 G", "-1", "1.5G", "10GB", "10g", "٣", "9" * 30])
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(("text", "age"), [("5m", 300), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)])
def test_ages(text: str, age: float) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "d", "1y", "-1d", "1.5h"])
def test_what_is_no_age(text: str) -> None:
    """A number without a unit would be guessed at."""
    assert parse_age(text) is None


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["stat"], "there is no command `bg cache stat`", "did you mean `stats`"),
        (["gc", "--max-size", "ten"], "`ten` is no size: 10G and 512M are", ""),
        (["gc", "--older-than", "30"], "`30` is no age: 30d and 12h are", ""),
        (["export", "x", "--since-run", "--used"], "not allowed with argument --since-run", ""),
        (["export", "//images:api"], "`//images:api` is a label; the archive's name goes before the targets", ""),
        (["gk"], "there is no command `bg cache gk`", "bg cache has stats, gc, "),
        (["rm"], "the following arguments are required: TARGET", ""),
        ([], "the following arguments are required: CACHE_COMMAND", ""),
    ],
)
def test_mistakes(words: list[str], message: str, hint: str) -> None:
    """Each is told with what would be right."""
    with pytest.raises(UsageError) as told:
        parse(["cache", *words])
    assert message in told.value.what
    assert hint in told.value.hint


def test_a_pattern_that_leaves_out() -> None:
    """Its dash is no option's here either."""
    assert parse(["cache", "ls", "//...", "-//x"]).targets == ["//...", "-//x"]
