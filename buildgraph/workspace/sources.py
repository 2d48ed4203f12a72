"""Which files are a recipe's own sources.

The folder of the recipe's name beside it (``foo.yaml`` and ``foo/``); else the folder that the recipe is alone in, without
recipes, the manifest, and folders that hold recipes of their own; or what ``sources:`` in the manifest names. A recipe whose file
name says nothing (``melange.yaml``) has the folder that it is alone in first: an application ``foo`` may have a folder ``foo/``.
Only regular files count, as melange copies no others; ``.git``, output folders and caches never do, ignored files only if named.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

from buildgraph.errors import ManifestError, Place, did_you_mean
from buildgraph.structs import Struct
from buildgraph.workspace.discovery import RecipeFile, folder_of_name, stem_of
from buildgraph.workspace.manifest import FILE_NAME, LOCK_NAME, TargetSettings
from buildgraph.workspace.stats import Tree

# Where melange puts packages and what it downloads if nobody says otherwise, in the folder that it is started in.
MELANGE_OUT = "packages"
MELANGE_CACHE = "melange-cache"
INDEX = "APKINDEX.tar.gz"
_NAMELESS = frozenset({"", "melange"})


class SourceSet(Struct, frozen=True):
    """Where sources come from: paths in the source folder, by the workspace's paths that they are copied from."""

    files: Mapping[str, str]
    why: str


class SourceFinder:
    """Finds the sources of recipes in one tree."""

    def __init__(self, tree: Tree, recipes: Iterable[RecipeFile]) -> None:
        self._tree = tree
        self._folders = tree.folders
        self._all_recipes = recipes

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self._tree.files:
            if path not in self._tree.links:
                found.setdefault(path.rpartition("/")[0], []).append(path)
        return found

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for folder in self._tree.folders:
            if folder:
                found.setdefault(folder.rpartition("/")[0], []).append(folder)
        return found

    @cached_property
    def _recipes(self) -> set[str]:
        return {recipe.path for recipe in self._all_recipes}

    @cached_property
    def _melange(self) -> list[str]:
        return [recipe.path for recipe in self._all_recipes if recipe.kind == "melange"]

    @cached_property
    def _melange_in(self) -> Counter[str]:
        return Counter(path.rpartition("/")[0] for path in self._melange)

    @cached_property
    def _files(self) -> set[str]:
        return self._tree.files.keys() - self._tree.links

    def sources(self, recipe: RecipeFile, name: str, settings: TargetSettings) -> SourceSet:
        """The sources of a melange recipe. Raises ManifestError for a source that the manifest names and that is not there."""
        if settings.sources is not None:
            return self._named(settings)
        folder = posixpath.dirname(recipe.path)
        beside = self.own_folder(recipe, name)
        if beside is not None:
            return SourceSet(self._all_below(beside), f"the folder {beside} beside the recipe")
        if self._is_alone(recipe.path):
            return SourceSet(self._below(folder), "the folder that the recipe is alone in")
        return SourceSet({}, "no folder of its own")

    def own_folder(self, recipe: RecipeFile, name: str) -> str | None:
        """The folder of a melange recipe's name beside it: its file's name, else its package's where no other recipe is in it."""
        if stem_of(recipe.path) in _NAMELESS and self._is_alone(recipe.path):
            return None
        folder = folder_of_name(recipe.path)
        if folder in self._folders:
            return folder
        folder = posixpath.join(posixpath.dirname(recipe.path), name)
        return folder if folder in self._folders and not self._melange_in.get(folder) else None

    def material(self) -> dict[str, str]:
        """The melange recipes in the folder of another one's file name, such as examples and test data, each with that other."""
        owners = {
            folder_of_name(path): path
            for path in self._melange
            if folder_of_name(path) in self._folders and not (stem_of(path) in _NAMELESS and self._is_alone(path))
        }
        found: dict[str, str] = {}
        for path in self._melange if owners else ():
            folder = posixpath.dirname(path)
            while folder and folder not in owners:
                folder = posixpath.dirname(folder)
            if folder:
                found[path] = owners[folder]
        return found

    def _is_alone(self, path: str) -> bool:
        return self._melange_in.get(posixpath.dirname(path)) == 1

    def _all_below(self, top: str) -> dict[str, str]:
        """Every file of a folder that is one recipe's: recipes in it are the material of that one."""
        found: dict[str, str] = {}
        pending = [top]
        while pending:
            folder = pending.pop()
            found.update((path[len(top) + 1 :], path) for path in self._by_folder.get(folder, ()))
            pending += self._children.get(folder, ())
        return found

    def _below(self, top: str) -> dict[str, str]:
        """The files of a folder but recipes, what is bg's, folders with recipes of their own, and what melange left there."""
        found: dict[str, str] = {}
        pending = [top]
        skip = len(top) + 1 if top else 0
        while pending:
            folder = pending.pop()
            if folder != top and (self._melange_in.get(folder) or self._is_left_by_melange(folder, top)):
                continue
            for path in self._by_folder.get(folder, ()):
                if path not in self._recipes and posixpath.basename(path) not in {FILE_NAME, LOCK_NAME}:
                    found[path[skip:]] = path
            pending += self._children.get(folder, ())
        return found

    def _is_left_by_melange(self, folder: str, top: str) -> bool:
        above, name = posixpath.split(folder)
        if above == top:
            return name == MELANGE_CACHE
        return above == posixpath.join(top, MELANGE_OUT) and posixpath.join(folder, INDEX) in self._files

    def _named(self, settings: TargetSettings) -> SourceSet:
        found: dict[str, str] = {}
        for source in settings.sources or ():
            if source in self._folders:
                found.update(self._below(source))
            elif source in self._files:
                found[posixpath.basename(source)] = source
            else:
                message = f"the source `{source}` is not there"
                file, _, line = settings.place.rpartition(":")
                known = {*self._folders, *self._by_folder.get(posixpath.dirname(source), ())} - {""}
                hint = did_you_mean(source, known) or "it is looked for from the workspace's folder"
                raise ManifestError(message, where=Place(file, int(line or 0)), hint=hint)
        return SourceSet(found, "named in the manifest")
