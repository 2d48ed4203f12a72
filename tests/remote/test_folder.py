"""A folder as a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.remote.folder import FolderStore
from buildgraph.remote.store import StoreError
from tests.remote.contract import KEYS, StoreContract


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty one."""
    folder = tmp_path / "share"
    folder.mkdir()
    return FolderStore(folder)


class TestFolder(StoreContract):
    """A folder keeps the contract."""

    title = "a folder"


def test_a_share_that_is_not_mounted_is_no_empty_store(tmp_path: Path) -> None:
    """Otherwise a mount point would fill up unseen."""
    store = FolderStore(tmp_path / "not mounted")
    with pytest.raises(StoreError):
        store.result(KEYS[0])
    with pytest.raises(StoreError):
        store.put_result(KEYS[0], b"", [])
    assert not (tmp_path / "not mounted").exists()
