"""The example repository, to look at and not to build in: neither the tools nor the seed are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def unbuilt(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the example. Tests must not change it."""
    folder = tmp_path_factory.mktemp("unbuilt")
    workspace = make_workspace(folder / "ws", folder / "home", folder / "no-tools", folder / "no-seed")
    manifest = workspace.root / "buildgraph.yaml"
    manifest.write_text(manifest.read_text() + "architectures: [x86_64]\n")
    return workspace


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """A workspace with an empty manifest and no recipe."""
    for name in ("ws", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "ws" / "buildgraph.yaml").touch()
    return Workspace(tmp_path / "ws", tmp_path / "home", tmp_path / "no-tools")
