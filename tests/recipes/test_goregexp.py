"""Transforms of variables are those of Go's regexp, which the real melange is asked about, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from buildgraph.recipes.goregexp import ExpressionError, replace_all
from tests.recipes.test_truth import EVERYTHING
from tests.recipes.truth import Options, ask_all, differences


@pytest.mark.parametrize(
    ("text", "pattern", "template", "expected"),
    [
        ("1.2.3", r"^(\d+\.\d+)\.\d+$", "$1", "1.2"),
        ("1.2.3", r"\.", "_", "1_2_3"),
        ("1.2", r"(\d)\.(\d)", "${2}x$1", "2x1"),
        # Go takes the longest name: the group `1x` does not exist, so nothing is put there.
        ("1.2", r"(\d)\.(\d)", "$1x", ""),
        ("1.2", r"(?P<a>\d)\.(?P<b>\d)", "$b.${a}", "2.1"),
        ("abc", "x*", "-", "-a-b-c-"),
        ("abc", "b*", "-", "-a-c-"),
        # After an empty match Python would look for another one at the same place.
        ("a1", "|1", "-", "-a-1-"),
        ("v1", "^v", "$$", "$1"),
        ("a1", "[[:alpha:]]", "", "1"),
        ("1\n", "1$", "x", "1\n"),
        ("٣", r"\d", "x", "٣"),
        ("a\v", r"\s", "x", "a\v"),
        ("a{,2}", "a{,2}", "x", "x"),
        ("a]b", "[]b]", "x", "axx"),
    ],
)
def test_transforms_are_those_of_gos_regexp(text: str, pattern: str, template: str, expected: str) -> None:
    """regexp.ReplaceAllString, template and all."""
    assert replace_all(text, pattern, template) == expected


@pytest.mark.parametrize(
    "pattern", ["(?=a)", r"(a)\1", "(", ")", "a++", "[z-a]", "*", "a**", "(?P=a)", r"\Z", "a{1001}", "[[:foo:]]"]
)
def test_what_go_cannot_read_is_an_error(pattern: str) -> None:
    """melange refuses it too."""
    with pytest.raises(ExpressionError, match="not a regular expression"):
        replace_all("a", pattern, "")


@pytest.mark.parametrize(
    "pattern", ["(?i)a", "a(?s).", r"\pL", r"\Qa.\E", r"\x41", r"\B", "[[:^alpha:]]", "(a*)*", "^*", "[--a]"]
)
def test_what_python_reads_otherwise_is_an_error(pattern: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ExpressionError, match="not a regular expression that melange and bg read alike"):
        replace_all("a", pattern, "")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)(.*)(.*)(.*)(.*)(.*)x", "((a+)+b)+c"])
def test_a_costly_expression_is_refused(pattern: str) -> None:
    """Go's engine is linear and Python's is not."""
    with pytest.raises(ExpressionError, match="too complex"):
        replace_all("a" * 60 + "b", pattern, "")


TOKENS = [
    *"ab12._-/()()|*+?^$é", "&&", "(?:", "(?P<x>", "*?", "+?", "??", "{1,2}", "{2}", "{2,}", "{,2}", "${", "[a-",
    *(rf"\{char}" for char in ".dDwWsSbAznZ/-_$"), r"\d+", r"\pL", "[a-z]", "[^0-9]", "[0-9]+", "[[:alpha:]]", r"[\d.]",
    r"[a\-z]", "[]a]", "[^]a]", "[a&&b]", "[[a]",
]  # fmt: skip
TEMPLATES = ["$1", "${1}", "$0", "x", "-", "$x", "${x}", "$$", "$2", "$1x", "${1}x", "\\1", "$", "${", "$y", "$1.$2", ""]
TEXTS = ["1.2.3", "abc", "1.2.3-rc1", "v10.20", "a.b.c", "", "2024-01-02", "aAbB12", "é1", "a\nb\n", "x_y-z~1"]


def recipe(random: Random) -> str:
    pattern = "".join(random.choice(TOKENS) for _ in range(random.choice((1, 2, 2, 3, 3, 4, 5, 6))))
    if random.random() < 0.5:
        pattern += ")" * max(0, pattern.count("(") - pattern.count(")"))
    transform = {"from": "${{vars.s}}", "match": pattern, "replace": random.choice(TEMPLATES), "to": "t"}
    package = {"name": "a", "version": "1", "dependencies": {"provides": ["<${{vars.t}}>"]}}
    return json.dumps(
        {"package": package, "vars": {"s": random.choice(TEXTS)}, "var-transforms": [transform]}, ensure_ascii=False
    )


@pytest.mark.slow
def test_random_transforms_agree_with_melange(melange: Path, tmp_path: Path) -> None:
    """The same result, or both refuse; bg may refuse more."""
    random = Random(1)
    recipes = [tmp_path / f"{number}.yaml" for number in range(5000 if EVERYTHING else 200)]
    for path in recipes:
        path.write_text(recipe(random))

    found = [
        f"{path.read_text()}\n{line}"
        for path, answer in ask_all(melange, recipes, tmp_path, Options())
        for line in differences(path, answer, tmp_path, Options())
    ]

    assert not found, "\n\n".join(found)
