"""The same inputs give the same bytes wherever, however and by whomever they are built, and they are melange's and apko's own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildgraph.apk.package import read_package
from buildgraph.cache.records import Records
from tests.e2e.ordinary import USER, give
from tests.e2e.tiny import package
from tests.e2e.workspace import ROOT, Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WOLFI = "https://packages.wolfi.dev/os"
KEY = "wolfi-signing.rsa.pub"
EPOCH = "315532800"
IMAGES = ("api", "debug", "tools", "worker")
PACKAGES = {"stock-worker": "worker/melange.yaml"} | {
    name: f"packages/{name}.yaml" for name in ("libstock", "shelf-label", "stock-api", "stock-config", "stock-messages")
}


@pytest.fixture(scope="module")
def expected(built_example: Workspace) -> dict[str, str]:
    """The digests of every package and image of the example."""
    digests = built_example.build("//...").digests()
    assert len([name for name in digests if name.startswith("//images:")]) == len(IMAGES)
    assert len([name for name in digests if name.endswith(".apk")]) == 11
    return digests


def test_from_the_cache(example: Workspace, expected: dict[str, str]) -> None:
    """What comes from a cache in another place is what was built."""
    again = example.build("//...")
    assert again.ran == set()
    assert again.digests() == expected
    for path in (example.root / "out/packages/x86_64").glob("*.apk"):
        read_package(path, verify=True)


@pytest.mark.parametrize(
    ("place", "jobs", "umask", "memory", "environment"),
    [
        (
            "a much longer/path with blanks/than the other",
            "1",
            0o077,
            "1",
            {"TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TMPDIR": "/var/tmp"},
        ),
        ("ws", "8", 0o002, "8G", {"SOURCE_DATE_EPOCH": "1", "MELANGE_VERSIONED_SHLIB_DEPENDS": "1", "USER": "somebody"}),
    ],
    ids=["long-path-serial-umask-077-scratch-on-disk-zone-locale", "short-path-parallel-umask-002-scratch-in-memory-variables"],
)
def test_from_scratch_in_other_surroundings(
    fresh: Workspace,
    tmp_path: Path,
    expected: dict[str, str],
    place: str,
    jobs: str,
    umask: int,
    memory: str,
    environment: Mapping[str, str],
) -> None:
    """Path, home, time zone, locale, umask, -j, the disk under the scratch: a cold build gives the same digests."""
    root = tmp_path / "other" / place
    root.parent.mkdir(parents=True, exist_ok=True)
    fresh.root.rename(root)
    home = tmp_path / "someone else"
    home.mkdir()
    other = Workspace(root, home, fresh.tools)
    manifest = root / "buildgraph.yaml"
    manifest.write_text(f"{manifest.read_text()}memory: {memory}\n")
    built = other.build("-j", jobs, "//...", env=environment, umask=umask)
    assert len(built.ran) == len(PACKAGES) + len(IMAGES)
    assert built.digests() == expected
    assert f"made the key {home}/.config/buildgraph/buildgraph.rsa" in built.err, "a key of its own, which is no input"


def test_scratch_is_in_memory_as_far_as_the_budget_goes(empty: Workspace, tmp_path: Path) -> None:
    """The two kinds of scratch that the test above compares are really two; a recipe can tell, and should not."""
    manifest = (empty.root / "buildgraph.yaml").read_text()
    if b"tmpfs" in subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, check=True).stdout:
        pytest.skip("there is no disk under this test")
    for memory, comparison in (("8G", "="), ("1", "!=")):
        empty.write("buildgraph.yaml", f"{manifest}memory: {memory}\n")
        empty.write("recipes/probe.yaml", package("probe", f'test "$(stat -f -c %T /)" {comparison} tmpfs'))
        assert empty.build("//:probe").ran == {"//:probe"}


def test_as_root_and_as_an_ordinary_user(ordinary: Workspace, expected: dict[str, str]) -> None:
    """Root and an ordinary user build the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; as it is, an ordinary user built everything else here")
    shutil.copytree(ROOT / "recipes", ordinary.root / "recipes", dirs_exist_ok=True)
    give(ordinary.root)
    built = ordinary.build("//...")
    assert len(built.ran) == len(PACKAGES) + len(IMAGES)
    assert {path.lstat().st_uid for path in (ordinary.root / "cache/blobs").rglob("*")} == {USER}
    assert built.digests() == expected


