"""What tests share: the real tools, the seed, and how Hypothesis draws.

Property tests draw the same examples in every run; ``--hypothesis-profile=search`` looks for new ones, for long.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from buildgraph.cli.places import user_cache
from buildgraph.cli.settings import tools_folder
from buildgraph.execute.tools import Toolbox, find_tools
from tests.servers import find_nginx

settings.register_profile("same", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")

ROOT = Path(__file__).resolve().parent.parent
SEED = ROOT / ".seed"


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """The real tools, provisioned if need be."""
    return find_tools(os.environ, tools_folder(), Path(user_cache(os.environ)), print)


@pytest.fixture(scope="session")
def melange(toolbox: Toolbox) -> Path:
    """The real melange."""
    return toolbox.melange


@pytest.fixture(scope="session")
def apko(toolbox: Toolbox) -> Path:
    """The real apko."""
    return toolbox.apko


@pytest.fixture(scope="session")
def bwrap(toolbox: Toolbox) -> Path:
    """The real bubblewrap."""
    return toolbox.bwrap


@pytest.fixture(scope="session")
def nginx() -> Path:
    """The distribution's nginx."""
    return find_nginx(Path(user_cache(os.environ)) / "tests")


@pytest.fixture(scope="session")
def seed() -> Path:
    """The seed repository of the example, which `make seed` makes."""
    if not (SEED / "x86_64" / "APKINDEX.tar.gz").is_file():
        pytest.skip("there is no seed repository here: `make seed` makes it")
    return SEED.resolve()
