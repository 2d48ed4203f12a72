"""What the command line and the environment decide of a run, and where the pins of its tools are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildgraph.errors import ToolError
from buildgraph.plan.record import LOCAL
from buildgraph.structs import Struct


class Settings(Struct, frozen=True):
    """What the command line and the environment decide; the manifest decides the rest.

    ``offline``: nothing is fetched; with ``stand_ins`` names then stand for the tools and keys that are not at hand.
    """

    root: Path
    here: Path
    environment: Mapping[str, str]
    user_cache: Path
    user_config: Path
    cache: Path | None = None
    out: Path | None = None
    sealed: bool = True
    locked: bool | None = None
    offline: bool = False
    stand_ins: bool = False
    tier: str = LOCAL
    result_keys: tuple[str, ...] = ()
    reads_remotes: bool = True

    def __repr__(self) -> str:
        return f"Settings({str(self.root)!r}, ...)"  # it has keys, and an environment with passwords


def tools_folder() -> Path:
    """Where go.mod and go.sum of the tools lie: in a clone beside the package, in an installed wheel within it."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent / "tools", package / "execute" / "data"):
        if (folder / "go.mod").is_file():
            return folder
    message = "this installation lacks tools/go.mod"
    raise ToolError(message, hint="install buildgraph again")
