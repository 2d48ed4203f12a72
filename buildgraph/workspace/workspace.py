"""A workspace, read: its manifest, tree, recipes, targets and lock."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from buildgraph.recipes import yamltext
from buildgraph.recipes.values import Source
from buildgraph.workspace import discovery, tree
from buildgraph.workspace.discovery import RecipeFile, Target
from buildgraph.workspace.labels import Label, select
from buildgraph.workspace.manifest import LOCK_NAME, Manifest
from buildgraph.workspace.sources import SourceFinder

PIPELINE_FOLDER = "pipelines"


@dataclass(slots=True)
class Workspace:
    """What was found. ``recipes`` include those that are no target by themselves (files for others to include)."""

    manifest: Manifest
    tree: tree.Tree
    recipes: dict[str, RecipeFile]
    targets: dict[Label, tuple[Target, ...]]
    sources: SourceFinder
    _sources: dict[str, Source] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder with the manifest."""
        return self.manifest.root

    @property
    def lock_path(self) -> Path:
        """Where the lock lies."""
        return self.root / LOCK_NAME

    def select(self, patterns: Sequence[str], here: str, packages: dict[tuple[str, str], Label]) -> list[Target]:
        """The targets that patterns name; ``packages`` finds the origin of a subpackage by folder and name."""

        def alias(label: Label) -> Label | None:
            return discovery.alias_of(label, self.targets) or packages.get((label.folder, label.name))

        return [target for label in select(patterns, self.targets, here, alias) for target in self.targets[label]]

    def pipeline_folders(self, recipe_folder: str) -> list[str]:
        """Where the pipelines of a recipe are looked for: the manifest's folders, else ``pipelines`` at or above the recipe."""
        if self.manifest.pipelines:
            return list(self.manifest.pipelines)
        parts = recipe_folder.split("/") if recipe_folder else []
        candidates = ["/".join([*parts[:depth], PIPELINE_FOLDER]) for depth in range(len(parts), -1, -1)]
        return [folder for folder in candidates if folder in self.tree.folders]

    def find_pipeline(self, recipe_folder: str, name: str) -> tuple[str, Source] | None:
        """A local pipeline and the folder it was found in, None where ``name`` is not a local one."""
        for folder in self.pipeline_folders(recipe_folder):
            path = f"{folder}/{name}.yaml"
            if path in self.tree.files:
                return folder, self.yaml_file(path)
        return None

    def yaml_file(self, path: str) -> Source:
        """A YAML file of the workspace, the same one each time. Raises RecipeError where it cannot be read."""
        if path not in self._sources:
            self._sources[path] = self._read(path)
        return self._sources[path]

    def _read(self, path: str) -> Source:
        known = self.recipes.get(path)
        if known is not None:
            return Source(path, known.tree, known.text)
        data = discovery.read_bytes(self.root, path)
        return Source(path, yamltext.parse(data, path), yamltext.decode(data, path))

    def text_file(self, path: str) -> str:
        """A file of the workspace as text, with surrogates for what is not UTF-8. Raises RecipeError where it cannot be read."""
        return discovery.read_bytes(self.root, path).decode("utf-8", "surrogateescape")


def tops(manifest: Manifest) -> list[str]:
    """The folders that are walked: the recipes, and the manifest's pipeline folders wherever they are."""
    return [manifest.recipes, *manifest.pipelines]


def excluded(manifest: Manifest) -> frozenset[str]:
    """The folders that hold no inputs: the cache, the outputs, mirrors that are folders of the workspace."""
    folders = {os.path.normpath(name) for name in (manifest.cache, manifest.out) if not Path(name).is_absolute()}
    folders |= {
        os.path.normpath(mirror) for _, mirror in manifest.mirrors if "://" not in mirror and not Path(mirror).is_absolute()
    }
    return frozenset(folders)


def walk(manifest: Manifest) -> tree.Tree:
    """The tree of a workspace."""
    named = [path for settings in manifest.targets.values() for path in settings.files()]
    return tree.walk(manifest.root, tops(manifest), excluded(manifest), named)


def load_workspace(manifest: Manifest, found: tree.Tree) -> Workspace:
    """Reads the recipes of a tree. Raises RecipeError, GraphError."""
    in_recipes = found.below(manifest.recipes)
    pipelines = {folder for folder in found.folders if folder.rpartition("/")[2] == PIPELINE_FOLDER} | set(manifest.pipelines)
    recipes = discovery.find_recipes(manifest.root, in_recipes, pipelines)
    targets = discovery.name_targets(recipes, manifest.recipes)
    return Workspace(manifest, found, {recipe.path: recipe for recipe in recipes}, targets, SourceFinder(found, recipes))
