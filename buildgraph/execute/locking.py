"""Extending the lock: which external packages a new world takes is apko's choice, and asked of apko.

Indexes are put where apko verifies their signature while it reads them; what bg then takes from an index is what apko chose.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildgraph.apk.pool import Pool
from buildgraph.apk.version import Requirement
from buildgraph.cache.cas import Cas
from buildgraph.errors import GraphError, LockError, Place, RepositoryError, did_you_mean
from buildgraph.execute import process
from buildgraph.execute.repositories import Repositories
from buildgraph.graph.model import Need
from buildgraph.workspace.lockfile import Locked

_FORMAT = "{{ .Name }} {{ .Version }} {{ .Source }}"
_SECONDS = 300
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class World:
    """What one environment or image asks of the outside, on one architecture.

    ``repositories`` and ``keyring`` are the lines that count for it, ``needs`` tells where each requirement is written.
    """

    node: str
    architecture: str
    requirements: tuple[str, ...]
    repositories: tuple[str, ...]
    keyring: tuple[str, ...]
    needs: Mapping[str, Need]


def solve(worlds: Iterable[World], repositories: Repositories, apko: Path, cas: Cas, local_names: Sequence[str]) -> list[Locked]:
    """The packages that apko chooses for some worlds, each world by itself.

    Raises GraphError for a requirement that no repository meets, RepositoryError for an index that cannot be had or does not
    verify, LockError where apko finds no solution.
    """
    chosen: dict[tuple[str, str, str, str], Locked] = {}
    solved: dict[tuple[object, ...], None] = {}
    for world in worlds:
        key = (world.architecture, world.requirements, world.repositories, world.keyring)
        if key in solved or not world.requirements:
            continue
        solved[key] = None
        for locked in _solve(world, repositories, apko, cas, local_names):
            chosen[locked.sort_key] = locked
    return list(chosen.values())


def _solve(world: World, repositories: Repositories, apko: Path, cas: Cas, local_names: Sequence[str]) -> list[Locked]:
    if not world.repositories:
        first = next(iter(world.requirements))
        raise _nothing_provides(first, world, local_names, "and the recipe names no repository to look in")
    folders: dict[str, str] = {}
    known: dict[tuple[str, str, str], Locked] = {}
    offered: list[Pool] = []
    for line in world.repositories:
        repository = line.rpartition(" ")[2]
        folder, entries = repositories.index(repository, world.architecture)
        folders[str(folder)] = line
        offered.append(Pool(entries))
        for entry in entries:
            known[(str(folder), entry.name, entry.version)] = Locked(entry, repository)
    for text in world.requirements:
        if not any(pool.providers(Requirement.parse(text)) for pool in offered):
            names = [*local_names, *(name for pool in offered for name in pool.names() if ":" not in name)]
            raise _nothing_provides(text, world, names, "no recipe of the workspace and no repository makes it")
    answer = _ask(world, list(folders), repositories, apko, cas)
    return [_taken(line, folders, known, world) for line in answer]


def _ask(world: World, folders: list[str], repositories: Repositories, apko: Path, cas: Cas) -> list[str]:
    keys = [str(repositories.key_file(line)) for line in world.keyring]
    question = {"contents": {"repositories": folders, "keyring": keys, "packages": list(world.requirements)}}
    with cas.scratch() as scratch:
        config = scratch / "world.yaml"
        config.write_text(json.dumps(question), "utf-8")
        command = [str(apko), "show-packages", str(config), "--arch", world.architecture, "--format", _FORMAT]
        answer = process.run(
            [*command, "--cache-dir", str(scratch / "cache")],
            cwd=scratch,
            env={"PATH": "/usr/bin:/bin", "HOME": str(scratch), "TMPDIR": str(scratch)},
            timeout=_SECONDS,
        )
    if answer.returncode:
        raise _refused(world, answer.stderr)
    return [line for line in answer.stdout.splitlines() if len(line.split()) == _FIELDS and "/" in line]


def _taken(line: str, folders: Mapping[str, str], known: Mapping[tuple[str, str, str], Locked], world: World) -> Locked:
    name, version, source = line.split()
    folder = next((folder for folder in folders if source.startswith(folder + "/")), "")
    locked = known.get((folder, name, version))
    if locked is None:
        message = f"apko chose {name} {version} from {source}, which the index does not list"
        raise LockError(message, hint=f"for the world of {world.node}")
    return locked


def _nothing_provides(text: str, world: World, names: Iterable[str], why: str) -> GraphError:
    need = world.needs.get(text) or Need(text)
    name = Requirement.parse(text).name
    via = f" (asked for by {need.via})" if need.via and need.via != "environment" else ""
    message = f"nothing provides `{text}`{via}: {why}"
    where = Place(need.path, need.line) if need.path else None
    return GraphError(message if where else f"{world.node}: {message}", where=where, hint=did_you_mean(name, names))


def _refused(world: World, log: str) -> Exception:
    last = [line for line in log.splitlines() if line.strip()][-8:]
    text = "\n".join(last)
    if "signature" in text or "failed to find key" in text or "verif" in text:
        message = f"an index does not verify against the keyring of {world.node}"
        hint = "the recipe's `keyring:` (or the manifest's) must name the repository's key"
        return RepositoryError(message, details=text, hint=hint)
    message = f"apko finds no set of packages for the world of {world.node} ({world.architecture})"
    return LockError(message, details=f"{text}\nasked for: {' '.join(world.requirements)}")
