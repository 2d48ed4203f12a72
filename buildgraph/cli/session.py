"""Wiring: one run of bg on one workspace, its parts made when first asked for."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from buildgraph import __version__
from buildgraph.apk.pool import Pool
from buildgraph.cache.cas import Cas
from buildgraph.cache.locks import ActionLocks
from buildgraph.cache.records import Records
from buildgraph.errors import LockError, RecipeError, ToolError
from buildgraph.execute import asking, box, locking, process
from buildgraph.execute.repositories import Repositories, is_remote
from buildgraph.execute.tools import Toolbox, find_tools, pinned_versions
from buildgraph.graph.build import build_graph, locals_by_architecture
from buildgraph.graph.model import Graph
from buildgraph.keys.digest import Digest, digest_file, digest_text, new_hasher
from buildgraph.plan.explain import Explainer
from buildgraph.plan.inputs import Environment, Inputs
from buildgraph.plan.nodes import Nodes, make_nodes
from buildgraph.plan.rebuild import Rebuilder, Unlocked
from buildgraph.plan.store import RecordStore
from buildgraph.recipes.architecture import to_apk
from buildgraph.recipes.builtins import Builtins, Table, is_known
from buildgraph.recipes.values import MelangeRecipe, Need
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.report.console import Console
from buildgraph.workspace import state as states
from buildgraph.workspace import workspace as workspaces
from buildgraph.workspace.discovery import Target
from buildgraph.workspace.lockfile import Lock, Locked, read_lock, write_lock
from buildgraph.workspace.manifest import Manifest, load_manifest
from buildgraph.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the environment decide; the manifest decides the rest."""

    root: Path
    here: Path
    environment: Mapping[str, str]
    user_cache: Path
    user_config: Path
    cache: Path | None = None
    out: Path | None = None
    sealed: bool = True
    locked: bool | None = None
    offline: bool = False


