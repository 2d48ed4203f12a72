"""Go's ``regexp.ReplaceAllString``, for the expressions that both Go and Python read alike.

Python's engine runs them, but what it is given is put together here, from the parts of Go's syntax (regexp/syntax) that mean the
same to both; an expression with anything else in it is refused, never guessed at.
"""

from __future__ import annotations

import re
from functools import lru_cache

from buildgraph.structs import Struct, field

_TOKEN = re.compile(
    r"(?P<escape>\\[\s\S])|(?P<repeat>[*+?]|\{\d+(?:,\d*)?\})(?P<lazy>\??)|\((?P<group>\?:|\?P?<[A-Za-z_]\w*>|(?!\?))"
    r"|(?P<set>\[\^?\]?(?:\[:\^?\w+:\]|\\[\s\S]|[^\]\\])*\])|(?P<sign>[|)^$.])|(?P<text>[^\\*+?()|\[^$.])"
)
_SET_PART = re.compile(r"\[:(?P<name>\^?\w+):\]|\\(?P<escape>[\s\S])|(?P<text>[\s\S])")
_TEMPLATE = re.compile(r"\$(?:\$|(?P<bare>[A-Za-z0-9_]+)|\{(?P<braced>[A-Za-z0-9_]+)\})")
_SPACES = "\\t\\n\\f\\r "
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACES}
_NAMED_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7f", "blank": "\\t ", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "lower": "a-z", "punct": "!-/:-@\\[-`{-~", "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z",
    "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_ANCHORS = {"^": "^", "$": "\\Z", "\\A": "\\A", "\\z": "\\Z", "\\b": "\\b"}
_CONTROLS = {"n": "\\n", "t": "\\t", "r": "\\r", "f": "\\f", "v": "\\v"}
_MAX_REPEAT = 1000
_MAX_STEPS = 10_000_000
_MAX_LENGTH = 16 << 20


class ExpressionError(Exception):
    """An expression that Go refuses, or that is not known to mean the same to Go and to Python."""


def replace_all(text: str, pattern: str, template: str) -> str:
    """``regexp.MustCompile(pattern).ReplaceAllString(text, template)``.

    Python's engine may take exponential time where Go's never does, so ExpressionError also where it might, or where the result
    is longer than 16 MiB.
    """
    expression, unbounded, nested = _compiled(pattern)
    steps = 2 ** min(len(text), 100) if nested else (len(text) + 1) ** min(unbounded, 100)
    if steps > _MAX_STEPS:
        raise ExpressionError(f"`{pattern}` is too complex for a text of {len(text)} characters")
    parts: list[str] = []
    position = end = length = 0
    while (match := expression.search(text, position)) is not None:
        parts.append(text[end : match.start()])
        # Go replaces no empty match right after another match (regexp.go, replaceAll).
        if match.end() > end or match.start() == 0:
            parts.append(_expand(template, match))
        length += len(parts[-1])
        if length > _MAX_LENGTH:
            raise ExpressionError(f"what `{template}` makes is longer than {_MAX_LENGTH >> 20} MiB")
        end = match.end()
        position = max(end, position + 1)
        if position > len(text):
            break
    return "".join(parts) + text[end:]


def _expand(template: str, match: re.Match[str]) -> str:
    """Go's ``Regexp.Expand``: ``$1x`` is the group named ``1x``, and a group that is not there gives nothing."""

    def group(found: re.Match[str]) -> str:
        name = found["bare"] or found["braced"]
        if name is None:
            return "$"
        if name.isdigit():
            return (match[int(name)] or "") if int(name) <= match.re.groups else ""
        return (match[name] or "") if name in match.re.groupindex else ""

    return _TEMPLATE.sub(group, template)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> tuple[re.Pattern[str], int, bool]:
    translated = _Translation(pattern)
    try:
        return re.compile(translated.python, re.ASCII), translated.unbounded, translated.nested
    except (re.error, OverflowError, RecursionError) as error:
        raise ExpressionError(f"`{pattern}` is not a regular expression: {error}") from None


class _Piece(Struct):
    """What a repeat would repeat: ``empty`` says that it can match nothing, ``endless`` that it repeats without end inside."""

    repeatable: bool = False
    empty: bool = True
    endless: bool = False


class _Group(Struct):
    """The whole expression, or a group that is still open: what its closed branches and the current one can match."""

    empty: bool = False
    endless: bool = False
    branch_empty: bool = True
    latest: _Piece = field(default_factory=_Piece)

    def add(self, piece: _Piece) -> None:
        """The latest piece is followed by another one."""
        self.branch_empty &= self.latest.empty
        self.endless |= self.latest.endless
        self.latest = piece

    def end_branch(self) -> None:
        """What follows is another branch, or the end."""
        self.add(_Piece())
        self.empty |= self.branch_empty
        self.branch_empty = True


class _Translation:
    """An expression for Python; how many repeats have no end, and whether one such is inside of another repeat."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.unbounded = 0
        self.nested = False
        self._groups = [_Group()]
        parts: list[str] = []
        position = 0
        while position < len(pattern):
            token = _TOKEN.match(pattern, position)
            if token is None:
                raise self._error(position)
            parts.append(self._part(token))
            position = token.end()
        if len(self._groups) > 1:
            raise self._error(position)
        self.python = "".join(parts)

    def _part(self, token: re.Match[str]) -> str:
        text = token[0]
        if token["repeat"]:
            return self._repeat(token)
        if token["group"] is not None:
            self._groups[-1].add(_Piece())
            self._groups.append(_Group())
            return "(" + token["group"].replace("?<", "?P<")
        if text == ")":
            return self._close(token)
        if text == "|":
            self._groups[-1].end_branch()
            return text
        is_anchor = text in _ANCHORS
        self._groups[-1].add(_Piece() if is_anchor else _Piece(repeatable=True, empty=False))
        return _ANCHORS[text] if is_anchor else self._character(token)

    def _character(self, token: re.Match[str]) -> str:
        text = token[0]
        if token["set"]:
            return self._set(token["set"], token.start())
        if token["escape"] and text[1].lower() in _CLASSES:
            return f"[{'^' if text[1].isupper() else ''}{_CLASSES[text[1].lower()]}]"
        if token["escape"]:
            return self._escaped(text[1], token.start())
        return text if text == "." else re.escape(text)

    def _close(self, token: re.Match[str]) -> str:
        group = self._groups.pop()
        if not self._groups:
            raise self._error(token.start())
        group.end_branch()
        self._groups[-1].latest = _Piece(repeatable=True, empty=group.empty, endless=group.endless)
        return ")"

    def _repeat(self, token: re.Match[str]) -> str:
        sign, group = token["repeat"], self._groups[-1]
        piece = group.latest
        numbers = [int(number) for number in re.findall(r"\d+", sign)]
        # What captures hold after a round that matched nothing is another matter in each engine.
        if not piece.repeatable or piece.empty or any(number > _MAX_REPEAT for number in numbers):
            raise self._error(token.start())
        endless = sign in "*+" or sign.endswith(",}")
        self.unbounded += endless
        self.nested |= piece.endless and sign != "?"
        group.latest = _Piece(empty=sign in "*?" or numbers[:1] == [0], endless=endless or piece.endless)
        return sign + token["lazy"]

    def _set(self, text: str, position: int) -> str:
        negated = "^" if text.startswith("[^") else ""
        parts = [self._set_part(part, position) for part in _SET_PART.finditer(text[1 + len(negated) : -1])]
        for index in (index for index, (part, _) in enumerate(parts) if part == "-"):
            if index in {0, len(parts) - 1}:
                parts[index] = ("\\-", False)
            elif not (parts[index - 1][1] and parts[index + 1][1]):
                raise self._error(position)
        return f"[{negated}{''.join(part for part, _ in parts)}]"

    def _set_part(self, part: re.Match[str], position: int) -> tuple[str, bool]:
        """A part of a set, and whether it can begin or end a range."""
        if part["name"] in _NAMED_CLASSES:
            return _NAMED_CLASSES[part["name"]], False
        if part["name"]:
            raise self._error(position)
        if part["escape"] and part["escape"] in _CLASSES:
            return _CLASSES[part["escape"]], False
        if part["escape"]:
            return self._escaped(part["escape"], position), True
        return ("-", False) if part["text"] == "-" else (re.escape(part["text"]), True)

    def _escaped(self, char: str, position: int) -> str:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char.isascii() and not char.isalnum():
            return re.escape(char)
        raise self._error(position)

    def _error(self, position: int) -> ExpressionError:
        rest = self.pattern[position : position + 10]
        found = f"found `{rest}`" if rest else "found its end"
        return ExpressionError(f"`{self.pattern}` is not a regular expression that melange and bg read alike: {found}")
