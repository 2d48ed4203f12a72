"""`bg verify` finds what a second build makes different, says where, and names who may be to blame."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.keys.digest import Digest, new_hasher
from buildgraph.plan.store import ACTION
from tests.e2e.tiny import image, package
from tests.e2e.workspace import Ran, Workspace

pytestmark = pytest.mark.e2e

SAME = 'echo same >"$OUT/usr/share/same"'
MANY = "for n in 9 3 7 1 5 8 2 6 4; do echo $n >d/file-$n.c; done"
# By the suspect that is to be named: what a recipe does.
NOISE = {
    "an embedded time": ('date +%s >"$OUT/usr/share/it"; sleep 1', "line 1"),
    "a fraction of a second": ('printf "one\\nmade at %s\\n" "$(date +%N)" >"$OUT/usr/share/it"', "line 2"),
    "a random number": ('printf "%05d" $RANDOM >"$OUT/usr/share/it"', "line 1"),
    "a random uuid": ('cat /proc/sys/kernel/random/uuid >"$OUT/usr/share/it"', "line 1"),
    "the host's name": ('echo "built on $(cat /proc/sys/kernel/hostname)" >"$OUT/usr/share/it"', "line 1"),
    "the number of processors": ('echo "make -j$(nproc)" >"$OUT/usr/share/it"', "line 1"),
    "the order of a directory": (f'mkdir d; {MANY}; find d -name "*.c" >"$OUT/usr/share/it"', "line "),
    "a build path": ('mktemp >"$OUT/usr/share/it"', "line 1"),
}
ONE_PROCESSOR = len(os.sched_getaffinity(0)) == 1


def kept(cache: Path) -> dict[str, int]:
    """Every blob, and when the records changed."""
    blobs = {str(path): path.stat().st_ino for path in (cache / "blobs").rglob("*") if path.is_file()}
    return blobs | {"records": (cache / "records.changed").stat().st_mtime_ns}


def nodes(done: Ran) -> dict[str, Any]:
    return {node["node"].split("@")[0]: node for node in done.answer["nodes"]}


def named(suspect: str) -> str:
    return suspect.rsplit(maxsplit=1)[-1].replace("'", "")


def on_disk(folder: Path) -> None:
    """Skips where there is no other file system than one in memory, so that directories have one order."""
    if b"tmpfs" in subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, check=True).stdout:
        pytest.skip("there is no disk under this test")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, tools_on_path: Path, seed: Path, some_home: Path) -> Workspace:
    """A built workspace with a recipe for each way to be different, and one that is the same."""
    folder = tmp_path_factory.mktemp("noisy")
    workspace = Workspace(folder, some_home, tools_on_path)
    workspace.write(
        "buildgraph.yaml",
        f"recipes: recipes\nmirrors: {{https://packages.wolfi.dev/os: {seed}}}\nrepositories: [https://packages.wolfi.dev/os]\n"
        "keyring: [https://packages.wolfi.dev/os/wolfi-signing.rsa.pub]\ntargets: {//:uuid: {reproducible: false}}\n",
    )
    workspace.write("recipes/same.yaml", package("same", SAME))
    for suspect, (script, _) in NOISE.items():
        workspace.write(f"recipes/{named(suspect)}.yaml", package(named(suspect), script))
    workspace.write("recipes/all.yaml", image("same", "uuid"))
    workspace.build("//...")
    return workspace


@pytest.fixture(scope="module")
def verified(noisy: Workspace) -> Ran:
    """All of it, built a second time; the cache is then what it was."""
    before = kept(noisy.root / "cache")
    done = noisy.bg("verify", "--json", "//...")
    assert kept(noisy.root / "cache") == before
    return done


def test_differences_have_an_exit_code(verified: Ran) -> None:
    """13, and the error names one that differs."""
    assert verified.code == 13, verified.err
    assert "a second build of //:" in verified.err


def test_a_second_build_is_elsewhere(verified: Ran) -> None:
    """Other scratch, another number of processors, another host and folder than the first."""
    for node in verified.answer["nodes"]:
        before, again = node["before"], node["again"]
        assert before["scratch"] == "memory"
        assert again["scratch"] == "disk"
        assert (before["processors"] != again["processors"]) or ONE_PROCESSOR
        assert before["host_name"] != again["host_name"]
        assert before["folder"] != again["folder"]


@pytest.mark.parametrize("target", ["//:same", "//:all"])
def test_what_is_reproducible_passes(verified: Ran, target: str) -> None:
    """A package, and an image: also one with a package that is not, as the very same package goes into its second build."""
    assert nodes(verified)[target]["verdict"] == "same"
    assert nodes(verified)[target]["differences"] == []


@pytest.mark.parametrize("suspect", NOISE)
def test_what_differs_is_found_and_named(noisy: Workspace, verified: Ran, suspect: str) -> None:
    """One difference, at its place in the file in the package, with the suspect; nothing that only follows from it."""
    if suspect == "the number of processors" and ONE_PROCESSOR:
        pytest.skip("this machine has one processor")
    if suspect == "the order of a directory":
        on_disk(noisy.root)
    name = named(suspect)
    [difference] = nodes(verified)[f"//:{name}"]["differences"]
    assert difference["where"] == [f"x86_64/{name}-1.0.0-r0.apk", "data", "usr/share/it"]
    assert difference["at"].startswith(NOISE[suspect][1])
    assert difference["what"] == "content"
    assert difference["before"] != difference["again"]
    assert any(suspect in named for named in difference["suspects"]), difference


def test_what_is_declared_not_to_be_reproducible_is_told_and_no_failure(noisy: Workspace, verified: Ran) -> None:
    """The difference is shown, and the exit code is 0."""
    assert nodes(verified)["//:uuid"]["verdict"] == "declared"
    done = noisy.bg("verify", "//:all")
    assert done.code == 0, done.err
    assert "3 built again: 2 the same, 1 different as declared" in done.out
    assert "as the manifest says: `reproducible: false`" in done.out


def test_a_sample_is_drawn_again_by_its_seed(noisy: Workspace) -> None:
    """The share is rounded up; the seed that was drawn is said, and with it the same nodes are taken."""
    first = noisy.bg("verify", "--json", "--sample", "12%", "//...")
    assert len(first.answer["nodes"]) == 2  # of ten
    seed = first.answer["seed"]
    assert f"--seed {seed}" in first.err
    assert nodes(noisy.bg("verify", "--json", "--sample", "0.12", "--seed", seed, "//...")).keys() == nodes(first).keys()


@pytest.mark.parametrize("share", ["0", "101%", "some", "10%%"])
def test_a_share_is_one(empty: Workspace, share: str) -> None:
    done = empty.bg("verify", "//...", "--sample", share)
    assert done.code == 2
    assert f"`{share}` is no share: 10% and 0.1 are" in done.err


def test_what_is_not_built_is_no_success(empty: Workspace) -> None:
    """Nothing is built for it; the hint says what would."""
    empty.write("recipes/same.yaml", package("same", SAME))
    empty.write("recipes/other.yaml", package("other", SAME))
    done = empty.bg("verify", "//:same")
    assert done.code == 3
    assert "hint: `bg build //:same` first" in done.err
    empty.build("//:other")
    done = empty.bg("verify", "--json", "//...")
    assert done.code == 0
    assert {name: node["verdict"] for name, node in nodes(done).items()} == {"//:same": "not-cached", "//:other": "same"}


def test_a_recipe_that_fails_elsewhere(empty: Workspace) -> None:
    """A second build that fails is told with its log, and is no success."""
    empty.write("recipes/host.yaml", package("host", f'test "$(cat /proc/sys/kernel/hostname)" = bg; {SAME}'))
    empty.build("//:host")
    done = empty.bg("verify", "//:host")
    assert done.code == 13
    assert "failed  //:host@x86_64  recipes/host.yaml:4: a step of //:host@x86_64 failed (exit status 1)" in done.out


def test_order_and_metadata_of_members(empty: Workspace) -> None:
    """Modes, owners, link targets and times in packages, and the order of members of an archive in a package, are told."""
    on_disk(empty.root)
    disk = 'test "$(cat /proc/sys/kernel/hostname)" = bg || '
    steps = [
        # Both builds may take place within one second, so the time is said.
        f"mkdir d; {MANY}; {disk} touch -d '2001-01-01 00:00:00' d",
        'tar -cf - d | gzip -n >"$OUT/usr/share/archive.tar.gz"',
        f'cd "$OUT/usr/share"; echo >file; {disk} chmod 755 file; ln -s here link; {disk} ln -sf there link; ',
        f"{disk} echo >more",
    ]
    empty.write("recipes/meta.yaml", package("meta", "\n".join(steps)))
    empty.build("//:meta")
    done = empty.bg("verify", "--json", "//:meta")
    differences = nodes(done)["//:meta"]["differences"]
    told = {(difference["where"][-1], difference["what"].split(",")[0]): difference for difference in differences}
    mode, link = told["usr/share/file", "mode"], told["usr/share/link", "link target"]
    assert (mode["before"], mode["again"], link["before"], link["again"]) == ("0644", "0755", "here", "there")
    assert ("usr/share/more", "only in the second build") in told
    assert told["(uncompressed)", "order"]["suspects"] == ["the order of a directory"]
    assert told["d", "time"]["suspects"] == ["an embedded time"]


def test_a_record_that_somebody_made_up(empty: Workspace) -> None:
    """An image that the cache has under a wrong key: what differs in its layer and configuration is shown."""
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/it"'))
    empty.write("recipes/good.yaml", image("one"))
    empty.write(
        "recipes/bad.yaml", image("one").rstrip() + "\nenvironment: {EVIL: '1'}\npaths: [{path: /evil, type: directory}]\n"
    )
    empty.build("//...")
    records = Records(empty.root / "cache")
    rows = {row["node"]: (key, row) for key, row in records.iter(ACTION)}
    key, good = rows["//:good"]
    records.put(ACTION, key, good | {"outputs": rows["//:bad"][1]["outputs"]})
    records.close()

    done = empty.bg("verify", "//:good")
    assert done.code == 13
    assert "amd64 > layer 1 > evil: only in the first build" in done.out
    assert 'amd64 > config > config > Env: value\n    - ["EVIL=1"' in done.out


def test_a_damaged_blob(empty: Workspace) -> None:
    """What the cache has is read, not believed: a result whose bytes have changed on disk is found."""
    empty.write("recipes/same.yaml", package("same", SAME))
    empty.build("//:same")
    records = Records(empty.root / "cache")
    [(_, row)] = records.iter(ACTION)
    records.close()
    blob = Cas(empty.root / "cache", new_hasher).path(Digest(row["outputs"][0][1]))
    blob.chmod(0o644)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    done = empty.bg("verify", "//:same")
    assert done.code == 13
    assert "x86_64/same-1.0.0-r0.apk: damaged in the cache" in done.out
    assert "hint: `bg build` makes again what was damaged" in done.err
    assert empty.build("//:same").ran == {"//:same"}


@pytest.mark.slow
def test_a_program_that_has_its_build_in_it(empty: Workspace) -> None:
    """A compiled program: shown is the text that differs, not the build id and the numbers before it, which only follow."""
    source = 'printf "#include <stdio.h>\\nint main(void) { puts(HOST); }\\n" >main.c'
    compiled = 'cc -g -DHOST="\\"built on $(cat /proc/sys/kernel/hostname)\\"" -Wl,--build-id -o "$OUT/usr/share/main" main.c'
    empty.write("recipes/program.yaml", package("program", f"{source}\n{compiled}", needs=("build-base",)))
    empty.build("//:program")
    done = empty.bg("verify", "--json", "//:program")
    found = nodes(done)["//:program"]["differences"]
    told = next(difference for difference in found if difference["where"][-1] == "usr/share/main")
    assert (told["before"], told["again"]) == ("built on bg", "built on elsewhere")
    assert told["suspects"] == ["the host's name"]


@pytest.mark.slow
def test_the_example_is_the_same(example: Workspace) -> None:
    """Every package and image of it."""
    done = example.bg("verify", "//...")
    assert done.code == 0, done.out
    assert "10 built again: 10 the same" in done.out
