"""`make demo` in a fresh clone: builds, runs, asks, builds again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from tests.e2e.workspace import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def not_in_a_clone(folder: str, names: list[str]) -> set[str]:
    """What building and testing left in the tree."""
    ours = {"buildgraph", "recipes", "tools", "scripts", "requirements", "bg", "Makefile", "buildgraph.yaml", "pyproject.toml"}
    return {name for name in names if name == "__pycache__" or (Path(folder) == ROOT and name not in ours)}


def test_the_demo_shows_what_it_promises(seed: Path, tmp_path: Path) -> None:
    """From a clone in which nothing was built yet, of a user whose tools and seed are there: that these come, others test."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=not_in_a_clone)
    cache = tmp_path / "user/buildgraph"
    cache.mkdir(parents=True)
    for name in ("env", "tools", "seed"):
        (cache / name).symlink_to(Path(user_cache(os.environ), name))
    # A make that runs the tests tells this one of itself by these.
    env = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    env["XDG_CACHE_HOME"] = str(cache.parent)
    done = subprocess.run(["make", "demo"], cwd=clone, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    assert re.findall(r"^== (\d)\.", done.stdout, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    first, second = re.findall(r"^(\d+) actions", done.stdout, re.MULTILINE)
    assert (first, second) == ("10", "0")
    assert '"service": "stock-api"' in done.stdout
    assert '"user": 65532' in done.stdout
    assert re.search(r"^that took \d+ ms, from a cold process$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("demo: done. Outputs are in out/, the cache is in cache/.\n")
    assert all((clone / f"out/oci/images/{name}/index.json").is_file() for name in ("api", "debug", "tools", "worker"))
