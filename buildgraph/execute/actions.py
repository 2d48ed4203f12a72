"""Running one action: fill a box with what the key covers, run melange or apko in it, keep what it made.

The sequence is always the same: hold the action's lock, look once more whether another process has the result, fill a scratch
folder, run, put the outputs into the CAS, write the record last. A kill at any instant leaves at most scratch.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from buildgraph.apk.index import IndexEntry, index_archive
from buildgraph.cache.cas import Cas
from buildgraph.cache.files import faults, is_full
from buildgraph.cache.locks import ActionLocks
from buildgraph.errors import BuildError, Interrupted, Place, RepositoryError, SandboxError
from buildgraph.execute import box as boxes
from buildgraph.execute import collect, failure, process
from buildgraph.execute.events import Outcome
from buildgraph.execute.repositories import Repositories
from buildgraph.execute.sources import CACHE_DIR, Sources
from buildgraph.execute.tools import Toolbox, probe_sandbox
from buildgraph.keys.digest import Digest, digest_file
from buildgraph.plan.materials import ENV_FILES, VARS_FILE, Materials, SourceFile
from buildgraph.plan.rebuild import Action, package_output
from buildgraph.plan.record import Discovered, Output, Record
from buildgraph.plan.store import RecordStore
from buildgraph.structs import Struct, field, replace
from buildgraph.workspace.lockfile import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator

# melange writes HEAD into each package, so that every commit would change every package; outside git it says this.
NO_COMMIT = "unknown"
NO_REPOSITORY = "https://unknown/unknown/unknown"
MEMORY, DISK = "memory", "disk"  # where scratch may lie
_SLACK = 256 << 20  # what a build may write besides its environment before the tmpfs is full


class MemoryBudget(Struct):
    """How much scratch may lie in memory at once, shared by the running actions."""

    total: int
    used: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def take(self, amount: int) -> Iterator[bool]:
        """Whether ``amount`` bytes are granted; given back at the end."""
        with self._guard:
            granted = self.used + amount <= self.total
            if granted:
                self.used += amount
        try:
            yield granted
        finally:
            if granted:
                with self._guard:
                    self.used -= amount


class Surroundings(Struct, frozen=True):
    """What an action can notice of where it runs, and what it makes must not depend on.

    ``scratch``: whether temporary files lie in "memory" or on "disk"; ``processors``: how many it may use; ``host_name``;
    ``folder``: where the box's own folder appears in it.
    """

    scratch: str
    processors: int
    host_name: str = boxes.HOST_NAME
    folder: str = boxes.INSIDE


class Executor(Struct):
    """Runs actions in boxes. Called from the scheduler's worker threads; everything it shares is safe for that.

    ``builder`` is a URI for who runs them; ``commit`` tells what the workspace is checked out from, ``say`` the user.
    """

    workspace: Path
    cas: Cas
    store: RecordStore
    locks: ActionLocks
    repositories: Repositories
    sources: Sources
    tools: Toolbox
    materials: Callable[[str], Materials]
    lock: Callable[[], Lock]
    apk_cache: Path
    budget: MemoryBudget
    cancelled: threading.Event
    sealed: bool = True
    builder: str = ""
    say: Callable[[str], None] = lambda _: None
    commit: Callable[[], str] = lambda: ""

    def run(self, action: Action, waiting: Callable[[str], None]) -> tuple[Record, Outcome]:
        """Runs an action, or takes the result of another process that ran it meanwhile.

        Raises BuildError with the log where the tool fails, CacheError, RepositoryError, Interrupted.
        """
        with self.locks.hold(
            action.key,
            on_wait=lambda: waiting("another bg is building it"),
            cancelled=self.cancelled.is_set,
        ):
            record = self.store.record(action.key)
            if record is not None:
                return record, "shared"
            with faults(f"make a box for {action.node.label} in the cache"), self.cas.scratch() as scratch:
                return self._run(action, scratch), "ran"

    def again(self, action: Action, kept: Cas, elsewhere: Surroundings) -> tuple[list[Output], Surroundings]:
        """Runs an action in other surroundings, as far as the machine has them, and records nothing.

        What it made, which ``kept`` then has, and the surroundings that it had. Raises as ``run`` does.
        """
        with faults(f"make a box for {action.node.label} in the cache"), self.cas.scratch() as scratch:
            materials = self.materials(action.node.id)
            with processors(elsewhere.processors):
                seen = self._make(action, materials, scratch, elsewhere)
            return _collect(materials, scratch, kept)[0], seen

    def _run(self, action: Action, scratch: Path) -> Record:
        materials = self.materials(action.node.id)
        if materials.network and self.sources.offline:
            message = f"{action.node.label} needs the network, which --offline rules out"
            details = "\n".join(f"  {reason}" for reason in materials.network)
            hint = "`bg fetch` brings sources that recipes pin; what a step fetches by itself it cannot bring"
            raise RepositoryError(message, details=details, hint=hint)
        commit = self.commit()  # before it runs: the workspace may be at another when it has
        started = time.monotonic()
        seen = self._make(action, materials, scratch)
        user = "" if materials.kind == "package" else collect.unknown_user(scratch / "box" / "out" / collect.LAYOUT)
        if user:
            self.say(
                f"note   {action.node.label} runs as `{user}`, and has no such account: container runtimes will not start it"
            )
        outputs, packages = _collect(materials, scratch, self.cas)
        record = Record(
            action=action.key,
            node=action.node.id,
            document=Digest(self.cas.put_bytes(action.document.to_bytes())),
            outputs=tuple(outputs),
            packages=tuple(packages),
            discovered=tuple(self._discovered(action, packages)),
            log=Digest(self.cas.put_file(scratch / "log")),
            seconds=time.monotonic() - started,
            built_at=int(time.time()),
            tools={"melange": self.tools.melange_version, "apko": self.tools.apko_version},
            sealed=self.sealed,
            builder=self.builder,
            commit=commit,
            scratch=seen.scratch,
            processors=seen.processors,
        )
        self._keep_texts(materials)
        self.store.put(record)
        return record

    def _make(self, action: Action, materials: Materials, scratch: Path, elsewhere: Surroundings | None = None) -> Surroundings:
        """Fills a box and runs the action in it; the surroundings that it had."""
        box_folder, repository = scratch / "box", scratch / "repo"
        out = box_folder / "out"
        inside = (box_folder / "src",) if materials.kind == "package" else (out / collect.LAYOUT, out / collect.SBOM)
        for folder in (box_folder / "repo", out, repository, self.apk_cache, *inside):
            folder.mkdir(parents=True, exist_ok=True)
        for name, text in materials.texts.items():
            target = box_folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8", "surrogateescape")
        for source in materials.sources:
            self._copy_source(source, box_folder)
        if materials.fetched:
            self.sources.give(materials.fetched, box_folder)
        installed = self._fill_repository(action, repository)
        return self._execute(action, materials, scratch, installed, elsewhere)

    def _keep_texts(self, materials: Materials) -> None:
        """What the key names by digest and an explanation may want to compare line by line."""
        for text in materials.texts.values():
            self.cas.put_bytes(text.encode("utf-8", "surrogateescape"))

    def _copy_source(self, source: SourceFile, box_folder: Path) -> None:
        target = box_folder / source.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self.workspace / source.origin, target)
        except OSError as error:
            if is_full(error):
                raise
            message = f"cannot read {source.origin}: {error.strerror}"
            raise BuildError(message) from error
        if digest_file(target) != source.digest:
            message = f"{source.origin} changed while it was being built"
            raise BuildError(message, hint="run the build again")
        target.chmod(0o755 if source.executable else 0o644)

    def _fill_repository(self, action: Action, repository: Path) -> int:
        """Links the packages that the box may hold and writes their index; returns their installed size in bytes."""
        installed = 0
        for architecture, resolution in action.resolutions.items():
            folder = repository / architecture
            folder.mkdir(parents=True)
            entries: list[IndexEntry] = []
            for name, package in resolution.packages.items():
                record = action.dependencies[package.node]
                path, digest = package_output(record, name, architecture)
                self.cas.link(digest, repository / path)
                entries.append(record.built().entries[name])
            for entry, digest in self._externals(resolution.reach.sorted()):
                self.cas.link(digest, folder / entry.filename)
                entries.append(entry)
            entries.sort(key=lambda entry: (entry.name, entry.version))
            (folder / "APKINDEX.tar.gz").write_bytes(index_archive(entries))
            installed += sum(entry.installed_size for entry in entries)
        return installed

    def _externals(self, entries: Sequence[IndexEntry]) -> list[tuple[IndexEntry, Digest]]:
        lock = self.lock()
        wanted = [lock.source_of(entry.checksum) for entry in entries]
        with ThreadPoolExecutor(4) as fetchers:
            digests = list(fetchers.map(lambda locked: self.repositories.package(locked) if locked else Digest(""), wanted))
        return list(zip(entries, digests, strict=True))

    def _execute(
        self, action: Action, materials: Materials, scratch: Path, installed: int, elsewhere: Surroundings | None
    ) -> Surroundings:
        log = scratch / "log"
        command = melange_command(action, materials) if materials.kind == "package" else apko_command(action, materials)
        on_disk = elsewhere is not None and elsewhere.scratch == DISK
        with self.budget.take(0 if on_disk else installed + installed // 4 + _SLACK) as granted:
            in_memory = granted and not on_disk and self.sealed
            temporary = scratch / "tmp"
            temporary.mkdir()
            resolv = scratch / "resolv.conf"
            resolv.write_text("" if not materials.uses_network else _host_resolvers())
            box = boxes.Box(
                folder=scratch / "box",
                repository=scratch / "repo",
                apk_cache=self.apk_cache,
                tools={"melange": self.tools.melange, "apko": self.tools.apko, "bwrap": self.tools.bwrap},
                epoch=materials.epoch,
                network=materials.uses_network,
                root=materials.root,
                scratch=None if in_memory else temporary,
                memory=self.budget.total,
                resolv_conf=resolv,
            )
            seen = Surroundings(MEMORY if in_memory else DISK, len(os.sched_getaffinity(0)))
            if elsewhere is not None and self.sealed:
                box = replace(box, host_name=elsewhere.host_name, inside=elsewhere.folder)
                seen = replace(seen, host_name=elsewhere.host_name, folder=elsewhere.folder)
            if materials.root and os.geteuid() != 0:
                message = f"{action.node.label} is declared `root: true`, and this is not root"
                raise SandboxError(message, hint="build it as root, or in CI")
            if not self.sealed:
                code = self._execute_open(box, command, scratch, log)
            else:
                code = process.run_logged(
                    boxes.sealed_command(box, self.tools.bwrap, command), cwd=scratch, env={}, log=log, umask=boxes.UMASK
                )
        if self.cancelled.is_set():
            message = "interrupted"
            raise Interrupted(message)
        if code and self.sealed and log.read_bytes().startswith(b"bwrap: "):
            probe_sandbox(self.tools.bwrap)
        if code:
            raise self._failed(action, materials, log, code)
        return seen

    def _execute_open(self, box: boxes.Box, command: Sequence[str], scratch: Path, log: Path) -> int:
        """Without the outer box: the same command and environment, but what the machine shows can be seen."""
        folder = scratch / "box"
        (folder / "repo").rmdir()
        (folder / "repo").symlink_to(box.repository)
        tools = scratch / "tools"
        tools.mkdir()
        for name, path in box.tools.items():
            (tools / name).symlink_to(path)
        temporary = scratch / "tmp"
        env = boxes.environment(box, str(folder), f"{tools}:/usr/bin:/bin", str(temporary))
        # apko's cache is keyed by the repository's path, which is another one for each action here: a shared one would only grow.
        own_cache = str(scratch / "apk")
        line = [str(box.tools[command[0]]), *(part.replace(boxes.APK_CACHE, own_cache) for part in command[1:])]
        return process.run_logged(line, cwd=folder, env=env, log=log, umask=boxes.UMASK)

    def _failed(self, action: Action, materials: Materials, log: Path, code: int) -> BuildError:
        lines = log.read_text("utf-8", "replace").splitlines()
        kept = self.cas.put_file(log)
        tool = "melange" if materials.kind == "package" else "apko"
        what, where, hint = f"{tool} failed on {action.node.id} (exit code {code})", Place(action.node.path), ""
        step = failure.failed_step(lines, materials.steps)
        if step is not None:
            first, *others = step.candidates
            name = f"step `{first.name}`" if first.name else "a step"
            what, where = f"{name} of {action.node.id} failed ({step.how})", first.place
            if others:
                what = f"{name}, or one without a name after it, of {action.node.id} failed ({step.how})"
                hint = "a `name:` on each step lets the log say which one it is"
        shown = failure.excerpt(step.lines if step else lines)
        details = "\n".join(f"  | {line}" for line in shown) + f"\n  the whole log: {self.cas.path(kept)}"
        return BuildError(what, where=where, details=details, hint=failure.hint_for(lines, materials) or hint)

    def _discovered(self, action: Action, packages: Sequence[IndexEntry]) -> list[Discovered]:
        """Which local package in the box met each requirement that the scan found."""
        offered: dict[str, tuple[str, str]] = {}
        for resolution in action.resolutions.values():
            for name, package in sorted(resolution.packages.items()):
                for provide in action.dependencies[package.node].built().entries[name].provides:
                    offered.setdefault(provide.partition("=")[0], (package.node, name))
        own = {provide.partition("=")[0] for entry in packages for provide in entry.provides}
        asked = sorted({depend for entry in packages for depend in entry.depends if ":" in depend})
        return [
            Discovered(depend, *offered[name])
            for depend in asked
            if (name := depend.partition("=")[0]) in offered and name not in own
        ]


def _collect(materials: Materials, scratch: Path, cas: Cas) -> tuple[list[Output], list[IndexEntry]]:
    """Puts what an action made into a store: its outputs, and the entries of its packages."""
    out = scratch / "box" / "out"
    if materials.kind == "package":
        return collect.packages(out, scratch, cas)
    return collect.image(out, materials.tag.rpartition(":")[2], cas), []


@contextmanager
def processors(number: int) -> Iterator[None]:
    """Lets what this thread starts in the block use at most so many of the processors that it may use itself."""
    before = os.sched_getaffinity(0)  # 0: of the calling thread, and what it starts inherits it (sched_setaffinity(2))
    first = threading.get_native_id() % len(before)  # so that threads do not all crowd on one
    os.sched_setaffinity(0, [*sorted(before)[first:], *sorted(before)[:first]][: max(1, number)])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def melange_command(action: Action, materials: Materials) -> list[str]:
    """The melange command line, as seen from inside the box."""
    line = ["melange", "build", materials.recipe, "--arch", action.node.architectures[0], "--runner", "bubblewrap"]
    line += ["--ignore-signatures", "--generate-index=false", "--git-commit", NO_COMMIT, "--git-repo-url", NO_REPOSITORY]
    line += [
        "--source-dir",
        "src",
        "--out-dir",
        "out",
        f"--cache-dir={CACHE_DIR if materials.fetched else ''}",
        "--apk-cache-dir",
        boxes.APK_CACHE,
        "--rm",
    ]
    if any(name.startswith("pipelines/") for name in materials.texts):
        line += ["--pipeline-dir", "pipelines"]
    if VARS_FILE in materials.texts:
        line += ["--vars-file", VARS_FILE]
    for name in materials.texts:
        if name.startswith(ENV_FILES):
            line += ["--env-file", name]
    for option in materials.options:
        line += ["--build-option", option]
    return line


def apko_command(action: Action, materials: Materials) -> list[str]:
    """The apko command line, as seen from inside the box."""
    line = ["apko", "build", materials.recipe, materials.tag, f"out/{collect.LAYOUT}"]
    line += ["--arch", ",".join(action.node.architectures)]
    return [*line, "--ignore-signatures", "--sbom-path", f"out/{collect.SBOM}", "--cache-dir", boxes.APK_CACHE]


def _host_resolvers() -> str:
    try:
        return Path("/etc/resolv.conf").read_text("utf-8", "replace")
    except OSError:
        return ""
