"""What may have made two builds differ: guesses from the differing bytes and from what is known of both builds.

A guess names the usual suspects of the field (reproducible-builds.org/docs): an embedded time, a random number, the order of a
directory or of a hash table, a build path, the host's name, the number of processors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from buildgraph.structs import Struct

TIME = "an embedded time"
FRACTION = "a fraction of a second, or a random number"
RANDOM = "a random number or a process id"
UUID = "a random uuid"
HASH = "a random number, or a hash of something that differs"
HOST = "the host's name"
PROCESSORS = "the number of processors"
PATH = "a build path or the name of a temporary file"
DIRECTORY_ORDER = "the order of a directory"
ORDER = "the order of a hash table (a map or set), or of parallel jobs"

_WORD = re.compile(r"[\w.:/+-]")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_PATH = re.compile(r"(?:^|[\s:=\"'])/(?:tmp|bg|home/build|var/tmp|proc)\b|tmp\.\w{6,}|melange-\w+-\d+|/tmp\w+")
_CLOCK = re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?\b")
_MONTHS = re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\w*\b")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_FILE_LIKE = re.compile(r"/|\.[A-Za-z]\w{0,4}$")
_FRACTION_DIGITS = 9  # date +%N
_PROCESS_DIGITS = 7  # the largest process id is 4,194,304
_HASH_DIGITS = 16
_DAY = timedelta(days=1)
_EARLIEST, _LATEST = 1_000_000_000, 10_000_000_000  # seconds since 1970 that a clock may show


class Build(Struct, frozen=True):
    """What is known of a build: when it ended (seconds since 1970), and what it could notice. 0 and "" where not known."""

    ended: float = 0
    host_name: str = ""
    processors: int = 0
    folders: tuple[str, ...] = ()


class Clues(Struct, frozen=True):
    """The two builds that are compared."""

    before: Build = Build()
    again: Build = Build()


def of_texts(before: str, again: str, clues: Clues) -> tuple[str, ...]:
    """What may be behind the difference of two lines, or of two printable parts of binary files."""
    return tuple(dict.fromkeys(_of_texts(before, again, clues)))


def _of_texts(before: str, again: str, clues: Clues) -> Iterator[str]:
    if before == again:
        return
    one, other = _differing_part(before, again)
    hosts = clues.before.host_name, clues.again.host_name
    if all(hosts) and hosts[0] != hosts[1] and _replaced(before, *hosts) == again:
        yield HOST
        return
    if _UUID.search(one) and _UUID.search(other):
        yield UUID
        return
    if _is_path(one, clues.before) and _is_path(other, clues.again):
        yield PATH
    numbers = _numbers(one, other)
    if _is_time(one, before, clues.before) and _is_time(other, again, clues.again):
        yield TIME
    elif all(number.isdigit() for number in numbers):
        yield from _of_numbers(*numbers, clues)
    elif re.fullmatch(rf"[0-9a-f]{{{_HASH_DIGITS},}}", one) and len(one) == len(other):
        yield HASH
    if _words(before) == _words(again):
        yield of_order(re.findall(r"[^\s,;]+", one or before))


def _of_numbers(one: str, other: str, clues: Clues) -> Iterator[str]:
    if clues.before.processors and (int(one), int(other)) == (clues.before.processors, clues.again.processors):
        yield PROCESSORS
    elif _is_count_of_seconds(one, clues.before) and _is_count_of_seconds(other, clues.again):
        yield TIME
    elif len(one) == _FRACTION_DIGITS or len(other) == _FRACTION_DIGITS:
        yield FRACTION
    elif max(len(one), len(other)) <= _PROCESS_DIGITS:
        yield RANDOM
    else:
        yield HASH


def of_bytes(before: bytes, again: bytes, clues: Clues) -> tuple[str, ...]:
    """What may be behind the difference of some bytes around the first differing one: a number that is a time."""
    for order in ("little", "big"):
        for start in range(len(before) - 3):
            one, other = (int.from_bytes(part[start : start + 4], order) for part in (before, again))
            if one != other and _is_count_of_seconds(str(one), clues.before) and _is_count_of_seconds(str(other), clues.again):
                return (TIME,)
    return ()


def of_order(names: Sequence[str]) -> str:
    """What is behind another order of some names."""
    looks_like_files = sum(bool(_FILE_LIKE.search(name.strip("\"'"))) for name in names)
    return DIRECTORY_ORDER if 2 * looks_like_files > len(names) else ORDER


def _differing_part(before: str, again: str) -> tuple[str, str]:
    """The part of two lines that differs, widened to whole words."""
    start = 0
    while start < min(len(before), len(again)) and before[start] == again[start]:
        start += 1
    end = 0
    while end < min(len(before), len(again)) - start and before[-1 - end] == again[-1 - end]:
        end += 1
    while start and _WORD.match(before[start - 1]):
        start -= 1
    while end and _WORD.match(before[len(before) - end]):
        end -= 1
    return before[start : len(before) - end].strip(".:/+-"), again[start : len(again) - end].strip(".:/+-")


_AFFIXED = re.compile(r"(\D*)(\d+)(\D*)")


def _numbers(before: str, again: str) -> tuple[str, str]:
    """The numbers alone, where they are all that differs: 2 and 8 of ``j2`` and ``j8``."""
    one, other = _AFFIXED.fullmatch(before), _AFFIXED.fullmatch(again)
    if one and other and one[1] == other[1] and one[3] == other[3]:
        return one[2], other[2]
    return before, again


def _replaced(line: str, name: str, by: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: by, line)


def _is_path(part: str, build: Build) -> bool:
    return bool(_PATH.search(f"/{part}" if part.startswith(("tmp", "bg", "home/build")) else part)) or any(
        folder in f"/{part}" for folder in build.folders
    )


def _is_time(part: str, line: str, build: Build) -> bool:
    if _CLOCK.search(part) or _MONTHS.search(part):
        return True
    if not build.ended:
        return bool(re.search(r"\d{4}-?\d\d-?\d\d", part))
    day = datetime.fromtimestamp(build.ended, UTC)
    days = (day - _DAY, day, day + _DAY)
    return any(one.strftime(form) in part for one in days for form in ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d")) or bool(
        _MONTHS.search(line) and (_CLOCK.search(line) or _YEAR.search(line))
    )


def _is_count_of_seconds(digits: str, build: Build) -> bool:
    """Whether a number counts seconds since 1970, or thousandths, millionths or thousand-millionths, up to that build."""
    value = int(digits)
    for unit in (1, 10**3, 10**6, 10**9):
        seconds = value // unit
        if _EARLIEST < seconds < _LATEST:
            return not build.ended or abs(seconds - build.ended) < _DAY.total_seconds()
    return False


def _words(line: str) -> list[str]:
    return sorted(re.findall(r"\w+", line))