def test_offline_after_fetching(fresh: Workspace, expected: dict[str, str]) -> None:
    """All that a build needs comes by `bg fetch`; the build itself has no network at all, and nothing else comes out."""
    fetched = fresh.bg("fetch", "//...")
    assert fetched.code == 0, fetched.err
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode == 0:
        fresh.within = ["unshare", "--net"]
    built = fresh.build("--offline", "//...")
    assert len(built.ran) == len(PACKAGES) + len(IMAGES)
    assert built.digests() == expected


def test_without_the_sandbox(fresh: Workspace, expected: dict[str, str]) -> None:
    """Without the outer box the example comes out the same, and that is said."""
    built = fresh.build("--sandbox=off", "//...")
    assert "sandbox off" in built.err
    assert built.digests() == expected


def test_what_was_built_without_the_sandbox_is_not_taken_for_sealed(empty: Workspace) -> None:
    """An open build's record is never served to a sealed one, although it lies in the same cache: what it saw stays with it."""
    empty.write("recipes/probe.yaml", package("probe", 'cat /proc/sys/kernel/random/boot_id >"$OUT/usr/share/probe"'))
    opened = empty.build("--sandbox=off", "//:probe")
    assert opened.ran == {"//:probe"}

    sealed = empty.build("//:probe")
    assert sealed.ran == {"//:probe"}
    assert empty.build("--sandbox=off", "//:probe").outcome("hit") == {"//:probe"}
    shutil.rmtree(empty.home / ".cache/buildgraph/state", ignore_errors=True)
    assert empty.build("//:probe").outcome("hit") == {"//:probe"}

    records = Records(empty.root / "cache")
    assert sorted(record["sealed"] for _, record in records.iter("action")) == [False, True]
    records.close()


