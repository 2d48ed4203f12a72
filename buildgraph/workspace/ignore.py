"""What git would ignore, read from the ``.gitignore`` files of the workspace; the only door to pathspec.

Only files of the workspace count: a user's global excludes and ``.git/info/exclude`` differ between machines, and the
source files of a recipe must not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class IgnoreRules:
    """The rules of one folder and those it inherits; deeper rules win, as in git."""

    __slots__ = ("_any", "_folder", "_parent", "_spec")

    def __init__(self, folder: str, spec: GitIgnoreSpec | None, parent: IgnoreRules | None) -> None:
        self._folder = folder
        self._spec = spec
        self._any = _any_of(spec) if spec is not None else None
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
            name = inner + "/" if is_folder else inner
            if rules._any is None or not rules._any.search(name):  # noqa: SLF001 - as above
                continue  # as nearly always; the library asks pattern by pattern
            verdict = rules._spec.check_file(name).include  # noqa: SLF001 - as above
            if verdict is not None:
                return verdict
        return False

    def _chain(self) -> Iterator[IgnoreRules]:
        rules: IgnoreRules | None = self
        while rules is not None:
            yield rules
            rules = rules._parent  # noqa: SLF001 - as above


def _any_of(spec: GitIgnoreSpec) -> re.Pattern[str] | None:
    """An expression that finds what at least one pattern matches, ``!`` or not; None where there are no patterns."""
    found = [pattern.regex.pattern for pattern in spec.patterns if pattern.include is not None and pattern.regex is not None]
    # The library's groups have names, which one expression can have only once.
    return re.compile("|".join(f"(?:{_NAMED_GROUP.sub('(?:', text)})" for text in found)) if found else None


_NAMED_GROUP = re.compile(r"\(\?P<\w+>")
