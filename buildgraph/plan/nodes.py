"""From targets to nodes: each package target once for every architecture, each image target once."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field

from buildgraph.errors import RecipeError, TargetError
from buildgraph.graph.model import LocalPackage, Node
from buildgraph.recipes import architecture, yamltext
from buildgraph.recipes.apko import read_apko
from buildgraph.recipes.builtins import Builtins
from buildgraph.recipes.melange import read_melange
from buildgraph.recipes.values import ApkoRecipe, MelangeRecipe, Need, Source
from buildgraph.workspace.discovery import Target
from buildgraph.workspace.labels import Label
from buildgraph.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Described:
    """A node with the recipe that it was made from. ``includes`` and ``pipelines`` are the other YAML files that it uses."""

    node: Node
    target: Target
    recipe: MelangeRecipe | ApkoRecipe
    pipelines: dict[str, Source] = field(default_factory=dict)
    includes: dict[str, Source] = field(default_factory=dict)


@dataclass(slots=True)
class Nodes:
    """All nodes of a workspace, by target (its recipe's path); ``left_out`` says of targets without a node why they have none."""

    described: dict[str, Described] = field(default_factory=dict)
    by_target: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    origins: dict[tuple[str, str], Label] = field(default_factory=dict)

    def of(self, targets: Iterable[Target]) -> list[str]:
        """The nodes of some targets; TargetError where a target that was named alone has none."""
        chosen = list(targets)
        found = [name for target in chosen for name in self.by_target.get(target.recipe.path, ())]
        if not found and len(chosen) == 1:
            message = f"{chosen[0].label} cannot be built here: {self.left_out[chosen[0].recipe.path]}"
            raise TargetError(message)
        return found


def make_nodes(workspace: Workspace, default_architecture: str, builtins: Builtins) -> Nodes:
    """The nodes of a workspace; ``builtins`` are melange's pipelines. Raises RecipeError for a recipe that it would refuse."""
    nodes = Nodes()
    wanted = tuple(map(architecture.to_apk, workspace.manifest.architectures)) or (default_architecture,)
    for target in (target for same_label in workspace.targets.values() for target in same_label):
        if target.kind == "package":
            made = _package_nodes(target, workspace, wanted, builtins)
        else:
            made = _image_node(target, workspace, wanted)
        for described in made:
            nodes.described[described.node.id] = described
            nodes.by_target.setdefault(target.recipe.path, []).append(described.node.id)
            for package in described.node.packages:
                nodes.origins.setdefault((target.label.folder, package.name), target.label)
        if not made:
            nodes.left_out[target.recipe.path] = f"its recipe is not for {', '.join(wanted)}"
    return nodes


def _package_nodes(target: Target, workspace: Workspace, wanted: tuple[str, ...], builtins: Builtins) -> list[Described]:
    recipe_file, label = target.recipe, target.label
    folder = posixpath.dirname(recipe_file.path)
    settings = workspace.manifest.settings(str(label))
    vars_file = workspace.yaml_file(settings.vars_file) if settings.vars_file else None
    made = []
    for arch in wanted:
        pipelines: dict[str, Source] = {}

        def find(name: str, found: dict[str, Source] = pipelines) -> Source | None:
            local = workspace.find_pipeline(folder, name)
            if local is not None:
                found[name] = local[1]
            return local[1] if local else None

        recipe = read_melange(
            recipe_file.tree,
            recipe_file.path,
            recipe_file.text,
            arch=arch,
            find_pipeline=find,
            build_options=settings.options,
            vars_file=vars_file,
            builtins=builtins,
        )
        if recipe.target_architectures and arch not in recipe.target_architectures:
            continue
        identity = f"{label}@{arch}"
        packages = tuple(
            LocalPackage(
                name=package.name,
                version=package.version,
                node=identity,
                folder=label.folder,
                depends=tuple(Need(text, package.path, package.line, via="dependencies") for text in package.depends),
                provides=package.provides,
                path=package.path,
                line=package.line,
            )
            for package in recipe.packages
            if package.made
        )
        node = Node(identity, str(label), "package", (arch,), label.folder, recipe_file.path, packages, recipe.environment)
        # Tests may use others, which the box of a build does without.
        used = {use.name for use in recipe.uses if use.file}
        made.append(Described(node, target, recipe, {name: pipelines[name] for name in pipelines if name in used}))
    return made


def _image_node(target: Target, workspace: Workspace, wanted: tuple[str, ...]) -> list[Described]:
    recipe_file, label = target.recipe, target.label
    includes: dict[str, Source] = {}

    def load(name: str, including: str) -> Source | None:
        source = find_include(workspace, including, name)
        if source is not None:
            includes[source.path] = source
        return source

    recipe = read_apko(recipe_file.tree, recipe_file.path, recipe_file.text, load_include=load)
    if recipe.files:
        written = recipe.files[0]
        text = recipe_file.text if written.path == recipe_file.path else workspace.yaml_file(written.path).text
        where = yamltext.place_at(written.line, written.column, written.path, text, length=len(written.text))
        raise RecipeError("`baseimage:` is not understood yet", where=where, hint="list the packages of the base image instead")
    own = tuple(map(architecture.to_apk, recipe.architectures)) or wanted
    architectures = tuple(sorted(set(own) & set(wanted)))
    if not architectures:
        return []
    node = Node(str(label), str(label), "image", architectures, label.folder, recipe_file.path, (), recipe.packages)
    return [Described(node, target, recipe, {}, includes)]


def find_include(workspace: Workspace, including: str, name: str) -> Source | None:
    """The file that an ``include:`` names: as seen from the recipes folder, the workspace, or the including file's folder.

    apko looks in the folder it runs in and in its ``--include-paths`` (pkg/paths/paths.go); people run it from one of these.
    """
    for place in (workspace.manifest.recipes, "", posixpath.dirname(including)):
        path = posixpath.normpath(posixpath.join(place, name))
        if path in workspace.tree.files:
            return workspace.yaml_file(path)
    return None
