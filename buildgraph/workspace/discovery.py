"""Finding recipes by what they hold, and naming their targets.

A melange recipe's target is ``//its/folder:package-name``, an apko recipe's ``//its/folder:stem``, or the folder's name where the
stem is ``apko``. No targets are: an apko file that others include and that starts nothing by itself, or that asks for no package;
a melange recipe among the sources of another one. The manifest can name them to have them all the same.
"""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from buildgraph.errors import GraphError, Place, RecipeError
from buildgraph.recipes import kinds, yamltext
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Scalar
from buildgraph.workspace.labels import Label
from buildgraph.workspace.manifest import FILE_NAME

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 16 << 20
_STARTS = frozenset({"entrypoint", "cmd"})


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A recipe as it lies there: its path relative to the workspace, its text and its YAML tree."""

    path: str
    kind: kinds.Kind
    tree: YamlMapping
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """A recipe and its label."""

    label: Label
    recipe: RecipeFile

    @property
    def kind(self) -> str:
        """``package`` or ``image``."""
        return "package" if self.recipe.kind == "melange" else "image"


def read_recipe(root: Path, path: str) -> RecipeFile | None:
    """The recipe in a file of the workspace, or None where the file is none.

    Raises RecipeError for a file that cannot be read, or that is meant as a recipe and is no YAML.
    """
    data = read_bytes(root, path)
    if not kinds.may_be_recipe(data):
        return None
    try:
        tree = yamltext.parse(data, path)
    except RecipeError:
        if kinds.is_meant_as_recipe(data):
            raise
        return None
    kind = kinds.recipe_kind(tree)
    if kind is None or not isinstance(tree, YamlMapping):
        return None
    return RecipeFile(path, kind, tree, yamltext.decode(data, path))


def read_bytes(root: Path, path: str) -> bytes:
    """A YAML file's bytes, one more than can be parsed at most. Raises RecipeError where it cannot be read."""
    try:
        with (root / path).open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot read this file: {error.strerror}"
        raise RecipeError(message, where=Place(path)) from error


def find_recipes(root: Path, paths: Iterable[str], pipeline_folders: Iterable[str]) -> list[RecipeFile]:
    """The recipes among some files of the workspace; pipeline folders hold none.

    Raises RecipeError as ``read_recipe`` does, but not for what lies in the folder of a recipe's name: that is its material.
    """
    skipped = tuple(f"{folder}/" for folder in pipeline_folders)
    found: list[RecipeFile] = []
    broken: list[tuple[str, RecipeError]] = []
    for path in sorted(paths):
        if path.endswith(SUFFIXES) and posixpath.basename(path) != FILE_NAME and not path.startswith(skipped):
            try:
                recipe = read_recipe(root, path)
            except RecipeError as error:
                broken.append((path, error))
            else:
                found += [recipe] if recipe else []
    if broken:
        material = tuple(f"{folder_of_name(recipe.path)}/" for recipe in found if recipe.kind == "melange")
        for path, failure in broken:
            if not path.startswith(material):
                raise failure
    return found


def stem_of(path: str) -> str:
    """What a recipe's file is called without the endings that tools give it: empty for ``.melange.yaml``."""
    return posixpath.splitext(posixpath.basename(path))[0].removesuffix(".melange").removesuffix(".apko")


def folder_of_name(path: str) -> str:
    """The folder of a recipe's name beside it, whether it is there or not: ``a/foo`` for ``a/foo.yaml``."""
    return posixpath.join(posixpath.dirname(path), stem_of(path) or "melange")


def included_path(recipes_folder: str, including: str, name: str, files: Container[str]) -> str | None:
    """The file that an ``include:`` names: as seen from the recipes folder, the workspace, or a folder above the including file.

    apko looks in the folder it runs in and in its ``--include-paths`` (pkg/paths/paths.go); people run it from one of these.
    """
    above = [posixpath.dirname(including)]
    while above[-1]:
        above.append(posixpath.dirname(above[-1]))
    for place in (recipes_folder, "", *above):
        path = posixpath.normpath(posixpath.join(place, name))
        if path in files:
            return path
    return None


