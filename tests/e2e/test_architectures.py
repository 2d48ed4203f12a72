"""Several architectures: a node of a package for each, one image of all, with and without a machine that can run them."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import tiny
from tests.e2e.foreign import FOREIGN, NATIVE, two_architectures
from tests.e2e.workspace import ROOT, Ran, Workspace

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(platform.machine() != NATIVE, reason=f"the seed is for {NATIVE}, and this machine is none"),
]

BINFMT = Path("/proc/sys/fs/binfmt_misc")


def emulated() -> bool:
    """Whether the kernel runs programs of the foreign architecture, in sandboxes too (flag F)."""
    handlers = [path for path in BINFMT.glob("*") if FOREIGN in path.name and "_be" not in path.name]
    return any("enabled" in text and "F" in text.partition("flags:")[2].split("\n")[0] for text in map(Path.read_text, handlers))


def image(*packages: str, archs: tuple[str, ...] = (NATIVE, FOREIGN), command: str = "") -> str:
    """An image from the manifest's repository."""
    contents = {"packages": ["wolfi-baselayout", *packages]}
    return json.dumps({"contents": contents, "archs": archs, "cmd": command or "/usr/bin/cat /usr/share/native"})


@pytest.fixture
def both(empty: Workspace, seed: Path) -> Workspace:
    """A workspace for two architectures, with an image of packages that are all in its repository."""
    two_architectures(empty, seed)
    empty.write("recipes/shop.yaml", image("busybox", "native", "data"))
    return empty


def manifests(layout: Path) -> dict[str, Any]:
    """The manifests of the index that a layout names, by OCI's name of their architecture."""
    [one] = json.loads((layout / "index.json").read_text())["manifests"]
    index = json.loads(blob(layout, one["digest"]).read_text())
    parts = [(entry["platform"]["architecture"], blob(layout, entry["digest"])) for entry in index["manifests"]]
    return {architecture: json.loads(path.read_text()) for architecture, path in parts}


