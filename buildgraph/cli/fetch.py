"""`bg fetch`: brings all that a build will need, so that the build needs no network."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from buildgraph.apk.pool import reach
from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.execute.sources import AT_ONCE
from buildgraph.recipes.values import PinnedSource
from buildgraph.report.graphs import counted
from buildgraph.report.views import to_json
from buildgraph.structs import Struct
from buildgraph.workspace.lockfile import Locked


class Needed(Struct, frozen=True):
    """What builds of some nodes need from outside; ``networked`` says why nodes cannot be built without the network."""

    packages: list[Locked]
    sources: list[PinnedSource]
    networked: dict[str, tuple[str, ...]]


def fetch(options: argparse.Namespace, session: Session) -> int:
    """The command."""
    wanted = session.selection.nodes(options.targets)
    session.locker.complete(wanted, tolerant=True)
    _ = session.tools
    needed = _needed(wanted, session)
    had = {package.entry.checksum for package in needed.packages if session.repositories.has(package)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(session.repositories.package, needed.packages))
    session.sources.bring(needed.sources)
    fetched = len(needed.packages) - len(had) + len(session.sources.brought)
    if options.json:
        show([to_json(_as_json(needed, fetched))])
        return 0
    for name, reasons in needed.networked.items():
        session.console.say(f"{name} is built with the network: {'; '.join(reasons)}")
    packages, sources = counted(len(needed.packages), "package"), counted(len(needed.sources), "source")
    line = f"{packages} and {sources} are at hand, {fetched} of them fetched now"
    more = f"; {counted(len(needed.networked), 'target')} cannot be built with --offline" if needed.networked else ""
    show([line + more])
    return 0


def _needed(wanted: Iterable[str], session: Session) -> Needed:
    """What boxes of these nodes, and of all below them, may hold; what only scans of packages ask for included."""
    names = sorted(session.graph.closure(list(wanted)))
    sources = {source.content: source for name in names for source in session.inputs.sources(name)}
    networked = {name: reasons for name in names if (reasons := session.inputs.network(name))}
    return Needed(_packages(names, session), list(sources.values()), networked)


def _packages(names: Iterable[str], session: Session) -> list[Locked]:
    """The packages of the lock that the boxes of some nodes may hold.

    What a scan finds in a package that is yet to be built is not known. But the lock has nothing that nobody asked for: what no
    declared world reaches was found by a scan once, and is taken along.
    """
    names = list(names)
    session.store.brings = False
    session.rebuilder.prepare(names)
    chosen: dict[str, Locked] = {}
    everything = list(session.graph.nodes)
    for architecture, pool in session.locker.pools().items():
        reached = {name: _reached(name, architecture, session) for name in everything}
        found = {entry.checksum for entry in pool.entries} - set().union(*reached.values())
        for name in names:
            found |= reached[name]
            led = session.store.deep(session.rebuilder.deep_key(name))
            if led is not None and architecture in led.found:
                found |= {entry.checksum for entry in reach(pool, led.found[architecture].requirements).sorted()}
        for checksum in found:
            locked = session.lock.source_of(checksum)
            if locked is not None:
                chosen[checksum] = locked
    return sorted(chosen.values(), key=lambda locked: locked.sort_key)


def _reached(name: str, architecture: str, session: Session) -> set[str]:
    resolution = session.rebuilder.declared(name).get(architecture)
    return {entry.checksum for entry in resolution.reach.sorted()} if resolution else set()


def _as_json(needed: Needed, fetched: int) -> dict[str, object]:
    return {
        "packages": [
            {"name": package.entry.name, "version": package.entry.version, "arch": package.entry.arch}
            for package in needed.packages
        ],
        "sources": [
            {"address": source.address, "digest": source.digest, "ref": source.ref, "place": source.place}
            for source in needed.sources
        ],
        "networked": {name: list(reasons) for name, reasons in needed.networked.items()},
        "fetched": fetched,
    }
