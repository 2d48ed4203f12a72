"""From targets to nodes: each package target once for every architecture, each image target once."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping

from buildgraph.errors import ManifestError, RecipeError, TargetError, did_you_mean
from buildgraph.graph.model import LocalPackage, Node
from buildgraph.keys.digest import Digest, digest_text
from buildgraph.keys.document import Entry
from buildgraph.recipes import architecture, yamltext
from buildgraph.recipes.builtins import Builtins
from buildgraph.recipes.melange import boxed_melange, read_melange
from buildgraph.recipes.pipelines import child, texts_of
from buildgraph.recipes.values import ApkoRecipe, MelangeRecipe, Need, NetworkReason, PackageDecl, PinnedSource, Source, Written
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.structs import Struct, field
from buildgraph.workspace.discovery import Target, include_places
from buildgraph.workspace.labels import Label
from buildgraph.workspace.manifest import Manifest, place_of
from buildgraph.workspace.workspace import Workspace


class Described(Struct, frozen=True):
    """A node, and what its recipe says beyond the graph.

    ``repositories`` and ``keyring`` are the lines that count where external packages are chosen; ``texts`` the key entries of a
    package's recipe and local pipelines; ``pipelines`` the files of the latter by name; ``includes`` the files that an image
    includes; ``looked_for`` all files whose presence or content mattered, besides the recipe's own.
    """

    node: Node
    target: Target
    network: tuple[NetworkReason, ...] = ()
    sources: tuple[PinnedSource, ...] = ()
    repositories: tuple[str, ...] = ()
    keyring: tuple[Written, ...] = ()
    texts: tuple[Entry, ...] = ()
    pipelines: tuple[tuple[str, str], ...] = ()
    includes: tuple[str, ...] = ()
    looked_for: tuple[str, ...] = ()


# The nodes of a target: none where its recipe is not for any of the wanted architectures.
Describe = Callable[[Target], list[Described]]


class Nodes(Struct):
    """All nodes of a workspace, by target (its recipe's path); ``left_out`` says of targets without a node why they have none."""

    described: Mapping[str, Described] = field(default_factory=dict)
    by_target: Mapping[str, list[str]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[tuple[str, str], Label] = field(default_factory=dict)

    def of(self, targets: Iterable[Target]) -> list[str]:
        """The nodes of some targets; TargetError where a target that was named alone has none."""
        chosen = list(targets)
        found = [name for target in chosen for name in self.by_target.get(target.recipe.path, ())]
        if not found and len(chosen) == 1:
            message = f"{chosen[0].label} cannot be built here: {self.left_out[chosen[0].recipe.path]}"
            raise TargetError(message)
        return found


def wanted_architectures(workspace: Workspace, default: str) -> tuple[str, ...]:
    """The architectures to build for, by apk's names."""
    return tuple(map(architecture.to_apk, workspace.manifest.architectures)) or (default,)


def make_nodes(workspace: Workspace, describe: Describe, wanted: tuple[str, ...]) -> Nodes:
    """The nodes of a workspace. Raises RecipeError for a recipe that cannot be understood."""
    described: dict[str, Described] = {}
    by_target: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    origins: dict[tuple[str, str], Label] = {}
    for target in (target for same_label in workspace.targets.values() for target in same_label):
        made = describe(target)
        for found in made:
            described[found.node.id] = found
            by_target.setdefault(target.recipe.path, []).append(found.node.id)
            for package in found.node.packages:
                origins.setdefault((target.label.folder, package.name), target.label)
        if not made:
            left_out[target.recipe.path] = f"its recipe is not for {', '.join(wanted)}"
    return Nodes(described, by_target, left_out, origins)


def describe(target: Target, workspace: Workspace, wanted: tuple[str, ...], builtins: Builtins) -> list[Described]:
    """The nodes of a target, from its recipe; ``builtins`` are melange's. Raises RecipeError for what it would refuse."""
    if target.kind == "package":
        return _packages(target, workspace, wanted, builtins)
    return _image(target, workspace, wanted)


def _packages(target: Target, workspace: Workspace, wanted: tuple[str, ...], builtins: Builtins) -> list[Described]:
    recipe_file, label = target.recipe, target.label
    finder = _Pipelines(workspace, posixpath.dirname(recipe_file.path))
    own_text = Entry(
        "recipe",
        posixpath.basename(recipe_file.path),
        digest_text(yamltext.emit(boxed_melange(recipe_file.tree))),
        "the recipe",
        f"{recipe_file.path}:1",
    )
    settings = workspace.manifest.settings(str(label))
    if settings.options:
        _check_options(target, settings.options, workspace.manifest)
    setting_files = [path for path in (settings.vars_file, *settings.env_files) if path]
    made = []
    for arch in wanted:
        finder.found = {}
        recipe = _read_package(target, workspace, arch, finder, builtins)
        allowed = recipe.target_architectures
        if allowed and arch not in allowed:
            continue
        identity = f"{label}@{arch}"
        packages = tuple(_local(package, identity, label.folder) for package in recipe.packages if package.made)
        node = Node(identity, str(label), "package", (arch,), label.folder, recipe_file.path, packages, recipe.environment)
        # Tests may use others, which the box of a build does without.
        used = {use.name for use in recipe.uses if use.file}
        made.append(
            Described(
                node=node,
                target=target,
                network=recipe.network,
                sources=recipe.sources,
                repositories=tuple(line.text for line in recipe.repositories),
                keyring=recipe.keyring,
                texts=(own_text, *(finder.entries[name] for name in sorted(used))),
                pipelines=tuple((name, finder.found[name]) for name in sorted(used)),
                looked_for=tuple(sorted({*finder.looked_for, *setting_files})),
            )
        )
    return made


def _check_options(target: Target, options: Iterable[str], manifest: Manifest) -> None:
    """Raises ManifestError for one of the manifest's options that the recipe does not have: melange says nothing of it."""
    known = child(target.recipe.tree, "options")
    names = list(known.items) if isinstance(known, YamlMapping) else []
    for option in options:
        if option not in names:
            message = f"{target.recipe.path} has no option `{option}`"
            where = place_of(manifest.root, "targets", str(target.label), "options", option)
            hint = did_you_mean(option, names) or ("its options are " + ", ".join(names) if names else "it has no `options:`")
            raise ManifestError(message, where=where, hint=hint)


def _read_package(target: Target, workspace: Workspace, arch: str, finder: _Pipelines, builtins: Builtins) -> MelangeRecipe:
    file, settings = target.recipe, workspace.manifest.settings(str(target.label))
    return read_melange(
        file.tree,
        file.path,
        file.text,
        arch=arch,
        find_pipeline=finder.find,
        build_options=settings.options,
        vars_file=workspace.yaml_file(settings.vars_file) if settings.vars_file else None,
        builtins=builtins,
    )


def read_target(target: Target, workspace: Workspace, arch: str, builtins: Builtins) -> MelangeRecipe | ApkoRecipe:
    """All that a target's recipe says, for one architecture. Raises RecipeError."""
    file = target.recipe
    if target.kind == "package":
        return _read_package(target, workspace, arch, _Pipelines(workspace, posixpath.dirname(file.path)), builtins)
    from buildgraph.recipes.apko import read_apko  # many runs look at no image

    return read_apko(
        file.tree, file.path, file.text, load_include=lambda name, including: find_include(workspace, including, name)
    )


def _local(package: PackageDecl, node: str, folder: str) -> LocalPackage:
    return LocalPackage(
        name=package.name,
        version=package.version,
        node=node,
        folder=folder,
        depends=tuple(
            Need(text, package.path, line, via="dependencies")
            for text, line in zip(package.depends, package.depends_lines, strict=True)
        ),
        provides=package.provides,
        path=package.path,
        line=package.line,
        priority=int(package.provider_priority or 0),
    )


class _Pipelines:
    """Finds the local pipelines of one recipe, and keeps what was found and where was looked."""

    def __init__(self, workspace: Workspace, folder: str) -> None:
        self.workspace = workspace
        self.folder = folder
        self.found: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.looked_for: set[str] = set()
        self._sources: dict[str, Source | None] = {}

    def find(self, name: str) -> Source | None:
        """The local definition of a pipeline, None where there is none."""
        if name not in self._sources:
            self._sources[name] = self._read(name)
        source = self._sources[name]
        if source is not None:
            self.found[name] = source.path
        return source

    def _read(self, name: str) -> Source | None:
        places, path = self.workspace.find_pipeline(self.folder, name)
        self.looked_for.update(places)
        if not path:
            return None
        source = self.workspace.yaml_file(path)
        self.entries[name] = Entry("pipeline", f"pipelines/{name}.yaml", _digest_of(source), "used by the recipe", f"{path}:1")
        return source


# A workspace's pipeline is one value that hundreds of recipes use; kept with it, so that its identity stays its own.
_known_digests: dict[int, tuple[Source, Digest]] = {}


def _digest_of(source: Source) -> Digest:
    """The digest of a pipeline's text in the box."""
    known = _known_digests.get(id(source))
    if known is None:
        known = _known_digests[id(source)] = (source, digest_text(yamltext.emit(source.tree)))
    return known[1]


def _image(target: Target, workspace: Workspace, wanted: tuple[str, ...]) -> list[Described]:
    from buildgraph.recipes.apko import read_apko

    recipe_file, label = target.recipe, target.label
    includes: dict[str, Source] = {}
    looked_for: set[str] = set()

    def load(name: str, including: str) -> Source | None:
        looked_for.update(include_places(workspace.manifest.recipes, including, name))
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
    for source in (Source(recipe_file.path, recipe_file.tree, recipe_file.text), *includes.values()):
        _check_architectures(source, {*architecture.ALL, *wanted})
    architectures = tuple(sorted(set(own) & set(wanted)))
    if not architectures:
        return []
    node = Node(str(label), str(label), "image", architectures, label.folder, recipe_file.path, (), recipe.packages)
    return [
        Described(
            node=node,
            target=target,
            repositories=tuple(line.text for line in (*recipe.build_repositories, *recipe.repositories)),
            keyring=recipe.keyring,
            includes=tuple(includes),
            looked_for=tuple(sorted(looked_for)),
        )
    ]


def _check_architectures(source: Source, known: Collection[str]) -> None:
    """Raises RecipeError for an architecture that nobody knows: apko would ask repositories for it, bg leave the image out."""
    for item in texts_of(child(source.tree, "archs")):
        if architecture.to_apk(item.text) not in known:
            where = yamltext.place(item, source.path, source.text)
            hint = did_you_mean(item.text, architecture.NAMES) or "the architectures are " + ", ".join(architecture.ALL)
            raise RecipeError(f"`{item.text}` is no architecture", where=where, hint=hint)


def find_include(workspace: Workspace, including: str, name: str) -> Source | None:
    """The file that an ``include:`` names, None where there is none."""
    places = include_places(workspace.manifest.recipes, including, name)
    return next((workspace.yaml_file(path) for path in places if path in workspace.tree.files), None)
