"""What git would ignore, read from the ``.gitignore`` files of the workspace; the only door to pathspec.

Only files of the workspace count: a user's global excludes and ``.git/info/exclude`` differ between machines, and the
source files of a recipe must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILE_NAME = ".gitignore"


class IgnoreRules:
    """The rules of one folder and those it inherits; deeper rules win, as in git."""

    __slots__ = ("_folder", "_parent", "_spec")

    def __init__(self, folder: str, spec: GitIgnoreSpec | None, parent: IgnoreRules | None) -> None:
        self._folder = folder
        self._spec = spec
        self._parent = parent

    @staticmethod
    def none() -> IgnoreRules:
        """Rules that ignore nothing."""
        return IgnoreRules("", None, None)

    def below(self, folder: str, text: str) -> IgnoreRules:
        """These rules and those of ``folder``'s own ``.gitignore``, whose content is ``text``."""
        from pathspec import GitIgnoreSpec

        return IgnoreRules(folder, GitIgnoreSpec.from_lines(text.splitlines()), self)

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """Whether git ignores ``path`` (relative to the workspace, with slashes)."""
        for rules in self._chain():
            if rules._spec is None:  # noqa: SLF001 - another of the same class
                continue
            inner = path[len(rules._folder) :].lstrip("/") if rules._folder else path  # noqa: SLF001 - as above
            verdict = rules._spec.check_file(inner + "/" if is_folder else inner).include  # noqa: SLF001 - as above
            if verdict is not None:
                return verdict
        return False

    def _chain(self) -> Iterator[IgnoreRules]:
        rules: IgnoreRules | None = self
        while rules is not None:
            yield rules
            rules = rules._parent  # noqa: SLF001 - as above
