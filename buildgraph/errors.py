"""Every error that bg reports, as one tree; each class has the exit code that the manual lists.

    BgError
    ├── BuildError        1   an action failed: its recipe is at fault, or its inputs
    ├── UsageError        2   the command line does not make sense
    ├── TargetError       3   a label or pattern names nothing, more than one thing, or what is not built yet
    ├── ManifestError     4   buildgraph.yaml, or the user's credentials.yaml, cannot be used
    ├── RecipeError       5   a recipe cannot be read, or says what melange or apko would refuse
    ├── GraphError        6   a cycle, a package made twice, a requirement that nothing meets
    ├── LockError         7   buildgraph.lock is missing an entry, is stale or cannot be read
    ├── ToolError         8   melange, apko, Go or bubblewrap is missing or does not work
    ├── CacheError        9   the cache cannot be read or written (a full disk, for one)
    ├── SandboxError     10   the machine cannot make the box
    ├── RepositoryError  11   an index, a package or a source cannot be had, or is wrong
    ├── OutputError      12   an output cannot be written
    ├── VerifyError      13   a second build gave other bytes than the cache has
    └── Interrupted     130   Ctrl-C or SIGTERM

Anything else that escapes is a defect of bg (exit code 70).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

INTERNAL_ERROR = 70
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
# Control characters but for tabs and newlines, and lone surrogates, which no terminal is sent.
_ILLEGIBLE = dict.fromkeys((*range(9), *range(0xB, 0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)), "\ufffd")
_LONGEST_NAME = 200  # comparing texts takes time with the square of their length


class Place(NamedTuple):
    """A position in a text file of the user.

    ``path`` is what to show (relative to the workspace where possible); ``line`` and ``column`` count from 1, 0 means
    unknown; ``length`` is the number of characters to underline; ``excerpt`` is the line's text without its newline.
    """

    path: str
    line: int = 0
    column: int = 0
    length: int = 1
    excerpt: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class BgError(Exception):
    """A failure that the user can act on: what happened, where, and what to try."""

    exit_code = 1

    def __init__(self, what: str, *, where: Place | None = None, hint: str = "", details: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.details = details

    def render(self) -> str:
        """The message as the console shows it: place and cause, excerpt with a caret, details, hint."""
        lines = [f"{self.where}: {self.what}" if self.where else f"error: {self.what}"]
        if self.where and self.where.excerpt:
            lines += excerpt_with_caret(self.where)
        if self.details:
            lines += ["", self.details.rstrip("\n")]
        if self.hint:
            lines += ["", f"hint: {self.hint}"]
        return "\n".join(lines)


class BuildError(BgError):
    """An action ran and failed."""

    exit_code = 1


class UsageError(BgError):
    """The command line does not make sense."""

    exit_code = 2


class TargetError(BgError):
    """A label or pattern names nothing, more than one thing, or what is not built yet."""

    exit_code = 3


class ManifestError(BgError):
    """The manifest, or the user's file with credentials, cannot be used."""

    exit_code = 4


class RecipeError(BgError):
    """A recipe cannot be read, or says what melange or apko would refuse."""

    exit_code = 5


class GraphError(BgError):
    """The recipes do not fit together."""

    exit_code = 6


class LockError(BgError):
    """The lock is missing an entry, is stale or cannot be read."""

    exit_code = 7


class ToolError(BgError):
    """A tool that bg runs is missing or does not work."""

    exit_code = 8


class CacheError(BgError):
    """The cache cannot be read or written."""

    exit_code = 9


class SandboxError(BgError):
    """This machine cannot make the box."""

    exit_code = 10


class RepositoryError(BgError):
    """A package repository, or another source, does not give what it promised."""

    exit_code = 11


class NoSuchFileError(RepositoryError):
    """A server says that it has no such file."""


class OutputError(BgError):
    """An output cannot be written."""

    exit_code = 12


class VerifyError(BgError):
    """A second build gave other bytes than the cache has."""

    exit_code = 13


class Interrupted(BgError):  # noqa: N818 - it is an event that unwinds like an error, not a fault
    """The user or the system asked bg to stop."""

    exit_code = 130


def legible(text: str) -> str:
    """A text for a terminal, which what others wrote into it must not steer: without colours, control characters replaced.

    So are lone surrogates: what is not UTF-8 in a file's name.
    """
    return _COLOUR.sub("", text).translate(_ILLEGIBLE)


def excerpt_with_caret(place: Place) -> list[str]:
    """The excerpt of a place, indented, with a line of carets under the part that is meant."""
    width = 160
    # What a file has in it must not steer the terminal.
    text = "".join(char if char.isprintable() else "\ufffd" for char in place.excerpt.expandtabs(1))
    start = max(0, place.column - 1)
    offset = max(0, start - width + 40) if len(text) > width else 0
    shown = text[offset : offset + width]
    carets = "^" * max(1, min(place.length, len(shown) - (start - offset)))
    return [f"    {shown}", f"    {' ' * (start - offset)}{carets}"] if place.column else [f"    {shown}"]


def closest(name: str, known: Iterable[str]) -> list[str]:
    """The known words closest to ``name``, best first, at most three; empty where none is close."""
    import difflib

    if len(name) > _LONGEST_NAME:
        return []
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the known words closest to ``name``, or an empty string where none is close."""
    close = closest(name, known)
    if not close:
        return ""
    return "did you mean " + " or ".join(f"`{word}`" for word in close) + "?"
