"""A node's own inputs: one walk makes the key entries and the materials that go into the box, so that they cannot differ."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from buildgraph.keys.digest import Digest, digest_text
from buildgraph.keys.document import Entry
from buildgraph.plan.explain import EXECUTABLE
from buildgraph.plan.materials import ENV_FILES, VARS_FILE, Materials, SourceFile
from buildgraph.plan.nodes import Described, find_include
from buildgraph.recipes import yamltext
from buildgraph.recipes.apko import boxed_apko, merged_apko
from buildgraph.recipes.melange import boxed_melange
from buildgraph.recipes.values import ApkoRecipe, MelangeRecipe, Source
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Node as YamlNode
from buildgraph.recipes.yamltext import Scalar
from buildgraph.workspace.discovery import RecipeFile
from buildgraph.workspace.workspace import Workspace

# Raise it when what this module puts into a box changes in a way that no entry shows.
FORMAT = "1"
_OWNER_EXECUTES = 0o100

Digests = Callable[[str], Digest]


@dataclass(frozen=True, slots=True)
class Environment:
    """What counts for every node: the tools' versions, the box's format, whether there is a box at all."""

    melange: str
    apko: str
    box: str
    sealed: bool


@dataclass(slots=True)
class Inputs:
    """The own inputs of nodes, each worked out once.

    ``digest`` gives the digest of a workspace file, ``key`` the public key that a keyring line names.
    """

    workspace: Workspace
    described: Mapping[str, Described]
    digest: Digests
    key: Callable[[str], bytes]
    environment: Environment
    _made: dict[str, tuple[tuple[Entry, ...], Materials]] = field(default_factory=dict)

    def own(self, name: str) -> tuple[Entry, ...]:
        """The key entries of a node's own inputs."""
        return self._inputs(name)[0]

    def materials(self, name: str) -> Materials:
        """What goes into a node's box besides packages."""
        return self._inputs(name)[1]

    def texts(self, name: str) -> dict[str, str]:
        """The texts in a node's box by digest, for explanations."""
        return {digest_text(text): text for text in self.materials(name).texts.values()}

    def _inputs(self, name: str) -> tuple[tuple[Entry, ...], Materials]:
        if name not in self._made:
            described = self.described[name]
            walk = _Walk(self, described)
            self._made[name] = walk.package() if isinstance(described.recipe, MelangeRecipe) else walk.image(described.recipe)
        return self._made[name]


