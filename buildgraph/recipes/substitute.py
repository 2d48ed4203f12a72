"""melange's substitution of ``${{...}}``, its conditions and its variable transforms, as its sources define them.

There are two kinds. While parsing, known variables are replaced as literal texts, and unknown ones stay (config.go,
replacerFromMap). While compiling, whitespace inside the braces is fine and an unknown variable is an error (cond/subst.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeAlias

from buildgraph.structs import Struct

Variables: TypeAlias = Mapping[str, str]
Replace: TypeAlias = Callable[[str], str]

# cond/parser.go: isWhitespace and isVarChar.
_LITERAL = re.compile(r"\$\{\{[^${}]*\}\}")
_REFERENCE = re.compile(r"\$\{\{[ \t\n\r]*([A-Za-z0-9._-]*)[ \t\n\r]*(\}\})?")
_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:(?P<op>==|!=|&&|\|\||[()])|(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
    r"""|\$\{\{[ \t\n\r]*(?P<name>[A-Za-z0-9._-]+)[ \t\n\r]*\}\}|(?P<end>\Z))""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}
_MAX_CONDITION_DEPTH = 50
_MAX_LENGTH = 16 << 20


class SubstitutionError(Exception):
    """A text cannot be substituted or a condition not evaluated; ``name`` is the variable at fault, if one is."""

    def __init__(self, what: str, name: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.name = name


class TooLongError(Exception):
    """A text gets too long by its variables: a few lines can stand for more text than any memory holds."""

    def __init__(self, name: str) -> None:
        what = f"with `{name}` filled in" if name else "transformed"
        super().__init__(f"{what}, a text is longer than {_MAX_LENGTH >> 20} MiB")


def literal_replacer(variables: Variables) -> Replace:
    """The parse-time substitution: exact ``${{name}}`` only, one pass, unknown ones left as they are. Raises TooLongError."""

    def replace(text: str) -> str:
        if "${{" not in text:
            return text
        length = len(text)

        def known(match: re.Match[str]) -> str:
            nonlocal length
            value = variables.get(match[0][3:-2], match[0])
            length += len(value)
            if length > _MAX_LENGTH:
                raise TooLongError(match[0][3:-2])
            return value

        return _LITERAL.sub(known, text)

    return replace


class Lookup(Protocol):
    """Something that has variables by name."""

    def get(self, name: str, /) -> str | None:
        """The value of a variable, None where there is none."""


class Scope(Struct):
    """The variables that a step sees: those of the recipe, and the inputs of the pipelines that it stands in.

    They are apart because every step has the former and each pipeline has some of the latter; no name is among both.
    """

    variables: dict[str, str]
    inputs: dict[str, str]

    def get(self, name: str) -> str | None:
        """The value of a variable, None where there is none."""
        value = self.variables.get(name)
        return self.inputs.get(name) if value is None else value

    def has_all(self, names: frozenset[str]) -> bool:
        """Whether all names are defined."""
        return self.variables.keys() >= names or self.inputs.keys() >= names.difference(self.variables)

    def __iter__(self) -> Iterator[str]:
        yield from self.variables
        yield from self.inputs


def references(text: str) -> frozenset[str] | None:
    """The variables that the compile-time substitution of a text needs, None where it fails whatever they are."""
    found = _REFERENCE.findall(text)
    return frozenset(name for name, _ in found) if all(name and end for name, end in found) else None


def substitute(text: str, variables: Lookup, *, quoted: bool = False) -> str:
    """The compile-time substitution; ``quoted`` writes values as string literals of a condition.

    Raises SubstitutionError for an unknown variable, TooLongError.
    """
    if "${{" not in text:
        return text
    length = len(text)

    def known(match: re.Match[str]) -> str:
        nonlocal length
        name = match[1]
        if not name:
            raise SubstitutionError("`${{` without the name of a variable")
        if not match[2]:
            raise SubstitutionError(f"`${{{{{name}` is not closed by `}}}}`", name)
        value = variables.get(name)
        if value is None:
            raise SubstitutionError(f"the variable `{name}` is not defined", name)
        length += len(value)
        if length > _MAX_LENGTH:
            raise TooLongError(name)
        # strconv.Quote and JSON agree on all that conditions can read back.
        return json.dumps(value, ensure_ascii=False) if quoted else value

    return _REFERENCE.sub(known, text)


def evaluate(condition: str) -> bool:
    """The value of an ``if:`` (cond/parser.go): a variable that is left is empty; ``&&`` and ``||`` bind alike, from the left."""
    return _Condition(condition).value()


class _Condition:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.token = self._read()

    def value(self) -> bool:
        result = self._expression(0)
        if self.token["end"] is None:
            raise self._error("the end of the condition")
        return result

    def _expression(self, depth: int) -> bool:
        result = self._atom(depth)
        while (operator := self.token["op"]) in {"&&", "||"}:
            self._next()
            other = self._atom(depth)
            result = (result and other) if operator == "&&" else (result or other)
        return result

    def _atom(self, depth: int) -> bool:
        if self.token["op"] != "(":
            left = self._operand()
            operator = self.token["op"]
            if operator not in {"==", "!="}:
                raise self._error("`==` or `!=`")
            self._next()
            return (left == self._operand()) is (operator == "==")
        if depth > _MAX_CONDITION_DEPTH:
            raise SubstitutionError(f"parentheses nest deeper than {_MAX_CONDITION_DEPTH} levels")
        self._next()
        result = self._expression(depth + 1)
        if self.token["op"] != ")":
            raise self._error("`)`")
        self._next()
        return result

    def _operand(self) -> str:
        literal = self.token["text"]
        if literal is None and self.token["name"] is None:
            raise self._error("a quoted text or `${{variable}}`")
        self._next()
        return "" if literal is None else _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[0]), literal[1:-1])

    def _next(self) -> None:
        self.position = self.token.end()
        self.token = self._read()

    def _read(self) -> re.Match[str]:
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            found = self.text[self.position :][:20].strip()
            raise SubstitutionError(f"expected a quoted text or `${{{{variable}}}}`, found `{found}`")
        return match

    def _error(self, expected: str) -> SubstitutionError:
        found = self.text[self.position :].strip()[:20]
        return SubstitutionError(f"expected {expected}, found {f'`{found}`' if found else 'the end of the condition'}")
