"""A node's own inputs: one walk makes the key entries and the materials that go into the box, so that they cannot differ."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping

from buildgraph.errors import RecipeError
from buildgraph.keys.digest import Digest, digest_text
from buildgraph.keys.document import Entry
from buildgraph.plan.explain import EXECUTABLE
from buildgraph.plan.materials import ENV_FILES, VARS_FILE, Materials, SourceFile
from buildgraph.plan.nodes import Described, find_include
from buildgraph.recipes import yamltext
from buildgraph.recipes.melange import boxed_melange
from buildgraph.recipes.steps import logged_steps
from buildgraph.recipes.values import PinnedSource, Source
from buildgraph.structs import Struct, field, replace
from buildgraph.workspace.sources import SourceSet
from buildgraph.workspace.workspace import Workspace

# Raise it when what this module puts into a box changes in a way that no entry shows.
FORMAT = "1"
_OWNER_EXECUTES = 0o100

Digests = Callable[[str], Digest]


class Environment(Struct, frozen=True):
    """What counts for every node: the tools' versions, the box's format, whether there is a box at all."""

    melange: str
    apko: str
    box: str
    sealed: bool


class Inputs(Struct):
    """The own inputs of nodes, each worked out once.

    ``digest`` gives the digest of a workspace file, ``key`` the public key that a keyring line names.
    """

    workspace: Workspace
    described: Mapping[str, Described]
    digest: Digests
    key: Callable[[str], bytes]
    environment: Environment
    _own: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    _materials: dict[str, Materials] = field(default_factory=dict)
    _files: dict[str, SourceSet] = field(default_factory=dict)

    def own(self, name: str) -> tuple[Entry, ...]:
        """The key entries of a node's own inputs."""
        if name not in self._own:
            self._own[name] = tuple(self._walk(name).entries)
        return self._own[name]

    def materials(self, name: str) -> Materials:
        """What goes into a node's box besides packages. Raises RecipeError where a file is not what its key entry says."""
        if name not in self._materials:
            self._materials[name] = self._walk(name).materials(self.own(name))
        return self._materials[name]

    def texts(self, name: str) -> dict[str, str]:
        """The texts in a node's box by digest, for explanations."""
        return {digest_text(text): text for text in self.materials(name).texts.values()}

    def network(self, name: str) -> tuple[str, ...]:
        """Why a node's action gets the network; empty where it does not."""
        described = self.described[name]
        settings = self.workspace.manifest.settings(described.node.label)
        mode = settings.network or self.workspace.manifest.network
        if mode == "on":
            return (f"network: on ({settings.place or 'the manifest'})",)
        return () if mode == "off" else tuple(f"{reason.what} ({reason.path}:{reason.line})" for reason in described.network)

    def sources(self, name: str) -> tuple[PinnedSource, ...]:
        """What bg brings for a node's action: the sources that its recipe pins, unless the action has the network itself."""
        return () if self.network(name) else self.described[name].sources

    def source_files(self, name: str) -> Iterable[str]:
        """The files of the workspace that are copied into a node's box."""
        described = self.described[name]
        if described.node.kind != "package":
            return ()
        return self.files_of(described).files.values()

    def files_of(self, described: Described) -> SourceSet:
        """The files that are copied into the box of a package, and why."""
        path = described.node.path
        if path not in self._files:
            settings = self.workspace.manifest.settings(described.node.label)
            self._files[path] = self.workspace.sources.sources(described.target.recipe, described.target.label.name, settings)
        return self._files[path]

    def _walk(self, name: str) -> _Walk:
        described = self.described[name]
        return (_PackageWalk if described.node.kind == "package" else _ImageWalk)(self, described)


class _Walk:
    """Collects the entries of one node, and beside them what they stand for."""

    def __init__(self, inputs: Inputs, described: Described) -> None:
        self.inputs = inputs
        self.manifest = inputs.workspace.manifest
        self.described = described
        self.settings = self.manifest.settings(described.node.label)
        self.recipe = posixpath.basename(described.node.path)
        self.entries: list[Entry] = []
        self.sources: list[SourceFile] = []
        self.common()
        self.own()

    def add(self, section: str, name: str, value: str, why: str, place: str = "") -> None:
        self.entries.append(Entry(section, name, value, why, place))

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

    def own(self) -> None:
        """Adds what is particular to the kind of node."""
        raise NotImplementedError

    def texts(self) -> dict[str, str]:
        """The text files in the box, by their paths there."""
        raise NotImplementedError

    def materials(self, entries: Iterable[Entry]) -> Materials:
        """What goes into the box; its texts are those of the entries, or RecipeError."""
        counted = {entry.name: entry.value for entry in entries if entry.section in {"recipe", "pipeline", "setting"}}
        texts = self.texts()
        for path, text in texts.items():
            if counted[path] != digest_text(text):
                message = f"{self.described.node.path} changed while bg was at work ({path})"
                raise RecipeError(message, hint="run it again")
        return Materials(
            kind=self.described.node.kind,
            recipe=self.recipe,
            texts=texts,
            sources=tuple(self.sources),
            epoch=self.manifest.source_date_epoch,
        )


