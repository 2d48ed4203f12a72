"""What the patterns of a command line name, as seen from where the user stands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildgraph.structs import Struct
from buildgraph.workspace.discovery import Target

if TYPE_CHECKING:
    from buildgraph.cli.session import Session


class Selection(Struct):
    """Targets and nodes of a session, by patterns."""

    session: Session

    @property
    def folder(self) -> str:
        """The folder that relative labels start from: where the user stands, if that is among the recipes."""
        settings = self.session.settings
        here = os.path.relpath(settings.here, settings.root / self.session.manifest.recipes)
        return "" if here == "." or here.startswith("..") else here

    def targets(self, patterns: Sequence[str]) -> list[Target]:
        """The targets that patterns name."""
        simple = all(pattern.lstrip("-").startswith("//") and pattern.endswith("...") for pattern in patterns)
        return self.session.workspace.select(patterns, self.folder, {} if simple else self.session.nodes.origins)

    def nodes(self, patterns: Sequence[str]) -> list[str]:
        """The nodes that patterns name; ``@ARCH`` behind one takes those for an architecture."""
        if any("@" in pattern for pattern in patterns):
            from buildgraph.cli.naming import named
            from buildgraph.graph.traverse import Links, is_external

            if not any(is_external(pattern.removeprefix("-")) for pattern in patterns):
                return named(patterns, Links(self.session.graph), self.matching)
        return self.session.nodes.of(self.targets(patterns))  # which refuses external packages: nothing here makes them

    def matching(self, pattern: str) -> list[str]:
        """The nodes that one pattern names, whatever their architecture."""
        return self.session.nodes.of(self.targets([pattern]))