class _Walk:
    """Collects the entries and the materials of one node."""

    def __init__(self, inputs: Inputs, described: Described) -> None:
        self.inputs = inputs
        self.manifest = inputs.workspace.manifest
        self.described = described
        self.settings = self.manifest.settings(described.node.label)
        self.entries: list[Entry] = []
        self.texts: dict[str, str] = {}
        self.sources: list[SourceFile] = []

    def add(self, section: str, name: str, value: str, why: str, place: str = "") -> None:
        self.entries.append(Entry(section, name, value, why, place))

    def text(self, section: str, path: str, content: str, why: str, place: str) -> None:
        """A text file in the box, which counts by name and content."""
        self.texts[path] = content
        self.add(section, path, digest_text(content), why, place)

    def source(self, section: str, path: str, origin: str, why: str) -> None:
        """A file copied into the box; of its mode only whether its owner may execute it counts, as git has it."""
        digest = self.inputs.digest(origin)
        executable = bool(self.inputs.workspace.tree.files[origin][0] & _OWNER_EXECUTES)
        self.sources.append(SourceFile(path, origin, digest, executable))
        self.add(section, path, digest + (EXECUTABLE if executable else ""), why, origin)

    def common(self) -> None:
        environment = self.inputs.environment
        self.add("format", "inputs", FORMAT, "how bg fills a box")
        self.add("format", "box", environment.box, "how bg makes a box")
        if not environment.sealed:
            self.add("setting", "sandbox", "off", "results from outside the box are never taken for sealed ones")
        self.add("setting", "source-date-epoch", str(self.manifest.source_date_epoch), "the time in packages and images")
        self.add("setting", "architectures", " ".join(self.described.node.architectures), "what it is built for")
        if self.manifest.salt:
            self.add("setting", "salt", self.manifest.salt, "a salt disowns a cache")

    def package(self) -> tuple[tuple[Entry, ...], Materials]:
        recipe_file, recipe = self.described.target.recipe, self.described.recipe
        self.common()
        self.add("tool", "melange", self.inputs.environment.melange, "writes the packages")
        name = posixpath.basename(recipe_file.path)
        self.text("recipe", name, yamltext.emit(boxed_melange(recipe_file.tree)), "the recipe", f"{recipe_file.path}:1")
        for pipeline, found in sorted(self.described.pipelines.items()):
            self.text(
                "pipeline", f"pipelines/{pipeline}.yaml", yamltext.emit(found.tree), "used by the recipe", f"{found.path}:1"
            )
        found_sources = self.inputs.workspace.sources.sources(recipe_file, self.described.target.label.name, self.settings)
        for path, origin in sorted(found_sources.files.items()):
            self.source("source", f"src/{path}", origin, found_sources.why)
        if self.settings.vars_file:
            variables = yamltext.emit(self.inputs.workspace.yaml_file(self.settings.vars_file).tree)
            self.text("recipe", VARS_FILE, variables, "variables of the recipe", f"{self.settings.vars_file}:1")
        for position, env_file in enumerate(self.settings.env_files):
            content = self.inputs.workspace.text_file(env_file)
            self.text("recipe", f"{ENV_FILES}{position}.env", content, "environment of the recipe's steps", f"{env_file}:1")
        for option in self.settings.options:
            self.add("setting", f"option {option}", "on", "a build option of the manifest", self.settings.place)
        if self.settings.root:
            self.add("setting", "root", "true", "the recipe runs as real root", self.settings.place)
        network = self.network(recipe)
        if network:
            self.add("setting", "network", "on", "; ".join(network))
        return tuple(self.entries), Materials(
            kind="package",
            recipe=name,
            texts=self.texts,
            sources=tuple(self.sources),
            epoch=self.manifest.source_date_epoch,
            network=network,
            root=self.settings.root,
            options=self.settings.options,
            steps=_steps(recipe_file),
        )

    def network(self, recipe: MelangeRecipe | ApkoRecipe) -> tuple[str, ...]:
        """Why the action gets the network; empty where it does not."""
        mode = self.settings.network or self.manifest.network
        if mode == "on":
            return (f"network: on ({self.settings.place or 'the manifest'})",)
        if mode == "off" or not isinstance(recipe, MelangeRecipe):
            return ()
        return tuple(f"{reason.what} ({reason.path}:{reason.line})" for reason in recipe.network)

    def image(self, recipe: ApkoRecipe) -> tuple[tuple[Entry, ...], Materials]:
        recipe_file = self.described.target.recipe
        self.common()
        self.add("tool", "apko", self.inputs.environment.apko, "makes the image")
        tag = self.settings.tag or self.manifest.tag
        reference = f"{self.described.target.label.name}:{tag}"
        self.add("setting", "tag", reference, "lands in the image's SBOM and index", self.settings.place)
        name = posixpath.basename(recipe_file.path)
        merged = merged_apko(recipe_file.tree, recipe_file.path, recipe_file.text, load_include=self._include)
        boxed = boxed_apko(merged, keyring=self._keys(recipe), fallback_repositories=self.manifest.repositories)
        included = ", ".join(self.described.includes)
        why = f"the recipe, which includes {included}" if included else "the recipe"
        self.text("recipe", name, yamltext.emit(boxed), why, f"{recipe_file.path}:1")
        return tuple(self.entries), Materials(
            kind="image",
            recipe=name,
            texts=self.texts,
            sources=tuple(self.sources),
            epoch=self.manifest.source_date_epoch,
            tag=reference,
        )

    def _include(self, name: str, including: str) -> Source | None:
        return find_include(self.inputs.workspace, including, name)

    def _keys(self, recipe: ApkoRecipe) -> tuple[str, ...]:
        """Puts the keys that the keyring names into the box; apko copies them into the image under their base names."""
        lines = [line.text for line in recipe.keyring] or list(self.manifest.keyring)
        paths = []
        for line in lines:
            path = f"keys/{posixpath.basename(line)}"
            self.text(
                "setting", path, self.inputs.key(line).decode("utf-8", "surrogateescape"), "a key of the image's keyring", line
            )
            paths.append(path)
        return tuple(paths)


def _steps(recipe_file: RecipeFile) -> dict[str, str]:
    """Where the named steps of a recipe stand, and where its steps begin."""
    found: dict[str, str] = {}
    pending: list[YamlNode] = [recipe_file.tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Scalar):
            continue
        children = list(node.items.values()) if isinstance(node, YamlMapping) else node.items
        pending += children
        name = node.items.get("name") if isinstance(node, YamlMapping) else None
        if isinstance(name, Scalar):
            found.setdefault(name.text, f"{recipe_file.path}:{node.line}")
    if "pipeline" in recipe_file.tree.keys:
        found[""] = f"{recipe_file.path}:{recipe_file.tree.keys['pipeline'][0]}"
    return found
