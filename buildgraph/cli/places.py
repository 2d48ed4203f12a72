"""Where bg keeps things of the user, as the XDG base directory specification has it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "buildgraph"


def user_cache(environment: Mapping[str, str]) -> str:
    """Tools, the state of workspaces: things that can be made again."""
    return _home(environment, "XDG_CACHE_HOME", ".cache")


def user_config(environment: Mapping[str, str]) -> str:
    """The user's signing key."""
    return _home(environment, "XDG_CONFIG_HOME", ".config")


def _home(environment: Mapping[str, str], variable: str, below: str) -> str:
    named = environment.get(variable, "")
    if os.path.isabs(named):
        return os.path.join(named, NAME)
    return os.path.join(environment.get("HOME") or _home_of_user(), below, NAME)


def _home_of_user() -> str:
    """What counts where HOME is not set, or empty (which ``expanduser`` would take for ``/``)."""
    import pwd  # seldom needed

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without an entry, as in containers
        return "/"
