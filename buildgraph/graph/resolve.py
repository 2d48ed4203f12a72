"""What a node's box may hold: local packages first, the rest from the pool.

The same function works before anything is built, on what recipes declare, and just before a node runs, on what its
dependencies' packages really say (melange's scan adds requirements and provides that no recipe states).

A local package serves every requirement that its version and provides satisfy. Where several have the name, the one nearest
upwards from the asking recipe's folder is meant; of several that only provide it, the one that apko would take. What asks for
a package of a node in the same cycle is external's. External packages get their own dependencies from the pool, unless a
local package of that name is in the box anyway: then the external one of that name is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from functools import cmp_to_key

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pool import Pool, Reach, reach
from buildgraph.apk.version import Requirement, Version
from buildgraph.errors import GraphError, Place
from buildgraph.graph.model import LocalPackage, Node
from buildgraph.recipes.values import Need
from buildgraph.structs import Struct, field


class Built(Struct, frozen=True):
    """What a node's packages really say, once they exist.

    ``entries`` by package name; ``discovered`` maps a scanned requirement to the node and package that met it in the box.
    """

    entries: dict[str, IndexEntry]
    discovered: dict[str, tuple[str, str]]


# Who asks, where an external package does.
FROM_POOL = "pool"

# The real metadata of a node, or None while it is not known.
Metadata = Callable[[str], Built | None]


class Offer(Struct, frozen=True):
    """A package that has or provides a name, in a version (None: a provide without one)."""

    package: LocalPackage
    version: str | None


class Brought(Struct):
    """What a local package brings into a box: itself and what its declared dependencies ask for, by ``Resolution``'s words.

    ``nodes`` make the packages; to any other node these mean the same.
    """

    packages: dict[str, LocalPackage]
    causes: dict[str, Need] = field(default_factory=dict)
    external: dict[str, Need] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()


class Locals:
    """The local packages of one architecture, found by what they have and provide."""

    def __init__(self, packages: Iterable[LocalPackage]) -> None:
        self._by_node: dict[str, dict[str, LocalPackage]] = {}
        self._offers: dict[str, list[Offer]] = {}
        self._ranked: dict[tuple[str, str], list[Offer]] = {}
        self._runtime: dict[tuple[str, str], list[tuple[Need, LocalPackage | None]]] = {}
        self._meant: dict[tuple[str, str], LocalPackage | None] = {}
        self._brought: dict[tuple[str, str], Brought] = {}
        for package in packages:
            self._by_node.setdefault(package.node, {})[package.name] = package
            self._offers.setdefault(package.name, []).append(Offer(package, package.version))
            for provide in package.provides:
                name, version = split_provide(provide)
                if name != package.name:
                    self._offers.setdefault(name, []).append(Offer(package, version))
        names = [name for made in self._by_node.values() for name in made]
        self.is_unique = len(set(names)) == len(names)  # no two nodes make packages of one name

    def names(self) -> list[str]:
        """Every name that a local package has or provides."""
        return list(self._offers)

    def package(self, node: str, name: str) -> LocalPackage | None:
        """A package of a node."""
        return self._by_node.get(node, {}).get(name)

    def offers_of(self, name: str) -> Sequence[Offer]:
        """Who has or provides a name."""
        return self._offers.get(name, ())

    def offers(self, name: str) -> list[str]:
        """Who has or provides a name by what recipes declare, one line each: what ``meets`` can depend on besides the asker."""
        return sorted(
            f"{name} {offer.version} {offer.package.node} {offer.package.name} {offer.package.folder} {offer.package.version}"
            f" {offer.package.priority} {' '.join(offer.package.provides)}"
            for offer in self.offers_of(name)
        )

    def meets(
        self, requirement: Requirement, folder: str, asking_node: str, limits: Limits = (), need: Need | None = None
    ) -> LocalPackage | None:
        """The local package that a requirement means, as seen from ``folder``; None where it is external's.

        A package of that very name comes before those that only provide it, then the nearest folder counts, then apko's order
        of providers. A node's own packages are never meant, nor those that ``limits`` refuse. Raises GraphError where two
        packages of the name are equally near, at the place of the ``need`` if that is given; but whoever makes the name himself
        means the one from outside then: a compiler of which each team has one.
        """
        found: LocalPackage | None = None
        makes_it = False  # an own package of the name is nearest, and so comes first
        for offer in self._candidates(requirement, folder):
            package = offer.package
            if package.node == asking_node:
                makes_it = makes_it or package.name == requirement.name
                continue
            if limits and not _allowed(package, limits):
                continue
            if found is None:
                found = package
            elif (
                package is not found
                and package.name == found.name
                and _distance(folder, package.folder) == _distance(folder, found.folder)
            ):
                if makes_it:
                    return None
                raise _ambiguous([found, package], asking_node or "the pool", need)
        return found

    def runtime(self, package: LocalPackage) -> Iterable[tuple[Need, LocalPackage | None]]:
        """What a package's declared dependencies mean to any node but those that make what is meant, worked out once."""
        key = (package.node, package.name)
        known = self._runtime.get(key)
        if known is None:
            parsed = ((need, Requirement.parse(need.text)) for need in package.depends)
            known = self._runtime[key] = [
                (need, self.meant(requirement, package.folder)) for need, requirement in parsed if not requirement.negated
            ]
        return known

    def meant(self, requirement: Requirement, folder: str) -> LocalPackage | None:
        """The package that a requirement means to any node but that which makes it, worked out once. Raises as ``meets``."""
        key = (requirement.text, folder)
        if key not in self._meant:
            self._meant[key] = self.meets(requirement, folder, "")
        return self._meant[key]

    def brought(self, package: LocalPackage) -> Brought:
        """What a package brings with it, worked out once. Raises GraphError where that depends on who asks, or is ambiguous."""
        key = (package.node, package.name)
        known = self._brought.get(key)
        if known is None:
            known = Brought({package.name: package})
            pending = [package]
            while pending:
                for need, meant in self.runtime(pending.pop()):
                    if meant is None:
                        known.external.setdefault(need.text, need)
                    elif known.packages.setdefault(meant.name, meant) is not meant:
                        raise _ambiguous([known.packages[meant.name], meant], package.node, need)
                    elif meant.name not in known.causes and meant is not package:
                        known.causes[meant.name] = need
                        pending.append(meant)
            known.nodes = frozenset(found.node for found in known.packages.values())
            self._brought[key] = known
        return known

    def _candidates(self, requirement: Requirement, folder: str) -> Sequence[Offer]:
        """All that fit, the best first."""
        offers = self.offers_of(requirement.name)
        if not offers:
            return ()
        key = (requirement.text, folder)
        ranked = self._ranked.get(key)
        if ranked is None:
            ranked = [offer for offer in offers if requirement.accepts(offer.version)]
            if len(ranked) > 1:
                ranked.sort(key=cmp_to_key(lambda one, two: _preferred(one, two, requirement.name, folder)))
            self._ranked[key] = ranked
        return ranked


