"""Variables and conditions behave as in melange's pkg/util and pkg/cond."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.recipes.substitute import SubstitutionError, evaluate, literal_replacer, substitute


def test_parse_time_variables_are_literal_and_unknown_ones_stay() -> None:
    """No whitespace inside the braces, one pass, no error."""
    replace = literal_replacer({"package.name": "foo", "vars.x": "${{package.name}}"})

    assert (
        replace("${{package.name}}-${{ package.name }}-${{nope}}-${{vars.x}}")
        == "foo-${{ package.name }}-${{nope}}-${{package.name}}"
    )


def test_compile_time_variables_may_have_whitespace_and_must_be_known() -> None:
    """What melange's cond.Subst does."""
    assert substitute("<${{ a.b }}>", {"a.b": "x"}) == "<x>"
    with pytest.raises(SubstitutionError, match=r"the variable `a\.c` is not defined"):
        substitute("${{a.c}}", {"a.b": "x"})
    with pytest.raises(SubstitutionError, match="not closed"):
        substitute("${{a.b}", {"a.b": "x"})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("'a' == 'a'", True),
        ("'a' != \"a\"", False),
        ("${{whatever}} == ''", True),
        # Both operators bind alike, from the left (cond/parser.go).
        ("'a' == 'a' || 'a' == 'a' && 'a' == 'b'", False),
        ("'a' == 'a' || ('a' == 'a' && 'a' == 'b')", True),
        (r"'it\'s' == " + '"it\'s"', True),
        (r"'\d' == '\\d'", True),
    ],
)
def test_conditions(condition: str, expected: bool) -> None:
    """Comparisons of quoted texts, joined."""
    assert evaluate(condition) is expected


@pytest.mark.parametrize(
    "condition", ["", "'a'", "a == 'a'", "'a' = 'a'", "'a' == 'a' 'b'", "('a' == 'a'", "'a' == 'a", "(" * 10_000]
)
def test_malformed_conditions_are_errors(condition: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(SubstitutionError):
        evaluate(condition)


@given(st.text(alphabet="'\"\\ab =!&|()${} \t", max_size=40))
def test_any_condition_is_a_bool_or_an_error(condition: str) -> None:
    """There is no other way out."""
    with contextlib.suppress(SubstitutionError):
        assert evaluate(condition) in {True, False}
