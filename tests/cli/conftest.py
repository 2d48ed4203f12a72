"""The example repository, to look at and not to build in: neither the tools nor the seed are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.workspace import Workspace, example_to_look_at


@pytest.fixture(scope="session")
def unbuilt(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the example. Tests must not change it."""
    return example_to_look_at(tmp_path_factory.mktemp("unbuilt"))


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """A workspace with an empty manifest and no recipe."""
    for name in ("ws", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "ws" / "buildgraph.yaml").touch()
    return Workspace(tmp_path / "ws", tmp_path / "home", tmp_path / "no-tools")
