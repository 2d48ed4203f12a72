"""A workspace, read: its manifest, tree, recipes, targets and lock."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from buildgraph.errors import ManifestError, TargetError, did_you_mean
from buildgraph.recipes import yamltext
from buildgraph.recipes.values import Source, Written
from buildgraph.structs import Struct, field
from buildgraph.workspace import discovery, tree
from buildgraph.workspace.discovery import RecipeFile, Target
from buildgraph.workspace.labels import Label, select
from buildgraph.workspace.manifest import CACHE, LOCK_NAME, OUT, Manifest, place_of
from buildgraph.workspace.root import Root, Scan
from buildgraph.workspace.sources import SourceFinder
from buildgraph.workspace.state import stamp_to_read
from buildgraph.workspace.stats import CACHE_TAG, Tree, stamp

PIPELINE_FOLDER = "pipelines"


class Workspace(Struct):
    """What was found.

    ``recipes`` include those that are no target; ``left_out`` has the labels that these would have, and why they are none.
    ``looked_at`` are paths beyond the tree that were looked for, with their stats (empty for what was not there): keys, which
    git ignores more often than not, pipelines, and sources that the manifest names.
    """

    manifest: Manifest
    tree: Tree
    recipes: dict[str, RecipeFile]
    targets: dict[Label, tuple[Target, ...]]
    sources: SourceFinder
    left_out: dict[Label, str] = field(default_factory=dict)
    looked_at: dict[Path, list[int]] = field(default_factory=dict)
    _sources: dict[str, Source] = field(default_factory=dict)
    _pipelines: dict[tuple[str, str], tuple[tuple[str, ...], str]] = field(default_factory=dict)

    @property
    def root(self) -> Root:
        """The folder with the manifest."""
        return self.manifest.root

    @property
    def lock_path(self) -> Path:
        """Where the lock lies."""
        return self.root / LOCK_NAME

    def select(self, patterns: Sequence[str], here: str, packages: Mapping[tuple[str, str], Label]) -> list[Target]:
        """The targets that patterns name; ``packages`` finds the origin of a subpackage by folder and name.

        Raises TargetError, with the reason for a recipe that is no target.
        """

        def alias(label: Label) -> Label | None:
            if label in self.left_out:
                message = f"{label} is no target: {self.left_out[label]}"
                raise TargetError(message, hint=f"an entry `{label}: {{}}` below `targets:` in the manifest makes it one")
            found = discovery.alias_of(label, self.targets) or packages.get((label.folder, label.name))
            return found or self._target_in(label)

        subpackages = (Label(*found) for found in packages)
        return [target for label in select(patterns, self.targets, here, alias, subpackages) for target in self.targets[label]]

    def _target_in(self, label: Label) -> Label | None:
        """The target of a recipe that is named by its file, ``images/api.yaml``, which reads as the label of a folder."""
        for path in (posixpath.join(self.manifest.recipes, label.folder), label.folder):
            if path in self.recipes and posixpath.basename(path) == label.name:
                found = discovery.label_of(self.recipes[path], self.manifest.recipes)
                return found if found in self.targets else None
        return None

    def find_pipeline(self, recipe_folder: str, name: str) -> tuple[tuple[str, ...], str]:
        """Where a pipeline of a recipe is looked for, as far as it is found, and where that is; empty where it is not."""
        key = (recipe_folder, name)
        known = self._pipelines.get(key)
        if known is None:
            places = self.pipeline_places(recipe_folder, name)
            number = next((number for number, place in enumerate(places) if place in self.tree.files), None)
            known = (tuple(places), "") if number is None else (tuple(places[: number + 1]), places[number])
            self._pipelines[key] = known
        return known

    def pipeline_places(self, recipe_folder: str, name: str) -> list[str]:
        """Where a pipeline may be for a recipe, in order: the manifest's folders, else ``pipelines`` at or above the recipe."""
        folders = list(self.manifest.pipelines)
        if not folders:
            parts = recipe_folder.split("/") if recipe_folder else []
            folders = ["/".join([*parts[:depth], PIPELINE_FOLDER]) for depth in range(len(parts), -1, -1)]
        return [f"{folder}/{name}.yaml" for folder in folders]

    def pipeline_folders(self, recipe_folder: str) -> list[str]:
        """Those of the folders with pipelines for a recipe that are there."""
        places = (posixpath.dirname(path) for path in self.pipeline_places(recipe_folder, "any"))
        return [folder for folder in places if folder in self.tree.folders]

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

    def keyring(self, lines: Iterable[Written]) -> list[str]:
        """The keys that count for a recipe with these keyring lines: addresses, and files by their paths from the workspace.

        A file that is not there is left out: it is that of packages which bg builds itself, and of no use here. The manifest's
        keys count too where the recipe names no address.
        """
        found = [key for line in lines if (key := self._key(line))]
        remote = any("://" in key for key in found)
        return list(dict.fromkeys(found if remote else [*found, *self.manifest.keyring]))

    def _key(self, line: Written) -> str | None:
        if "://" in line.text or self.manifest.mirrored(line.text) != line.text:
            return line.text
        for place in (self.manifest.recipes, "", posixpath.dirname(line.path)):
            path = posixpath.normpath(posixpath.join(place, line.text))
            self.looked_at.setdefault(self.root / path, stamp_to_read(self.root / path))
            if (self.root / path).is_file():
                return path
        return None


