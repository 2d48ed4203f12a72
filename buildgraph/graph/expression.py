"""The query language, from text to a tree.

It is Bazel's (https://bazel.build/query/language), so that what people know of that one is true of this one:

    expression ::= word | $name | function ( argument , ... ) | set ( word ... ) | ( expression )
                 | let name = expression in expression
                 | expression operator expression
    operator   ::= + union | ^ intersect | - except       all of one rank, from left to right

A word is a label, a pattern or an argument of a function. Letters, digits and ``*/@.-_:$~[]`` need no quotes, but a word does not
begin with ``-`` or ``*``; a word that begins with ``@`` may hold ``+``. Quotes are ``'`` or ``"``, without escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NoReturn

from buildgraph.errors import Place, UsageError, did_you_mean
from buildgraph.structs import Struct

# Deeper nesting than anybody writes, and shallow enough for the interpreter's stack.
MOST_NESTED: Final = 100

Operator = Literal["union", "intersect", "except"]

_OPERATORS: Final[dict[str, Operator]] = {
    "+": "union",
    "^": "intersect",
    "-": "except",
    "union": "union",
    "intersect": "intersect",
    "except": "except",
}
_KEYWORDS: Final = frozenset({*_OPERATORS, "let", "in", "set"})
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
      | '(?P<single>[^']*)'
      | "(?P<double>[^"]*)"
      | (?P<word>@[\w*/@.:$~\[\]+-]* | [\w/.:$~\[\]][\w*/@.:$~\[\]-]*)
      | (?P<mark>[()+^=,-])""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Span(Struct, frozen=True):
    """A part of the query's text, from ``start`` up to ``end``."""

    start: int
    end: int


class Word(Struct, frozen=True):
    """A label, a pattern, or a text that a function takes."""

    text: str
    span: Span


class Words(Struct, frozen=True):
    """``set(a b c)``."""

    words: tuple[Word, ...]


class Variable(Struct, frozen=True):
    """``$name``; the parser has seen to it that a ``let`` around it gives the name a value."""

    name: str


class Let(Struct, frozen=True):
    """``let name = value in body``."""

    name: str
    value: Expression
    body: Expression


class Combination(Struct, frozen=True):
    """``first operator other operator other ...``, to be taken from left to right. Flat: a long one is not a deep one."""

    first: Expression
    others: tuple[tuple[Operator, Expression], ...]


class Call(Struct, frozen=True):
    """A function with as many arguments of such kinds as its signature has; those left out at the end are missing."""

    name: str
    arguments: tuple[Expression | int, ...]
    span: Span


Expression = Word | Words | Variable | Let | Combination | Call


class Signature(Struct, frozen=True):
    """What a function takes: each parameter's name and kind, and how many of them there must be."""

    parameters: tuple[tuple[str, Literal["expression", "word", "number"]], ...]
    required: int

    def usage(self, name: str) -> str:
        """How the function is written: ``deps(x[, depth])``."""
        names = [parameter for parameter, _ in self.parameters]
        optional = "".join(f"[, {parameter}]" for parameter in names[self.required :])
        return f"{name}({', '.join(names[: self.required])}{optional})"


def parse(text: str, signatures: Mapping[str, Signature]) -> Expression:
    """The tree of a query. Raises UsageError, with the place in the text, for what is no expression of these functions."""
    return _Parser(text, signatures).whole()


def place(text: str, span: Span) -> Place:
    """Where in a query something is, for error messages."""
    start = text.rfind("\n", 0, span.start) + 1
    line = text.count("\n", 0, start) + 1 if "\n" in text else 0
    excerpt = text[start:].partition("\n")[0]
    return Place("query", line, span.start - start + 1, max(1, span.end - span.start), excerpt)


class _Token(Struct, frozen=True):
    kind: str  # "word", "quoted", "end", or the mark or keyword itself
    text: str
    span: Span

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f"`{self.text}`"


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            _no_token(text, position)
        span, position = Span(position, found.end()), found.end()
        group, written = found.lastgroup or "", found[found.lastgroup or ""]
        if group in {"single", "double"}:
            tokens.append(_Token("quoted", written, span))
        elif group != "space":
            tokens.append(_Token(written if written in _KEYWORDS or group == "mark" else "word", written, span))
    return [*tokens, _Token("end", "", Span(len(text), len(text)))]


def _no_token(text: str, position: int) -> NoReturn:
    if text[position] in "'\"":
        message, hint = "this quote is not closed", ""
    else:
        message, hint = f"`{text[position]}` means nothing here", "put names with special characters into quotes"
    raise UsageError(message, where=place(text, Span(position, position + 1)), hint=hint)


