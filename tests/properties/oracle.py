"""What a clean build gives: plain recursion without cache, scheduler or keys. The tests' idea of correctness, used everywhere.

The rules of DESIGN's box are written down a second time here, as naively as they can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from buildgraph.apk.version import Requirement, Version
from buildgraph.keys.digest import Digest
from tests.properties.model import (
    ActionFailedError,
    Box,
    External,
    Made,
    Package,
    Target,
    World,
    act,
    discoveries,
    name_of,
)


class AmbiguousError(Exception):
    """Two packages of one name, equally near or both in one box."""


@dataclass(frozen=True, slots=True)
class Clean:
    """How a node of a clean build ends. ``ident`` tells its action apart from every other; ``needs`` are the nodes that had to
    be there first. A failed node has no outputs, one that could not start no ident either."""

    outputs: tuple[tuple[str, Digest], ...] = ()
    made: Mapping[str, Made] = field(default_factory=dict)
    discovered: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    ident: str = ""
    needs: frozenset[str] = frozenset()
    built: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What a box holds: local packages by name with their node, external ones by file name, and requirements nothing meets."""

    local: Mapping[str, str]
    external: Mapping[str, External]
    missing: frozenset[str]


Real = Callable[[str], "Clean | None"]


def reachable(
    pool: Iterable[External], requirements: Iterable[str], shadowed: Iterable[str] = (), provided: Iterable[str] = ()
) -> tuple[dict[str, External], set[str]]:
    """The least set of packages closed under "a provider of something asked" and "every condition of install_if could hold"."""
    there = list(pool)
    present = [entry for entry in there if entry.name not in shadowed]
    cut = {*shadowed, *provided}
    found: dict[str, External] = {}
    while True:
        texts = {*requirements, *(text for entry in found.values() for text in entry.depends)}
        asked = {text for text in texts if not text.startswith("!") and Requirement.parse(text).name not in cut}
        more = {
            f"{entry.name}-{entry.version}": entry
            for entry in present
            if any(_meets(entry.name, entry.version, entry.provides, text) for text in asked)
            or (entry.install_if and all(_could_hold(text, found.values(), provided) for text in entry.install_if))
        }
        if more.keys() <= found.keys():
            missing = {text for text in asked if not any(_meets(e.name, e.version, e.provides, text) for e in there)}
            return found, missing
        found |= more


def _could_hold(text: str, found: Iterable[External], provided: Iterable[str]) -> bool:
    name = Requirement.parse(text).name
    return name in provided or any(_meets(entry.name, entry.version, entry.provides, text) for entry in found)


def _meets(name: str, version: str, provides: Iterable[str], text: str) -> bool:
    wanted = Requirement.parse(text)
    if name == wanted.name and wanted.accepts(version):
        return True
    return any(name_of(p) == wanted.name and wanted.accepts(p.partition("=")[2] or None) for p in provides)


def distance(folder: str, other: str) -> tuple[int, int]:
    """Steps up from a folder and down to another."""
    mine, theirs = ([part for part in text.split("/") if part] for text in (folder, other))
    shared = max(n for n in range(min(len(mine), len(theirs)) + 1) if mine[:n] == theirs[:n])
    return len(mine) - shared, len(theirs) - shared


