"""Finding recipes by what they hold, and naming their targets.

A melange recipe's target is ``//its/folder:package-name``, an apko recipe's ``//its/folder:stem``, or the folder's name where the
stem is ``apko``. No targets are: an apko file that others include and that starts nothing by itself, or that asks for no package;
a melange recipe among the sources of another one. The manifest can name them to have them all the same.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Container, Iterable
from itertools import pairwise

from buildgraph.errors import GraphError, Place, RecipeError
from buildgraph.recipes import kinds, yamltext
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Scalar
from buildgraph.structs import Struct
from buildgraph.workspace.labels import Label
from buildgraph.workspace.manifest import FILE_NAME
from buildgraph.workspace.root import Root

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 16 << 20


class RecipeFile:
    """A recipe of the workspace: its path relative to it, the tool it is for, and the part of it that says what it is called.

    ``head`` has of the YAML tree what naming looks at: ``package.name``, ``include``, the keys of ``contents``, whether there
    is something to run. The whole is read and parsed when first asked for: RecipeError where that fails.
    """

    __slots__ = ("_content", "_head", "_root", "kind", "path")

    def __init__(
        self, root: Root, path: str, kind: kinds.Kind, head: YamlMapping | None = None, content: _Content | None = None
    ) -> None:
        self.path = path
        self.kind = kind
        self._root = root
        self._head = head
        self._content = content

    @property
    def head(self) -> YamlMapping:
        """What naming looks at."""
        if self._head is None:
            self._head = head_of(self.tree)
        return self._head

    @property
    def tree(self) -> YamlMapping:
        """Its YAML tree."""
        return self._read()[0]

    @property
    def text(self) -> str:
        """Its text."""
        return self._read()[1]

    def _read(self) -> _Content:
        if self._content is None:
            data = read_bytes(self._root, self.path)
            self._content = yamltext.parse_mapping(data, self.path), yamltext.decode(data, self.path)
        return self._content


_Content = tuple[YamlMapping, str]


def head_of(tree: YamlMapping) -> YamlMapping:
    """The part of a recipe's tree that ``RecipeFile.head`` has."""
    head = YamlMapping({}, tree.line, tree.column)
    package, contents = tree.items.get("package"), tree.items.get("contents")
    if isinstance(package, YamlMapping):
        named = {"name": package.items["name"]} if "name" in package.items else {}
        head.put("package", YamlMapping(named, package.line, package.column), tree.keys.get("package", (0, 0)))
    if isinstance(contents, YamlMapping):
        head.items["contents"] = YamlMapping({key: Scalar("") for key in contents.items})
    if "include" in tree.items:
        head.items["include"] = tree.items["include"]
    head.items.update({key: Scalar("") for key in _RUNS & tree.items.keys()})
    return head


class Target(Struct, frozen=True):
    """A recipe and its label."""

    label: Label
    recipe: RecipeFile

    @property
    def kind(self) -> str:
        """``package`` or ``image``."""
        return "package" if self.recipe.kind == "melange" else "image"


def read_recipe(root: Root, path: str) -> RecipeFile | None:
    """The recipe in a file of the workspace, or None where the file is none.

    Raises RecipeError for a file that cannot be read, or that is meant as a recipe and is no YAML.
    """
    return recipe_in(read_bytes(root, path), root, path)


def is_recipe(root: Root, path: str) -> bool:
    """Whether a file of the workspace is one, or is meant as one."""
    try:
        return read_recipe(root, path) is not None
    except RecipeError:
        return True


def recipe_in(data: bytes, root: Root, path: str) -> RecipeFile | None:
    """The same, from the file's bytes."""
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
    return RecipeFile(root, path, kind, head_of(tree), (tree, yamltext.decode(data, path)))


def read_bytes(root: Root, path: str) -> bytes:
    """A YAML file's bytes, one more than can be parsed at most. Raises RecipeError where it cannot be read."""
    try:
        with (root / path).open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot read this file: {error.strerror}"
        raise RecipeError(message, where=Place(path)) from error


Read = Callable[[str], RecipeFile | None]


