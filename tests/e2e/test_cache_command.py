"""`bg cache` on caches that real builds made."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from blake3 import blake3

from buildgraph.keys import ed25519
from buildgraph.plan import checkup
from tests.cache.stored import Filled
from tests.e2e.test_survival import Background, wrong_blobs
from tests.e2e.tiny import chain, package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


@pytest.fixture
def built(empty: Workspace) -> Workspace:
    """Five small packages and an image, built."""
    chain(empty)
    empty.build("//...")
    return empty


def results(workspace: Workspace) -> set[str]:
    """The targets that have results."""
    return {one["target"] for one in workspace.bg("cache", "ls", "--json").answer}


def test_stats_count_what_is_there(built: Workspace) -> None:
    """The same numbers as a look at the folder gives, for machines and for people."""
    answer = built.bg("cache", "stats", "--json").answer
    blobs = [path for path in (built.root / "cache/blobs").rglob("*") if path.is_file()]
    assert answer["blobs"] == {"count": len(blobs), "size": sum(path.stat().st_size for path in blobs)}
    assert answer["records"]["action"]["count"] == answer["held"]["result"]["count"] == 6
    assert answer["held"]["stray"]["count"] == 0
    assert answer["kept"] == 6
    told = built.bg("cache", "stats").out
    rows = {line.split("  ")[0]: line for line in told.splitlines()}
    assert rows["kept"].endswith("6 results, by 0 pins and the last builds")
    assert rows["in all"].endswith(str(built.root / "cache"))


def test_a_collection_keeps_the_last_builds(built: Workspace) -> None:
    """Whatever the limits say, what the last two builds of wanted targets gave stays, and a build finds all of it."""
    (built.root / "recipes/all.yaml").unlink()
    built.edit("recipes/one.yaml", "echo one", "echo once")
    built.build("//...")
    collected = built.bg("cache", "gc", "--max-size", "0", "--json").answer
    assert collected["results"] == []
    assert results(built) == {"//:one", "//:two", "//:three", "//:four", "//:five", "//:all"}
    built.edit("recipes/one.yaml", "echo once", "echo one")
    shutil.rmtree(built.root / "out")
    assert built.build("//...").ran == set()


def test_a_null_build_stays_one_after_a_collection(built: Workspace) -> None:
    """Nothing that it looks at has changed."""
    state = next((built.home / ".cache/buildgraph/state").glob("*.state"))
    answered = built.bg("build", "//...")
    before = state.stat().st_mtime_ns
    built.bg("cache", "gc", "--max-size", "0")
    assert built.bg("build", "//...").out == answered.out
    assert state.stat().st_mtime_ns == before


def test_what_nobody_wants_goes_and_is_built_again(empty: Workspace) -> None:
    """A build of one target needs the others' packages, and a collection removes these first."""
    chain(empty)
    empty.build("//:four")
    collected = empty.bg("cache", "gc", "--max-size", "0", "--json").answer
    assert {name.split("@")[0] for name in collected["results"]} == {"//:one", "//:two", "//:three"}
    assert results(empty) == {"//:four"}
    assert wrong_blobs(empty.root / "cache") == []
    assert empty.bg("cache", "verify").code == 0
    shutil.rmtree(empty.root / "out")
    assert empty.build("//:four").ran == set()
    assert empty.build("//:three").ran == {"//:one", "//:three"}


def test_a_dry_run_removes_nothing(built: Workspace) -> None:
    """It says what would go, and that goes then."""
    before = sorted(path.name for path in (built.root / "cache/blobs").rglob("*"))
    would = built.bg("cache", "rm", "//:two", "--dry-run", "--json").answer
    assert sorted(path.name for path in (built.root / "cache/blobs").rglob("*")) == before
    does = built.bg("cache", "rm", "//:two", "--json").answer
    assert {**would, "dry_run": False} == does
    assert results(built) == {"//:one", "//:three", "//:four", "//:five", "//:all"}


