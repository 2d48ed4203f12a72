"""The same inputs give the same bytes wherever, however and by whomever they are built, and the bytes of melange and apko by hand."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from buildgraph.apk.package import read_package
from tests.e2e.workspace import ROOT, Workspace, make_workspace

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WOLFI = "https://packages.wolfi.dev/os"
KEY = "wolfi-signing.rsa.pub"
EPOCH = "315532800"
ORDINARY = 1000
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
        ("a much longer/path with blanks/than the other", "1", 0o022, "8G", {}),
        ("ws", "8", 0o022, "8G", {"TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}),
        ("ws", "2", 0o077, "8G", {"TMPDIR": "/var/tmp", "SOURCE_DATE_EPOCH": "1", "MELANGE_VERSIONED_SHLIB_DEPENDS": "1"}),
        ("ws", "2", 0o002, "1", {"LC_ALL": "C.UTF-8", "USER": "somebody"}),
    ],
    ids=["path-serial", "zone-and-locale-parallel", "umask-077-environment", "umask-002-scratch-on-disk"],
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


def test_as_root_and_as_an_ordinary_user(expected: dict[str, str], seed: Path, toolbox) -> None:
    """Root and an ordinary user build the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; here an ordinary user built everything else")
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        base.chmod(0o755)
        tools = base / "tools"
        tools.mkdir(mode=0o755)
        for tool in ("melange", "apko", "bwrap"):
            (tools / tool).symlink_to(getattr(toolbox, tool))
        workspace = make_workspace(base / "ws", base / "home", tools, seed)
        for path in (base / "ws", base / "home", *(base / "ws").rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)
        needed = [sys_path(name) for name in ("prefix", "base_prefix")]
        needed += [ROOT / "buildgraph", ROOT / "tools", seed, *(getattr(toolbox, tool) for tool in ("melange", "apko", "bwrap"))]
        command = [*_as_ordinary_user(base, needed), *workspace.command("build", "--json", "//...")]
        done = subprocess.run(
            command, cwd=workspace.root, env=workspace.env(), capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr
        owners = {path.lstat().st_uid for path in (workspace.root / "out").rglob("*")}
        assert owners == {ORDINARY}, "it was really built by another user"
