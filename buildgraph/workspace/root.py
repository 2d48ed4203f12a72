"""Where the files of a workspace are: in its folder, or for its state at a commit wherever each of them can be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol


class Root(Protocol):
    """The folder of a workspace (a ``Path``), or what stands in for it."""

    def __truediv__(self, path: str, /) -> Path:
        """Where a file of the workspace can be read, or would be if it were there; an absolute path is itself."""


class Entry(Protocol):
    """What a folder holds under a name: a ``DirEntry``, or what stands in for it."""

    @property
    def name(self) -> str:
        """The name."""

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""

    def stat(self) -> os.stat_result:
        """Its stat, through symbolic links. Raises OSError."""


# What a folder of the workspace holds. Raises OSError for one that cannot be read.
Scan = Callable[[str], Sequence[Entry]]
