"""What repositories and recipes name is not taken as it comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.errors import RepositoryError
from buildgraph.execute.repositories import Repositories
from buildgraph.keys.digest import new_hasher
from buildgraph.web.access import Access
from buildgraph.workspace.manifest import Manifest
from tests.servers import faulty_server

PUBLIC = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def repositories(tmp_path: Path) -> Repositories:
    cache = tmp_path / "cache"
    cas = Cas(cache, new_hasher)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Repositories(Manifest(tmp_path), cas, Records(cache), cache, print, lambda: scratch, Access(attempts=1))


@pytest.mark.parametrize(
    "content", ["machine example login me password secret\n", PRIVATE, PUBLIC + PRIVATE, "", PUBLIC + "x" * 99_999]
)
def test_a_keyring_names_public_keys_alone(repositories: Repositories, tmp_path: Path, content: str) -> None:
    """A recipe may name any file of the machine, and an image holds what its keyring names; nothing of the file is shown."""
    (tmp_path / "file").write_text(content)
    with pytest.raises(RepositoryError) as failed:
        repositories.key_file(str(tmp_path / "file"))
    assert failed.value.render() == f"error: what lies at {tmp_path}/file is no public key"
    assert not (tmp_path / "cache/keys").exists()
    (tmp_path / "file").write_text(PUBLIC)
    assert repositories.key_file(str(tmp_path / "file")).read_text() == PUBLIC


def test_a_server_cannot_send_keys_without_end(repositories: Repositories, tmp_path: Path) -> None:
    """Planning asks for them, and for indexes, of whatever server a recipe names."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served/key.rsa.pub").write_text(PUBLIC + "x" * 99_999)
    with faulty_server(tmp_path / "served") as files, pytest.raises(RepositoryError, match="has more than 65536 bytes"):
        repositories.key_file(f"{files.url}/key.rsa.pub")
    assert not (tmp_path / "cache/keys").exists()
