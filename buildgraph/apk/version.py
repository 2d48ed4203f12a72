"""Versions and requirements of apk packages, decided as apko decides them.

Source of every rule: apko v1.2.37, pkg/apk/apk/version.go (parsing, order, `~`) and repo.go (which provides count).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from buildgraph.structs import Struct

_VERSION: Final = re.compile(
    r"([0-9]+)((?:\.[0-9]+)*)([a-z]?)(?:_(alpha|beta|pre|rc)([0-9]*))?(?:_(cvs|svn|git|hg|p)([0-9]*))?(?:-r([0-9]+))?"
)
_REQUIREMENT: Final = re.compile(r"([^@=><~]+)(?:([=><~]+)([^@]+))?(?:@([a-zA-Z0-9]+))?")
_RELEASE_END: Final = re.compile(r"-r[0-9]+\Z")
_OPERATORS: Final = {"=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "~": "~", "=~": "~"}
# No pre-release suffix sorts after every one of them, no post-release suffix before.
_PRE: Final = {"alpha": 1, "beta": 2, "pre": 3, "rc": 4, None: 1000}
_POST: Final = {None: 0, "cvs": 1, "svn": 2, "git": 3, "hg": 4, "p": 5}
_INT64_MAX: Final = (1 << 63) - 1
_INT64_DIGITS: Final = 19

_Key = tuple[tuple[int, ...], str, int, int, int, int, int]


class Version:
    """A version such as ``1.2.3a_rc1_p2-r4``; ordered as apko orders it, where ``1.0``, ``1.00`` and ``1.0-r0`` are equal."""

    __slots__ = ("key", "text")

    def __init__(self, text: str, key: _Key) -> None:
        self.text = text
        self.key = key

    @staticmethod
    def parse(text: str) -> Version:
        """The version that a text says; raises ValueError where apko refuses it."""
        version = _parsed(text)
        if version is None:
            message = f"`{text}` is not an apk version"
            raise ValueError(message)
        return version

    def starts_with(self, prefix: Version) -> bool:
        """Whether `~prefix` is met: every part that the prefix states is the same here."""
        numbers, *rest = self.key
        wanted, *parts = prefix.key
        if numbers[: len(wanted)] != wanted:
            return False
        if len(numbers) > len(wanted):
            return True
        unstated = ("", _PRE[None], 0, 0, 0, 0)
        return all(part in (empty, own) for part, empty, own in zip(parts, unstated, rest, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __lt__(self, other: Version) -> bool:
        return self.key < other.key

    def __le__(self, other: Version) -> bool:
        return self.key <= other.key

    def __gt__(self, other: Version) -> bool:
        return self.key > other.key

    def __ge__(self, other: Version) -> bool:
        return self.key >= other.key

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Version.parse({self.text!r})"


# What melange's scan of built files finds (pkg/sca/sca.go); recipes rarely say it.
SCANNED: Final = ("so:", "so-ver:", "cmd:", "pc:")


def is_version(text: str) -> bool:
    """Whether apko can read the text as a version."""
    return _parsed(text) is not None


class Requirement(Struct, frozen=True):
    """What a dependency asks for: a name, and where ``operator`` is not empty a version; also what a `provides` offers.

    ``operator`` is one of ``""``, ``=``, ``<``, ``>``, ``<=``, ``>=``, ``~``; ``version`` is the text that apko compares,
    which for a shared library without release (``so:libz.so.1=1.3``) is ``0.1.3``; ``pin`` is the repository tag after
    ``@``; ``negated`` says that the package must not be there.
    """

    name: str
    operator: str = ""
    version: str = ""
    pin: str = ""
    negated: bool = False
    text: str = ""

    @staticmethod
    def parse(text: str) -> Requirement:
        """Reads any text; one that is no requirement is a name that nothing has, as in apko."""
        return _requirement(text)

    def accepts(self, version: str | None) -> bool:
        """Whether a package that offers the name in this version can meet the requirement; ``negated`` is not looked at.

        None is a `provides` without version: apko then compares the version of the package that has it, which is not known
        here, so this says yes; `IndexEntry.meets` has the exact answer.
        """
        return not self.operator or version is None or _satisfies(self.operator, version, self.version)

    def __str__(self) -> str:
        return self.text or f"{'!' * self.negated}{self.name}{self.operator}{self.version}{'@' * bool(self.pin)}{self.pin}"


_COMPARISONS: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "~": Version.starts_with,
}


@lru_cache(maxsize=1 << 17)
def _parsed(text: str) -> Version | None:
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    first, others, letter, pre, pre_number, post, post_number, revision = match.groups()
    digits = [first, *others.split(".")[1:], pre_number or "0", post_number or "0", revision or "0"]
    # Go's strconv.Atoi fails beyond 64 bits; leading zeros do not count.
    if any(len(part) >= _INT64_DIGITS and not _fits(part) for part in digits):
        return None
    *numbers, pre_value, post_value, release = map(int, digits)
    return Version(text, (tuple(numbers), letter, _PRE[pre], pre_value, _POST[post], post_value, release))


def _fits(digits: str) -> bool:
    significant = digits.lstrip("0")
    return len(significant) <= _INT64_DIGITS and int(significant or "0") <= _INT64_MAX


@lru_cache(maxsize=1 << 17)
def _requirement(text: str) -> Requirement:
    negated = text.startswith("!")
    body = text[1:] if negated else text
    if body.startswith("so:"):
        body = _library(body)
    match = _REQUIREMENT.fullmatch(body)
    if match is None:
        return Requirement(body, negated=negated, text=text)
    name, sign, version, pin = match.groups()
    return Requirement(name, _OPERATORS.get(sign or "", ""), version or "", pin or "", negated, text)


def _library(text: str) -> str:
    """A shared library's `=version` without release sorts below every one with release (melange pull request 1871)."""
    name, equals, version = text.partition("=")
    return f"{name}=0.{version}" if equals and not _RELEASE_END.search(version) else text


@lru_cache(maxsize=1 << 17)
def _satisfies(comparison: str, actual: str, required: str) -> bool:
    have, want = _parsed(actual), _parsed(required)
    return have is not None and want is not None and _COMPARISONS[comparison](have, want)
