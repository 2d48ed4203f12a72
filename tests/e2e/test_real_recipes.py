"""Recipes of Wolfi as they are, with upstream's sources, built sealed and offline; an image of them runs."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from tests.e2e.debian_sources import archives
from tests.e2e.sources import no_network
from tests.e2e.tiny import WOLFI, WOLFI_KEY
from tests.e2e.workspace import Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "wolfi-os-8190a165.tar.xz"
RECIPES = ("zip", "libev", "mpdecimal", "cppunit", "potrace")
MANIFEST = """\
repositories: [{wolfi}]
keyring: [{wolfi}/wolfi-signing.rsa.pub]
mirrors: {{"{wolfi}": "{seed}"}}
source-mirrors: ["{sources}"]
"""
# A bitmap that one of the programs traces; another one packs the result, and says what it packed.
SCRIPT = """\
set -e
mkdir -p /tmp && cd /tmp
printf 'P1\\n2 2\\n1 1 1 1\\n' >square.pbm
potrace --svg --output square.svg square.pbm
zip -q square.zip square.svg
zip -sf square.zip
"""


@pytest.fixture
def wolfi(empty: Workspace, seed_with_git: Path) -> Workspace:
    """A workspace of Wolfi's shape: recipes at the top with folders of patches beside them, and `pipelines/`."""
    if not CORPUS.is_file():
        pytest.skip(f"Wolfi's recipes are not here ({CORPUS})")
    (empty.root / "recipes").rmdir()
    names = [f"./{name}.yaml" for name in RECIPES] + ["./zip", "./libev", "./pipelines"]
    subprocess.run(["tar", "-xf", CORPUS, "-C", empty.root, *names], check=True)
    texts = [(empty.root / f"{name}.yaml").read_text() for name in RECIPES]
    digests = [re.search(r"expected-sha256: ([0-9a-f]{64})", text)[1] for text in texts]  # type: ignore[index]
    sources = archives(digests, Path(user_cache(os.environ)) / "test-sources")
    empty.write("buildgraph.yaml", MANIFEST.format(wolfi=WOLFI, seed=seed_with_git, sources=sources))
    packages = ", ".join(("wolfi-baselayout", "busybox", *RECIPES))
    contents = f"contents: {{repositories: [{WOLFI}], keyring: [{WOLFI_KEY}], packages: [{packages}]}}\n"
    empty.write("tools.apko.yaml", f"{contents}archs: [x86_64]\nentrypoint: {{command: /bin/sh}}\n")
    return empty


def test_recipes_of_wolfi(wolfi: Workspace) -> None:
    """Five packages from unchanged recipes, their sources from a folder, with no network at all; their programs work."""
    assert "network:" not in wolfi.bg("plan", "//...").out
    sealed = replace(wolfi, within=no_network())
    built = sealed.build("--offline", "//...")
    assert built.ran == {*(f"//:{name}" for name in RECIPES), "//:tools"}
    ran = sealed.bg("run", "--offline", "//:tools", "--", "-c", SCRIPT)
    assert ran.code == 0, ran.err
    assert "square.svg\nTotal 1 entries" in ran.out.replace("  ", "")
    assert sealed.build("--offline", "//...").ran == set()