def tops(manifest: Manifest) -> list[str]:
    """The folders that are walked: the recipes, and pipeline folders that lie elsewhere."""
    return [
        manifest.recipes,
        *manifest.pipelines,
        *(name for name in outer_pipelines(manifest) if (manifest.root / name).is_dir()),
    ]


def outer_pipelines(manifest: Manifest) -> list[str]:
    """Where pipelines may lie above the recipes folder."""
    if manifest.pipelines or not manifest.recipes:
        return []
    parts = manifest.recipes.split("/")
    return ["/".join([*parts[:depth], PIPELINE_FOLDER]) for depth in range(len(parts))]


def excluded(manifest: Manifest) -> frozenset[str]:
    """The folders that hold no inputs: the cache, the outputs, mirrors that are folders of the workspace."""
    folders = {os.path.normpath(name) for name in (manifest.cache, manifest.out) if not Path(name).is_absolute()}
    folders |= {
        os.path.normpath(mirror) for _, mirror in manifest.mirrors if "://" not in mirror and not Path(mirror).is_absolute()
    }
    if manifest.cache == CACHE and holds_sources(manifest.root / CACHE):
        folders.discard(CACHE)
    return frozenset(folders)


def holds_sources(folder: Path) -> bool:
    """Whether a folder that bg would take for its cache is part of somebody's program; a cache there is refused too."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return False
    return "FORMAT" not in names and any(not name.startswith(".") and name != CACHE_TAG for name in names)


def walk(manifest: Manifest, scan: Scan | None = None) -> Tree:
    """The tree of a workspace; ``scan`` stands in for a look at its folders."""
    return tree.walk(manifest.root, tops(manifest), excluded(manifest), named_sources(manifest), scan)


def refuse_hidden_recipes(manifest: Manifest) -> None:
    """Raises ManifestError for a recipe among the outputs or in the cache: nobody would see it, and `bg clean` may remove it.

    A cache that bg made is marked as one, and not entered; recipes that git ignores or that are excluded are none anywhere.
    """
    for key, folder, usual in (("out", manifest.out, OUT), ("cache", manifest.cache, CACHE)):
        if folder not in excluded(manifest) or not _overlap(folder, manifest.recipes) or not _holds_yaml(manifest.root / folder):
            continue
        found = tree.walk_if_counted(manifest.root, folder)
        hidden = (path for path in recipe_candidates(manifest, found) if discovery.is_recipe(manifest.root, path))
        if path := next(hidden, ""):
            message = f"{key} must not hold recipes: none is looked for in `{folder}`"
            another = "another folder" if folder == usual else f"another folder, such as `{usual}`,"
            hint = f"name {another} or move {path} out of it"
            raise ManifestError(message, where=place_of(manifest.root, key), hint=hint)


def _holds_yaml(top: Path) -> bool:
    """Whether a file below a folder is called like a recipe. Outputs are many: each is listed, and none asked for its stat."""
    for _, folders, files in os.walk(top):
        if CACHE_TAG in files:
            folders.clear()
        elif any(name.endswith(discovery.SUFFIXES) for name in files):
            return True
    return False


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/" if other else "") or f"{other}/".startswith(f"{one}/")


def named_sources(manifest: Manifest) -> list[str]:
    """The files and folders that the manifest names for targets."""
    return sorted({path for settings in manifest.targets.values() for path in settings.files()})


def basis_of_walk(manifest: Manifest) -> str:
    """What decides which files a walk sees, besides what lies in the folders that it sees: with another basis it sees others."""
    named = [(name, (manifest.root / name).is_dir(), (manifest.root / name).is_file()) for name in named_sources(manifest)]
    return f"{manifest} {tops(manifest)} {sorted(excluded(manifest))} {named}"


def recipe_candidates(manifest: Manifest, found: Tree) -> list[str]:
    """The files of a tree that may be recipes by their names and places."""
    pipelines = {folder for folder in found.folders if folder.rpartition("/")[2] == PIPELINE_FOLDER} | set(manifest.pipelines)
    return discovery.recipe_paths(manifest.without_excluded(found.below(manifest.recipes)), pipelines)


def bare_workspace(manifest: Manifest, found: Tree) -> Workspace:
    """The workspace of a tree without its recipes: where pipelines, includes and settings are looked up while these are read."""
    return Workspace(manifest, found, {}, {}, SourceFinder(found, ()))


def load_workspace(manifest: Manifest, found: Tree, read: discovery.Read | None = None) -> Workspace:
    """The workspace of a tree; ``read`` reads the recipe in a file.

    Raises RecipeError, GraphError, ManifestError for settings of a target that is not there.
    """
    reader = read or (lambda path: discovery.read_recipe(manifest.root, path))
    recipes = discovery.find_recipes(recipe_candidates(manifest, found), reader)
    sources = SourceFinder(found, recipes)
    left_out = _left_out(recipes, manifest, sources)
    targets = discovery.name_targets((recipe for recipe in recipes if recipe.path not in left_out), manifest.recipes)
    _check_settings(manifest, targets, found)
    return Workspace(
        manifest,
        found,
        {recipe.path: recipe for recipe in recipes},
        targets,
        sources,
        left_out={label: why for label, why in left_out.values() if label and why},
        looked_at={manifest.root / name: _seen_in_vain(manifest.root / name) for name in _looked_for_in_vain(manifest, found)},
    )


def _check_settings(manifest: Manifest, targets: Mapping[Label, Sequence[Target]], found: Tree) -> None:
    known = {str(label): {target.recipe.kind for target in named} for label, named in targets.items()}
    for label, settings in manifest.targets.items():
        if label not in known:
            message = f"`targets:` has settings for `{label}`, and there is no such target"
            raise ManifestError(message, where=place_of(manifest.root, "targets", label), hint=did_you_mean(label, known))
        if known[label] == {"apko"} and (settings.files() or settings.options):
            message = f"`{label}` is an image, which has no sources, options, vars-file or env-file"
            raise ManifestError(message, where=place_of(manifest.root, "targets", label))
        named = [("env-file", path) for path in settings.env_files]
        named += [("vars-file", settings.vars_file)] if settings.vars_file else []
        for key, path in named:
            if path not in found.files:
                message = f"the file `{path}` is not there, which the settings of `{label}` name"
                where = place_of(manifest.root, "targets", label, key, path)
                raise ManifestError(message, where=where, hint="it is looked for from the workspace's folder")


def _looked_for_in_vain(manifest: Manifest, found: Tree) -> list[str]:
    names = [*outer_pipelines(manifest), *named_sources(manifest)]
    return [name for name in names if name not in found.folders and name not in found.files]


def _seen_in_vain(path: Path) -> list[int]:
    """The stat of what is neither of the files nor of the folders that count; of one that has come since, as it was missing."""
    return [] if path.is_dir() else stamp(path)


def _left_out(recipes: list[RecipeFile], manifest: Manifest, sources: SourceFinder) -> dict[str, tuple[Label | None, str]]:
    """The recipes that are no targets, by path, each with the label that it would have and the reason if that needs one."""
    by_path = {recipe.path: recipe for recipe in recipes}
    reasons = {path: f"{other} includes it" for path, other in discovery.only_included(recipes, manifest.recipes).items()}
    for path, owner in sources.material().items():
        label = discovery.label_if_any(by_path[owner], manifest.recipes)
        if label is None or manifest.settings(str(label)).sources is None:
            reasons[path] = f"it lies among the sources of {owner}"
    found: dict[str, tuple[Label | None, str]] = {}
    for recipe in recipes:
        if recipe.kind == "apko" and not discovery.asks_for_packages(recipe):
            found[recipe.path] = (None, "")
        elif recipe.path in reasons:
            label = discovery.label_if_any(recipe, manifest.recipes)
            if str(label) not in manifest.targets:
                found[recipe.path] = (label, reasons[recipe.path])
    return found
