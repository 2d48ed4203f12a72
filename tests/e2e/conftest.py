"""Workspaces in which the real melange and apko build, by bg as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildgraph.apk import signing
from buildgraph.execute.tools import Toolbox
from tests.e2e.ordinary import ordinary_workspace
from tests.e2e.workspace import MANIFEST, ROOT, Workspace, make_workspace
from tests.remote.programs import find_bazel_remote, store_folder
from tests.remote.servers import BazelRemote, bazel_remote
from tools.seed.names import SETS


@pytest.fixture(scope="session")
def tools_on_path(toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with the real tools."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("melange", "apko", "bwrap"):
        (folder / name).symlink_to(getattr(toolbox, name))
    return folder


@pytest.fixture(scope="session")
def some_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a key for package repositories, which takes long to make. Tests copy it."""
    home = tmp_path_factory.mktemp("home")
    config = home / ".config/buildgraph"
    config.mkdir(parents=True)
    (config / "buildgraph.rsa").write_bytes(signing.generate_key(2048))
    return home


@pytest.fixture(scope="session")
def built_example(tmp_path_factory: pytest.TempPathFactory, tools_on_path: Path, seed: Path, some_home: Path) -> Workspace:
    """The example repository with everything built once. Tests copy it: they must not change it."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(some_home, folder / "home")
    workspace = make_workspace(folder / "ws", folder / "home", tools_on_path, seed)
    workspace.build("//...")
    return workspace


@pytest.fixture
def example(built_example: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the built example that a test may change: recipes, lock and cache (what never changes there as hard links)."""
    root = tmp_path / "ws"
    for name in ("recipes", "buildgraph.yaml", "buildgraph.lock", "cache"):
        source = built_example.root / name
        if source.is_dir():
            shutil.copytree(source, root / name, copy_function=_copy_or_link)
        else:
            root.mkdir(exist_ok=True)
            shutil.copy2(source, root / name)
    home = tmp_path / "home"
    shutil.copytree(built_example.home / ".config", home / ".config")
    copy = Workspace(root, home, built_example.tools)
    # A first run settles what belongs to the path of a workspace: its state and its latest results.
    settled = copy.build("//...")
    assert settled.ran == set(), settled.err
    return copy


@pytest.fixture
def fresh(tmp_path: Path, tools_on_path: Path, seed: Path, some_home: Path) -> Workspace:
    """The example repository with nothing built."""
    shutil.copytree(some_home, tmp_path / "home")
    return make_workspace(tmp_path / "ws", tmp_path / "home", tools_on_path, seed)


@pytest.fixture
def empty(tmp_path: Path, tools_on_path: Path, seed: Path, some_home: Path) -> Workspace:
    """A workspace with a manifest that points to the seed, and no recipe."""
    root, home = tmp_path / "ws", tmp_path / "home"
    root.mkdir()
    shutil.copytree(some_home, home)
    (root / "buildgraph.yaml").write_text(
        MANIFEST.format(seed=seed) + "repositories: [https://packages.wolfi.dev/os]\n"
        "keyring: [https://packages.wolfi.dev/os/wolfi-signing.rsa.pub]\n"
    )
    (root / "recipes").mkdir()
    return Workspace(root, home, tools_on_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BazelRemote]:
    """A bazel-remote that machines share."""
    with bazel_remote(find_bazel_remote(store_folder()), tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def seed_with_git() -> Path:
    """A seed with git and the tools that configure scripts are made with, beside what the example needs."""
    names = (*SETS["small"], "git", "autoconf", "automake", "libtool")
    command = [sys.executable, "-m", "tools.seed", "--only", ",".join(names)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no larger seed can be made here: {made.stderr.strip().splitlines()[-1]}")
    return Path(made.stdout.strip())


@pytest.fixture
def ordinary(empty: Workspace, seed: Path, toolbox: Toolbox) -> Iterator[Workspace]:
    """An empty workspace of an ordinary user, who is the one that runs bg in it."""
    with ordinary_workspace(empty, toolbox, [seed]) as workspace:
        yield workspace


def _copy_or_link(source: str, target: str) -> str:
    if "/cache/blobs/" in source or "/cache/apk/" in source:
        os.link(source, target)
        return target
    return shutil.copy2(source, target)


@pytest.fixture
def in_background() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs that must not outlive the test."""
    children: list[subprocess.Popen[str]] = []

    def start(command: list[str], **how: Any) -> subprocess.Popen[str]:
        child = subprocess.Popen(command, text=True, **how)
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()