class _Parser:
    """Recursive descent; one method for each rule of the grammar."""

    def __init__(self, text: str, signatures: Mapping[str, Signature]) -> None:
        self.text = text
        self.signatures = signatures
        self.tokens = _tokens(text)
        self.position = 0
        self.nested = 0
        self.variables: list[str] = []

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def whole(self) -> Expression:
        found = self.expression()
        if self.token.kind != "end":
            self._unexpected("an operator (`+`, `^`, `-`) or the end")
        return found

    def expression(self) -> Expression:
        self.nested += 1
        if self.nested > MOST_NESTED:
            self._fail(f"this is nested more than {MOST_NESTED} deep", self.token.span, "give parts names: let x = ... in ...")
        first = self._operand()
        others = []
        while self.token.kind in _OPERATORS:
            operator = _OPERATORS[self._next().kind]
            others.append((operator, self._operand()))
        self.nested -= 1
        return Combination(first, tuple(others)) if others else first

    def _operand(self) -> Expression:
        match self.token.kind:
            case "(":
                self._next()
                found = self.expression()
                self._expect(")", "an operator or `)`")
            case "let":
                found = self._let()
            case "set":
                found = self._set()
            case "word" if self.tokens[self.position + 1].kind == "(":
                found = self._call()
            case "word" if self.token.text.startswith("$"):
                found = self._variable()
            case "word" | "quoted":
                found = self._word()
            case _:
                self._unexpected("a label, a pattern, a function or `(`")
        return found

    def _word(self) -> Word:
        token = self._next()
        return Word(token.text, token.span)

    def _let(self) -> Let:
        self._next()
        name = self._expect("word", "the name of a variable")
        if not _NAME.fullmatch(name.text):
            self._fail(f"`{name.text}` cannot be the name of a variable", name.span, "letters, digits and `_`, no digit first")
        self._expect("=", "`=`")
        value = self.expression()
        self._expect("in", "an operator or `in`")
        self.variables.append(name.text)
        body = self.expression()
        self.variables.pop()
        return Let(name.text, value, body)

    def _set(self) -> Words:
        self._next()
        self._expect("(", "`(`")
        words = []
        while self.token.kind in {"word", "quoted"}:
            words.append(self._word())
        self._expect(")", "a label, a pattern or `)`")
        return Words(tuple(words))

    def _variable(self) -> Variable:
        token = self._next()
        name = token.text[1:]
        if name not in self.variables:
            hint = did_you_mean(name, self.variables) or f"let {name or 'x'} = ... in ... gives it a value"
            self._fail(f"the variable `{token.text}` has no value here", token.span, hint)
        return Variable(name)

    def _call(self) -> Call:
        name = self._next()
        signature = self.signatures.get(name.text)
        if signature is None:
            hint = did_you_mean(name.text, self.signatures) or f"the functions are {', '.join(sorted(self.signatures))}"
            self._fail(f"there is no function `{name.text}`", name.span, hint)
        usage = signature.usage(name.text)
        self._expect("(", "`(`")
        arguments: list[Expression | int] = []
        for _, kind in signature.parameters:
            if arguments:
                if self.token.kind == ")" and len(arguments) >= signature.required:
                    break
                self._expect(",", "`,` or `)`" if len(arguments) >= signature.required else "`,`", usage)
            arguments.append(self._argument(kind, usage))
        end = self._expect(")", "`)`", usage)
        return Call(name.text, tuple(arguments), Span(name.span.start, end.span.end))

    def _argument(self, kind: str, usage: str) -> Expression | int:
        if kind == "expression":
            return self.expression()
        if kind == "number":
            if self.token.kind != "word" or not _NUMBER.fullmatch(self.token.text):
                self._unexpected("a number", usage)
            return int(self._next().text)
        if self.token.kind not in {"word", "quoted"}:
            self._unexpected("a word", f"{usage}; a regular expression wants quotes")
        return self._word()

    def _next(self) -> _Token:
        token = self.token
        self.position += 1
        return token

    def _expect(self, kind: str, expected: str, usage: str = "") -> _Token:
        if self.token.kind != kind:
            self._unexpected(expected, usage)
        return self._next()

    def _unexpected(self, expected: str, usage: str = "") -> NoReturn:
        token = self.token
        before = self.tokens[self.position - 1] if self.position else None
        hint = usage
        if token.kind in _KEYWORDS and token.kind.isalpha():
            hint = hint or f"if it is a name, put it into quotes: '{token.text}'"
        elif before is not None and before.kind == "word" and before.text in self.signatures:
            hint = hint or f"the function is written {self.signatures[before.text].usage(before.text)}"
        elif token.kind in {"word", "quoted"}:
            hint = hint or "set(a b) means several targets"
        elif before is not None and before.kind == token.kind == "+":
            hint = hint or "put a name with `+` into quotes"
        self._fail(f"expected {expected}, not {token}", token.span, hint)

    def _fail(self, message: str, span: Span, hint: str = "") -> NoReturn:
        raise UsageError(message, where=place(self.text, span), hint=hint)
