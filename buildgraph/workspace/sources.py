"""Which files are a recipe's own sources.

The folder of the recipe's name beside it (``foo.yaml`` and ``foo/``); else the folder that the recipe is alone in, without
recipes, the manifest, and folders that hold recipes of their own; or what ``sources:`` in the manifest names. Only regular
files count, as melange copies no others; ``.git``, output folders and caches never do, ignored files only if named.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildgraph.errors import ManifestError, Place
from buildgraph.workspace.discovery import RecipeFile
from buildgraph.workspace.manifest import FILE_NAME, LOCK_NAME, TargetSettings
from buildgraph.workspace.tree import Tree


@dataclass(frozen=True, slots=True)
class SourceSet:
    """Where sources come from: paths in the source folder, by the workspace's paths that they are copied from."""

    files: Mapping[str, str]
    why: str


class SourceFinder:
    """Finds the sources of recipes in one tree."""

    def __init__(self, tree: Tree, recipes: Iterable[RecipeFile]) -> None:
        self._by_folder: dict[str, list[str]] = {}
        for path in tree.files:
            if path not in tree.links:
                self._by_folder.setdefault(posixpath.dirname(path), []).append(path)
        self._children: dict[str, list[str]] = {}
        for folder in tree.folders:
            if folder:
                self._children.setdefault(posixpath.dirname(folder), []).append(folder)
        self._recipes = {recipe.path for recipe in recipes}
        self._melange_in: dict[str, int] = {}
        for recipe in recipes:
            if recipe.kind == "melange":
                folder = posixpath.dirname(recipe.path)
                self._melange_in[folder] = self._melange_in.get(folder, 0) + 1
        self._folders = tree.folders

    def sources(self, recipe: RecipeFile, name: str, settings: TargetSettings) -> SourceSet:
        """The sources of a melange recipe. Raises ManifestError for a source that the manifest names and that is not there."""
        if settings.sources is not None:
            return self._named(settings)
        folder = posixpath.dirname(recipe.path)
        stem = posixpath.splitext(posixpath.basename(recipe.path))[0].removesuffix(".melange")
        for beside in dict.fromkeys((posixpath.join(folder, stem), posixpath.join(folder, name))):
            if beside in self._folders:
                return SourceSet(self._below(beside), f"the folder {beside} beside the recipe")
        if self._melange_in.get(folder) == 1:
            return SourceSet(self._below(folder), "the folder that the recipe is alone in")
        return SourceSet({}, "no folder of its own")

    def _below(self, top: str) -> dict[str, str]:
        found: dict[str, str] = {}
        pending = [top]
        skip = len(top) + 1 if top else 0
        while pending:
            folder = pending.pop()
            if folder != top and self._melange_in.get(folder):
                continue
            for path in self._by_folder.get(folder, ()):
                if path not in self._recipes and posixpath.basename(path) not in {FILE_NAME, LOCK_NAME}:
                    found[path[skip:]] = path
            pending += self._children.get(folder, ())
        return found

    def _named(self, settings: TargetSettings) -> SourceSet:
        found: dict[str, str] = {}
        for source in settings.sources or ():
            if source in self._folders:
                found.update(self._below(source))
            elif source in {path for paths in self._by_folder.values() for path in paths}:
                found[posixpath.basename(source)] = source
            else:
                message = f"the source `{source}` is not there"
                file, _, line = settings.place.rpartition(":")
                raise ManifestError(message, where=Place(file, int(line or 0)))
        return SourceSet(found, "named in the manifest")
