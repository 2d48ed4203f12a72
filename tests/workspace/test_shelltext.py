"""Commands are read out of Makefiles and scripts without running them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.workspace.shelltext import Dialect, read_script


def commands(text: str, dialect: Dialect = "shell") -> list[str]:
    script = read_script(enumerate(text.splitlines(), 1), dialect, {"env.y": "given"})
    return [" ".join(word.text for word in command) for line in script.lines for command in line]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("melange build a.yaml -r x # why\n# melange", ["melange build a.yaml -r x"]),
        ("a && b; c | d\n(e)", ["a", "b", "c", "d", "e"]),
        ("melange build 'a b.yaml' \"c d\"e\\ f", ["melange build a b.yaml c de f"]),
        ("melange build \\\n  --arch x \\\n  a.yaml", ["melange build --arch x a.yaml"]),
        ('A=x\nB="--one $A --two"\nrun $B "$B"', ["run --one x --two --one x --two"]),
        ('A=(--one x # first\n  --two)\nA+=(three)\nrun "${A[@]}"', ["run --one x --two three"]),
        ("export A=${B:-default}\nrun $A ${C:-other} $D", ["run default other ${D}"]),
        ("A=1 run $A", ["A=1 run ${A}"]),
        ("A=one\nA=$A-two\nrun $A", ["run one-two"]),
        ("run $(basename $1 .yaml) ${x%.yaml} $PWD/y", ["run $(basename ${1} .yaml) ${x%.yaml} ./y"]),
        ("if true; then run; else walk; fi", ["if true", "run", "walk", "fi"]),
        ("run ${{ matrix.x }} ${{ env.y }}", ["run ${matrix.x} given"]),
    ],
)  # fmt: skip
def test_shell(text: str, expected: list[str]) -> None:
    """Quotes, continued lines, variables, lists; what stays open is written as ``${name}``."""
    assert commands(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X := a\nall:\n\t@run $(X) $@ $$y ${Z}", ["all:", "run a ${@} ${y} ${Z}"]),
        ("X = $(Y)\nY ?= later\nY ?= never\nall:\n\trun $(X)", ["all:", "run later"]),
        ("X += a\nX += b # comment\nall:\n\t-run $(X)", ["all:", "run a b"]),
        ("ifeq ($(A), yes)\n\tX = a\nelse\n\tX = b\nendif\nall:\n\trun $(X)", ["all:", "run b"]),
        ("A = 1\nifdef A\nX = a\nelse ifdef B\nX = b\nelse\nX = c\nendif\nall:\n\trun $(X)", ["all:", "run a"]),
        ("ifneq '' '$(A)'\nX = a\nelse ifeq ($(A),)\nX = b\nendif\nall:\n\trun $(X)", ["all:", "run b"]),
        ("ifdef A\nifdef B\nX = a\nendif\nelse\nX = b\nendif\nall:\n\trun $(X)", ["all:", "run b"]),
        ("X := $(if $(X),$(X),y)\nall:\n\trun $(X)", None),
        ("all:\n\tX=y; run $(shell pwd)/z", ["all:", "X=y", "run ./z"]),
    ],
)
def test_make(text: str, expected: list[str] | None) -> None:
    """Assignments of each kind, conditions; a tab makes a command only below a rule."""
    found = commands(text, "make")
    assert found == expected if expected is not None else len(found) == 2


def test_words_know_their_lines() -> None:
    """Those of a variable have the line that assigned them."""
    text = "OPTS += --one\nOPTS += --two\nall:\n\trun $(OPTS) \\\n\t  three"
    line = read_script(enumerate(text.splitlines(), 1), "make").lines[-1]
    assert [(word.text, word.line) for word in line[0]] == [("run", 4), ("--one", 1), ("--two", 2), ("three", 5)]


def test_loops_are_told() -> None:
    """What a variable runs over."""
    script = read_script(enumerate(["for f in packages/*.yaml 'x y'; do", "  run $f", "done"], 1), "shell")
    assert script.loops == {"f": ["packages/*.yaml", "x y"]}


PIECES = st.sampled_from(
    ["A", "B", "=", "+=", ":=", "?=", "$(A)", "${B}", "$A", "$$B", "(", ")", "'", '"', "\\", "\n", "\t", " ", "ifeq (", "else",
     "endif", "for f in ", ";", "&&", "#", "`", "${{ A }}", "$(shell x)", "melange build", "${A:-$B}", "{{", "}}", ","]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join), st.sampled_from(["make", "shell"]))
def test_any_text_is_read(text: str, dialect: Dialect) -> None:
    """Variables that contain themselves or each other, quotes that do not end: no error, no endless text."""
    assert sum(map(len, commands(text, dialect))) < 100_000


def test_texts_that_grow_stay_open() -> None:
    """Doubling forty times would fill the memory."""
    text = "\n".join(["A0=xx", *(f"A{n + 1}=$A{n}$A{n}" for n in range(40)), "run $A40"])
    assert sum(map(len, commands(text))) < 100_000