def test_what_was_used_last_goes_last(empty: Workspace) -> None:
    """A hit is a use, also of what was stored before the rest."""
    chain(empty)
    empty.build("//:one")
    empty.build("//:two")
    forget_builds(empty)
    first = empty.bg("cache", "gc", "--max-size", "0", "--dry-run", "--json").answer["results"]
    assert [name.split("@")[0] for name in first] == ["//:one", "//:two"]
    shutil.rmtree(empty.root / "out")
    empty.build("//:one")
    forget_builds(empty)
    then = empty.bg("cache", "gc", "--max-size", "0", "--dry-run", "--json").answer["results"]
    assert [name.split("@")[0] for name in then] == ["//:two", "//:one"]


def test_a_pin_keeps_what_nobody_builds(empty: Workspace) -> None:
    """By label, with all that makes it a hit; unpinned it goes."""
    chain(empty)
    empty.build("//:four")
    assert empty.bg("cache", "pin", "//:one").out == "//:one\n"
    assert empty.bg("cache", "gc", "--max-size", "0").code == 0
    assert results(empty) == {"//:one", "//:four"}
    shutil.rmtree(empty.root / "out")
    assert empty.build("//:one").ran == set()
    forget_builds(empty)
    assert empty.bg("cache", "unpin", "//:one").out == "no pins\n"
    empty.bg("cache", "gc", "--max-size", "0")
    assert results(empty) == set()


def forget_builds(workspace: Workspace) -> None:
    """As if nobody had asked for any target by name."""
    with sqlite3.connect(workspace.root / "cache/records/cache.db") as database:
        database.execute("DELETE FROM Cache WHERE key LIKE 'wanted/%'")
    database.close()


def test_a_collection_waits_for_a_build(empty: Workspace, in_background: Background) -> None:
    """What a build has put and has not recorded yet is not taken from it."""
    chain(empty)
    empty.write("recipes/one.yaml", package("one", 'sleep 3; echo one >"$OUT/usr/share/one"'))
    child = in_background(
        empty.command("build", "//:three"), cwd=empty.root, env=empty.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    said = next(line for line in child.stderr if "build  //:one" in line)
    collected = empty.bg("cache", "gc", "--max-size", "0")
    _, err = child.communicate(timeout=60)
    assert (child.returncode, collected.code) == (0, 0), said + err
    assert "wait   another bg uses the cache" in collected.err
    assert "//:one" in collected.out  # it was built for the other's sake, and nobody builds now
    assert results(empty) == {"//:three"}


def test_a_budget_is_kept_by_itself(empty: Workspace) -> None:
    """After a build that ran something, and it says so; what the build gave stays."""
    chain(empty)
    empty.build("//:four")
    manifest = empty.root / "buildgraph.yaml"
    manifest.write_text(manifest.read_text() + "cache-size: 1K\n")
    told = empty.build("//:five").err
    assert "cache  removed" in told
    assert "3 results" in told
    assert results(empty) == {"//:four", "//:five"}
    empty.build("//:five")


@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_verify_tells_and_repair_mends(built: Workspace, how: str) -> None:
    """What is wrong is dropped, nothing else is lost, and the next build makes that alone again."""
    package_of_two = built.root / "out/packages/x86_64/two-1.0.0-r0.apk"
    shutil.rmtree(built.root / "out")
    (listed,) = (one for one in built.bg("cache", "ls", "//:two", "--json").answer)
    record = built.bg("inspect", "//:two", "--json").answer[0]
    digest = record["packages"][0]["digest"].removeprefix("blake3:")
    blob = built.root / "cache/blobs" / digest[:2] / digest
    content = blob.read_bytes()
    blob.unlink()
    if how != "remove":
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if how == "flip" else content[:-1])
    before = results(built)
    found = built.bg("cache", "verify")
    assert found.code == 9
    assert ("its content is not that of its name" in found.out) == (how != "remove")
    assert "result   //:two@x86_64  it lacks x86_64/two-1.0.0-r0.apk" in found.out
    assert "hint: `bg cache repair`" in found.err
    assert results(built) == before
    mended = built.bg("cache", "repair")
    assert mended.code == 0, mended.err
    assert results(built) == before - {"//:two"}
    assert built.bg("cache", "verify").code == 0
    assert built.build("//...").ran == {"//:two"}
    assert blake3(blob.read_bytes()).hexdigest() == digest
    assert package_of_two.exists()
    assert listed["target"] == "//:two"