def _preferred(one: Offer, two: Offer, name: str, folder: str) -> int:
    """Which of two providers goes first: negative for ``one``.

    Among those equally near it is apko's choice (pkg/apk/apk/repo.go, comparePackages): the higher version carried for the
    requested name, the higher priority, the higher version of the package, the name.
    """
    first, second = one.package, two.package
    near = [((offer.package.name != name), *_distance(folder, offer.package.folder)) for offer in (one, two)]
    if near[0] != near[1]:
        return -1 if near[0] < near[1] else 1
    if one.version and two.version and (order := _compare(one.version, two.version)):
        return -order
    if first.priority != second.priority:
        return -1 if first.priority > second.priority else 1
    if order := _compare(first.version, second.version):
        return -order
    return -1 if (first.name, first.path) < (second.name, second.path) else 1


def _compare(one: str, two: str) -> int:
    try:
        first, second = Version.parse(one), Version.parse(two)
    except ValueError:
        return 0
    return (first > second) - (first < second)


# What a world says of packages whoever asks for them: the requirements with a version, and those that exclude.
Limits = Sequence[Requirement]


def limits_of(world: Iterable[Need]) -> list[Requirement]:
    """The requirements of a world that no package in its box may break."""
    parsed = (Requirement.parse(need.text) for need in world)
    return [requirement for requirement in parsed if requirement.negated or requirement.operator]


def _allowed(package: LocalPackage, limits: Limits) -> bool:
    for limit in limits:
        for name, version in _offered_by(package):
            if name == limit.name and version is not None and limit.accepts(version) == limit.negated:
                return False
    return True


def _offered_by(package: LocalPackage) -> Iterator[tuple[str, str | None]]:
    yield package.name, package.version
    for provide in package.provides:
        yield split_provide(provide)


