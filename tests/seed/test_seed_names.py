"""The map of names, Debian's versions as apk's, and the closure that the planner draws from apt's lists."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.apk.version import Version, is_version
from buildgraph.errors import RepositoryError, UsageError
from tools.seed.debian import Lists
from tools.seed.names import RECIPES, SETS
from tools.seed.plan import Planner, apk_version, older_debs, wanted_names


@pytest.mark.parametrize(
    ("debian", "apk"),
    [
        ("9.1-1", "9.1-r1"),
        ("1:1.35.0-4+b3", "1.35.0-r403"),
        ("2.36-9+deb12u14", "2.36-r914"),
        ("12.2.0-14+deb12u1", "12.2.0-r1401"),
        ("1:1.2.13.dfsg-1", "1.2.13-r1"),
        ("1.34+dfsg-1.2+deb12u1", "1.34-r10201"),
        ("2026a-0+deb12u1", "2026a-r1"),
        ("20230311+deb12u1", "20230311-r1"),
        ("5.3.28+dfsg2-1", "5.3.28-r1"),
        ("1.0.9-2+b6", "1.0.9-r206"),
        ("6.4-4", "6.4-r4"),
        ("3.4-1+b6", "3.4-r106"),
        ("52", "52-r0"),
    ],
)
def test_a_debian_version_becomes_apks(debian: str, apk: str) -> None:
    """Upstream's numbers stay; the revision takes stable updates and rebuilds as two digits each; the epoch goes."""
    assert apk_version(debian) == apk
    assert is_version(apk)


def test_a_version_without_a_number_is_an_error() -> None:
    """Nothing is made up."""
    with pytest.raises(RepositoryError, match="has no number"):
        apk_version("git-1")


@given(st.integers(0, 40), st.integers(1, 98), st.integers(1, 98))
def test_stable_updates_keep_their_order(revision: int, earlier: int, later: int) -> None:
    """Within one Debian release a later update of a package is a later apk version, and the first is before both."""
    earlier, later = sorted((earlier, later))
    versions = [f"1.0-{revision}", f"1.0-{revision}+deb12u{earlier}", f"1.0-{revision}+deb12u{later + 1}"]

    apks = [Version.parse(apk_version(version)) for version in versions]

    assert apks[0] <= apks[1] < apks[2]


def test_the_map_speaks_of_itself_only() -> None:
    """Every name that a set or a line of the map asks for has a line, and no name is given twice."""
    asked = {name for names in SETS.values() for name in names} | {name for recipe in RECIPES.values() for name in recipe.depends}
    given_names = [*RECIPES, *(name for recipe in RECIPES.values() for name in recipe.provides)]

    assert asked <= RECIPES.keys()
    assert len(given_names) == len(set(given_names))


def test_an_unknown_name_gets_a_suggestion() -> None:
    """``--only`` takes names of the map."""
    with pytest.raises(UsageError) as caught:
        wanted_names("small", ["zlip"])

    assert "zlib" in caught.value.hint


def stanza(name: str, version: str = "1.0-1", **fields: str) -> str:
    """A package as apt's lists describe it."""
    lines = {"Package": name, "Version": version, "Architecture": "amd64", "Size": "1", "SHA256": "0", "Description": name}
    return "\n".join(f"{key.replace('_', '-')}: {value}" for key, value in (lines | fields).items())


def test_dependencies_become_names_of_the_map() -> None:
    """A mapped package goes by its new name, another by its own; what maintainer scripts want is dropped."""
    depends = "libc6 (>= 2.36), libfoo1 (>= 1) | libbar1, debconf (>= 0.5) | debconf-2.0, awk:any"
    pre_depends = "zlib1g (>= 1:1.1.4)"
    lists = Lists(
        [
            stanza("make", Depends=depends, Pre_Depends=pre_depends),
            *(stanza(name) for name in ("libc6", "libc-bin", "libfoo1", "ca-certificates", "zlib1g")),
            stanza("mawk", Provides="awk"),
        ]
    )

    items = {item.name: item for item in Planner(lists, "x86_64").closure(["make"])}

    assert items["make"].depends == ("glibc", "libfoo1", "mawk", "zlib")
    assert sorted(items) == ["ca-certificates-bundle", "glibc", "libfoo1", "make", "mawk", "wolfi-baselayout", "zlib"]


def test_a_package_that_the_release_lacks_comes_from_an_older_one() -> None:
    """Which ones a run needs shows before any list is there; the rest still comes from the release itself."""
    newer = Lists([stanza(name) for name in ("libc6", "libc-bin", "ca-certificates")])
    older = Lists([stanza("libssl1.1", "1.1.1w-0+deb11u1", Depends="libc6"), stanza("libc6", "9-1")])

    assert older_debs(SETS["small"]) == []
    assert older_debs(["dotnet-3-sdk"]) == ["libssl1.1"]

    newer.add("libssl1.1", older)
    items = {item.name: item for item in Planner(newer, "x86_64").closure(["libssl1.1"])}

    assert items["libssl1.1"].version == "1.1.1w-r1"
    assert items["glibc"].version == "1.0-r1"
    with pytest.raises(RepositoryError, match="does not"):
        newer.add("libssl1.1", Lists([]))


def test_what_npm_has_for_one_architecture_is_not_to_be_had_for_another() -> None:
    """The error names the one that there is."""
    with pytest.raises(RepositoryError, match=r"dotnet-3-sdk is made of a package for x86_64; there is none for aarch64"):
        Planner(Lists([]), "aarch64").closure(["dotnet-3-sdk"])


def test_every_package_that_the_lists_lack_is_named() -> None:
    """Another distribution gives one error, not the first of many."""
    lists = Lists([stanza("bash")])

    with pytest.raises(RepositoryError, match="libc-bin, libc6") as caught:
        Planner(lists, "x86_64").closure(["glibc"])

    assert "Debian 12" in caught.value.hint


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg compares the versions")
def test_the_newest_of_several_versions_counts() -> None:
    """A security update wins over the release, in whatever order the lists come, by dpkg's own comparison."""
    stanzas = [stanza("zlib1g", version) for version in ("1.2-9", "1.2-10", "1.2-10~rc1")]

    assert Lists(stanzas)["zlib1g"].version == "1.2-10"
    assert Lists(reversed(stanzas))["zlib1g"].version == "1.2-10"
