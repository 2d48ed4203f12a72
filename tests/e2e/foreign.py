"""A repository of two architectures: what the seed has, and for the architecture that it lacks stand-ins that cannot run."""

from __future__ import annotations

import struct
from pathlib import Path

from buildgraph.apk import signing
from buildgraph.apk.index import IndexEntry, index_archive, read_index_archive
from buildgraph.apk.version import Requirement
from buildgraph.apk.writer import PackageFile, write_package
from buildgraph.structs import replace
from tests.e2e.workspace import Workspace

NATIVE, FOREIGN = "x86_64", "aarch64"
ADDRESS = "https://packages.example.com/os"
MANIFEST = f"""\
recipes: recipes
architectures: [{NATIVE}, {FOREIGN}]
mirrors: {{{ADDRESS}: %s}}
repositories: [{ADDRESS}]
keyring: [{ADDRESS}/two.rsa.pub]
"""

# An ELF file for aarch64 (machine 183) that ends behind its header.
_PROGRAM = struct.pack("<4s5B7x2HI3QI6H", b"\x7fELF", 2, 1, 1, 0, 0, 2, 183, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)


def two_architectures(workspace: Workspace, seed: Path) -> None:
    """Gives a workspace a repository, and a manifest that names it.

    It has busybox and the layout for both architectures, and more: ``native`` names its architecture in a file; ``data`` is
    one package for both, of no architecture, as the index says by the word ``noarch``; ``one-only`` is for the native one.
    """
    folder = workspace.root / "repository"
    key = signing.generate_key(2048)
    known = _closure(read_index_archive((seed / NATIVE / "APKINDEX.tar.gz").read_bytes()), ["wolfi-baselayout", "busybox"])
    for arch in (NATIVE, FOREIGN):
        (folder / arch).mkdir(parents=True)
        own = {"native": arch, "data": "noarch"} | ({"one-only": arch} if arch == NATIVE else {})
        made = [
            write_package(
                folder / arch / f"{name}-1.0.0-r0.apk",
                IndexEntry(name, "1.0.0-r0", arch=of),
                {f"usr/share/{name}": PackageFile("file", 0o644, f"{name} {of}\n".encode())},
            )
            for name, of in own.items()
        ]
        for entry in known:
            place = folder / arch / entry.filename
            if arch == NATIVE:
                place.symlink_to(seed / arch / entry.filename)
                made.append(entry)
            else:
                files = {"bin/sh": PackageFile("file", 0o755, _PROGRAM)} if entry.name == "busybox" else {}
                made.append(write_package(place, replace(entry, arch=arch), files))
        (folder / arch / "APKINDEX.tar.gz").write_bytes(signing.sign_index(index_archive(made), key, "two"))
    (folder / "two.rsa.pub").write_bytes(signing.public_key(key))
    workspace.write("buildgraph.yaml", MANIFEST % "repository")


def _closure(entries: list[IndexEntry], wanted: list[str]) -> list[IndexEntry]:
    offers = {name: entry for entry in entries for name, _ in entry.provided()}
    found: dict[str, IndexEntry] = {}
    while wanted:
        entry = offers[wanted.pop()]
        if entry.name not in found:
            found[entry.name] = entry
            wanted += [Requirement.parse(text).name for text in entry.depends]
    return list(found.values())
