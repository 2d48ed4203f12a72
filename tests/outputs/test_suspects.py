"""Who is named for which difference of two lines."""

from __future__ import annotations

import pytest

from buildgraph.outputs import suspects
from buildgraph.outputs.suspects import Build, Clues

CLUES = Clues(Build(1_795_524_311, "bg", 4, ("/bg",)), Build(1_795_527_911, "elsewhere", 1, ("/another-place/bg",)))


@pytest.mark.parametrize(
    ("before", "again", "suspect"),
    [
        ("made 1795524300", "made 1795527900", suspects.TIME),
        ("1795524300123", "1795527900456", suspects.TIME),
        ("t=1795524300123456789;", "t=1795527900123456789;", suspects.TIME),
        ('"built": "2026-11-24T12:45:11Z"', '"built": "2026-11-24T13:45:11Z"', suspects.TIME),
        ("Nov 24 2026", "Nov 25 2026", suspects.TIME),
        ("Tue Nov 24 12:45:11 UTC 2026", "Tue Nov 24 13:45:12 UTC 2026", suspects.TIME),
        ("v1-20261124", "v1-20261125", suspects.TIME),
        ("042", "17", suspects.RANDOM),
        ("pid 31337", "pid 4711", suspects.RANDOM),
        ("440487232", "152413065", suspects.FRACTION),
        ("5d00acdb-36c5-4e60-8a8f-93a576e50c5f", "912ac1ef-5a4d-4098-a774-774809a04497", suspects.UUID),
        ("id 5D00ACDB36C54E608A8F93A576E50C5F", "id 912AC1EF5A4D4098A774774809A04497", suspects.UUID),
        ("built by root@bg", "built by root@elsewhere", suspects.HOST),
        ("MAKEFLAGS=-j4", "MAKEFLAGS=-j1", suspects.PROCESSORS),
        ("cpus: 4", "cpus: 1", suspects.PROCESSORS),
        ("cc -I/bg/src", "cc -I/another-place/bg/src", suspects.PATH),
        ("/tmp/tmp.V2VqgpsmqH", "/tmp/tmp.zHXrEOU4ep", suspects.PATH),
        ("h 9826e342f29927a6b703", "h adea68853607442ca814", suspects.HASH),
        ('{"b": 1, "a": 2}', '{"a": 2, "b": 1}', suspects.ORDER),
        ("SRCS = b.c a.c", "SRCS = a.c b.c", suspects.DIRECTORY_ORDER),
    ],
)
def test_a_suspect_is_named(before: str, again: str, suspect: str) -> None:
    assert suspect in suspects.of_texts(before, again, CLUES)


@pytest.mark.parametrize(
    ("before", "again"), [("apples", "pears"), ("", "more"), ("", ""), ("bg", "bg"), ("x = yes", "x = no"), ("1.2.3", "1.2.3-rc")]
)
def test_nobody_is_named_without_a_reason(before: str, again: str) -> None:
    assert suspects.of_texts(before, again, CLUES) == ()


def test_a_time_is_one_only_near_the_build() -> None:
    """A number that counts the seconds up to some other year is none that the build took from the clock."""
    assert suspects.TIME not in suspects.of_texts("1111111111", "1222222222", CLUES)
    assert suspects.TIME in suspects.of_texts("1111111111", "1222222222", Clues())
