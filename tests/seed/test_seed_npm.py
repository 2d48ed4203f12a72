"""Packages of npm's registry, from a registry on this machine: with npm, and without it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildgraph.errors import RepositoryError
from buildgraph.structs import replace
from tools.seed.layout import file, read_tarball
from tools.seed.npm import Tarball, download, registry


def say(_: str) -> None:
    """Say nothing."""


class Quiet(SimpleHTTPRequestHandler):
    """A registry of files, that says nothing of what it is asked."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Tarball, str]]:
    """A package ``tool`` of version 1.0.0 in a registry, and the registry's address."""
    root = tmp_path / "registry"
    (root / "tool/-").mkdir(parents=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in (("package/bin/tool", b"\x7fELF"), ("package/readme", b"x"), ("other/y", b"y")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    content = packed.getvalue()
    (root / "tool/-/tool-1.0.0.tgz").write_bytes(content)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        version = {
            "name": "tool",
            "version": "1.0.0",
            "dist": {"tarball": f"{address}/tool/-/tool-1.0.0.tgz", "integrity": integrity},
        }
        (root / "tool/1.0.0").write_text(json.dumps(version))
        whole = {"name": "tool", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        (root / "tool/index.html").write_text(json.dumps(whole))
        yield Tarball("tool", "1.0.0", "x86_64", "opt/tool", len(content), integrity), address
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("client", ["npm", "none"])
def test_a_package_is_downloaded_once(
    served: tuple[Tarball, str], client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the registry that npm's settings name, with npm or without it; then it is there, also offline."""
    tarball, address = served
    if client == "npm" and not shutil.which("npm"):
        pytest.skip("npm is not there")
    if client == "none":
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{address}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    download(tarball, tmp_path / "debs", say, offline=False)
    download(tarball, tmp_path / "debs", say, offline=True)

    assert os.listdir(tmp_path / "debs") == ["tool-1.0.0.tgz"]
    assert read_tarball(tmp_path / "debs/tool-1.0.0.tgz", "package/", "opt/tool/") == {
        "opt/tool/bin/tool": file(b"\x7fELF", 0o755),
        "opt/tool/readme": file("x"),
    }


def test_another_content_than_the_pinned_one_is_refused(
    served: tuple[Tarball, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the registry itself says of it; nothing of it stays."""
    tarball, address = served
    pinned = replace(tarball, integrity="sha512-" + base64.b64encode(bytes(64)).decode())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with pytest.raises(RepositoryError, match=r"tool 1\.0\.0 is not what it was"):
        download(pinned, tmp_path / "debs", say, offline=False)
    assert os.listdir(tmp_path / "debs") == []


def test_what_cannot_be_had_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, with no registry that answers, and with none at all."""
    tarball = Tarball("tool", "1.0.0", "x86_64", "opt/tool", 1, "sha512-")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NPM_CONFIG_USERCONFIG", raising=False)
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with pytest.raises(RepositoryError, match="--offline forbids"):
        download(tarball, tmp_path / "debs", say, offline=True)
    with pytest.raises(RepositoryError, match=r"tool 1\.0\.0 could not be downloaded"):
        download(tarball, tmp_path / "debs", say, offline=False)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    with pytest.raises(RepositoryError, match="no registry is set"):
        download(tarball, tmp_path / "debs", say, offline=False)


def test_the_registry_is_that_of_the_environment_or_of_npmrc(tmp_path: Path) -> None:
    """In npm's order; without the slash at its end."""
    (tmp_path / ".npmrc").write_text("fund=false\n registry = https://example.invalid/npm/ \n")

    assert registry({"HOME": str(tmp_path)}) == "https://example.invalid/npm"
    assert registry({"HOME": str(tmp_path), "NPM_CONFIG_REGISTRY": "https://other.invalid"}) == "https://other.invalid"


def test_a_broken_tarball_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Never a traceback."""
    (tmp_path / "a.tgz").write_bytes(b"junk")

    with pytest.raises(RepositoryError, match=r"a\.tgz cannot be unpacked"):
        read_tarball(tmp_path / "a.tgz", "package/", "")