@dataclass(frozen=True)
class ByHand:
    """A folder with the example's recipes, in which they find their packages in ./repo, and plain melange and apko."""

    root: Path
    tools: Path

    def run(self, *command: str) -> None:
        """Runs a tool with the few settings that decide about bytes."""
        env = {"PATH": f"{self.tools}:/usr/bin:/bin", "HOME": str(self.root), "TZ": "UTC", "SOURCE_DATE_EPOCH": EPOCH}
        done = subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, umask=0o022, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def by_hand(built_example: Workspace, seed: Path, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    """The recipes with nothing changed but where packages come from: ./repo has the seed's and those that bg exported."""
    root = tmp_path_factory.mktemp("by-hand")
    shutil.copytree(built_example.root / "recipes", root, dirs_exist_ok=True)
    for path in (*root.glob("packages/*.yaml"), root / "worker/melange.yaml"):
        text = path.read_text().replace(f"- {WOLFI}\n", "- ./repo\n")
        path.write_text(text.replace(f"    keyring:\n      - {WOLFI}/{KEY}\n", ""))
    for path in root.glob("images/*.yaml"):
        text = path.read_text().replace("  repositories:\n", "  build_repositories: [./repo]\n  runtime_repositories:\n")
        path.write_text(text.replace(f"{WOLFI}/{KEY}", f"./{KEY}"))
    shutil.copy(seed / KEY, root)
    repository = root / "repo/x86_64"
    repository.mkdir(parents=True)
    for folder in (seed / "x86_64", built_example.root / "out/packages/x86_64"):
        for package_file in folder.glob("*.apk"):
            (repository / package_file.name).symlink_to(package_file)
    hand = ByHand(root, built_example.tools)
    apks = [str(path.relative_to(root)) for path in sorted(repository.glob("*.apk"))]
    hand.run("melange", "index", "--output", "repo/x86_64/APKINDEX.tar.gz", *apks)
    return hand


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_packages_are_those_of_melange(by_hand: ByHand, built_example: Workspace, name: str) -> None:
    """The data segments are, byte by byte, what `melange build` makes without bg."""
    recipe = by_hand.root / PACKAGES[name]
    shutil.copy(recipe, by_hand.root / recipe.name)
    sources = recipe.parent if recipe.name == "melange.yaml" else recipe.with_suffix("")
    line = ["melange", "build", recipe.name, "--arch", "x86_64", "--runner", "bubblewrap", "--ignore-signatures"]
    line += ["--generate-index=false", "--git-commit", "unknown", "--git-repo-url", "https://unknown/unknown/unknown"]
    line += ["--source-dir", str(_without_recipe(sources, by_hand.root / f"src-{name}")), "--out-dir", f"out-{name}"]
    by_hand.run(*line, "--cache-dir=", "--pipeline-dir", "pipelines", "--rm")

    made = sorted((by_hand.root / f"out-{name}").glob("*/*.apk"))
    assert made
    for path in made:
        ours = built_example.root / "out/packages" / path.relative_to(by_hand.root / f"out-{name}")
        assert _data(ours) == _data(path), path.name


def _without_recipe(folder: Path, target: Path) -> Path:
    """A recipe's own files, which are all that bg takes for its sources."""
    if folder.is_dir():
        shutil.copytree(folder, target, ignore=shutil.ignore_patterns("melange.yaml"))
    else:
        target.mkdir()
    return target


def _data(path: Path) -> str:
    """The SHA-256 of a package's data segment as it lies in the file."""
    info = read_package(path, verify=True)
    digest = hashlib.sha256(path.read_bytes()[info.segments.data : info.segments.end]).hexdigest()
    assert digest == info.datahash
    return digest


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_those_of_apko(by_hand: ByHand, built_example: Workspace, name: str) -> None:
    """The files of an image are what `apko build` makes without bg."""
    (by_hand.root / f"sbom-{name}").mkdir()
    (by_hand.root / f"layout-{name}").mkdir()
    line = ["apko", "build", f"images/{name}.yaml", f"{name}:latest", f"layout-{name}", "--arch", "x86_64"]
    by_hand.run(*line, "--ignore-signatures", "--sbom-path", f"sbom-{name}", "--cache-dir", "apk-cache")
    layouts = (built_example.root / "out/oci/images" / name, by_hand.root / f"layout-{name}")
    ours, plain = map(_files_of_image, layouts)
    assert set(ours) == set(plain)
    differ = {path for path in ours if ours[path] != plain[path]}
    assert differ <= {"etc/apko.json", "usr/lib/apk/db/installed"}
    # The record of the build names the key by its path there, ./ or keys/.
    mine, theirs = (json.loads(_content(layout, "etc/apko.json")) for layout in (layouts[0], layouts[1]))
    assert [Path(line).name for line in mine["contents"].pop("keyring")] == [
        Path(line).name for line in theirs["contents"].pop("keyring")
    ]
    assert mine == theirs
    # The database of installed packages has the sizes of the files: bg's are those of unsigned ones.
    lines = [_content(layout, "usr/lib/apk/db/installed").splitlines() for layout in layouts]
    assert len(lines[0]) == len(lines[1])
    assert all(one == other or (one[:2], other[:2]) == ("S:", "S:") for one, other in zip(*lines, strict=True))


def _content(layout: Path, name: str) -> str:
    """A file of an image."""
    for layer in _layers(layout):
        with tarfile.open(layer) as archive:
            stream = archive.extractfile(name)
            if stream is not None:
                return stream.read().decode()
    raise AssertionError(name)


def _files_of_image(layout: Path) -> dict[str, tuple[object, ...]]:
    """Every file of an image's layers: mode, owner, kind, link and the digest of its content, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for layer in _layers(layout):
        with tarfile.open(layer) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                digest = hashlib.sha256(content.read()).hexdigest() if content else ""
                found[member.name] = (member.mode, member.uid, member.gid, member.type, member.linkname, member.mtime, digest)
    assert len(found) > 100
    return found


def _layers(layout: Path) -> list[Path]:
    """The layer files of a layout's first image."""
    content = json.loads((layout / "index.json").read_bytes())
    while "manifests" in content:
        content = json.loads((layout / "blobs" / content["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    return [layout / "blobs" / layer["digest"].replace(":", "/") for layer in content["layers"]]
