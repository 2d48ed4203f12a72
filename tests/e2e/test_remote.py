"""Machines that share a store: the second one runs nothing, gets only what it needs, and believes only whom it should."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildgraph import __version__
from buildgraph.keys import ed25519
from tests.e2e import tiny
from tests.e2e.workspace import ROOT, Workspace
from tests.remote.faults import Counts, relay
from tests.remote.servers import BazelRemote

pytestmark = pytest.mark.e2e

LABELS = ("one", "two", "three", "four", "five", "all")
EVERYTHING = {f"//:{name}" for name in LABELS}
IMAGE = "out/oci/all/index.json"
TRUSTED, FORK = ed25519.generate(), ed25519.generate()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder that machines share."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def first(empty: Workspace, store: Path) -> Workspace:
    """A machine with some recipes, and a store for which it has the key."""
    tiny.chain(empty)
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(
            f"remotes: [{{url: {store}, mode: read-write, name: share}}]\n"
            "trust:\n"
            f"  ci: {{key: {ed25519.public(TRUSTED)!r}, tiers: [trusted, local]}}\n"
            f"  forks: {{key: {ed25519.public(FORK)!r}, tiers: [pr/*]}}\n"
        )
    empty.environment["BG_CACHE_KEY"] = TRUSTED
    return empty


def another(machine: Workspace, name: str, **environment: str) -> Workspace:
    """A machine with the same files and nothing built; it has no key."""
    base = machine.root.parent / name
    shutil.copytree(machine.root, base / "ws", ignore=shutil.ignore_patterns("cache", "out"))
    shutil.copytree(machine.home / ".config", base / "home/.config")
    return Workspace(base / "ws", base / "home", machine.tools, environment)


def blobs(machine: Workspace) -> set[str]:
    """The digests of all that a machine has in its cache."""
    return {path.name for path in (machine.root / "cache/blobs").rglob("*") if path.is_file()}


def test_the_second_machine_runs_nothing(first: Workspace) -> None:
    """It has the image of the first, byte for byte, and of the packages that are in it not one is brought."""
    built = first.build("//...")
    assert built.ran == EVERYTHING
    second = another(first, "second")
    done = second.build("//:all")
    assert done.ran == set()
    assert (second.root / IMAGE).read_bytes() == (first.root / IMAGE).read_bytes()
    packages = {digest.removeprefix("blake3:") for name, digest in built.digests().items() if name.endswith(".apk")}
    assert len(packages) == 5
    assert not blobs(second) & packages
    assert "cache  share: 1 hit, 0 misses" in done.err
    assert re.search(r"^cache  at least .* s of building saved by what came from elsewhere$", done.err, re.MULTILINE)
    # Asked for, they come; the image is here already.
    assert second.build("//...").ran == set()
    assert packages <= blobs(second)


def test_a_deep_hit_brings_no_intermediate_package(first: Workspace, store: Path, server: BazelRemote) -> None:
    """What crosses the wire for an image is the image: a package of 3 MB that was only built with stays where it is."""
    first.edit("buildgraph.yaml", str(store), server.http)
    large = 'head -c 3000000 /dev/urandom >"$OUT/usr/share/large"'
    first.edit("recipes/three.yaml", "cat /usr/share/one", f"{large}; cat /usr/share/one")
    first.build("//...")
    second, counts = another(first, "second"), Counts()
    with relay(int(server.http.rpartition(":")[2]), counts) as port:
        second.edit("buildgraph.yaml", server.http, f"http://127.0.0.1:{port}")
        assert second.build("//:all").ran == set()
        for_the_image = counts.received
        assert second.build("//:three").ran == set()
    layout = sum(path.stat().st_size for path in (second.root / "out/oci/all").rglob("*") if path.is_file())
    assert layout < for_the_image < layout + 500_000
    assert counts.received - for_the_image > 3_000_000


def test_what_was_fetched_is_explained_and_attested_like_what_was_built(first: Workspace) -> None:
    """Its key document comes along; and beside an output never lies what is said of another."""
    first.build("//...")
    second = another(first, "second")
    second.build("//:all")
    statement = "out/provenance/all.json"
    there, here = (json.loads((machine.root / statement).read_text()) for machine in (first, second))
    assert here["subject"] == there["subject"]
    of_here, of_there = (one["predicate"]["buildDefinition"]["resolvedDependencies"] for one in (here, there))
    assert [one["name"] for one in of_here] == [one["name"] for one in of_there]
    assert second.bg("inspect", "//:all").code == 0
    assert second.bg("inspect", "--provenance", "//:all").code == 0


def test_a_result_says_who_made_it(first: Workspace, store: Path) -> None:
    """What is signed has bg's version, commit, project and run as CI names them, and the tools and the builder of the action."""
    ci = {"GITHUB_SHA": "c0ffee", "GITHUB_REPOSITORY": "team/images", "GITHUB_RUN_ID": "7", "BG_BUILDER_ID": "https://ci.example"}
    first.build("//:one", env=ci)
    signed = [json.loads(path.read_bytes()) for path in (store / "results").rglob("*") if path.is_file()]
    assert {one["signatures"][0]["keyid"] for one in signed} == {ed25519.public(TRUSTED)}
    payloads = [json.loads(base64.b64decode(one["payload"])) for one in signed]
    assert {payload["kind"] for payload in payloads} == {"action", "deep"}
    for payload in payloads:
        assert payload["builder"] == {"bg": __version__, "commit": "c0ffee", "project": "team/images", "run": "7"}
        assert payload["record"]["builder"] == "https://ci.example"
        assert set(payload["record"]["tools"]) >= {"melange"}
        assert (payload["tier"], payload["record"]["tier"]) == ("local", "local")


