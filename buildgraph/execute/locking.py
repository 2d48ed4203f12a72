"""Extending the lock: which external packages a new world takes is apko's choice, and asked of apko.

Indexes are put where apko verifies their signature while it reads them; what bg then takes from an index is what apko chose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from buildgraph.apk import signing
from buildgraph.apk.index import index_archive
from buildgraph.apk.pool import Pool
from buildgraph.apk.version import SCANNED, Requirement
from buildgraph.cache.cas import Cas
from buildgraph.errors import GraphError, LockError, Place, RepositoryError, did_you_mean
from buildgraph.execute import process
from buildgraph.execute.repositories import INDEX, Repositories
from buildgraph.recipes.values import Need
from buildgraph.structs import Struct, replace
from buildgraph.workspace.lockfile import Lock, Locked

_FORMAT = "{{ .Name }} {{ .Version }} {{ .Source }}"
_SECONDS = 300
_FIELDS = 3


class World(Struct, frozen=True):
    """What one environment or image asks of the outside, on one architecture.

    ``repositories`` and ``keyring`` are the lines that count for it, ``needs`` tells where each requirement is written; ``cut``
    are the requirements that only a cycle makes external ones.
    """

    node: str
    architecture: str
    requirements: tuple[str, ...]
    repositories: tuple[str, ...]
    keyring: tuple[str, ...]
    needs: Mapping[str, Need]
    cut: Mapping[str, str]


class Solver(Struct, frozen=True):
    """Asks apko. What ``lock`` holds stays as it is wherever a solution with it exists."""

    repositories: Repositories
    apko: Path
    cas: Cas
    lock: Lock
    local_names: Sequence[str]


class Unmet(Struct, frozen=True):
    """A requirement that no repository meets, of one world; ``error`` says so with its place."""

    world: World
    text: str
    error: GraphError

    @property
    def maker(self) -> str:
        """The node of the same cycle that makes a local package for it; empty where a cycle is not the reason."""
        return self.world.cut.get(self.text, "")

    @property
    def may_be_found(self) -> bool:
        """Whether the scan of a package that is not built yet may find that it provides this."""
        return self.text.startswith(SCANNED)


class Solution(Struct, frozen=True):
    """What apko chose, and what no repository has."""

    chosen: list[Locked]
    unmet: list[Unmet]


class _Offer(Struct, frozen=True):
    """What some repositories have for an architecture: by the folder that apko reads, and as a pool."""

    folders: Mapping[str, list[Locked]]
    pool: Pool


def solve(worlds: Iterable[World], solver: Solver) -> Solution:
    """The packages that apko chooses for some worlds: for all together where that has a solution, else for parts of them.

    What is chosen together has a solution for each: its own part of the same packages. Raises RepositoryError for an index that
    cannot be had or does not verify, LockError where apko finds no solution for a world.
    """
    groups: dict[tuple[object, ...], list[World]] = {}
    unmet: list[Unmet] = []
    offers: dict[tuple[object, ...], _Offer] = {}
    for world in worlds:
        key = (world.architecture, world.repositories, world.keyring)
        if world.requirements and key not in offers:
            offers[key] = _offer(world, solver)
        lacks = [text for text in world.requirements if not offers[key].pool.providers(Requirement.parse(text))]
        unmet += [Unmet(world, text, _nothing_provides(text, world, offers[key].pool, solver.local_names)) for text in lacks]
        kept = tuple(text for text in world.requirements if text not in lacks)
        if kept:
            groups.setdefault(key, []).append(replace(world, requirements=kept))
    chosen: dict[tuple[str, str, str, str], Locked] = {}
    for group_key, group in groups.items():
        for locked in _solve_together(group, offers[group_key].folders, solver):
            chosen[locked.sort_key] = locked
    return Solution(list(chosen.values()), unmet)


def _offer(world: World, solver: Solver) -> _Offer:
    offered: dict[str, list[Locked]] = {}
    for line in world.repositories:
        repository = line.rpartition(" ")[2]
        folder, entries = solver.repositories.index(repository, world.architecture)
        offered[str(folder)] = [Locked(entry, repository) for entry in entries]
    return _Offer(offered, Pool(package.entry for packages in offered.values() for package in packages))


def _solve_together(worlds: list[World], offered: Mapping[str, list[Locked]], solver: Solver) -> list[Locked]:
    different = {world.requirements: world for world in reversed(worlds)}
    if len(different) == 1:
        return _solve(worlds[0], offered, solver)
    ordered = list(different.values())[::-1]
    texts = {text: None for world in ordered for text in world.requirements}
    names = f"{ordered[0].node} and {len(ordered) - 1} more"
    try:
        return _solve(replace(ordered[0], node=names, requirements=tuple(sorted(texts))), offered, solver)
    except LockError:
        half = len(ordered) // 2
        return [*_solve_together(ordered[:half], offered, solver), *_solve_together(ordered[half:], offered, solver)]


def _solve(world: World, offered: Mapping[str, list[Locked]], solver: Solver) -> list[Locked]:
    keys = [str(solver.repositories.key_file(line)) for line in world.keyring]
    chosen = _ask(world, offered, keys, solver)
    taken = _taken(chosen, offered, world)
    held = {(package.entry.name, package.entry.arch): package.entry.version for package in solver.lock.packages}
    moved = any(held.get((one.entry.name, one.entry.arch), one.entry.version) != one.entry.version for one in taken)
    return _solve_held(world, offered, solver) or taken if moved else taken


def _solve_held(world: World, offered: Mapping[str, list[Locked]], solver: Solver) -> list[Locked]:
    """The solution in which every package that the lock holds has its locked version; empty where there is none.

    apko is asked on copies of the indexes that offer no other versions of these. The indexes themselves were verified when
    apko was asked on them; the copies are signed with a key of the moment.
    """
    held = {(package.entry.name, package.entry.arch) for package in solver.lock.packages}
    pem = signing.generate_key(2048)
    with solver.cas.scratch() as scratch:
        key = scratch / "held.rsa.pub"
        key.write_bytes(signing.public_key(pem))
        copies: dict[str, list[Locked]] = {}
        for number, packages in enumerate(offered.values()):
            repository = packages[0].repository if packages else ""
            kept = [package for package in packages if (package.entry.name, package.entry.arch) not in held]
            kept += [package for package in solver.lock.packages if package.repository == repository]
            kept = [package for package in kept if package.entry.arch == world.architecture]
            folder = scratch / str(number)
            (folder / world.architecture).mkdir(parents=True)
            archive = index_archive(sorted((package.entry for package in kept), key=lambda entry: (entry.name, entry.version)))
            (folder / world.architecture / INDEX).write_bytes(signing.sign_index(archive, pem, "held"))
            copies[str(folder)] = kept
        try:
            return _taken(_ask(world, copies, [str(key)], solver), copies, world)
        except LockError:
            return []


def _ask(world: World, offered: Mapping[str, list[Locked]], keys: list[str], solver: Solver) -> list[str]:
    question = {"contents": {"repositories": list(offered), "keyring": keys, "packages": list(world.requirements)}}
    with solver.cas.scratch() as scratch:
        config = scratch / "world.yaml"
        config.write_text(json.dumps(question), "utf-8")
        command = [str(solver.apko), "show-packages", str(config), "--arch", world.architecture, "--format", _FORMAT]
        answer = process.run(
            [*command, "--cache-dir", str(scratch / "cache")],
            cwd=scratch,
            env={"PATH": "/usr/bin:/bin", "HOME": str(scratch), "TMPDIR": str(scratch)},
            timeout=_SECONDS,
        )
    if answer.returncode:
        log = answer.stderr
        for folder, packages in offered.items():
            log = log.replace(folder, packages[0].repository if packages else folder)
        raise _refused(world, log)
    return [line for line in answer.stdout.splitlines() if len(line.split()) == _FIELDS and "/" in line]


def _taken(lines: Sequence[str], offered: Mapping[str, list[Locked]], world: World) -> list[Locked]:
    known = {
        (folder, package.entry.name, package.entry.version): package
        for folder, packages in offered.items()
        for package in packages
    }
    taken = []
    for line in lines:
        name, version, source = line.split()
        folder = next((folder for folder in offered if source.startswith(folder + "/")), "")
        locked = known.get((folder, name, version))
        if locked is None:
            message = f"apko chose {name} {version} from {source}, which the index does not list"
            raise LockError(message, hint=f"for the world of {world.node}")
        taken.append(locked)
    return taken


def _nothing_provides(text: str, world: World, pool: Pool, local_names: Sequence[str]) -> GraphError:
    need = world.needs.get(text) or Need(text)
    via = f" (asked for by {need.via})" if need.via and need.via != "environment" else ""
    name = Requirement.parse(text).name
    why = f"no recipe of the workspace and no repository makes it for {world.architecture}"
    if name in local_names:
        why = f"no repository has it for {world.architecture}, and the recipe makes another version or is for other architectures"
    if not world.repositories:
        why = "no recipe of the workspace makes it, and no repository is named"
    message = f"nothing provides `{text}`{via}: {why}"
    where = Place(need.path, need.line, need.column) if need.path else None
    names = {*local_names, *(name for name in pool.names() if ":" not in name)}
    hint = did_you_mean(name, names - {name})
    if not hint and not world.repositories:
        hint = "`repositories:` and `keyring:` in buildgraph.yaml count for recipes that name none"
    return GraphError(message if where else f"{world.node}: {message}", where=where, hint=hint)


def _refused(world: World, log: str) -> Exception:
    last = [line for line in log.splitlines() if line.strip()][-8:]
    text = "\n".join(last)
    if "signature" in text or "failed to find key" in text or "verif" in text:
        message = f"an index does not verify against the keyring of {world.node}"
        hint = (
            "the recipe's `keyring:` (or the manifest's) must name the repository's key; if it does, somebody changed the index:"
            " ask who keeps the repository"
        )
        return RepositoryError(message, details=text, hint=hint)
    message = f"apko finds no set of packages for the world of {world.node} ({world.architecture})"
    return LockError(message, details=f"{text}\nasked for: {' '.join(world.requirements)}")
