"""A small external repository beside the seed, and recipes that need its packages."""

from __future__ import annotations

import json
from pathlib import Path

from buildgraph.apk import signing
from buildgraph.apk.index import IndexEntry, index_archive
from buildgraph.apk.writer import PackageFile, write_package
from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

EXTRAS = "https://extras.example/os"
WOLFI = "https://packages.wolfi.dev/os"


class Extras:
    """A small external repository, signed with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pem = signing.generate_key(2048)
        (folder / "x86_64").mkdir(parents=True)
        (folder / "extras.rsa.pub").write_bytes(signing.public_key(self.pem))
        self.entries: list[IndexEntry] = []

    def publish(self, name: str, version: str, text: str, depends: tuple[str, ...] = ()) -> None:
        """Puts one more package into the repository."""
        info = IndexEntry(name, version, "x86_64", depends=depends, origin=name)
        files = {f"usr/share/{name}": PackageFile("file", 0o644, text.encode())}
        self.entries.append(write_package(self.folder / "x86_64" / info.filename, info, files))
        archive = index_archive(sorted(self.entries, key=lambda entry: (entry.name, entry.version)))
        (self.folder / "x86_64" / "APKINDEX.tar.gz").write_bytes(signing.sign_index(archive, self.pem, "extras"))


def uses(name: str, *needs: str) -> str:
    """A recipe that needs packages of the extra repository and copies what they hold."""
    copies = "\n".join(f'cat /usr/share/{need} >>"$OUT/usr/share/{name}"' for need in needs)
    lines = package(name, copies).splitlines()
    contents = {
        "repositories": [WOLFI, EXTRAS],
        "keyring": [f"{WOLFI}/wolfi-signing.rsa.pub", f"{EXTRAS}/extras.rsa.pub"],
        "packages": ["busybox", *needs],
    }
    lines[1] = f"environment: {{contents: {json.dumps(contents)}}}"
    return "\n".join(lines) + "\n"


def locked(workspace: Workspace) -> list[str]:
    return (workspace.root / "buildgraph.lock").read_text().splitlines()
