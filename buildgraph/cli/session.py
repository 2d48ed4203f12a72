"""Wiring: one run of bg on one workspace, its parts made when first asked for."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildgraph import __version__
from buildgraph.cache.cas import Cas
from buildgraph.cache.locks import ActionLocks
from buildgraph.cache.records import Records
from buildgraph.cli import kept as keeping
from buildgraph.cli import quick
from buildgraph.cli.kept import Kept, take_over
from buildgraph.cli.locker import Locker
from buildgraph.cli.selection import Selection
from buildgraph.cli.settings import Settings, tools_folder
from buildgraph.cli.using import CacheUse
from buildgraph.errors import BgError, RecipeError, RepositoryError, ToolError
from buildgraph.execute import box, process
from buildgraph.execute.repositories import Repositories
from buildgraph.execute.tools import Toolbox, candidates, find_tools, pinned_versions
from buildgraph.graph.build import build_graph, locals_by_architecture
from buildgraph.graph.model import Graph
from buildgraph.keys.digest import Digest, digest_file, digest_text, new_hasher
from buildgraph.plan.explain import Explainer
from buildgraph.plan.inputs import Environment, Inputs
from buildgraph.plan.nodes import Nodes, make_nodes, wanted_architectures
from buildgraph.plan.readings import Lines, Readings
from buildgraph.plan.rebuild import Rebuilder
from buildgraph.plan.store import RecordStore
from buildgraph.recipes.architecture import to_apk
from buildgraph.recipes.builtins import Builtins, Table, is_known
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.report.console import Console
from buildgraph.structs import Struct, field, to_json
from buildgraph.web.access import Access
from buildgraph.workspace import state as states
from buildgraph.workspace import workspace as workspaces
from buildgraph.workspace.lockfile import Lock
from buildgraph.workspace.manifest import CACHE, FILE_NAME, Manifest, load_manifest
from buildgraph.workspace.sources import SourceFinder
from buildgraph.workspace.statefile import state_path
from buildgraph.workspace.stats import changed_files, stamp, stat_of
from buildgraph.workspace.workspace import Workspace

if TYPE_CHECKING:
    from buildgraph.execute.sources import Sources
    from buildgraph.plan.recovery import Judge
    from buildgraph.remote.shared import SharedCache


class Session(Struct, dict=True):
    """A workspace with its cache, tools, graph and keys."""

    settings: Settings
    console: Console
    cancelled: threading.Event = field(default_factory=threading.Event)
    closing: ExitStack = field(default_factory=ExitStack)
    walked_at: int = 0
    _unwinding: bool = False
    _changed: list[str] | None = None
    _graph_is_kept: bool = False
    _read_at: dict[Path, list[int]] = field(default_factory=dict)
    _hashed: set[str] = field(default_factory=set)
    _recovery: Judge | None = None
    planned: bool = False
    remembers: bool = True
    look: quick.Look | None = None

    def __repr__(self) -> str:
        return f"Session({str(self.settings.root)!r})"  # `signal` asks for that of a handler, and all of it is huge

    def stop(self, _signal: int = 0, _frame: object = None) -> None:
        """The handler of SIGINT and SIGTERM: stops every child at once, and this thread unless it waits for its workers."""
        from buildgraph.web import client  # most commands ask no server

        self.cancelled.set()
        process.kill_all()
        client.interrupt()
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
        self.note_stat(self.settings.root / FILE_NAME)
        return load_manifest(self.settings.root)

    def note_stat(self, path: Path) -> None:
        """Keeps the stat of a file that is about to be read: what changes later was not seen."""
        self._read_at.setdefault(path, states.stamp_to_read(path))

    def note_written(self, path: Path) -> None:
        """Keeps the stat of a file that this run wrote, whose content it so knows."""
        self._read_at[path] = stamp(path)

    @cached_property
    def state_file(self) -> str:
        """Where the state of the last run is kept."""
        return state_path(self.settings.user_cache, self.settings.root)

    @cached_property
    def state(self) -> states.State:
        """The state of the last run, its tree replaced by what is there now; digests of files that did not change are kept."""
        look = self.look if self.look and self.look.root == str(self.settings.root) else None
        if look and look.file and look.tree:
            before, self.walked_at = states.state_in(look.file, look.tree), look.at
        else:
            look, before = None, states.load_state(self.state_file, __version__)
            self.walked_at = states.now()
        workspaces.refuse_hidden_recipes(self.manifest)
        basis = digest_text(f"{quick.program()} {workspaces.basis_of_walk(self.manifest)}").encode()
        changed = None
        if before.parts.get("manifest") == basis:
            changed = look.changed if look else changed_files(self.settings.root, before.tree)
        if changed is None:
            now = workspaces.walk(self.manifest)
            kept = {name: digest for name, digest in before.digests.items() if now.files.get(name) == before.tree.files.get(name)}
        else:
            now = before.tree.with_files(changed)
            kept = {name: digest for name, digest in before.digests.items() if name not in changed}
        # Answers are known by the tree that they saw: with another tree they say nothing.
        answers = before.answers if changed == {} or now == before.tree else {}
        state = states.State(now, kept, answers, before.parts | {"manifest": basis})
        if changed is not None:
            self._changed = [path for path in changed if self._is_another(path, before, state)]
        return state

    def _is_another(self, path: str, before: states.State, state: states.State) -> bool:
        """Whether a file has another content or mode than before."""
        try:
            same = self._digest_in(path, state) == before.digests.get(path)
        except RecipeError:  # told if somebody needs the file
            return True
        return not same or state.tree.files[path][0] != before.tree.files[path][0]

    def signature(self) -> str:
        """What the graph depends on besides files."""
        return digest_text(f"{quick.program()} {self.readings.wanted} {self.builtins.version} {self.manifest}")

    def _premises(self, readings: Readings) -> str:
        return digest_text(f"{quick.program()} {readings.premises()}")

    def basis(self) -> dict[str, str]:
        """What deep keys depend on besides the workspace's files: the lock as it was read, the tools, where keys are kept."""
        return {"lock": self.lock.digest(), "environment": f"{self.inputs.environment} {self.cache_folder}"}

    @cached_property
    def kept(self) -> Kept | None:
        """The graph of the last run, if it is that of now."""
        if self.state.parts:  # with it comes what changed
            return take_over(self, self._changed)
        return None

    def around(self) -> dict[Path, list[int]]:
        """The files outside of the tree whose content or absence is in keys, by this run or those that it builds upon.

        Each has the stat that it had before it was looked at.
        """
        before = self.kept.basis["around"] if self.kept else {}
        known = {Path(folder, name): seen for folder, names in before.items() for name, seen in names.items()}
        return self.workspace.looked_at | self.repositories.key_files | known

    @cached_property
    def cache_seen(self) -> dict[str, dict[str, list[int]]]:
        """The stats of what changes whenever the cache has something more or less; to be asked before the cache is."""
        return quick.stamps_of([self.records.changed, *self.cas.folders()])

    @cached_property
    def readings(self) -> Readings:
        """What is known of each YAML file."""
        bare = workspaces.bare_workspace(self.manifest, self.state.tree)
        wanted = wanted_architectures(bare, to_apk(platform.machine()))
        found = Readings(bare, wanted, self._digest_if_there, self.builtins, self._learn_digest)
        found.lines = Lines(self.state.parts.get("readings", b""), self._premises(found))
        return found

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace as it lies there."""
        if self.kept is not None:
            found = self.kept.restored
            sources = SourceFinder(self.state.tree, found.recipes.values())
            return Workspace(self.manifest, self.state.tree, found.recipes, found.targets, sources, found.left_out)
        self.readings.prepare(workspaces.recipe_candidates(self.manifest, self.state.tree))
        return workspaces.load_workspace(self.manifest, self.state.tree, self.readings.recipe_file)

    @cached_property
    def nodes(self) -> Nodes:
        """Every node."""
        if self.kept is not None:
            return self.kept.restored.nodes
        return make_nodes(self.workspace, self.readings.describe, self.readings.wanted)

    @cached_property
    def builtins(self) -> Builtins:
        """The pipelines that melange carries; the tools are looked for only where their version is not a known one."""
        version = pinned_versions(tools_folder())["melange"]
        if self.manifest.tools == "pinned" and is_known(version):
            return Table(version)
        from buildgraph.execute import asking

        return asking.builtins_of(self.tools, self.settings.user_cache / "pipelines")

    @cached_property
    def graph(self) -> Graph:
        """The frozen graph."""
        if self.kept is not None:
            return self.kept.restored.graph
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
        """The blobs, none of which goes while this session uses the cache."""
        cas = Cas(self.cache_folder, new_hasher)
        self.closing.callback(self.use.leave)
        self.use.join()
        return cas

    @cached_property
    def use(self) -> CacheUse:
        """This session's hold on the cache as a whole."""
        return CacheUse(self.cache_folder, self.console.say, self.cancelled)

    @cached_property
    def workspace_name(self) -> str:
        """What the cache knows this workspace by."""
        return digest_text(str(self.settings.root))[:16]

    @cached_property
    def records(self) -> Records:
        """The records."""
        return Records(self.cache_folder, notice=self.console.say, judge=self._judge)

    def _judge(self, kind: str, key: str, value: Mapping[str, Any]) -> str:
        """Why a record is left out where the records are made again, which most runs do not see."""
        if self._recovery is None:
            from buildgraph.plan.recovery import Judge

            self._recovery = Judge(self.cache_folder)
        return self._recovery(kind, key, value)

    @cached_property
    def locks(self) -> ActionLocks:
        """The locks between processes."""
        return ActionLocks(self.cache_folder)

    @cached_property
    def store(self) -> RecordStore:
        """Records and blobs together."""
        return RecordStore(self.cas, self.records, self.workspace_name, self.settings.tier, elsewhere=self.elsewhere)

    @cached_property
    def elsewhere(self) -> SharedCache | None:
        """The caches on other machines, if the manifest names some."""
        if not self.manifest.remotes or self.settings.offline:
            return None
        from buildgraph.cli.sharing import open_remotes  # most workspaces have none

        return open_remotes(self.manifest, self.settings, self.cas, self.console.say, self.cancelled.is_set)

    def finish_sharing(self) -> None:
        """Waits until the caches on other machines have what they are to get, and says what they gave and got; once."""
        shared = self.__dict__.get("elsewhere")
        if shared is not None and not shared.is_finished:
            from buildgraph.cli.sharing import finish

            finish(shared, self.console.say)

    @cached_property
    def repositories(self) -> Repositories:
        """Where external packages come from."""
        access = None if self.settings.offline else self.access
        say, scratch = self.console.say, lambda: self.scratch
        return Repositories(self.manifest, self.cas, self.records, self.cache_folder, say, scratch, access)

    @cached_property
    def access(self) -> Access:
        """How servers are asked."""
        return Access.of(self.settings.environment, self.cancelled.wait)

    @cached_property
    def scratch(self) -> Path:
        """A folder that goes when the session ends."""
        return self.closing.enter_context(self.cas.scratch())

    @cached_property
    def sources(self) -> Sources:
        """Where the sources come from that recipes pin."""
        from buildgraph.execute.sources import Sources  # a plan does without

        access = None if self.settings.offline else self.access
        return Sources(self.manifest, self.cas, self.records, self.console.say, self.settings.environment, access)

    @cached_property
    def tools(self) -> Toolbox:
        """melange, apko and bubblewrap, provisioned on first use."""
        for folder in self.settings.environment.get("PATH", os.defpath).split(os.pathsep):
            for name in ("melange", "apko", "bwrap"):
                self.note_stat(Path(folder, name))
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
        return Inputs(self.workspace, self.nodes.described, self.digest, self.key, self.environment)

    @cached_property
    def environment(self) -> Environment:
        """What counts for every node; the name stands for the version of a tool that is not at hand, where that may be."""
        try:
            melange, apko = self.tools.melange_version, self.tools.apko_version
        except ToolError:
            if not self.settings.stand_ins:
                raise
            melange = apko = self.manifest.tools
        return Environment(melange, apko, box.FORMAT, self.settings.sealed)

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """Keys and look-ups."""
        kept = self.kept
        local = kept.restored.local if kept else locals_by_architecture(self.graph.nodes.values())
        rebuilder = Rebuilder(self.graph, local, self.locker.pools(), self.inputs.own, self.store)
        if kept is not None:
            kept.hand_over(rebuilder, self.basis())
        return rebuilder

    @cached_property
    def explainer(self) -> Explainer:
        """Reasons."""
        return Explainer(self.store, self.inputs.texts, self.user_tree)

    @cached_property
    def locker(self) -> Locker:
        """The lock: reads, completes and writes it."""
        return Locker(self)

    @property
    def lock(self) -> Lock:
        """The lock as it is now."""
        return self.locker.lock

    @cached_property
    def rebuilder_architectures(self) -> set[str]:
        """The architectures of all nodes."""
        if self.kept is not None:
            return set(self.kept.restored.local)
        return {arch for node in self.graph.nodes.values() for arch in node.architectures}

    def digest(self, path: str) -> Digest:
        """The digest of a workspace file, from the state where stat says that it did not change."""
        return self._digest_in(path, self.state)

    def _digest_in(self, path: str, state: states.State) -> Digest:
        known = state.digests.get(path)
        if known is None:
            self._hashed.add(path)
            try:
                known = digest_file(self.manifest.root / path)
            except OSError as error:
                message = f"cannot read {path}: {error.strerror}"
                raise RecipeError(message) from error
            state.digests[path] = known
        return Digest(known)

    def _digest_if_there(self, path: str) -> Digest | None:
        return self.digest(path) if path in self.state.tree.files else None

    def _learn_digest(self, path: str, digest: Digest) -> None:
        self._hashed.add(path)
        self.state.digests[path] = digest

    def key(self, line: str) -> bytes:
        """The public key that a keyring line names; the line stands for one that cannot be had, where that may be."""
        try:
            return self.repositories.key_file(line).read_bytes()
        except RepositoryError:
            if not self.settings.stand_ins:
                raise
            return line.encode()

    def user_tree(self, name: str) -> tuple[str, YamlMapping]:
        """The recipe of a node as the user has it: its path and its YAML tree."""
        recipe = self.nodes.described[name].target.recipe
        return recipe.path, recipe.tree

    @cached_property
    def selection(self) -> Selection:
        """What patterns name."""
        return Selection(self)

    def remember(self, asked: str, outside: Mapping[str, Mapping[str, list[int]]], text: str) -> None:
        """Notes what a command printed: it will print the same while the workspace and these files stay as they are.

        ``outside`` are the stats of files that only this command looked at. What was read counts as it was before that.
        """
        if not self.remembers:
            return
        tools = self.tools
        stamps = quick.stamps_of([tools.melange, tools.apko, tools.bwrap, *candidates(self.settings.environment)])
        for more in (quick.grouped(self.around()), quick.grouped(self._read_at), quick.stamps_of(self._tell_cache()), outside):
            for folder, names in more.items():
                stamps.setdefault(folder, {}).update(names)
        self.state.answers.pop(asked, None)
        self.state.answers[asked] = to_json({"stamps": stamps, "answer": text})

    def _tell_cache(self) -> list[Path]:
        """What tells whether the folder that is a cache by default holds sources instead."""
        folder = self.settings.root / CACHE
        return [folder / "FORMAT", *([] if (folder / "FORMAT").exists() else [folder])]

    def save_state(self) -> None:
        """Keeps what this run learnt, for the next one."""
        if "state" not in self.__dict__:
            return
        self._forget_what_moved()
        if "readings" in self.__dict__ and self.readings.fresh:
            self.state.parts["readings"] = self.readings.lines.to_bytes(self._premises(self.readings), self.state.tree.files)
        try:
            self.keep_graph()
        except BgError:  # whatever it is, it was told or is of no concern to this command
            keeping.forget(self)
        states.save_state(self.state_file, __version__, self.state, self.walked_at)

    def _forget_what_moved(self) -> None:
        """Drops what was read from files that changed after the walk: nobody knows which of their contents was read."""
        read = set(self._hashed)
        if "rebuilder" in self.__dict__:
            for name in self.rebuilder.worked_out():
                described = self.nodes.described[name]
                read.update((described.node.path, *described.looked_for))
        files = self.state.tree.files
        moved = {path for path in read & files.keys() if stat_of(self.settings.root / path) != files[path]}
        for path in moved:
            self.state.digests.pop(path, None)
        self.state.tree = self.state.tree.with_files(dict.fromkeys(moved, states.NEVER))
        if "readings" in self.__dict__:
            self.readings.forget(moved)

    def keep_graph(self) -> None:
        """Keeps the graph and its keys, so that they are those of the files in the state, or drops them."""
        if self._graph_is_kept:
            return
        self._graph_is_kept = True
        kept = self.__dict__.get("kept")
        if "rebuilder" in self.__dict__ and (
            kept is None or kept.dirty or self.locker.differs_from(kept) or self.rebuilder.worked_out()
        ):
            open_nodes, absent = self.locker.open_nodes(), self.locker.absent()
            lacking = {name for name in open_nodes if absent and self.rebuilder.lacks_only(name, absent)}
            before = set(kept.basis["lacking"]) - kept.touched if kept and absent else set()
            keeping.keep(self, [name for name in open_nodes if name not in lacking], sorted(lacking | before))
        elif kept is not None and kept.dirty:
            keeping.keep_without_keys(self, kept)
        elif kept is None and self._changed != []:
            keeping.forget(self)
        else:
            return
        if not self.planned:  # what is there was planned on another graph or with other keys
            self.state.parts.pop(keeping.PLANNED, None)
