"""Commits as sources: one commit is one pack wherever it comes from, and what is cloned from it is what the recipe pins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.cache.cas import Cas
from buildgraph.errors import RepositoryError
from buildgraph.execute.checkouts import Checkout, bring, checkout_from_json, settings_for
from buildgraph.recipes.values import PinnedSource
from buildgraph.structs import replace
from tests.e2e.sources import Upstream, archives_served, make_upstream


@pytest.fixture
def cas(tmp_path: Path) -> Cas:
    return Cas(tmp_path / "cache", blake3)


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    """Three commits, the second of them tagged, with something to make deltas of."""
    made = make_upstream(tmp_path / "upstream")
    text = "".join(f"line {number}\n" for number in range(400))
    made.commit({"data": text, "other/one": "1\n"}, when=1_600_000_000)
    made.commit({"data": text + "more\n"}, when=1_600_000_100)
    made.git("tag", "-a", "-m", "a release", "v1", when=1_600_000_150)
    made.commit({"data": "x\n" + text}, when=1_600_000_200)
    return made


def source(upstream: Upstream, revision: str, ref: str = "", depth: int = 1) -> PinnedSource:
    return PinnedSource("https://up.example/up", f"commit:{upstream.git('rev-parse', revision)}", ref, depth, "a.yaml", 3)


def brought(source: PinnedSource, place: Path, cas: Cas, home: Path | None = None) -> Checkout:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home or place)}
    with cas.scratch() as scratch:
        return bring(source, [f"file://{place}"], scratch, cas, environment)


def clone(checkout: Checkout, cas: Cas, folder: Path, *options: str) -> Upstream:
    """What git makes of it, through the settings that a box has."""
    checkout.lay_out(folder / "kept", cas)
    (folder / ".gitconfig").write_text(settings_for({"https://up.example/up": str(folder / "kept")}))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "clone", "--quiet", *options, "https://up.example/up", str(folder / "clone")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return Upstream(folder / "clone")


@pytest.mark.parametrize(("ref", "depth"), [("", 1), ("refs/tags/v1", 1), ("refs/heads/trunk", 0), ("refs/heads/trunk", 2)])
def test_one_commit_is_one_pack(upstream: Upstream, cas: Cas, tmp_path: Path, ref: str, depth: int) -> None:
    """However the repository that it comes from has packed it, and whatever else that has."""
    wanted = source(upstream, "v1^{commit}", ref, depth)
    first = brought(wanted, upstream.folder, cas)
    upstream.git("gc", "--quiet", "--aggressive")
    assert brought(wanted, upstream.folder, cas) == first
    other = make_upstream(tmp_path / "other")
    other.git("fetch", "--quiet", str(upstream.folder), "+refs/*:refs/from/*")
    other.git("repack", "-adfq", "--window=0")
    other.commit({"unrelated": "x\n"}, when=5)
    other.git("tag", "-f", "-a", "-m", "another message", "v1", wanted.digest.partition(":")[2])
    assert brought(wanted, other.folder, cas) == first


def test_what_is_cloned_is_what_the_recipe_pins(upstream: Upstream, cas: Cas, tmp_path: Path) -> None:
    """The branch ends at the commit, with the history that was asked for; the tag is there and no other."""
    upstream.git("tag", "other-tag", "v1^{commit}~1")
    for number, (ref, depth, options, log) in enumerate(
        [
            ("refs/heads/trunk", 0, ["--branch=trunk"], 2),
            ("refs/heads/trunk", 1, ["--branch=trunk", "--depth=1"], 1),
            ("refs/tags/v1", 1, ["--branch=v1", "--depth=1"], 1),
            ("refs/tags/v1", 0, ["--branch=v1"], 2),
            ("", 1, ["--depth=1"], 1),
        ]
    ):
        wanted = source(upstream, "v1^{commit}", ref, depth)
        (tmp_path / str(number)).mkdir()
        made = clone(brought(wanted, upstream.folder, cas), cas, tmp_path / str(number), *options)
        assert f"commit:{made.git('rev-parse', 'HEAD')}" == wanted.digest
        assert len(made.git("log", "--format=%H").splitlines()) == log
        assert made.git("tag") == ("v1" if ref == "refs/tags/v1" else "")
        assert made.git("fsck", "--strict") == ""
        assert (made.folder / "data").read_text() == upstream.git("show", "v1:data") + "\n"


def test_a_pinned_tag_object_is_kept_as_it_is(upstream: Upstream, cas: Cas, tmp_path: Path) -> None:
    """With its own message and time; any other tag is made anew, so that it is the same whenever it was brought."""
    (tmp_path / "a").mkdir()
    made = clone(brought(source(upstream, "v1", "refs/tags/v1"), upstream.folder, cas), cas, tmp_path / "a", "--branch=v1")
    assert made.git("rev-parse", "v1") == upstream.git("rev-parse", "v1")
    (tmp_path / "b").mkdir()
    wanted = source(upstream, "v1^{commit}", "refs/tags/v1")
    made = clone(brought(wanted, upstream.folder, cas), cas, tmp_path / "b", "--branch=v1")
    assert made.git("cat-file", "tag", "v1").splitlines()[3:] == ["tagger bg <bg@localhost> 1600000100 +0000", "", "v1"]
    assert made.git("describe") == "v1"


@pytest.mark.parametrize("depth", [0, 1])
def test_a_server_that_gives_only_what_a_ref_names(upstream: Upstream, cas: Cas, tmp_path: Path, depth: int) -> None:
    """By the first version of git's protocol, or as plain files over HTTP: the commit is found in the history of its branch."""
    (tmp_path / ".gitconfig").write_text("[protocol]\n\tversion = 0\n")
    wanted = source(upstream, "v1^{commit}", "refs/heads/trunk", depth)
    expected = brought(wanted, upstream.folder, cas)
    assert brought(wanted, upstream.folder, cas, tmp_path) == expected
    with pytest.raises(RepositoryError) as caught:
        brought(replace(wanted, ref="refs/heads/none"), upstream.folder, cas, tmp_path)
    assert "a.yaml:3" in caught.value.what
    assert str(upstream.folder) in caught.value.details
    upstream.git("update-server-info")
    with archives_served(upstream.folder / ".git") as address, cas.scratch() as scratch:
        assert bring(wanted, [address], scratch, cas, {"PATH": os.environ["PATH"]}) == expected