class Resolver:
    """The boxes of one architecture."""

    def __init__(self, world: World, architecture: str) -> None:
        self.world = world
        self.architecture = architecture
        self.packages = [
            (identity, target, package)
            for identity, target, architectures in world.nodes()
            if architecture in architectures
            for package in target.packages
        ]

    def meant(self, text: str, folder: str, asking: str, world: Iterable[str]) -> tuple[str, str] | None:
        """The local package (name, node) that a requirement means to a node that asks for ``world``."""
        fitting = [
            (node, target, package)
            for node, target, package in self.packages
            if node != asking
            and _meets(package.name, package.version, package.provides, text)
            and not any(_breaks(package, limit) for limit in world)
        ]
        named = [item for item in fitting if item[2].name == Requirement.parse(text).name and _own(item[2], text)]
        candidates = named or fitting
        if not candidates:
            return None
        nearest = min(distance(folder, target.folder) for _, target, _ in candidates)
        near = [item for item in candidates if distance(folder, item[1].folder) == nearest]
        best = near[0]
        for other in near[1:]:
            if _goes_before(other[2], best[2], Requirement.parse(text).name):
                best = other
        if sum(item[2].name == best[2].name for item in near) > 1:
            raise AmbiguousError(text)
        return best[2].name, best[0]

    def contents(self, target: Target, asking: str, real: Real, *, with_pool: bool, cycle: Collection[str] = ()) -> Contents:
        """What a node's box holds, as far as ``real`` knows what its packages say; nothing that a node of ``cycle`` makes."""
        asks = {(text, target.folder, "") for text in target.world}
        local: dict[str, str] = {}
        rescued: set[tuple[str, str]] = set()
        while True:
            outside = self._close(asks, rescued, local, asking, real, (target.world, cycle))
            shadowed, offered = set(local), self._offered(local, real)
            if not with_pool:
                return Contents(local, {}, frozenset())
            open_ones = {text for text in outside if not any(_version_fits(text, name, v) for name, v in offered)}
            found, missing = reachable(self.world.externals, open_ones, shadowed, {name for name, _ in offered})
            before = set(rescued)
            asked_by_pool = {text for entry in found.values() for text in entry.depends}
            for text in missing & asked_by_pool:
                found_here = self.meant(text, "", asking, target.world)
                if found_here and found_here[1] not in cycle:
                    rescued.add(found_here)
            if rescued == before:
                return Contents(local, found, frozenset(missing))

    def _close(
        self,
        asks: set[tuple[str, str, str]],
        rescued: set[tuple[str, str]],
        local: dict[str, str],
        asking: str,
        real: Real,
        rules: tuple[Sequence[str], Collection[str]],
    ) -> set[str]:
        """Adds to ``local`` until nothing is asked for that is not there; what it leaves to external packages."""
        while True:
            outside = set()
            chosen = set(rescued)
            for text, folder, asker in asks:
                if text.startswith("!"):
                    continue
                found = self._discovered(text, asker, asking, real) or self.meant(text, folder, asking, rules[0])
                if found and found[1] not in rules[1]:
                    chosen.add(found)
                else:
                    outside.add(text)
            before = len(local), len(asks)
            for name, node in chosen:
                if local.setdefault(name, node) != node:
                    raise AmbiguousError(name)
            for name, node in local.items():
                folder, package = next((t.folder, p) for n, t, p in self.packages if n == node and p.name == name)
                known = real(node)
                asks.update((text, folder, node) for text in (known.made[name].depends if known else package.depends))
            if (len(local), len(asks)) == before:
                return outside

    def _discovered(self, text: str, asker: str, asking: str, real: Real) -> tuple[str, str] | None:
        known = real(asker) if asker else None
        if known is None or text not in known.discovered:
            return None
        node, name = known.discovered[text]
        return (name, node) if node != asking else None

    def _offered(self, local: Mapping[str, str], real: Real) -> list[tuple[str, str | None]]:
        result: list[tuple[str, str | None]] = []
        for name, node in local.items():
            declared = next(package for other, _, package in self.packages if other == node and package.name == name)
            known = real(node)
            result.append((name, declared.version))
            provides = known.made[name].provides if known else declared.provides
            result += [(name_of(text), text.partition("=")[2] or None) for text in provides]
        return result


def _breaks(package: Package, text: str) -> bool:
    """Whether a package cannot be in a box whose world says this."""
    wanted = Requirement.parse(text)
    if not (wanted.negated or wanted.operator):
        return False
    offered = [(package.name, package.version), *((name_of(p), p.partition("=")[2]) for p in package.provides if "=" in p)]
    return any(name == wanted.name and wanted.accepts(version) == wanted.negated for name, version in offered)


def _goes_before(one: Package, two: Package, name: str) -> bool:
    """Whether apko prefers ``one`` of two packages that provide a name."""
    carried = [next((p.partition("=")[2] for p in item.provides if name_of(p) == name), "") for item in (one, two)]
    if all(carried) and Version.parse(carried[0]) != Version.parse(carried[1]):
        return Version.parse(carried[0]) > Version.parse(carried[1])
    if Version.parse(one.version) != Version.parse(two.version):
        return Version.parse(one.version) > Version.parse(two.version)
    return one.name < two.name


def _own(package: Package, text: str) -> bool:
    return _meets(package.name, package.version, (), text)


