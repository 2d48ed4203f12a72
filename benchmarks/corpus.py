"""A workspace of Wolfi's recipes: 3,401 of them, with an index of the generation before as the outside repository.

The recipes and the index are no part of this project: `CORPUS` says where they are looked for.
"""

from __future__ import annotations

import base64
import hashlib
import tarfile
from pathlib import Path

from buildgraph.apk import signing
from buildgraph.apk.index import IndexEntry, index_archive, read_index_archive
from buildgraph.structs import replace

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
REPOSITORY = "https://packages.wolfi.dev/os"
KEY = "wolfi-signing.rsa.pub"
ARCHITECTURES = ("x86_64", "aarch64", "armv7", "ppc64le", "riscv64", "s390x")
MANIFEST = f"""\
repositories: [{REPOSITORY}]
keyring: [{REPOSITORY}/{KEY}]
mirrors:
  {REPOSITORY}: ../upstream
"""
# What recipes ask for and neither they nor the index have: an older generation of these packages had it.
_OLDER = {
    "nettle": "3.10-r0",
    "py3.10-rpds-py": "0.1-r0",
    "go-1.25": "1.25.0-r0",
    "libcryptsetup": "2-r0 so:libcryptsetup.so.12=12",
    "gtk-update-icon-cache": "3-r0 cmd:gtk-update-icon-cache=3-r0",
}


def is_there() -> bool:
    """Whether the corpus can be had here."""
    return any(CORPUS.glob("wolfi-os-*.tar.xz")) and (CORPUS / "wolfi-upstream-APKINDEX.tar.gz").is_file()


def make(folder: Path) -> Path:
    """Makes ``folder/upstream``, the repository, and ``folder/os``, the workspace; the latter's path."""
    root = folder / "os"
    (archive,) = CORPUS.glob("wolfi-os-*.tar.xz")
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    upstream = folder / "upstream"
    (upstream / "x86_64").mkdir(parents=True)
    key = signing.generate_key(2048)
    (upstream / KEY).write_bytes(signing.public_key(key))
    entries = read_index_archive((CORPUS / "wolfi-upstream-APKINDEX.tar.gz").read_bytes())
    entries += [_older(name, *text.split()) for name, text in _OLDER.items()]
    index = signing.sign_index(index_archive(entries), key, KEY.removesuffix(".rsa.pub"))
    (upstream / "x86_64" / "APKINDEX.tar.gz").write_bytes(index)
    (root / "buildgraph.yaml").write_text(MANIFEST)
    return root


def _older(name: str, version: str, *provides: str) -> IndexEntry:
    checksum = base64.b64encode(hashlib.sha1(name.encode(), usedforsecurity=False).digest()).decode()
    return IndexEntry(name, version, arch="x86_64", checksum=f"Q1{checksum}", size=1, installed_size=1, provides=provides)


def many(folder: Path, architectures: int) -> Path:
    """As ``make``, for so many architectures: as many times the nodes, of the same shape."""
    root = make(folder)
    chosen = ARCHITECTURES[:architectures]
    upstream = folder / "upstream"
    key = signing.generate_key(2048)
    (upstream / KEY).write_bytes(signing.public_key(key))
    entries = read_index_archive((upstream / "x86_64/APKINDEX.tar.gz").read_bytes())
    for architecture in chosen:
        (upstream / architecture).mkdir(exist_ok=True)
        index = index_archive([replace(entry, arch=architecture) for entry in entries])
        (upstream / architecture / "APKINDEX.tar.gz").write_bytes(signing.sign_index(index, key, KEY.removesuffix(".rsa.pub")))
    with (root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(f"architectures: [{', '.join(chosen)}]\n")
    return root