def test_a_release_does_not_build_upon_what_a_pull_request_fetched(first: Workspace, store: Path) -> None:
    """Its manifest may believe anybody; the runner's cache is the same for the release that follows."""
    manifest = first.root / "buildgraph.yaml"
    honest = manifest.read_text()
    manifest.write_text(honest.replace("name: share", "name: share, unsigned: true"))
    del first.environment["BG_CACHE_KEY"]
    first.environment["BG_CACHE_TIER"] = "trusted"
    first.build("//:one")  # somebody's, unsigned, under the name of a release
    manifest.write_text(honest)
    runner = another(first, "runner", BG_CACHE_TIER="pr/7")
    (runner.root / "buildgraph.yaml").write_text(honest.replace("name: share", "name: share, unsigned: true"))
    assert runner.build("//:one").ran == set()
    (runner.root / "buildgraph.yaml").write_text(honest)
    assert "1 to build" in runner.bg("plan", "//:one", env={"BG_CACHE_TIER": "trusted"}).out
    assert runner.build("//:one", env={"BG_CACHE_TIER": "trusted"}).ran == {"//:one"}


def test_a_key_that_may_not_write_the_tier_sends_nothing(first: Workspace, store: Path) -> None:
    """Nobody would believe it, so it is said at once."""
    done = first.build("//:one", env={"BG_CACHE_KEY": FORK, "BG_CACHE_TIER": "trusted"})
    assert "does not let the key in BG_CACHE_KEY write the tier `trusted`" in done.err
    assert list(store.iterdir()) == []


def test_plans_say_what_is_wrong_with_a_store(first: Workspace, store: Path) -> None:
    """As builds do."""
    store.rename(store.with_name("elsewhere"))
    assert "failed: No such file or directory" in first.bg("plan").err


def test_a_plan_asks_without_bringing_anything(first: Workspace, store: Path) -> None:
    """What can be had is not to be built; a machine that was offline then learns of it the next time."""
    second = another(first, "second")
    assert "6 to build" in second.bg("plan").out
    first.build("//...")
    assert "0 to build, 6 cached" in second.bg("plan").out
    assert blobs(second) == set()
    # And forgets it if they are lost meanwhile.
    moved = store.rename(store.with_name("elsewhere"))
    assert "6 to build" in second.bg("plan").out
    moved.rename(store)
    assert second.build("//...").ran == set()


def test_only_what_changed_is_built_and_shared(first: Workspace) -> None:
    """After an edit the second machine takes the rest from the first, and gives back what it built."""
    first.build("//...")
    second = another(first, "second", BG_CACHE_KEY=TRUSTED)
    for machine in (first, second):
        machine.edit("recipes/two.yaml", "echo two", "echo 2")
    assert second.build("//...").ran == {"//:two", "//:four", "//:all"}
    assert first.build("//...").ran == set()


def test_a_pull_request_reads_and_its_results_stay_its_own(first: Workspace, store: Path) -> None:
    """It uses what the protected branch built; what it builds is used by itself alone, and by no release."""
    first.environment["BG_CACHE_TIER"] = "trusted"
    first.build("//:four")
    fork = another(first, "fork", BG_CACHE_KEY=FORK, BG_CACHE_TIER="pr/7")
    assert fork.build("//...").ran == {"//:five", "//:all"}
    again = another(first, "again", BG_CACHE_TIER="pr/7")
    assert again.build("//...").ran == set()
    other = another(first, "other", BG_CACHE_TIER="pr/8")
    assert "2 to build, 4 cached" in other.bg("plan").out
    assert first.build("//...").ran == {"//:five", "//:all"}


def test_what_a_pull_request_left_on_a_machine_is_not_built_upon(first: Workspace) -> None:
    """A runner keeps its cache from job to job: a release takes from it only what releases made."""
    runner = another(first, "runner", BG_CACHE_TIER="pr/7")
    runner.build("//:one")
    runner.environment["BG_CACHE_TIER"] = "trusted"
    assert runner.build("//:one").ran == {"//:one"}
    assert runner.build("//:one").ran == set()


@pytest.mark.parametrize("harm", ["signature", "bytes", "gone", "garbage"])
def test_a_spoilt_store_never_spoils_a_build(first: Workspace, store: Path, harm: str) -> None:
    """Whatever somebody does to it, the build is right; at worst it does all the work."""
    first.build("//...")
    kind = "results" if harm in {"signature", "garbage"} else "blobs"
    for path in (store / kind).rglob("*"):
        if path.is_file():
            if harm == "gone":
                path.unlink()
            elif harm == "signature":
                path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
            else:
                path.write_bytes(path.read_bytes()[:-1] + b"\0")
    second = another(first, "second")
    done = second.build("//:all")
    assert done.ran == EVERYTHING
    assert (second.root / IMAGE).read_bytes() == (first.root / IMAGE).read_bytes()
    assert "cache  share:" in done.err


