"""Machines that share a store: the second one runs nothing, gets only what it needs, and believes only whom it should."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from buildgraph.keys import ed25519
from tests.e2e import tiny
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder that machines share."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def key() -> str:
    """The private key of the writers."""
    return ed25519.generate()


@pytest.fixture
def first(empty: Workspace, store: Path, key: str) -> Workspace:
    """A machine with some recipes, a store that it may write, and a key of its own."""
    tiny.chain(empty)
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(
            f"remotes: [{{url: {store}, mode: read-write, name: share}}]\n"
            f"trust: {{ci: {{key: {ed25519.public(key)!r}, tiers: [trusted, local]}}}}\n"
        )
    return empty


def another(machine: Workspace, name: str) -> Workspace:
    """A machine with the same files and nothing built."""
    base = machine.root.parent / name
    shutil.copytree(machine.root, base / "ws", ignore=shutil.ignore_patterns("cache", "out"))
    shutil.copytree(machine.home / ".config", base / "home/.config")
    return Workspace(base / "ws", base / "home", machine.tools)


def signing(key: str, tier: str = "local") -> dict[str, str]:
    """The environment of somebody who writes results."""
    return {"BG_CACHE_KEY": key, "BG_CACHE_TIER": tier}


def test_the_second_machine_runs_nothing(first: Workspace, key: str) -> None:
    """It has the image of the first, byte for byte, and downloads no package that it was not asked for."""
    everything = {f"//:{name}" for name in ("one", "two", "three", "four", "five", "all")}
    assert first.build("//...", env=signing(key)).ran == everything
    second = another(first, "second")
    done = second.build("//:all")
    assert done.ran == set()
    image = "out/oci/all/index.json"
    assert (second.root / image).read_bytes() == (first.root / image).read_bytes()
    assert not list((second.root / "cache/blobs").rglob("*.apk"))
