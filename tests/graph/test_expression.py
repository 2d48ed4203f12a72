"""The query language as text: what it means, and what is said where it means nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.errors import UsageError
from buildgraph.graph.expression import MOST_NESTED, Call, Combination, Expression, Let, Variable, Word, Words, parse
from buildgraph.graph.query import SIGNATURES


def shape(expression: Expression | int) -> str:
    """A tree with a pair of parentheses for everything that belongs together."""
    match expression:
        case Word(text):
            written = text
        case Words(words):
            written = f"{{{' '.join(word.text for word in words)}}}"
        case Variable(name):
            written = f"${name}"
        case Let(name, value, body):
            written = f"({name}: {shape(value)}; {shape(body)})"
        case Combination(first, others):
            written = f"({shape(first)}{''.join(f' {operator} {shape(other)}' for operator, other in others)})"
        case Call(name, arguments):
            written = f"{name}[{', '.join(map(shape, arguments))}]"
        case int():
            written = str(expression)
    return written


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("//a:b", "//a:b"),
        ("  //... ", "//..."),
        ("a/b:c-d_e.f~g[0]$h", "a/b:c-d_e.f~g[0]$h"),
        ("'//:libstdc++'", "//:libstdc++"),
        ('"in"', "in"),
        ("@libstdc++", "@libstdc++"),
        ("//a:b@x86_64", "//a:b@x86_64"),
        ("a+b", "(a union b)"),
        ("a-b", "a-b"),
        ("a - b", "(a except b)"),
        ("a -b", "(a except b)"),
        ("a union b ^ c intersect d - e except f", "(a union b intersect c intersect d except e except f)"),
        ("a + (b ^ c)", "(a union (b intersect c))"),
        ("((a))", "a"),
        ("set()", "{}"),
        ("set(a 'b' //c)", "{a b //c}"),
        ("deps(a)", "deps[a]"),
        ("deps ( a , 2 )", "deps[a, 2]"),
        ("deps", "deps"),
        ("deps + deps(deps)", "(deps union deps[deps])"),
        ("kind('.* x', //...)", "kind[.* x, //...]"),
        ("attr(name, ^a, b)", None),
        ("attr(name, '^a', b)", "attr[name, ^a, b]"),
        ("let x = a in $x", "(x: a; $x)"),
        ("let x = a in $x + b", "(x: a; ($x union b))"),
        ("let x = let y = a in $y in deps($x)", "(x: (y: a; $y); deps[$x])"),
        ("b + let x = a in $x - c", "(b union (x: a; ($x except c)))"),
        ("let x = a in let x = deps($x) in $x", "(x: a; (x: deps[$x]; $x))"),
        ("deps(\n  //a:b,\n  1)\n", "deps[//a:b, 1]"),
        ("f\u00fcr/alle", "f\u00fcr/alle"),
    ],
)
def test_what_a_text_means(text: str, tree: str | None) -> None:
    """Words, quotes, operators of one rank from left to right, functions, sets and variables, as in Bazel."""
    if tree is None:
        with pytest.raises(UsageError):
            parse(text, SIGNATURES)
    else:
        assert shape(parse(text, SIGNATURES)) == tree


def said(text: str) -> list[str]:
    """The error for a text, as the console shows it, without empty lines."""
    with pytest.raises(UsageError) as caught:
        parse(text, SIGNATURES)
    return [line for line in caught.value.render().splitlines() if line]


@pytest.mark.parametrize(
    ("text", "caret", "message", "hint"),
    [
        ("", "^", "expected a label, a pattern, a function or `(`, not the end", ""),
        ("deps(//...", "          ^", "expected `,` or `)`, not the end", "deps(x[, depth])"),
        ("(a", "  ^", "expected an operator or `)`, not the end", ""),
        ("a b", "  ^", "expected an operator (`+`, `^`, `-`) or the end, not `b`", "set(a b) means several targets"),
        (
            "deps a",
            "     ^",
            "expected an operator (`+`, `^`, `-`) or the end, not `a`",
            "the function is written deps(x[, depth])",
        ),
        ("a ++ b", "   ^", "expected a label, a pattern, a function or `(`, not `+`", "put a name with `+` into quotes"),
        (
            "a + in",
            "    ^^",
            "expected a label, a pattern, a function or `(`, not `in`",
            "if it is a name, put it into quotes: 'in'",
        ),
        ("a)", " ^", "expected an operator (`+`, `^`, `-`) or the end, not `)`", ""),
        ("dep(a)", "^^^", "there is no function `dep`", "did you mean `deps` or `rdeps`?"),
        ("tests(a)", "^^^^^", "there is no function `tests`", "the functions are allpaths, allrdeps, attr,"),
        ("rdeps(a)", "       ^", "expected `,`, not `)`", "rdeps(universe, x[, depth])"),
        ("somepath(a, b, c)", "             ^", "expected `)`, not `,`", "somepath(start, end)"),
        ("deps(a, b)", "        ^", "expected a number, not `b`", "deps(x[, depth])"),
        ("deps(a, -1)", "        ^", "expected a number, not `-`", "deps(x[, depth])"),
        ("deps(a, 9999999999)", "        ^^^^^^^^^^", "expected a number, not `9999999999`", "deps(x[, depth])"),
        ("kind((a), b)", "     ^", "expected a word, not `(`", "kind(regex, x); a regular expression wants quotes"),
        ("'abc", "^", "this quote is not closed", ""),
        ("a & b", "  ^", "`&` means nothing here", "put names with special characters into quotes"),
        ("*a", "^", "`*` means nothing here", "quotes"),
        ("let 1 = a in b", "    ^", "`1` cannot be the name of a variable", "letters, digits and `_`, no digit first"),
        ("let x a in b", "      ^", "expected `=`, not `a`", ""),
        ("let x = a on b", "          ^^", "expected an operator or `in`, not `on`", ""),
        ("let x = a in $y", "             ^^", "the variable `$y` has no value here", "let y = ... in ... gives it a value"),
        ("let box = a in $bix", "               ^^^^", "the variable `$bix` has no value here", "did you mean `box`?"),
        ("(let x = a in $x) + $x", "                    ^^", "the variable `$x` has no value here", ""),
        ("set(a (b))", "      ^", "expected a label, a pattern or `)`, not `(`", ""),
        ("set(a, b)", "     ^", "expected a label, a pattern or `)`, not `,`", ""),
    ],
)
def test_an_error_shows_its_place(text: str, caret: str, message: str, hint: str) -> None:
    """What was expected, what is there, and a caret below it."""
    first, *rest = said(text)
    assert first == f"query: {message}"
    shown = [line for line in rest if not line.startswith("hint:")]
    assert shown == ([f"    {text}", f"    {caret}"] if text else [])
    assert hint in "".join(rest)
    assert not rest or rest[-1].startswith("hint: ") == bool(hint) or not hint


def test_an_error_in_a_long_query_shows_its_line() -> None:
    """Of several lines the one that is meant, by number."""
    assert said("deps(//...)\n  + dep(//...)\n")[:3] == [
        "query:2: there is no function `dep`",
        "      + dep(//...)",
        "        ^^^",
    ]


def test_nesting_is_bounded_and_length_is_not() -> None:
    """Too deep is an error, whatever nests; a long chain of operators is none."""
    deepest = MOST_NESTED - 1
    assert shape(parse("(" * deepest + "a" + ")" * deepest, SIGNATURES)) == "a"
    for opening in ("(", "deps(", "let x = ", "a + ("):
        assert f"nested more than {MOST_NESTED} deep" in said(opening * 50_000 + "a")[0]
    long = parse(" + ".join(["a"] * 50_000), SIGNATURES)
    assert isinstance(long, Combination)
    assert len(long.others) == 49_999


TOKENS = ["//a", "b", "'c d'", '"', "'", "(", ")", ",", "+", "-", "^", "=", "$x", "x", "1", "\n", "%", "@e", *SIGNATURES]
WORDS = ["let", "in", "set", "union", "except", "intersect"]


@given(st.lists(st.sampled_from(TOKENS + WORDS), max_size=12).map(" ".join) | st.text(max_size=20))
def test_any_text_is_an_expression_or_an_error_with_a_place(text: str) -> None:
    """Nothing else escapes, and the caret points into the text."""
    error = refusal(text)
    if error is not None:
        assert error.where is not None
        assert error.where.path == "query"
        line = text.split("\n")[max(error.where.line, 1) - 1]
        assert error.where.excerpt == line
        assert 1 <= error.where.column <= len(line) + 1


def refusal(text: str) -> UsageError | None:
    """The error for a text, None where it is an expression."""
    try:
        parse(text, SIGNATURES)
    except UsageError as error:
        return error
    return None
