"""The lock of a session: read once, completed where a world is new, and written.

Which external packages a world takes is apko's choice (execute/locking.py); here is decided which worlds it is asked about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from buildgraph.apk.pool import Pool
from buildgraph.apk.version import SCANNED
from buildgraph.errors import BgError, GraphError, LockError, Place, did_you_mean
from buildgraph.graph.build import cycle_error
from buildgraph.recipes.values import Need, is_remote
from buildgraph.structs import Struct, field, from_json, to_json
from buildgraph.workspace.lockfile import Lock, read_lock, write_lock

if TYPE_CHECKING:
    from buildgraph.cli.kept import Kept
    from buildgraph.cli.session import Session
    from buildgraph.execute import locking
    from buildgraph.plan.rebuild import Unlocked

_WORD = re.compile(r"[\"']?([^\s,\[\]{}\"']+)")


class Locker(Struct):
    """Keeps the lock of a session and knows which nodes' worlds it may not cover."""

    session: Session
    _lock: Lock | None = None
    _open: list[str] | None = None
    _upgrading: bool = False
    _asked: set[str] = field(default_factory=set)  # the nodes whose worlds apko was asked about

    @property
    def lock(self) -> Lock:
        """The lock as it is now. Raises LockError where the file cannot be read."""
        if self._lock is None:
            path = self.session.workspace.lock_path
            self.session.note_stat(path)
            self._lock = read_lock(path)
        return self._lock

    def use(self, lock: Lock) -> None:
        """Goes on with another lock."""
        self._lock = lock
        self._open = None
        self.session.rebuilder.use_pools(self.pools())

    def pools(self) -> dict[str, Pool]:
        """The lock's pool for each architecture of the graph."""
        return {arch: Pool(self.lock.entries(arch)) for arch in self.session.rebuilder_architectures}

    def is_locked(self) -> bool:
        """Whether the lock must not change: as said, else where CI is set and a lock exists."""
        settings = self.session.settings
        if settings.locked is not None:
            return settings.locked
        return bool(settings.environment.get("CI")) and self.session.workspace.lock_path.exists()

    def complete(self, wanted: Iterable[str], *, tolerant: bool = False) -> None:
        """Extends the lock by what the wanted nodes and everything below them declare.

        Raises LockError where the lock must not change, GraphError for what nothing provides, unless ``tolerant``: then nothing
        is asked a second time for what was not there the first time. What a scan may find later is never an error here.
        """
        graph, rebuilder = self.session.graph, self.session.rebuilder
        tolerant_here = tolerant and not self.is_locked()
        uncovered = self._uncovered(tolerant=tolerant_here)
        needed = graph.closure(list(wanted)) if uncovered else set()
        missing = rebuilder.unlocked(name for name in graph.order if name in needed and name in uncovered)
        self._open = sorted((uncovered - needed) | missing.keys())
        if tolerant or self.is_locked():
            absent = self.absent() if tolerant_here else set()
            missing = {
                name: unlocked
                for name, unlocked in missing.items()
                if _lacks(unlocked, lambda arch, text: (arch, text) not in absent and not (self.is_locked() and _scanned(text)))
            }
        if not missing:
            return
        before = self.lock
        self._extend(missing, lambda unmet: not tolerant and not unmet.may_be_found)
        if self.lock is not before:  # what was covered before may be open now
            self._open = sorted((set(graph.order) - needed) | rebuilder.unlocked(needed).keys())

    def extend(self, missing: Mapping[str, Unlocked]) -> None:
        """Asks apko for the worlds that the lock does not cover, and writes the lock. Raises as ``complete``."""
        self._extend(missing, lambda _: True)

    def upgrade(self, names: Collection[str]) -> None:
        """Chooses packages anew, all of them where none is named; the others stay as they are.

        Raises as ``complete``, and LockError for a name that the lock does not have; the lock is then as it was.
        """
        before = self.lock
        known = {package.entry.name for package in before.packages}
        for name in names:
            if name not in known:
                message = f"buildgraph.lock has no package `{name}`"
                raise LockError(message, hint=did_you_mean(name, known))
        self.use(Lock.of(package for package in before.packages if names and package.entry.name not in names))
        self._upgrading = True
        try:
            self.complete(self.session.graph.order)
        except BaseException:
            self.use(before)
            raise
        finally:
            self._upgrading = False
        self._write()

    def check(self, wanted: Iterable[str]) -> None:
        """Raises LockError where the lock lacks something that ``complete`` would ask for."""
        missing = self.session.rebuilder.unlocked(self.session.graph.closure(list(wanted)))
        declared = {name: unlocked for name, unlocked in missing.items() if _lacks(unlocked, lambda _, text: not _scanned(text))}
        if declared:
            raise self._lacking(declared)

    def tidy(self) -> None:
        """Writes the lock's file where it is not there or not sorted, as after a merge."""
        path = self.session.workspace.lock_path
        if not path.is_file() or path.read_bytes() != self.lock.text().encode():
            self._write()

    def _write(self) -> None:
        path = self.session.workspace.lock_path
        write_lock(path, self.lock)
        self.session.note_written(path)

    def _extend(self, missing: Mapping[str, Unlocked], insist: Callable[[locking.Unmet], bool]) -> None:
        """Raises where something is not met on which the caller insists; the lock is then as it was."""
        if self.is_locked():
            raise self._lacking(missing)
        from buildgraph.execute import locking  # seldom needed

        session = self.session
        worlds = [self._world(name, arch, unlocked) for name, unlocked in missing.items() for arch in unlocked.worlds]
        if not missing.keys() <= self._asked:  # what was not met may be asked for again, to say why
            session.console.say(f"lock   asking apko for external packages, for {len(worlds)} environment(s) and image(s)")
        self._asked |= missing.keys()
        names = [name for local in session.rebuilder.local.values() for name in local.names()]
        solver = locking.Solver(session.repositories, session.tools.apko, session.cas, self.lock, names)
        solution = locking.solve(worlds, solver)
        needed = [unmet for unmet in solution.unmet if insist(unmet)]
        if solution.chosen and not needed:
            before = len(self.lock.packages)
            self.use(self.lock.with_packages(solution.chosen))
            self._write()
            added = len(self.lock.packages) - before
            if added and not self._upgrading:  # an upgrade chooses anew what was there
                session.console.say(f"lock   {added} package{'s' if added > 1 else ''} added to buildgraph.lock")
        absent = sorted({(unmet.world.architecture, unmet.text) for unmet in solution.unmet})
        session.state.parts["absent"] = to_json([self.lock.digest(), absent])
        if needed:
            raise self._unmet_error(needed)

    def _lacking(self, missing: Mapping[str, Unlocked]) -> LockError:
        lines = {
            f"{arch}: {text}  (for {name}{f', {need.path}:{need.line}' if need.path else ''})"
            for name, unlocked in missing.items()
            for arch, needs in unlocked.missing.items()
            for text, need in needs.items()
        }
        message = f"buildgraph.lock lacks {len(lines)} requirement{'s' if len(lines) > 1 else ''}"
        return LockError(message, details="\n".join(sorted(lines)), hint="run `bg lock` and commit buildgraph.lock")

    def open_nodes(self) -> list[str]:
        """The nodes whose worlds the lock may not cover, sorted."""
        return sorted(self._uncovered()) if self._open is None else self._open

    def differs_from(self, kept: Kept) -> bool:
        """Whether this run found other worlds open than the one that ``kept`` comes from."""
        return self._open is not None and self._open != sorted(kept.basis["open"])

    def absent(self) -> set[tuple[str, str]]:
        """What no repository had when it was asked for the lock as it is now: architectures and requirements."""
        try:
            digest, absent = from_json(self.session.state.parts.get("absent", b"[]"))
            return {(arch, text) for arch, text in absent} if digest == self.lock.digest() else set()
        except (ValueError, TypeError):
            return set()

    def _uncovered(self, *, tolerant: bool = False) -> set[str]:
        """The nodes whose worlds the lock is not known to cover."""
        kept = self.session.kept
        if kept is not None and kept.same_pool(self.session.basis(), self.session.rebuilder):
            return kept.uncovered(tolerant=tolerant)
        return set(self.session.graph.order)

    def _world(self, name: str, arch: str, unlocked: Unlocked) -> locking.World:
        from buildgraph.execute import locking

        session = self.session
        described = session.nodes.described[name]
        lines = [line for line in described.repositories if is_remote(line)]
        needs: dict[str, Need] = dict(unlocked.missing[arch])
        for need in session.graph.nodes[name].world:
            needs.setdefault(need.text, need)
        return locking.World(
            name,
            arch,
            unlocked.worlds[arch],
            tuple(dict.fromkeys(lines or session.manifest.repositories)),
            tuple(session.workspace.keyring(described.keyring)),
            needs,
            unlocked.cut[arch],
        )

    def _unmet_error(self, unmet: Sequence[locking.Unmet]) -> GraphError:
        """The error for what nothing provides: the first such requirement, or the shortest of the cycles that are to blame."""
        plain = [found for found in unmet if not found.maker]
        if not plain:
            return cycle_error(self.session.graph, [(found.world.node, found.text, found.maker) for found in unmet])
        first, more = plain[0].error, list(dict.fromkeys(f"{found.error.where}: {found.error.what}" for found in plain[1:]))
        more = [line for line in more if line != f"{first.where}: {first.what}"]
        where = first.where and self._with_excerpt(first.where)
        return GraphError(first.what, where=where, hint=first.hint, details="\n".join(more))

    def _with_excerpt(self, where: Place) -> Place:
        """A place with its line, the word there underlined."""
        from buildgraph.recipes.yamltext import place_at  # only errors need it

        with suppress(BgError):  # what cannot be read is told elsewhere
            found = place_at(where.line, where.column, where.path, self.session.workspace.text_file(where.path))
            word = _WORD.match(found.excerpt, max(0, found.column - 1))
            return found._replace(column=word.start(1) + 1, length=len(word[1])) if word else found
        return where


def _lacks(unlocked: Unlocked, counts: Callable[[str, str], bool]) -> bool:
    """Whether the lock lacks a requirement that counts, given as architecture and text."""
    return any(counts(arch, text) for arch, texts in unlocked.missing.items() for text in texts)


def _scanned(text: str) -> bool:
    """Whether the scan of a package that is not built yet may find that it provides this."""
    return text.startswith(SCANNED)