def test_a_store_that_is_not_there_costs_a_line(first: Workspace, store: Path) -> None:
    """As a share that is not mounted."""
    shutil.rmtree(store)
    done = first.build("//:one")
    assert done.ran == {"//:one"}
    assert "failed: No such file or directory" in done.err
    assert not store.exists()


def test_without_a_key_nothing_is_sent(first: Workspace, store: Path) -> None:
    """And it is said."""
    del first.environment["BG_CACHE_KEY"]
    done = first.build("//:one")
    assert "nothing is sent there, since BG_CACHE_KEY has no key" in done.err
    assert list(store.iterdir()) == []


def test_a_release_may_take_nothing_from_elsewhere(first: Workspace) -> None:
    """With --no-remote-read all is built here, and still given away."""
    first.build("//:one")
    second = another(first, "second", BG_CACHE_KEY=TRUSTED)
    done = second.build("//:one", "--no-remote-read")
    assert done.ran == {"//:one"}
    assert "results and" in done.err


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("BG_CACHE_TIER", "release", "BG_CACHE_TIER is `release`, which is no tier"),
        ("BG_CACHE_TIER", "pr/", "which is no tier"),
        ("BG_CACHE_KEY", "ed25519:AAAA", "is no key to sign results with"),
        ("BG_CACHE_KEY", "/nowhere/key", "cannot read /nowhere/key that BG_CACHE_KEY names: No such file or directory"),
        ("BG_CACHE_KEY", "AAAA" * 11, "cannot read the file that BG_CACHE_KEY names: No such file or directory"),
        ("BG_CACHE_KEY", "private:" + "AAAA" * 11, "cannot read the file that BG_CACHE_KEY names: No such file or directory"),
        ("BG_CACHE_KEY", "AAAA" * 70, "cannot read the file that BG_CACHE_KEY names: File name too long"),
        ("BG_CACHE_KEY", "/", "cannot read / that BG_CACHE_KEY names: Is a directory"),
        ("BG_CACHE_KEY", "/etc/passwd", "the file /etc/passwd that BG_CACHE_KEY names has no key to sign results with"),
    ],
)
def test_mistakes_in_the_environment(first: Workspace, variable: str, value: str, told: str) -> None:
    """They are told, and a key that is none is not shown."""
    done = first.bg("build", "//:one", env={variable: value})
    assert done.code == 2
    assert told in done.err
    assert "AAAA" not in done.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("remotes: [{mode: read}]", "a remote needs a `url`"),
        ("remotes: [{url: x, mode: reads}]", "mode must be one of read, write, read-write"),
        ("remotes: [{url: x, nam: y}]", "unknown key `nam`"),
        ("remotes: [{url: 'htps://cache.example'}]", "`htps://cache.example` is no address of a cache"),
        ("remotes: [{url: 'https://me:secret@cache.example'}]", "with a user or password in it"),
        ("trust: {ci: {key: 'ed25519:AAAA'}}", "needs a `key` and `tiers`"),
        ("remotes: [{url: x}]\ntrust: {ci: {key: nonsense, tiers: [trusted]}}", "the key `ci` of `trust:` is none"),
    ],
)
def test_mistakes_in_the_manifest(empty: Workspace, line: str, told: str) -> None:
    """They are told with what to do."""
    tiny.chain(empty)
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(line + "\n")
    done = empty.bg("plan")
    assert done.code == 4
    assert told in done.err
    assert "secret" not in done.err


def test_keys_for_results(empty: Workspace, store: Path) -> None:
    """`bg keygen --results` makes one that works as it is told."""
    tiny.chain(empty)
    made = empty.bg("keygen", "--results")
    assert made.code == 0, made.err
    path, line = Path(made.out.split()[2]), made.out.splitlines()[-1].strip()
    assert path.stat().st_mode & 0o777 == 0o600
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(f"remotes: [{{url: {store}, mode: read-write}}]\ntrust:\n  {line.replace('NAME', 'me')}\n")
    empty.environment["BG_CACHE_KEY"] = str(path)
    assert "the key of results" not in empty.build("//:one").err
    path.chmod(0o644)
    told = f"others can read the key of results {path}: `chmod 600` it"
    assert told in empty.build("//:two").err
    assert another(empty, "second").build("//:one").ran == set()
    assert empty.bg("keygen", "--results").code == 12  # never over one that is there


def test_two_machines_and_a_pull_request(seed: Path) -> None:
    """The script that the manual names plays what it says, on a real bazel-remote."""
    assert seed.is_dir()
    played = subprocess.run(
        [sys.executable, "-m", "scripts.sharing"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stdout.count("ok   ") == 4
    assert "401 Unauthorized" in played.stdout
