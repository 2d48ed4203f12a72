"""A folder as a store."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from buildgraph.remote.folder import FolderStore
from buildgraph.remote.store import Blob, StoreError
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


def test_a_named_pipe_is_no_file(tmp_path: Path, store: FolderStore) -> None:
    """Whoever can write to the folder cannot make readers wait for ever."""
    for kind in ("results", "blobs"):
        folder = tmp_path / "share" / kind / KEYS[0][:2]
        folder.mkdir(parents=True)
        os.mkfifo(folder / KEYS[0])
    with pytest.raises(StoreError, match="not a regular file"):
        store.result(KEYS[0])
    with pytest.raises(StoreError, match="not a regular file"):
        store.read(Blob(KEYS[0], 1), io.BytesIO())


def test_a_share_that_is_not_mounted_is_no_empty_store(tmp_path: Path) -> None:
    """Otherwise a mount point would fill up unseen."""
    store = FolderStore(tmp_path / "not mounted")
    with pytest.raises(StoreError):
        store.result(KEYS[0])
    with pytest.raises(StoreError):
        store.put_result(KEYS[0], b"", [])
    assert not (tmp_path / "not mounted").exists()


@pytest.mark.parametrize("link", ["blobs", f"blobs/{KEYS[0][:2]}"])
def test_nothing_is_written_where_a_link_leads(tmp_path: Path, store: FolderStore, link: str) -> None:
    """Whoever can write to the folder cannot have others write elsewhere."""
    outside, place = tmp_path / "outside", tmp_path / "share" / link
    outside.mkdir()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside)
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with pytest.raises(StoreError, match="a folder of the store is a link"):
        store.write(Blob(KEYS[0], 1), source)
    assert list(outside.iterdir()) == []
