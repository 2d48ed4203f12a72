"""Commands in Makefiles, shell scripts and steps of CI, as far as reading without running tells them.

Variables are replaced where the text assigns them; conditions of make are decided by what is known so far. What stays open (an
argument, a loop's variable, the output of a program) is written ``${name}`` or ``$(command)`` and left to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from buildgraph.structs import Struct

Dialect = Literal["make", "shell"]

# How long a value may get, and how many one line may have replaced: texts that contain each other can grow without end.
_LONGEST = 2048
_MOST_REPLACED = 200
_WORD = re.compile(
    r"""(?:'[^']*'|"(?:\\.|\$\([^()]*(?:\([^()]*\)[^()]*)*\)|[^"\\])*"|\$\{\{.*?\}\}|\{\{.*?\}\}"""
    r"""|\$\$?\((?:[^()]|\([^()]*\))*\)|\$?\$\{[^}]*\}|`[^`]*`|\\.|[^\s'"\\;|&<>()])+|[;|&<>()]+"""
)
_SEPARATOR = re.compile(r"[;|&()]+|do|then|else")
_ASSIGNMENT = {
    "make": re.compile(r"\s*(?:export\s+|override\s+)*([\w.-]+)\s*(\?|:{0,3}|\+)=\s*(.*)", re.DOTALL),
    "shell": re.compile(r"\s*(?:export\s+|readonly\s+|local\s+|declare\s+(?:-\w+\s+)*)?([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL),
}
_LOOP = re.compile(r"\s*(?:@|-)*for\s+(\w+)\s+in\s+(.*?)\s*(?:;|$)", re.DOTALL)
# $NAME, ${NAME}, ${NAME:-default}, "${NAME[@]}", make's $(NAME) and $$NAME, GitHub's ${{ a.b }}, just's {{ name }}.
_REFERENCE = re.compile(
    r"\$\{\{\s*([\w.-]+)\s*\}\}|\{\{\s*\.?([\w.-]+)\s*\}\}"
    r"|\$?\$\{([A-Za-z_]\w*)(?:\[[@*]\]|:?-([^}]*))?\}|\$\(([\w.-]+)\)|\$?\$([A-Za-z_]\w*|[0-9*@<])"
)
# The folder that a command is started in, which is the workspace where nobody says otherwise.
_HERE = re.compile(
    r"\$\$?\((?:shell\s+)?pwd\)|\$\(CURDIR\)|\$\$?[({]PWD[)}]|\$\$?PWD\b|\$\(git rev-parse --show-toplevel\)"
    r"|\$\{?GITHUB_WORKSPACE\}?|\$\{\{\s*github\.workspace\s*\}\}|\$\{?CI_PROJECT_DIR\}?"
)
_CONDITION = re.compile(r"\s*(else\s+)?(ifeq|ifneq|ifdef|ifndef)\b\s*(.*)")


class Word(Struct, frozen=True):
    """A word of a command, without quotes, and the line that it stands in."""

    text: str
    line: int


Command = list[Word]


class Script(Struct, frozen=True):
    """The commands of a text, line by line, and what the variables of loops run over."""

    lines: list[list[Command]]
    loops: dict[str, list[str]]


def read_script(lines: Iterable[tuple[int, str]], dialect: Dialect, variables: Mapping[str, str] | None = None) -> Script:
    """The commands in numbered lines; ``variables`` are those of the surroundings."""
    reader = _Reader(dialect, {name: [Word(value, 0)] for name, value in (variables or {}).items()})
    for logical in _logical_lines(lines):
        reader.take(logical)
    return reader.script()


def _logical_lines(lines: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Lines joined where a backslash or an open list ``NAME=(`` continues them."""
    pending: list[tuple[int, str]] = []
    for number, line in lines:
        text = line.rstrip()
        continued = text.endswith("\\") and not text.endswith("\\\\")
        pending.append((number, text[:-1] if continued else text))
        whole = " ".join(part for _, part in pending)
        in_list = re.match(r"\s*\w+\+?=\(", whole) is not None and whole.count("(") > whole.count(")")
        if not continued and not in_list:
            yield pending
            pending = []
    if pending:
        yield pending


class _Reader:
    def __init__(self, dialect: Dialect, variables: dict[str, list[Word]]) -> None:
        self.dialect = dialect
        self.variables = variables
        self.loops: dict[str, list[str]] = {}
        self.raw: list[list[Command]] = []
        self.conditions: list[tuple[bool, bool]] = []  # whether this branch holds, and whether one of its kind held before
        self.in_rule = False
        self.replaced = 0

    def take(self, logical: list[tuple[int, str]]) -> None:
        whole = " ".join(part for _, part in logical)
        if self.dialect == "make" and self._condition(whole):
            return
        self.replaced = 0
        if not all(holds for holds, _ in self.conditions) or not whole.strip() or whole.lstrip().startswith("#"):
            return
        # A tab makes a command in make, but only below a rule.
        found = None if self.in_rule and whole.startswith("\t") else _ASSIGNMENT[self.dialect].fullmatch(whole)
        assigned = found is not None and self._assign(found, logical)
        self.in_rule = self.dialect == "make" and not assigned and (self.in_rule or not whole.startswith("\t"))
        if assigned:
            return
        loop = _LOOP.match(whole)
        if loop:
            self.loops[loop[1]] = [unquoted(word.text) for word in _split(loop[2], 0)]
        if self.in_rule:
            number, part = logical[0]
            logical = [(number, part.lstrip().lstrip("@-+")), *logical[1:]]
        commands: list[Command] = [[]]
        for word in (word for number, part in logical for word in _split(part, number)):
            if _SEPARATOR.fullmatch(word.text):
                commands.append([])
            else:
                commands[-1].append(word)
        self.raw.append(commands)

    def _assign(self, found: re.Match[str], logical: list[tuple[int, str]]) -> bool:
        """Takes an assignment; not one that only precedes a command (``A=b melange build``)."""
        name, how, _ = found.groups()
        first = logical[0][1].partition("=")[2].lstrip("=")
        parts = [(number, part if position else first) for position, (number, part) in enumerate(logical)]
        words = [word for number, part in parts for word in _split(part, number) if word.text not in {"(", ")"}]
        if self.dialect == "shell" and len(words) > 1 and not first.lstrip().startswith("("):
            return False
        if self.dialect == "shell" or how.startswith(":"):
            words = self.expand(words)
        if how == "+":
            self.variables[name] = [*self.variables.get(name, ()), *words]
        elif how != "?" or name not in self.variables:
            self.variables[name] = words
        return True

    def _condition(self, line: str) -> bool:
        """Follows ifeq, else and endif; whether the line was one of them."""
        stripped = line.split("#", maxsplit=1)[0].strip()
        found = _CONDITION.fullmatch(stripped)
        if found and not found[1]:
            self.conditions.append((self._holds(found[2], found[3]), False))
        elif (found or stripped == "else") and self.conditions:
            held, before = self.conditions.pop()
            done = held or before
            self.conditions.append((not done and (found is None or self._holds(found[2], found[3])), done))
        elif stripped == "endif" and self.conditions:
            self.conditions.pop()
        else:
            return False
        return True

    def _holds(self, kind: str, text: str) -> bool:
        if kind in {"ifdef", "ifndef"}:
            return (text.strip() in self.variables) is (kind == "ifdef")
        inner = text.strip()
        if inner.startswith("("):
            left, right = _split_at_comma(inner[1:].removesuffix(")"))
        else:
            parts = [unquoted(word.text) for word in _split(inner, 0)]
            left, right = (*parts, "", "")[:2]
        return (self._known(left) == self._known(right)) is (kind == "ifeq")

    def _known(self, text: str) -> str:
        """A text with its variables; make takes those that are not set for empty."""
        return re.sub(r"\$\{[^}]*\}", "", " ".join(word.text for word in self.expand([Word(text.strip(), 0)]))).strip()

    def script(self) -> Script:
        lines = []
        for commands in self.raw:
            self.replaced = 0
            lines.append([found for command in commands if command and (found := self.expand(command))])
        return Script([commands for commands in lines if commands], self.loops)

    def expand(self, words: Sequence[Word], inside: frozenset[str] = frozenset()) -> list[Word]:
        """Words with their variables replaced; one that is nothing but a variable may become several."""
        found: list[Word] = []
        for word in words:
            alone = _REFERENCE.fullmatch(unquoted(word.text))
            value = self._value(alone, inside) if alone else None
            if alone and value is not None:
                parts = [part for one in value for part in _split(unquoted(one.text), one.line or word.line)]
                found += self.expand(parts, inside | {_name_of(alone)})
            else:
                found.append(Word(self._replaced(word.text, inside), word.line))
        return found

    def _value(self, reference: re.Match[str], inside: frozenset[str]) -> list[Word] | None:
        name, default = _name_of(reference), reference[4]
        self.replaced += 1
        if name in inside or self.replaced > _MOST_REPLACED:
            return None
        if name in self.variables:
            return self.variables[name]
        return [Word(default, 0)] if default else None

    def _replaced(self, text: str, inside: frozenset[str]) -> str:
        def one(reference: re.Match[str]) -> str:
            name = _name_of(reference)
            value = self._value(reference, inside)
            whole = " ".join(word.text for word in self.expand(value, inside | {name})) if value is not None else ""
            return f"${{{name}}}" if value is None or len(whole) > _LONGEST else whole

        return _REFERENCE.sub(one, _HERE.sub(".", unquoted(text)))


def _name_of(reference: re.Match[str]) -> str:
    return next(group for number, group in enumerate(reference.groups(), 1) if group and number != 4)  # noqa: PLR2004 - the default


def _split(text: str, line: int) -> list[Word]:
    """The words and separators of a line, quotes kept, a comment cut off."""
    words = [found[0] for found in _WORD.finditer(text)]
    end = next((position for position, word in enumerate(words) if word.startswith("#")), len(words))
    return [Word(word, line) for word in words[:end]]


def _split_at_comma(text: str) -> tuple[str, str]:
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "({") - (character in ")}")
        if character == "," and depth == 0:
            return text[:position], text[position + 1 :]
    return text, ""


def unquoted(text: str) -> str:
    """A word without the quotes that hold it together."""
    return re.sub(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""", lambda found: next(filter(None, found.groups()), ""), text)
