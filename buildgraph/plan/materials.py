"""What an action is given besides packages: the recipe as it goes into the box, source files, pipelines, settings.

``plan.inputs`` makes these and the key entries in one walk, so that what a box holds and what a key covers are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from buildgraph.keys.digest import Digest
from buildgraph.recipes.values import PinnedSource
from buildgraph.structs import Struct

if TYPE_CHECKING:
    from buildgraph.recipes.steps import Step

# Where the files that melange gets by flags lie in a box.
VARS_FILE = "settings/vars.yaml"
ENV_FILES = "settings/env/"


class SourceFile(Struct, frozen=True):
    """A file to be copied into the box: ``path`` there, ``origin`` in the workspace, and the content that the key covers."""

    path: str
    origin: str
    digest: Digest
    executable: bool


class Materials(Struct, frozen=True):
    """What one action is given.

    ``texts`` are files written into the box as they stand here: recipe, pipelines, keys. ``network`` says why the action gets
    the network, empty where it does not; ``fetched`` are the sources that bg brings for it. ``steps`` are the recipe's, for
    a log to be read by.
    """

    kind: Literal["package", "image"]
    recipe: str
    texts: dict[str, str]
    sources: tuple[SourceFile, ...] = ()
    epoch: int = 0
    network: tuple[str, ...] = ()
    fetched: tuple[PinnedSource, ...] = ()
    root: bool = False
    options: tuple[str, ...] = ()
    tag: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def uses_network(self) -> bool:
        """Whether the action is given the network; ``network`` says why."""
        return bool(self.network)
