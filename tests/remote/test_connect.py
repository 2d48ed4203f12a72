"""From addresses to stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.errors import ManifestError
from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.connect import connect, levels
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.objects import ObjectStore
from buildgraph.remote.oci import RegistryStore
from buildgraph.remote.reapi import RemoteExecutionStore
from buildgraph.web.access import Access
from buildgraph.workspace.sharing import Remote


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("../share", FolderStore),
        ("file:///mnt/share", FolderStore),
        ("http://cache.example", BazelStore),
        ("https://cache.example/project", BazelStore),
        ("s3://bucket/path", ObjectStore),
        ("oci://registry.example/team/cache", RegistryStore),
        ("oci+http://registry.example:5000/cache", RegistryStore),
        ("grpc://cache.example:9092/project", RemoteExecutionStore),
        ("grpcs://cache.example", RemoteExecutionStore),
    ],
)
def test_an_address_says_what_is_there(tmp_path: Path, address: str, kind: type) -> None:
    assert type(connect(address, tmp_path, Access())) is kind


@pytest.mark.parametrize("address", ["htp://ci:secret@cache.example", "oci://ci:secret@registry.example/UPPER"])
def test_an_address_that_is_none(tmp_path: Path, address: str) -> None:
    """It is told without the password that it carries."""
    with pytest.raises(ManifestError) as wrong:
        connect(address, tmp_path, Access())
    assert "secret" not in wrong.value.what
    assert "cache.example" in wrong.value.what or "registry.example" in wrong.value.what


@pytest.mark.parametrize("address", ["https://", "http:///path", "grpc://:9092", "https://cache.example:99999"])
def test_an_address_without_a_host(tmp_path: Path, address: str) -> None:
    """It is an error with the manifest's line, not a store that fails when it is asked."""
    with pytest.raises(ManifestError, match="names no host, or no port that there can be") as wrong:
        levels((Remote(address, line=7),), tmp_path, Access())
    assert str(wrong.value.where).startswith("buildgraph.yaml:7")


def test_summaries_show_no_password(tmp_path: Path) -> None:
    remotes = (Remote("https://ci:secret@cache.example"), Remote("https://ci:secret@cache.example", name="ours"), Remote("a?b"))
    assert [level.name for level in levels(remotes, tmp_path, Access())] == ["https://cache.example", "ours", "a?b"]