class _PackageWalk(_Walk):
    """A package: its recipe, local pipelines and sources."""

    def own(self) -> None:
        self.add("tool", "melange", self.inputs.environment.melange, "writes the packages")
        self.entries += self.described.texts
        found = self.inputs.files_of(self.described)
        for path, origin in sorted(found.files.items()):
            self.source(f"src/{path}", origin, found.why)
        if self.settings.vars_file:
            self.text_entry(VARS_FILE, "variables of the recipe", self.settings.vars_file)
        for position, env_file in enumerate(self.settings.env_files):
            self.text_entry(f"{ENV_FILES}{position}.env", "environment of the recipe's steps", env_file)
        for option in self.settings.options:
            self.add("setting", f"option {option}", "on", "a build option of the manifest", self.settings.place)
        if self.settings.root:
            self.add("setting", "root", "true", "the recipe runs as real root", self.settings.place)
        network = self.inputs.network(self.described.node.id)
        if network:
            self.add("setting", "network", "on", "; ".join(network))
        self.fetched()

    def fetched(self) -> None:
        """The sources that bg brings; of one address several may be wanted."""
        found: dict[str, dict[str, str]] = {}
        for source in self.inputs.sources(self.described.node.id):
            found.setdefault(source.address, {}).setdefault(source.content, source.place)
        for address, contents in found.items():
            self.add("fetched", address, " ".join(sorted(contents)), "a source that the recipe pins", min(contents.values()))

    def text_entry(self, path: str, why: str, origin: str) -> None:
        self.add("recipe", path, digest_text(self.setting_files()[path]), why, f"{origin}:1")

    def setting_files(self) -> dict[str, str]:
        """The texts of the files with variables and with the environment, by their paths in the box."""
        workspace, found = self.inputs.workspace, {}
        if self.settings.vars_file:
            found[VARS_FILE] = yamltext.emit(workspace.yaml_file(self.settings.vars_file).tree)
        for position, env_file in enumerate(self.settings.env_files):
            found[f"{ENV_FILES}{position}.env"] = workspace.text_file(env_file)
        return found

    def source(self, path: str, origin: str, why: str) -> None:
        """A file copied into the box; of its mode only whether its owner may execute it counts, as git has it."""
        digest = self.inputs.digest(origin)
        executable = bool(self.inputs.workspace.tree.files[origin][0] & _OWNER_EXECUTES)
        self.sources.append(SourceFile(path, origin, digest, executable))
        self.add("source", path, digest + (EXECUTABLE if executable else ""), why, origin)

    def texts(self) -> dict[str, str]:
        pipelines = {
            f"pipelines/{name}.yaml": yamltext.emit(self.inputs.workspace.yaml_file(path).tree)
            for name, path in self.described.pipelines
        }
        own = yamltext.emit(boxed_melange(self.described.target.recipe.tree))
        return {self.recipe: own, **pipelines, **self.setting_files()}

    def materials(self, entries: Iterable[Entry]) -> Materials:
        recipe = self.described.target.recipe
        return replace(
            super().materials(entries),
            network=self.inputs.network(self.described.node.id),
            fetched=self.inputs.sources(self.described.node.id),
            root=self.settings.root,
            options=self.settings.options,
            steps=logged_steps(recipe.tree, recipe.path, recipe.text),
        )


class _ImageWalk(_Walk):
    """An image: its recipe with what it includes, and the keys that it shows."""

    def own(self) -> None:
        self.add("tool", "apko", self.inputs.environment.apko, "makes the image")
        self.add("setting", "tag", self.tag, "lands in the image's SBOM and index", self.settings.place)
        included = ", ".join(self.described.includes)
        why = f"the recipe, which includes {included}" if included else "the recipe"
        texts = self.texts()
        self.add("recipe", self.recipe, digest_text(texts[self.recipe]), why, f"{self.described.node.path}:1")
        for line, path in self.keys().items():
            self.add("setting", path, digest_text(texts[path]), "a key of the image's keyring", line)

    @property
    def tag(self) -> str:
        return f"{self.described.target.label.name}:{self.settings.tag or self.manifest.tag}"

    def keys(self) -> dict[str, str]:
        """Where in the box the keys lie that the keyring names; apko copies them into the image under their base names."""
        return {line: f"keys/{posixpath.basename(line)}" for line in self.inputs.workspace.keyring(self.described.keyring)}

    def texts(self) -> dict[str, str]:
        from buildgraph.recipes.apko import boxed_apko, merged_apko  # many runs look at no image

        file, keys = self.described.target.recipe, self.keys()
        merged = merged_apko(file.tree, file.path, file.text, load_include=self._include)
        boxed = boxed_apko(merged, keyring=tuple(keys.values()), fallback_repositories=self.manifest.repositories)
        found = {path: self.inputs.key(line).decode("utf-8", "surrogateescape") for line, path in keys.items()}
        return {self.recipe: yamltext.emit(boxed), **found}

    def materials(self, entries: Iterable[Entry]) -> Materials:
        return replace(super().materials(entries), tag=self.tag)

    def _include(self, name: str, including: str) -> Source | None:
        return find_include(self.inputs.workspace, including, name)
