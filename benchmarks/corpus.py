"""A workspace of Wolfi's recipes: 3,401 of them, with an index of the generation before as the outside repository.

The recipes and the index are no part of this project: `CORPUS` says where they are looked for.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from buildgraph.apk import signing

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
REPOSITORY = "https://packages.wolfi.dev/os"
KEY = "wolfi-signing.rsa.pub"
MANIFEST = f"""\
repositories: [{REPOSITORY}]
keyring: [{REPOSITORY}/{KEY}]
mirrors:
  {REPOSITORY}: ../upstream
"""
_SIGNATURE = ".SIGN."


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
    index = signing.sign_index(_unsigned(CORPUS / "wolfi-upstream-APKINDEX.tar.gz"), key, KEY.removesuffix(".rsa.pub"))
    (upstream / "x86_64" / "APKINDEX.tar.gz").write_bytes(index)
    (root / "buildgraph.yaml").write_text(MANIFEST)
    return root


def _unsigned(path: Path) -> bytes:
    """An index without the signature that it came with: the same index again, in one gzip member."""
    import gzip
    import io

    out = io.BytesIO()
    with (
        tarfile.open(path) as given,
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as made,
    ):
        for member in given:
            if not member.name.startswith(_SIGNATURE):
                made.addfile(member, given.extractfile(member))
    return out.getvalue()


def copy(root: Path, to: Path) -> Path:
    """The workspace again in another place, with its repository."""
    shutil.copytree(root.parent, to, symlinks=True)
    return to / root.name