def _version_fits(text: str, name: str, version: str | None) -> bool:
    wanted = Requirement.parse(text)
    return wanted.name == name and wanted.accepts(version)


class CleanBuild:
    """Builds each node that something asks for once, in the order in which recursion meets them."""

    def __init__(self, world: World) -> None:
        self.targets = {identity: (target, architectures) for identity, target, architectures in world.nodes()}
        self.resolvers = {architecture: Resolver(world, architecture) for architecture in world.architectures}
        self.known: dict[tuple[str, bool], frozenset[str]] = {}
        self.waits: dict[str, set[str]] = {}
        self.results: dict[str, Clean] = {}
        self.begun: set[str] = set()

    def build(self, name: str) -> bool:
        """Whether the node can be built; False also for one that waits for itself."""
        if name not in self.begun:
            self.begun.add(name)
            self.results[name] = self._build(name)
        return name in self.results and self.results[name].built

    def asked(self, name: str) -> frozenset[str]:
        """The nodes whose packages a node's box would hold by what recipes say, if there were no cycles."""
        return self._declared(name, ())

    def declared(self, name: str) -> frozenset[str]:
        """The nodes whose packages a node's box holds by what recipes say."""
        return self._declared(name, self.cycle_of(name))

    def cycle_of(self, name: str) -> frozenset[str]:
        """The nodes that a node would wait for and that would wait for it; empty where it is in no cycle."""
        return (
            frozenset(other for other in self._above(name) if name in self._above(other))
            if name in self._above(name)
            else frozenset()
        )

    def _above(self, name: str) -> set[str]:
        """All that a node would wait for."""
        if name not in self.waits:
            found: set[str] = set()
            pending = [name]
            while pending:
                more = self.asked(pending.pop()) - found
                found |= more
                pending += more
            self.waits[name] = found
        return self.waits[name]

    def _declared(self, name: str, cycle: Collection[str]) -> frozenset[str]:
        if (name, bool(cycle)) not in self.known:
            target, architectures = self.targets[name]
            parts = [
                self.resolvers[a].contents(target, name, lambda _: None, with_pool=False, cycle=cycle) for a in architectures
            ]
            self.known[name, bool(cycle)] = frozenset(node for part in parts for node in part.local.values())
        return self.known[name, bool(cycle)]

    def _build(self, name: str) -> Clean:
        target, architectures = self.targets[name]
        needs, cycle = self.declared(name), self.cycle_of(name)
        while True:
            failed = [other for other in sorted(needs) if not self.build(other)]
            if failed:
                return Clean(needs=needs)
            try:
                parts = {
                    a: self.resolvers[a].contents(target, name, self._real, with_pool=True, cycle=cycle) for a in architectures
                }
            except AmbiguousError:
                return Clean(needs=needs)
            more = needs | {node for part in parts.values() for node in part.local.values()}
            if more == needs:
                break
            needs = more
        if any(part.missing for part in parts.values()):
            return Clean(needs=needs)
        boxes = {
            architecture: Box({n: (node, self.results[node].made[n]) for n, node in part.local.items()}, part.external)
            for architecture, part in parts.items()
        }
        ident = repr(
            (target.kind, target.name, target.packages, target.inputs, target.world, target.fails, architectures, _listed(boxes))
        )
        try:
            outputs, made = act(target, boxes)
        except ActionFailedError:
            return Clean(ident=ident, needs=needs)
        found = discoveries(made, boxes[architectures[0]]) if made else {}
        return Clean(tuple(outputs), {item.name: item for item in made}, found, ident, needs, built=True)

    def _real(self, name: str) -> Clean | None:
        known = self.results.get(name)
        return known if known and known.built else None


def _listed(boxes: Mapping[str, Box]) -> list[object]:
    """A box as what an action may depend on: each package's file and content, and who makes it."""
    return [
        (
            architecture,
            sorted((made.filename, made.digest, node) for node, made in box.local.values()),
            sorted((entry.name, entry.version, entry.checksum) for entry in box.external.values()),
        )
        for architecture, box in sorted(boxes.items())
    ]


def clean_build(world: World, wanted: Iterable[str]) -> dict[str, Clean]:
    """How every node ends that building the wanted ones from nothing comes upon."""
    build = CleanBuild(world)
    for name in wanted:
        build.build(name)
    return build.results