class Resolution(Struct):
    """What a box may hold.

    ``packages``: the local packages by name; ``causes``: the need that first asked for each; ``external``: what no local
    package of the box is meant by, each with its need, and ``cut``: those of them that only a cycle made so, with the node
    that makes the local package. Once the pool was asked also ``requirements``, what the pool has to meet, sorted, and ``reach``,
    what of the pool they reach.
    """

    packages: dict[str, LocalPackage] = field(default_factory=dict)
    causes: dict[str, Need] = field(default_factory=dict)
    external: dict[str, Need] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)
    requirements: list[str] = field(default_factory=list)
    reach: Reach = field(default_factory=Reach)

    def copy(self) -> Resolution:
        """The same, to be added to."""
        return Resolution(dict(self.packages), dict(self.causes), dict(self.external), dict(self.cut))

    def nodes(self) -> list[str]:
        """The nodes that make the local packages, sorted."""
        return sorted({package.node for package in self.packages.values()})


def split_provide(text: str) -> tuple[str, str | None]:
    """A provide's name and version; None where it has none."""
    name, equals, version = text.partition("=")
    return name, version if equals else None


def unknown(_: str) -> None:
    """The ``Metadata`` of a graph that nothing of is built."""


class Walk:
    """The resolution of one node on one architecture: local packages first, then what the pool adds to them.

    Takes what recipes declare where ``metadata`` knows nothing. No package of a node in ``cycle`` gets into the box. Raises
    GraphError for an ambiguous name.
    """

    def __init__(self, node: Node, local: Locals, metadata: Metadata = unknown, cycle: Collection[str] = ()) -> None:
        self.node = node
        self.local = local
        self.metadata = metadata
        self.cycle = cycle
        self.limits = limits_of(node.world)
        self.result = Resolution()
        self.rescued: set[str] = set()
        self._open: list[LocalPackage] = []
        if not self._is_as_for_others():
            self.result = Resolution()
            for need in node.world:
                self._meet(need, node.folder, "")
            self._close()

    def _is_as_for_others(self) -> bool:
        """Makes the result of what packages bring to any node, where that holds for this one; says whether it does."""
        if self.limits or self.cycle or self.metadata is not unknown:
            return False
        packages, causes, external = self.result.packages, self.result.causes, self.result.external
        own: list[tuple[Need, LocalPackage | None]] = []
        try:
            for need in self.node.world:
                requirement = Requirement.parse(need.text)
                if not requirement.negated:
                    own.append((need, self.local.meant(requirement, self.node.folder)))
            for _, package in own:
                if package is None or packages.get(package.name) is package:
                    continue  # with what it brings
                brought = self.local.brought(package)
                clash = not self.local.is_unique and any(packages.get(n, one) is not one for n, one in brought.packages.items())
                if clash or self.node.id in brought.nodes:
                    return False
                packages.update(brought.packages)
                causes.update(brought.causes)
                external.update(brought.external)
        except GraphError:
            return False  # to somebody in general; if to this node too, it is told by the walk step by step
        external.update((need.text, need) for need, package in reversed(own) if package is None)
        causes.update((package.name, need) for need, package in reversed(own) if package is not None)
        return True

    def ask_pool(self, pool: Pool) -> Walk:
        """This walk, completed by what the pool adds; external requirements that nothing meets are in ``reach.missing``."""
        walk = copy(self)
        walk.rescued = set()
        walk.result = self.result.copy()
        walk.complete(pool)
        return walk

    def complete(self, pool: Pool) -> None:
        """Asks the pool for what is open, and local packages for what the pool lacks, until nothing is added."""
        result = self.result
        if not result.external and not pool.has_conditions:
            return
        while True:
            offered = self._offered()
            result.requirements = sorted(text for text in result.external if not _met(Requirement.parse(text), offered))
            result.reach = reach(pool, result.requirements, frozenset(result.packages), frozenset(offered))
            if not self._rescue(result.reach):
                return

    def asked(self) -> set[tuple[str, str, str]]:
        """All that was asked for, each with the asking recipe's folder and node.

        The node is empty for the world itself and ``FROM_POOL`` for an external package.
        """
        found = {(need.text, self.node.folder, "") for need in self.node.world}
        for package in self.result.packages.values():
            found.update((need.text, package.folder, package.node) for need in self._needs(package))
        return found | {(text, "", FROM_POOL) for text in self.rescued}

    def _needs(self, package: LocalPackage) -> Sequence[Need]:
        built = self.metadata(package.node)
        entry = built.entries.get(package.name) if built else None
        if entry is None:
            return package.depends
        return [Need(text, package.path, package.line, via="scan") for text in entry.depends]

    def _close(self) -> None:
        # Most needs are for what is known already, or for nothing here.
        packages, external = self.result.packages, self.result.external
        while self._open:
            package = self._open.pop()
            for need, meant in self._declared(package):
                if meant is None:
                    external.setdefault(need.text, need)
                elif packages.get(meant.name) is meant:
                    continue
                elif meant.node != self.node.id:
                    self._put(need, meant)
                else:
                    self._meet(need, package.folder, package.node)

    def _declared(self, package: LocalPackage) -> Iterable[tuple[Need, LocalPackage | None]]:
        """What a package's dependencies mean, from memory where this node's view of them is everybody's."""
        if self.metadata(package.node) is None and not self.limits:
            try:
                return self.local.runtime(package)
            except GraphError:
                pass  # for somebody in general; one of the two may be this node's own
        for need in self._needs(package):
            self._meet(need, package.folder, package.node)
        return ()

    def _meet(self, need: Need, folder: str, asker: str) -> None:
        requirement = Requirement.parse(need.text)
        if not requirement.negated:
            package = self._discovered(need.text, asker) if asker else None
            self._put(need, package or self.local.meets(requirement, folder, self.node.id, self.limits, need))

    def _put(self, need: Need, package: LocalPackage | None) -> None:
        result = self.result
        if package is None or package.node in self.cycle:
            result.external.setdefault(need.text, need)
            if package is not None:
                result.cut.setdefault(need.text, package.node)
            return
        known = result.packages.get(package.name)
        if known is None:
            result.packages[package.name] = package
            result.causes[package.name] = need
            self._open.append(package)
        elif known.node != package.node:
            raise _ambiguous([known, package], self.node.id, need)

    def _discovered(self, text: str, asker: str) -> LocalPackage | None:
        """The local package that met a requirement when the asking package was made: no recipe declares a ``so:``."""
        built = self.metadata(asker)
        if built is None or text not in built.discovered:
            return None
        node, name = built.discovered[text]
        package = self.local.package(node, name)
        return package if package and node != self.node.id else None

    def _offered(self) -> dict[str, list[str | None]]:
        """What the chosen local packages provide, by name."""
        found: dict[str, list[str | None]] = {}
        for package in self.result.packages.values():
            built = self.metadata(package.node)
            entry = built.entries.get(package.name) if built else None
            found.setdefault(package.name, []).append(entry.version if entry else package.version)
            for provide in entry.provides if entry else package.provides:
                name, version = split_provide(provide)
                found.setdefault(name, []).append(version)
        return found

    def _rescue(self, found: Reach) -> bool:
        """Local packages for what external packages ask and the pool lacks; whether there were any."""
        before = len(self.result.packages)
        for text, asker in list(found.missing.items()):
            if asker:
                self.rescued.add(text)
                package = self.local.meets(Requirement.parse(text), "", self.node.id, self.limits)
                if package is not None and package.node not in self.cycle:
                    self._put(Need(text, via=f"the external package {asker}"), package)
        self._close()
        return len(self.result.packages) > before


def _met(requirement: Requirement, offered: dict[str, list[str | None]]) -> bool:
    return any(requirement.accepts(version) for version in offered.get(requirement.name, ()))


def _distance(folder: str, other: str) -> tuple[int, int]:
    """Steps up from ``folder`` to the nearest common ancestor, then down to ``other``."""
    mine, theirs = (path.split("/") if path else [] for path in (folder, other))
    common = 0
    while common < min(len(mine), len(theirs)) and mine[common] == theirs[common]:
        common += 1
    return len(mine) - common, len(theirs) - common


def _ambiguous(packages: list[LocalPackage], asking: str, need: Need | None) -> GraphError:
    first, second = packages[0], packages[1]
    message = f"package `{first.name}` is made by two recipes that are equally near to {asking}"
    asked = need is not None and need.path
    return GraphError(
        message,
        where=Place(need.path, need.line) if need is not None and asked else Place(first.path, first.line),
        details=f"{f'one: {first.path}:{first.line}, ' if asked else ''}the other one: {second.path}:{second.line}",
        hint="rename one of them, or move the recipe that asks nearer to the one that is meant",
    )