@dataclass
class Session:
    """A workspace with its cache, tools, graph and keys."""

    settings: Settings
    console: Console
    cancelled: threading.Event = field(default_factory=threading.Event)
    walked_at: int = 0
    _lock: Lock | None = None
    _unwinding: bool = False

    def stop(self, _signal: int = 0, _frame: object = None) -> None:
        """The handler of SIGINT and SIGTERM: stops every child at once, and this thread unless it waits for its workers."""
        self.cancelled.set()
        process.kill_all()
        if not self._unwinding:
            raise KeyboardInterrupt

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """A block that watches ``cancelled`` itself and unwinds in order."""
        self._unwinding = True
        try:
            yield
        finally:
            self._unwinding = False

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest."""
        return load_manifest(self.settings.root)

    @cached_property
    def state_file(self) -> Path:
        """Where the state of the last run is kept."""
        return states.state_path(self.settings.user_cache, self.settings.root)

    @cached_property
    def state(self) -> states.State:
        """The state of the last run, its tree replaced by what is there now; digests of files that did not change are kept."""
        before = states.load_state(self.state_file, __version__)
        self.walked_at = states.now()
        tree = workspaces.walk(self.manifest)
        kept = {name: digest for name, digest in before.digests.items() if tree.files.get(name) == before.tree.files.get(name)}
        # Finished builds are known by the tree that they saw: with another tree they say nothing.
        return states.State(tree, kept, before.builds if tree == before.tree else {})

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace as it lies there."""
        return workspaces.load_workspace(self.manifest, self.state.tree)

    @cached_property
    def nodes(self) -> Nodes:
        """Every node."""
        return make_nodes(self.workspace, to_apk(platform.machine()), self.builtins)

    @cached_property
    def builtins(self) -> Builtins:
        """The pipelines that melange carries; the tools are looked for only where their version is not a known one."""
        version = pinned_versions(tools_folder())["melange"]
        if self.manifest.tools == "pinned" and is_known(version):
            return Table(version)
        return asking.builtins_of(self.tools, self.settings.user_cache / "pipelines")

    @cached_property
    def graph(self) -> Graph:
        """The frozen graph."""
        return build_graph(described.node for described in self.nodes.described.values())

    @cached_property
    def cache_folder(self) -> Path:
        """The root of the cache."""
        return self.settings.cache or self.settings.root / self.manifest.cache

    @cached_property
    def out_folder(self) -> Path:
        """Where outputs go."""
        return self.settings.out or self.settings.root / self.manifest.out

    @cached_property
    def cas(self) -> Cas:
        """The blobs."""
        return Cas(self.cache_folder, new_hasher)

    @cached_property
    def records(self) -> Records:
        """The records."""
        return Records(self.cache_folder, notice=self.console.say)

    @cached_property
    def locks(self) -> ActionLocks:
        """The locks between processes."""
        return ActionLocks(self.cache_folder)

    @cached_property
    def store(self) -> RecordStore:
        """Records and blobs together."""
        return RecordStore(self.cas, self.records, digest_text(str(self.settings.root))[:16])

    @cached_property
    def repositories(self) -> Repositories:
        """Where external packages come from."""
        return Repositories(self.manifest, self.cas, self.records, self.cache_folder, self.console.say)

    @cached_property
    def tools(self) -> Toolbox:
        """melange, apko and bubblewrap, provisioned on first use."""
        return find_tools(
            self.settings.environment,
            tools_folder(),
            self.settings.user_cache,
            self.console.say,
            offline=self.settings.offline,
            any_version=self.manifest.tools == "path",
        )

    @cached_property
    def inputs(self) -> Inputs:
        """The own inputs of nodes."""
        environment = Environment(self.tools.melange_version, self.tools.apko_version, box.FORMAT, self.settings.sealed)
        return Inputs(self.workspace, self.nodes.described, self.digest, self.key, environment)

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """Keys and look-ups."""
        return Rebuilder(self.graph, locals_by_architecture(self.graph.nodes.values()), self.pools(), self.inputs.own, self.store)

    @cached_property
    def explainer(self) -> Explainer:
        """Reasons."""
        return Explainer(self.store, self.inputs.texts, self._user_tree)

    @property
    def lock(self) -> Lock:
        """The lock as it is now."""
        if self._lock is None:
            self._lock = read_lock(self.workspace.lock_path)
        return self._lock

    def pools(self) -> dict[str, Pool]:
        """The lock's pool for each architecture of the graph."""
        architectures = {arch for node in self.graph.nodes.values() for arch in node.architectures}
        return {arch: Pool(self.lock.entries(arch)) for arch in architectures}

    def digest(self, path: str) -> Digest:
        """The digest of a workspace file, from the state where stat says that it did not change."""
        known = self.state.digests.get(path)
        if known is None:
            try:
                known = digest_file(self.settings.root / path)
            except OSError as error:
                message = f"cannot read {path}: {error.strerror}"
                raise RecipeError(message) from error
            self.state.digests[path] = known
        return Digest(known)

    def key(self, line: str) -> bytes:
        """The public key that a keyring line names."""
        return self.repositories.key_file(line).read_bytes()

    def _user_tree(self, name: str) -> tuple[str, YamlMapping]:
        recipe = self.nodes.described[name].target.recipe
        return recipe.path, recipe.tree

    def select(self, patterns: Sequence[str]) -> list[Target]:
        """The targets that patterns name, as seen from where the user stands."""
        recipes = self.settings.root / self.manifest.recipes
        here = os.path.relpath(self.settings.here, recipes)
        inner = "" if here == "." or here.startswith("..") else here
        simple = all(pattern.lstrip("-").startswith("//") and pattern.endswith("...") for pattern in patterns)
        return self.workspace.select(patterns, inner, {} if simple else self.nodes.origins)

    def wanted(self, patterns: Sequence[str]) -> list[str]:
        """The nodes that patterns name."""
        return self.nodes.of(self.select(patterns))

    def complete_lock(self, wanted: Iterable[str]) -> list[Locked]:
        """Extends the lock by what the wanted nodes and everything below them declare; the packages that are new.

        Raises LockError where the lock must not change, GraphError for what nothing provides.
        """
        missing = self.rebuilder.unlocked(name for name in self.graph.order if name in self.graph.closure(list(wanted)))
        return self.extend_lock(missing) if missing else []

    def extend_lock(self, missing: Mapping[str, Unlocked]) -> list[Locked]:
        """Asks apko for the worlds that the lock does not cover, and writes the lock."""
        worlds = [self._world(name, arch, unlocked) for name, unlocked in missing.items() for arch in unlocked.worlds]
        if self.is_locked():
            entries = sorted({f"{world.architecture}: {text}" for world in worlds for text in _missing_of(world, missing)})
            message = f"buildgraph.lock lacks {len(entries)} requirements, and must not change here"
            raise LockError(message, details="\n".join(entries), hint="run `bg lock` and commit buildgraph.lock")
        self.console.say(f"lock   asking apko for external packages, for {len(worlds)} environment(s) and image(s)")
        names = [name for local in self.rebuilder.local.values() for name in local.names()]
        before = {package.sort_key for package in self.lock.packages}
        solver = locking.Solver(self.repositories, self.tools.apko, self.cas, self.lock, names)
        chosen = locking.solve(worlds, solver)
        self.use_lock(self.lock.with_packages(chosen))
        write_lock(self.workspace.lock_path, self.lock)
        added = [package for package in self.lock.packages if package.sort_key not in before]
        self.console.say(f"lock   {len(added)} packages added to buildgraph.lock")
        return added

    def use_lock(self, lock: Lock) -> None:
        """Goes on with another lock."""
        self._lock = lock
        self.rebuilder.use_pools(self.pools())

    def is_locked(self) -> bool:
        """Whether the lock must not change: as said, else where CI is set and a lock exists."""
        if self.settings.locked is not None:
            return self.settings.locked
        return bool(self.settings.environment.get("CI")) and self.workspace.lock_path.exists()

    def _world(self, name: str, arch: str, unlocked: Unlocked) -> locking.World:
        recipe = self.nodes.described[name].recipe
        repositories = recipe.repositories
        if not isinstance(recipe, MelangeRecipe):
            repositories = (*recipe.build_repositories, *repositories)
        lines = [line.text for line in repositories if is_remote(line.text)]
        keyring = [line.text for line in recipe.keyring if is_remote(line.text)]
        needs: dict[str, Need] = dict(unlocked.missing[arch])
        for need in self.graph.nodes[name].world:
            needs.setdefault(need.text, need)
        return locking.World(
            name,
            arch,
            unlocked.worlds[arch],
            tuple(dict.fromkeys(lines or self.manifest.repositories)),
            tuple(dict.fromkeys(keyring or self.manifest.keyring)),
            needs,
        )

    def save_state(self) -> None:
        """Keeps what this run learnt, for the next one."""
        states.save_state(self.state_file, __version__, self.state, self.walked_at)


def _missing_of(world: locking.World, missing: Mapping[str, Unlocked]) -> list[str]:
    return [f"{text}  (for {world.node})" for text in missing[world.node].missing[world.architecture]]


def tools_folder() -> Path:
    """Where go.mod and go.sum of the tools lie: in a clone beside the package, in an installed wheel within it."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent / "tools", package / "execute" / "data"):
        if (folder / "go.mod").is_file():
            return folder
    message = "this installation lacks tools/go.mod"
    raise ToolError(message, hint="install buildgraph again")
