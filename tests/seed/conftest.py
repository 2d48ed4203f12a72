"""What the tests of the seed maker share: Debian packages made on the spot with the real dpkg-deb."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tools.seed.debian import Deb

MakeDeb = Callable[..., Deb]


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    """The folder in which made packages are."""
    folder = tmp_path / "debs"
    folder.mkdir()
    return folder


@pytest.fixture
def make_deb(tmp_path: Path, debs: Path) -> MakeDeb:
    """Makes a package of files (text, ``-> target`` for a symbolic link, bytes for a program) and a postinst script."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not there")

    def make(
        name: str, files: Mapping[str, str | bytes], *, version: str = "1.0-1", depends: str = "", postinst: str = ""
    ) -> Deb:
        root = tmp_path / f"{name}.root"
        (root / "DEBIAN").mkdir(parents=True)
        fields = {"Package": name, "Version": version, "Architecture": "amd64", "Maintainer": "nobody <n@example.invalid>"}
        fields |= {"Depends": depends} if depends else {}
        fields |= {"Description": f"the package {name}"}
        (root / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        if postinst:
            (root / "DEBIAN" / "postinst").write_text(postinst)
            (root / "DEBIAN" / "postinst").chmod(0o755)
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str) and content.startswith("-> "):
                (root / path).symlink_to(content[3:])
            elif isinstance(content, str) and content.startswith("== "):
                os.link(root / content[3:], root / path)
            else:
                (root / path).write_bytes(content.encode() if isinstance(content, str) else content)
                (root / path).chmod(0o755 if isinstance(content, bytes) else 0o644)
        built = debs / "new.deb"
        command = ["dpkg-deb", "--root-owner-group", "-b", str(root), str(built)]
        subprocess.run(command, check=True, capture_output=True)
        content = built.read_bytes()
        deb = Deb(name, version, "amd64", len(content), hashlib.sha256(content).hexdigest(), depends, f"the package {name}")
        built.rename(debs / deb.filename)
        return deb

    return make