def only_included(recipes: Iterable[RecipeFile], recipes_folder: str) -> dict[str, str]:
    """The apko files that are there for others to include, each with one that does.

    One with an ``entrypoint`` or a ``cmd`` is an image as well. Files that include each other are an error to come.
    """
    images = {recipe.path: recipe for recipe in recipes if recipe.kind == "apko"}
    found: dict[str, str] = {}
    for path in images:
        chain = [path]
        while (following := _include_of(images[chain[-1]], recipes_folder, images)) and following not in chain:
            chain.append(following)
        if following is None:
            for including, included in pairwise(chain):
                found.setdefault(included, including)
    return {path: including for path, including in found.items() if _STARTS.isdisjoint(images[path].tree.items)}


def _include_of(recipe: RecipeFile, recipes_folder: str, images: Container[str]) -> str | None:
    named = recipe.tree.items.get("include")
    if not isinstance(named, Scalar) or named.is_null or not named.text:
        return None
    return included_path(recipes_folder, recipe.path, named.text, images)


def name_targets(recipes: Iterable[RecipeFile], recipes_folder: str) -> dict[Label, tuple[Target, ...]]:
    """The targets of some recipes: for each label a package, an image, or one of each (``web/melange.yaml``, ``web/apko.yaml``).

    Raises GraphError where two of one kind have one label, RecipeError for a package without a name.
    """
    targets: dict[Label, tuple[Target, ...]] = {}
    for recipe in recipes:
        label = label_of(recipe, recipes_folder)
        others = targets.get(label, ())
        for other in others:
            if other.recipe.kind == recipe.kind:
                raise _defined_twice(label, recipe, other.recipe)
        targets[label] = (*others, Target(label, recipe))
    return targets


def _defined_twice(label: Label, recipe: RecipeFile, other: RecipeFile) -> GraphError:
    what = "package" if recipe.kind == "melange" else "image"
    message = f"the {what} `{label.name}` is defined twice in this folder"
    return GraphError(
        message,
        where=_name_place(recipe),
        details=f"the other one: {_name_place(other)}",
        hint="rename one of them, or give each a folder of its own",
    )


def label_of(recipe: RecipeFile, recipes_folder: str) -> Label:
    """The label of a recipe."""
    folder = posixpath.dirname(recipe.path)
    inner = posixpath.relpath(folder or ".", recipes_folder or ".")
    inner = "" if inner == "." else inner
    if recipe.kind == "melange":
        return Label(inner, _package_name(recipe))
    stem = stem_of(recipe.path) or "apko"
    return Label(inner, stem if stem != "apko" else posixpath.basename(inner) or "apko")


def label_if_any(recipe: RecipeFile, recipes_folder: str) -> Label | None:
    """The label of a recipe, None for a package without a name."""
    try:
        return label_of(recipe, recipes_folder)
    except RecipeError:
        return None


def alias_of(label: Label, targets: Container[Label]) -> Label | None:
    """The target that a label means which is none: ``//images:api`` may be ``images/api/apko.yaml``."""
    meant = Label(posixpath.join(label.folder, label.name), label.name)
    return meant if meant in targets else None


def _package_name(recipe: RecipeFile) -> str:
    package = recipe.tree.items.get("package")
    name = package.items.get("name") if isinstance(package, YamlMapping) else None
    if not isinstance(name, Scalar) or not name.text:
        where = yamltext.key_place(recipe.tree, "package", recipe.path, recipe.text)
        message = "this package has no name"
        raise RecipeError(message, where=where, hint="add `name:` below `package:`")
    if "/" in name.text or name.text in {".", ".."}:
        message = f"`{name.text}` cannot be a package's name"
        raise RecipeError(message, where=yamltext.place(name, recipe.path, recipe.text))
    return name.text


def _name_place(recipe: RecipeFile) -> Place:
    package = recipe.tree.items.get("package")
    if recipe.kind == "melange" and isinstance(package, YamlMapping) and "name" in package.items:
        return yamltext.place(package.items["name"], recipe.path, recipe.text)
    return Place(recipe.path, 1)


def asks_for_packages(recipe: RecipeFile) -> bool:
    """Whether an apko file is an image by itself: it names packages, a base image, or a file to include."""
    contents = recipe.tree.items.get("contents")
    asks = isinstance(contents, YamlMapping) and ("packages" in contents.items or "baseimage" in contents.items)
    return asks or "include" in recipe.tree.items
