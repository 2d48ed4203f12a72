"""Versions and requirements follow apko; where apko can be asked, it is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from buildgraph.apk.index import IndexEntry, index_archive
from buildgraph.apk.signing import generate_key, public_key, sign_index
from buildgraph.apk.version import Requirement, Version, is_version

ASCENDING = (
    "0",
    "0.1",
    "0.9.99",
    "1_alpha",
    "1_alpha2",
    "1_beta",
    "1_pre3",
    "1_rc1",
    "1_rc1-r7",
    "1_rc2_p1",
    "1",
    "1-r1",
    "1-r10",
    "1_cvs20200101",
    "1_svn1",
    "1_git20200101",
    "1_hg0",
    "1_p1",
    "1_p1-r1",
    "1_p2",
    "1a",
    "1b_alpha",
    "1b",
    "1.0",
    "1.0.0",
    "1.0.1_alpha",
    "1.0.1",
    "1.2",
    "1.10",
    "2",
    "20240101",
)

Solve = Callable[[list[IndexEntry], str], str | None]


@pytest.fixture(scope="module")
def key() -> bytes:
    """One small key: making one takes longer than every test here."""
    return generate_key(2048)


@pytest.fixture
def solve(apko: Path, key: bytes, tmp_path: Path) -> Solve:
    """Asks apko what it takes for one requirement from an index; None where it finds nothing."""
    folder = tmp_path / "repo" / "x86_64"
    folder.mkdir(parents=True)
    (tmp_path / "bg.rsa.pub").write_bytes(public_key(key))

    def ask(entries: list[IndexEntry], requirement: str) -> str | None:
        (folder / "APKINDEX.tar.gz").write_bytes(sign_index(index_archive(entries), key, "bg"))
        recipe = f"contents: {{keyring: [./bg.rsa.pub], repositories: [./repo], packages: ['{requirement}']}}\n"
        (tmp_path / "image.yaml").write_text(recipe)
        command = [str(apko), "show-packages", "--arch", "x86_64", "image.yaml"]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == 0 or " constraint: " in answer.stderr, answer.stderr
        return answer.stdout.strip().replace(" ", "-") if answer.returncode == 0 else None

    return ask


def entry(name: str, version: str, *provides: str) -> IndexEntry:
    """A package that an index may list."""
    return IndexEntry(name, version, "x86_64", checksum="Q1JPfzlQZrTSjonl4KVbYT8SxgMUg=", provides=provides)


@pytest.mark.parametrize(("low", "high"), list(pairwise(ASCENDING)))
def test_versions_ascend(low: str, high: str) -> None:
    """Numbers count as numbers, suffixes before a release sort below it, those after it above, then `-r`."""
    assert Version.parse(low) < Version.parse(high)
    assert Version.parse(high) > Version.parse(low)
    assert Version.parse(low) <= Version.parse(high)
    assert Version.parse(low) != Version.parse(high)


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.0-r0"), ("1.01", "1.1"), ("1_alpha", "1_alpha0"), ("01", "1"), ("1_p", "1_p0")]
)
def test_versions_that_differ_only_in_writing_are_equal(one: str, other: str) -> None:
    """What is left out counts as 0, leading zeros do not count."""
    assert Version.parse(one) == Version.parse(other)
    assert hash(Version.parse(one)) == hash(Version.parse(other))
    assert Version.parse(one) >= Version.parse(other)
    assert str(Version.parse(one)) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        "1.",
        ".1",
        "1..2",
        "1-r",
        "1-1",
        "1_foo",
        "1ab",
        "1_p1_rc1",
        "1_rc1_beta1",
        "1.0\n",
        "1 ",
        "٣",
        "9" * 20,
        "1-r" + "9" * 5000,
    ],
)
def test_other_texts_are_no_versions(text: str) -> None:
    """The grammar allows one suffix of each kind in its order, ASCII digits, 64 bits."""
    assert not is_version(text)
    with pytest.raises(ValueError, match="not an apk version"):
        Version.parse(text)


@pytest.mark.parametrize(
    ("text", "name", "operator", "version", "pin"),
    [
        ("foo", "foo", "", "", ""),
        ("foo@edge", "foo", "", "", "edge"),
        ("foo=1.2-r3", "foo", "=", "1.2-r3", ""),
        ("foo>=1.2@edge", "foo", ">=", "1.2", "edge"),
        ("foo=~1.2", "foo", "~", "1.2", ""),
        ("foo~1.2", "foo", "~", "1.2", ""),
        ("foo~=1.2", "foo", "", "1.2", ""),
        ("cmd:sh", "cmd:sh", "", "", ""),
        ("so:libz.so.1=1.3.1-r2", "so:libz.so.1", "=", "1.3.1-r2", ""),
        ("so:libz.so.1=1.3.1", "so:libz.so.1", "=", "0.1.3.1", ""),
        ("so:libz.so.1>=1", "so:libz.so.1", ">=", "0.1", ""),
        ("=1", "=1", "", "", ""),
        ("foo=", "foo=", "", "", ""),
        ("", "", "", "", ""),
    ],
)
def test_a_requirement_is_read_as_apko_reads_it(text: str, name: str, operator: str, version: str, pin: str) -> None:
    """Nothing is refused: what does not parse is a name, an unknown operator asks for no version."""
    requirement = Requirement.parse(text)
    negated = Requirement.parse(f"!{text}")

    assert (requirement.name, requirement.operator, requirement.version, requirement.pin) == (name, operator, version, pin)
    assert not requirement.negated
    assert negated.negated
    assert negated.name == name
    assert str(requirement) == text
    assert str(negated) == f"!{text}"


def test_a_made_requirement_has_a_text_too() -> None:
    """A requirement that was not parsed is written from its parts."""
    assert str(Requirement("foo", ">=", "1.2", "edge", negated=True)) == "!foo>=1.2@edge"


VERSIONS = ("1.2-r0", "1.2.3_rc1-r0", "1.2.3-r0", "1.2.3-r4", "1.2.3a-r4", "1.20-r0", "2-r0")


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        ("foo", VERSIONS),
        ("foo=1.2", ("1.2-r0",)),
        ("foo<1.2.3", ("1.2-r0", "1.2.3_rc1-r0")),
        ("foo<=1.2.3", ("1.2-r0", "1.2.3_rc1-r0", "1.2.3-r0")),
        ("foo>1.2.3-r4", ("1.2.3a-r4", "1.20-r0", "2-r0")),
        ("foo>=1.20", ("1.20-r0", "2-r0")),
        ("foo~1.2", ("1.2-r0", "1.2.3_rc1-r0", "1.2.3-r0", "1.2.3-r4", "1.2.3a-r4")),
        ("foo~1.2.3", ("1.2.3_rc1-r0", "1.2.3-r0", "1.2.3-r4", "1.2.3a-r4")),
        ("foo=~1.2.3_rc", ("1.2.3_rc1-r0",)),
        ("foo~1.2.3-r4", ("1.2.3-r4", "1.2.3a-r4")),
        ("foo~2", ("2-r0",)),
        ("foo~3", ()),
    ],
)
def test_apko_takes_exactly_what_is_accepted(wanted: str, accepted: tuple[str, ...], solve: Solve) -> None:
    """Of every version offered alone apko takes those that the requirement accepts."""
    requirement = Requirement.parse(wanted)
    assert tuple(version for version in VERSIONS if requirement.accepts(version)) == accepted
    assert tuple(version for version in VERSIONS if solve([entry("foo", version)], wanted)) == accepted


OFFERS = (
    entry("foo", "2.0-r0", "bar"),
    entry("foo", "2.0-r0", "bar=1"),
    entry("foo", "2.0-r0", "bar", "other=7"),
    entry("foo", "2.0-r0", "bar=1", "bar=3"),
    entry("foo", "2.0-r0", "so:bar=1", "bar=1.5-r0"),
    entry("bar", "1.0-r0", "bar=9"),
    entry("foo", "2.0-r0"),
)


@pytest.mark.parametrize("wanted", ["bar", "bar>1", "bar>5", "bar<1.5", "bar=1", "bar~2", "foo>1"])
@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: "+".join((offer.name, *offer.provides)))
def test_apko_takes_what_meets_a_requirement(offer: IndexEntry, wanted: str, solve: Solve) -> None:
    """A provides with a version must fit, one without leaves it to the package's own version or any it provides."""
    found = solve([offer], wanted)

    assert (found is not None) == offer.meets(Requirement.parse(wanted))


@pytest.mark.parametrize(("version", "accepted"), [(None, True), ("1", True), ("3", False), ("nonsense", False)])
def test_an_offer_without_version_may_meet_anything(version: str | None, accepted: bool) -> None:
    """Whether it does depends on its package; a version that cannot be read meets no requirement of one."""
    assert Requirement.parse("bar<2").accepts(version) is accepted


def test_a_requirement_of_an_unreadable_version_accepts_none() -> None:
    """It skips what it cannot compare, on both sides."""
    assert not Requirement.parse("bar=nonsense").accepts("1")
    assert not Requirement.parse("bar=nonsense").accepts("nonsense")