def find_recipes(paths: Iterable[str], read: Read) -> list[RecipeFile]:
    """The recipes among some files of the workspace, which ``read`` reads.

    Raises RecipeError as ``read`` does, but not for what lies in the folder of a recipe's name: that is its material.
    """
    found: list[RecipeFile] = []
    broken: list[tuple[str, RecipeError]] = []
    for path in paths:
        try:
            recipe = read(path)
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


def recipe_paths(paths: Iterable[str], pipeline_folders: Iterable[str]) -> list[str]:
    """The files, sorted, that may be recipes by their names; pipeline folders hold none."""
    skipped = tuple(f"{folder}/" for folder in pipeline_folders)
    return [
        path
        for path in sorted(paths)
        if path.endswith(SUFFIXES) and posixpath.basename(path) != FILE_NAME and not path.startswith(skipped)
    ]


def stem_of(path: str) -> str:
    """What a recipe's file is called without the endings that tools give it: empty for ``.melange.yaml``."""
    return posixpath.splitext(posixpath.basename(path))[0].removesuffix(".melange").removesuffix(".apko")


def folder_of_name(path: str) -> str:
    """The folder of a recipe's name beside it, whether it is there or not: ``a/foo`` for ``a/foo.yaml``."""
    return posixpath.join(posixpath.dirname(path), stem_of(path) or "melange")


def include_places(recipes_folder: str, including: str, name: str) -> list[str]:
    """The paths that an ``include:`` may mean, in order: from the recipes folder, the workspace, the including file upwards.

    apko looks in the folder it runs in and in its ``--include-paths`` (pkg/paths/paths.go); people run it from one of these.
    """
    above = [posixpath.dirname(including)]
    while above[-1]:
        above.append(posixpath.dirname(above[-1]))
    places = (recipes_folder, "", *above)
    return list(dict.fromkeys(posixpath.normpath(posixpath.join(place, name)) for place in places))


def only_included(recipes: Iterable[RecipeFile], recipes_folder: str) -> dict[str, str]:
    """The apko files that are there to be included, each with one that includes it: they name nothing to run.

    Files that include each other are an error to come.
    """
    images = {recipe.path: recipe for recipe in recipes if recipe.kind == "apko"}
    found: dict[str, str] = {}
    for path in images:
        chain = [path]
        while (following := _include_of(images[chain[-1]], recipes_folder, images)) and following not in chain:
            chain.append(following)
        if following is None:
            for including, included in pairwise(chain):
                if not _RUNS & images[included].head.items.keys():
                    found.setdefault(included, including)
    return found


# What an image has that is more than a base of others.
_RUNS = frozenset({"entrypoint", "cmd"})


def _include_of(recipe: RecipeFile, recipes_folder: str, images: Container[str]) -> str | None:
    named = recipe.head.items.get("include")
    if not isinstance(named, Scalar) or named.is_null or not named.text:
        return None
    return next((path for path in include_places(recipes_folder, recipe.path, named.text) if path in images), None)


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
    inner = posixpath.relpath(folder or ".", recipes_folder) if recipes_folder else folder
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
    package = recipe.head.items.get("package")
    name = package.items.get("name") if isinstance(package, YamlMapping) else None
    if not isinstance(name, Scalar) or not name.text:
        where = yamltext.key_place(recipe.head, "package", recipe.path, recipe.text)
        message = "this package has no name"
        raise RecipeError(message, where=where, hint="add `name:` below `package:`")
    if "/" in name.text or name.text in {".", ".."}:
        message = f"`{name.text}` cannot be a package's name"
        raise RecipeError(message, where=yamltext.place(name, recipe.path, recipe.text))
    return name.text


def _name_place(recipe: RecipeFile) -> Place:
    package = recipe.head.items.get("package")
    if recipe.kind == "melange" and isinstance(package, YamlMapping) and "name" in package.items:
        return yamltext.place(package.items["name"], recipe.path, recipe.text)
    return Place(recipe.path, 1)


def asks_for_packages(recipe: RecipeFile) -> bool:
    """Whether an apko file is an image by itself: it names packages, a base image, or a file to include."""
    contents = recipe.head.items.get("contents")
    asks = isinstance(contents, YamlMapping) and ("packages" in contents.items or "baseimage" in contents.items)
    return asks or "include" in recipe.head.items