def test_another_machine_builds_nothing_after_an_import(built: Workspace, tmp_path: Path) -> None:
    """The archive of one run has all that another needs; a second export has only what came since."""
    told = built.bg("cache", "export", str(tmp_path / "all.tar.gz"))
    assert told.code == 0, told.err
    other = Workspace(tmp_path / "other", built.home, built.tools)
    shutil.copytree(built.root, other.root, ignore=shutil.ignore_patterns("cache", "out"))
    imported = other.bg("cache", "import", "--json", str(tmp_path / "all.tar.gz"))
    assert imported.answer["results"] == 6, imported.err
    assert other.build("//...").ran == set()
    other.edit("recipes/one.yaml", "echo one", "echo uno")
    ran = other.build("//...").ran
    assert other.bg("cache", "export", "--json", str(tmp_path / "new.tar"), "--since-run").answer["results"] == len(ran) == 4
    assert wrong_blobs(other.root / "cache") == []


def test_an_import_believes_whom_the_manifest_names(built: Workspace, tmp_path: Path) -> None:
    """Without a signature by such a key nothing is taken, and said why; with one all is, also two machines further."""
    mine, other = ed25519.generate(), ed25519.generate()
    with (built.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(f"trust: {{me: {{key: {ed25519.public(mine)!r}, tiers: [local]}}}}\n")
    path, machines = str(tmp_path / "all.tar"), []
    for name in ("second", "third"):
        machines.append(Workspace(tmp_path / name, built.home, built.tools))
        shutil.copytree(built.root, machines[-1].root, ignore=shutil.ignore_patterns("cache", "out"))
    for key, told in (("", "BG_CACHE_KEY has no key"), (other, "does not let the key in BG_CACHE_KEY write the tier `local`")):
        unsigned = built.bg("cache", "export", "--json", path, env={"BG_CACHE_KEY": key})
        assert (unsigned.answer["unsigned"], told in unsigned.err) == (6, True), unsigned.err
        refused = machines[0].bg("cache", "import", path)
        assert "12 records left out: not signed" in refused.out
    assert built.bg("cache", "export", path, env={"BG_CACHE_KEY": mine}).out.startswith("6 results, 6 of them signed")
    for machine in machines:
        assert machine.bg("cache", "import", "--json", path).answer["results"] == 6
        assert machine.build("//...").ran == set()
        assert machine.bg("cache", "export", "--json", path).answer["unsigned"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("draw", [1, 2])
def test_killed_collections_lose_nothing_that_is_kept(
    empty: Workspace, tmp_path: Path, in_background: Background, draw: int
) -> None:
    """Fifty kills a seed: every blob and every record is right, what is kept is a hit, and the next build is right."""
    chain(empty)
    expected = empty.build("//...").digests()
    forget_builds(empty)
    empty.build("//:four")
    cache, full = empty.root / "cache", tmp_path / "full"
    shutil.copytree(cache, full, copy_function=link_blobs)
    chance = random.Random(draw)
    began = time.monotonic()
    assert empty.bg("cache", "gc", "--max-size", "0").code == 0
    usual = time.monotonic() - began
    for attempt in range(50):
        if attempt % 3 == 0:  # else the rest of the killed one
            shutil.rmtree(cache)
            shutil.copytree(full, cache, copy_function=link_blobs)
        child = in_background(
            empty.command("cache", "gc", "--max-size", "0"),
            cwd=empty.root,
            env=empty.env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(usual / 3, usual))
        child.kill()
        child.communicate()
        assert wrong_blobs(cache) == []
        held = Filled(cache)
        inventory = held.inventory()
        assert checkup.wrong_records(inventory, held.records, [], whole=True) == []
        assert "//:four" in {result.target for result in inventory.results}
        held.records.close()
        if attempt % 10 == 9:
            shutil.rmtree(empty.root / "out")
            assert empty.build("//:four").ran == set()
    assert empty.build("//...").digests() == expected


def link_blobs(source: str, target: str) -> str:
    """Copies what changes in place, and links what does not."""
    if "/blobs/" in source:
        os.link(source, target)
        return target
    return shutil.copy2(source, target)