def blob(layout: Path, digest: str) -> Path:
    """A blob's file."""
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def shared(layout: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """The files in usr/share of an image's layers, with what they hold."""
    found = {}
    for layer in manifest["layers"]:
        with tarfile.open(blob(layout, layer["digest"])) as archive:
            for member in archive:
                if member.isfile() and member.name.startswith("usr/share/") and (content := archive.extractfile(member)):
                    found[Path(member.name).name] = content.read().decode()
    return found


def test_an_image_of_foreign_packages_needs_no_machine_that_runs_them(both: Workspace) -> None:
    """Each architecture's part has its own packages, and those of none; `bg run` takes the part that is for this machine."""
    built = both.build("//:shop")

    layout = both.root / "out/oci/shop"
    parts = {name: shared(layout, manifest) for name, manifest in manifests(layout).items()}
    assert built.ran == {"//:shop"}
    assert {name: part["native"] for name, part in parts.items()} == {"amd64": "native x86_64\n", "arm64": "native aarch64\n"}
    assert {part["data"] for part in parts.values()} == {"data noarch\n"}
    assert both.bg("run", "//:shop").out == "native x86_64\n"
    assert sorted(path.name for path in (both.root / "out/sbom/shop").iterdir()) == [
        "sbom-aarch64.spdx.json",
        "sbom-index.spdx.json",
        "sbom-x86_64.spdx.json",
    ]


def test_its_digest_is_that_of_the_index_and_always_the_same(both: Workspace, tmp_path: Path) -> None:
    """In another folder, with nothing cached; a tool that asks the layout for the tag gets all architectures by it."""
    digest = both.build("//:shop").digest("//:shop")
    layout = both.root / "out/oci/shop"
    [named] = json.loads((layout / "index.json").read_text())["manifests"]
    shutil.copytree(both.root, tmp_path / "elsewhere", symlinks=True, ignore=shutil.ignore_patterns("out", "cache"))
    again = Workspace(tmp_path / "elsewhere", both.home, both.tools).build("//:shop")

    assert again.ran == {"//:shop"}
    assert again.digest("//:shop") == digest == named["digest"]
    assert named["annotations"] == {"org.opencontainers.image.ref.name": "latest"}
    assert digest.removeprefix("sha256:") in (both.root / "out/sbom/shop/sbom-index.spdx.json").read_text()
    if shutil.which("skopeo"):
        raw = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{layout}:latest"], capture_output=True, check=True).stdout
        assert raw == blob(layout, digest).read_bytes()


def test_run_names_the_architectures_that_there_are(both: Workspace) -> None:
    """An image for another machine is not tried with whatever comes out."""
    both.write("recipes/away.yaml", image("native", archs=(FOREIGN,)))

    ran = both.bg("run", "//:away")

    assert ran.code == 12
    assert "error: there is no image for x86_64, only for aarch64\n" in ran.err


def test_a_package_has_a_node_for_each_architecture(both: Workspace) -> None:
    """All of them are planned, an image needs its part of each, and ``@ARCH`` picks."""
    both.write("recipes/tool.yaml", tiny.package("tool", 'echo tool >"$OUT/usr/share/tool"'))
    both.write("recipes/tools.yaml", image("tool"))
    both.write("recipes/here.yaml", image("tool", archs=(NATIVE,)))

    def to_build(*patterns: str) -> set[str]:
        return {name for name, node in both.bg("plan", "--json", *patterns).answer["nodes"].items() if node["decision"] == "run"}

    assert to_build("//:tools") == {"//:tool@x86_64", "//:tool@aarch64", "//:tools"}
    assert to_build("//:here") == {"//:tool@x86_64", "//:here"}
    assert to_build("//:tool@aarch64") == {"//:tool@aarch64"}
    assert to_build("//...", "-//...@aarch64") == {"//:tool@x86_64", "//:here"}
    built = both.build("//...", "-//...@aarch64")
    assert set(built.answer["nodes"]) == {"//:tool@x86_64", "//:here"}
    assert [path.name for path in (both.root / "out/packages").iterdir() if path.is_dir()] == [NATIVE]


def test_a_machine_that_cannot_run_an_architecture_says_so(both: Workspace) -> None:
    """The build of a package fails with what to do about it; what does not depend on it is built."""
    if emulated():
        pytest.skip(f"this machine runs {FOREIGN} programs")
    both.write("recipes/tool.yaml", tiny.package("tool", 'echo tool >"$OUT/usr/share/tool"'))
    both.write("recipes/tools.yaml", image("tool"))

    ran: Ran = both.bg("build", "--json", "-k", "//...")

    assert ran.code == 1
    assert {name: node["outcome"] for name, node in ran.answer["nodes"].items()} == {
        "//:shop": "ran",
        "//:tool@x86_64": "ran",
        "//:tool@aarch64": "failed",
        "//:tools": "skipped",
    }
    assert "melange failed on //:tool@aarch64 (exit code 1)" in ran.err
    assert "hint: this machine cannot run programs of that architecture" in ran.err


def test_a_package_that_one_architecture_lacks_is_an_error_that_names_it(both: Workspace) -> None:
    """Be it the repository that lacks it, or that its recipe is for others."""
    recipe = tiny.package("tool", 'echo tool >"$OUT/usr/share/tool"')
    both.write("recipes/tool.yaml", recipe.replace("epoch: 0,", f"epoch: 0, target-architecture: [{NATIVE}],"))
    both.write("recipes/tools.yaml", image("tool"))
    both.write("recipes/here.yaml", image("tool", "one-only", archs=(NATIVE,)))
    both.write("recipes/lacks.yaml", image("one-only"))

    assert both.build("//:here").ran == {"//:tool", "//:here"}
    lacks, tools = both.bg("build", "//:lacks"), both.bg("build", "//:tools")
    assert lacks.code == tools.code == 6
    assert "nothing provides `one-only`" in lacks.err
    assert "no recipe of the workspace and no repository makes it for aarch64\n" in lacks.err
    assert "nothing provides `tool`" in tools.err
    assert "no repository has it for aarch64, and the recipe makes another version or is for other architectures\n" in tools.err


@pytest.mark.slow
def test_packages_are_built_for_an_architecture_that_is_emulated(empty: Workspace, tmp_path: Path) -> None:
    """By their own architecture's shell and tools, for an image that runs as either; with the same digest again."""
    if not emulated():
        pytest.skip(f"{BINFMT} has no handler for {FOREIGN} that works in a sandbox (flag F)")
    link = tmp_path / "seed-of-two"
    only = ["--only", "busybox,wolfi-baselayout", "--arch", f"{NATIVE},{FOREIGN}"]
    done = subprocess.run(
        [sys.executable, "-m", "tools.seed", *only, "--link", str(link)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no seed of two architectures can be made here: {done.stderr.splitlines()[-1]}")
    manifest = (empty.root / "buildgraph.yaml").read_text()
    mirrored = manifest.replace(manifest.partition("wolfi.dev/os: ")[2].partition("\n")[0], str(link.resolve()), 1)
    empty.write("buildgraph.yaml", f"{mirrored}architectures: [{NATIVE}, {FOREIGN}]\n")
    empty.write("recipes/tool.yaml", tiny.package("tool", 'uname -m >"$OUT/usr/share/tool"', runtime=("busybox",)))
    empty.write("recipes/shop.yaml", image("tool", command="/usr/bin/cat /usr/share/tool"))

    first = empty.build("//...")
    shutil.rmtree(empty.root / "cache")
    again = empty.build("//...")

    assert set(first.answer["nodes"]) == {"//:tool@x86_64", "//:tool@aarch64", "//:shop"}
    assert first.ran == again.ran == {"//:tool", "//:shop"}
    assert first.digests() == again.digests()
    assert empty.bg("run", "//:shop").out == "x86_64\n"
    assert empty.bg("run", "//:shop", "--arch", "arm64").out == "aarch64\n"
