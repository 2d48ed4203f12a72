"""Where bg keeps things of the user, as the XDG base directory specification has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NAME = "buildgraph"


def user_cache(environment: Mapping[str, str]) -> Path:
    """Tools, the state of workspaces: things that can be made again."""
    return _home(environment, "XDG_CACHE_HOME", ".cache") / NAME


def user_config(environment: Mapping[str, str]) -> Path:
    """The user's signing key."""
    return _home(environment, "XDG_CONFIG_HOME", ".config") / NAME


def _home(environment: Mapping[str, str], variable: str, below: str) -> Path:
    named = environment.get(variable, "")
    if Path(named).is_absolute():
        return Path(named)
    return Path(environment.get("HOME") or os.path.expanduser("~")) / below  # noqa: PTH111 - Path.home() raises where there is none