@pytest.mark.parametrize("depth", [0, 2])
def test_a_history_that_is_cut_off_is_not_what_was_asked_for(upstream: Upstream, cas: Cas, tmp_path: Path, depth: int) -> None:
    """A mirror that is a shallow clone is passed over, so that nothing depends on who asked where."""
    upstream.git("clone", "--quiet", "--depth=1", f"file://{upstream.folder}", str(tmp_path / "mirror"))
    wanted = source(upstream, "trunk", "refs/heads/trunk", depth)
    with pytest.raises(RepositoryError):
        brought(wanted, tmp_path / "mirror", cas)
    places = [f"file://{tmp_path / 'mirror'}", f"file://{upstream.folder}"]
    with cas.scratch() as scratch:
        assert bring(wanted, places, scratch, cas, {"PATH": os.environ["PATH"]}) == brought(wanted, upstream.folder, cas)


def test_a_commit_that_must_be_the_tip(upstream: Upstream, cas: Cas) -> None:
    """It is brought while its branch ends there; afterwards what the branch has instead is said."""
    wanted = replace(source(upstream, "trunk", "refs/heads/trunk"), is_tip=True)
    brought(wanted, upstream.folder, cas)
    upstream.commit({"data": "more\n"}, when=1_600_000_300)
    with pytest.raises(RepositoryError) as caught:
        brought(wanted, upstream.folder, cas)
    assert f"refs/heads/trunk ends at {upstream.git('rev-parse', 'trunk')}" in caught.value.details
    brought(replace(wanted, is_tip=False), upstream.folder, cas)


def test_a_commit_that_is_nowhere(upstream: Upstream, cas: Cas) -> None:
    """Every place is named, with what git said of it."""
    wanted = replace(source(upstream, "v1"), digest=f"commit:{'0' * 39}1")
    with pytest.raises(RepositoryError) as caught:
        brought(wanted, upstream.folder, cas)
    assert f"file://{upstream.folder}: fatal: " in caught.value.details
    assert caught.value.hint


_SOUND = {"name": "a" * 40, "pack": "b" * 64, "index": "c" * 64, "refs": {"refs/heads/main": "d" * 40}, "shallow": ["e" * 40]}


_ANYTHING = st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()), st.dictionaries(st.text(), st.text()))


@given(st.sampled_from(sorted(_SOUND)), _ANYTHING)
def test_a_record_that_is_none_is_a_miss(key: str, value: object) -> None:
    """Whatever stands in it: nothing of it becomes a path or a line of a file."""
    assert checkout_from_json(_SOUND) is not None
    found = checkout_from_json({**_SOUND, key: value})
    assert found is None or (found.to_json() == {**_SOUND, key: value} and found.shallow in {("e" * 40,), ()})


@pytest.mark.parametrize(
    "refs",
    [{"refs/heads/../x": "d" * 40}, {"refs/heads/a\nb": "d" * 40}, {"refs/tags/v1": "d" * 40}, {"HEAD": "d" * 40}],
)
def test_refs_that_are_none(refs: dict[str, str]) -> None:
    """Names that leave the folder or the line, and a checkout without a branch."""
    assert checkout_from_json({**_SOUND, "refs": refs}) is None
