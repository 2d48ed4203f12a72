"""Where things of the user are kept."""

from __future__ import annotations

import os
import pwd
import runpy
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache, user_config

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "environment.py"


@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_home_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, *, empty: bool) -> None:
    """The user's entry counts then, and not the top of the file system; the launcher's script is of the same opinion."""
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "") if empty else monkeypatch.delenv("HOME")

    assert user_cache(os.environ) == str(own / ".cache/buildgraph")
    assert user_config(os.environ) == str(own / ".config/buildgraph")
    assert runpy.run_path(str(SCRIPT))["cache"]() == own / ".cache/buildgraph/env"
