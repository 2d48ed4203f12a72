"""What the tests of this folder share."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@pytest.fixture(scope="session")
def wolfi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wolfi's recipes and pipelines, unpacked."""
    archives = sorted(CORPUS.glob("wolfi-os-*.tar.xz"))
    if not archives:
        pytest.skip(f"there is no corpus of Wolfi's recipes in {CORPUS}")
    folder = tmp_path_factory.mktemp("wolfi")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(path.parent for path in sorted(folder.rglob("zlib.yaml")))
