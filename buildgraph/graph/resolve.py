"""What a node's box may hold: local packages first, the rest from the pool.

The same function works before anything is built, on what recipes declare, and just before a node runs, on what its
dependencies' packages really say (melange's scan adds requirements and provides that no recipe states).

A local package serves every requirement that its version and provides satisfy. Where several have the name, the one nearest
upwards from the asking recipe's folder is meant. External packages get their own dependencies from the pool, unless a
local package of that name is in the box anyway: then the external one of that name is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.pool import Pool, Reach, reach
from buildgraph.apk.version import Requirement
from buildgraph.errors import GraphError, Place
from buildgraph.graph.model import LocalPackage, Node
from buildgraph.recipes.values import Need


@dataclass(frozen=True, slots=True)
class Built:
    """What a node's packages really say, once they exist.

    ``entries`` by package name; ``discovered`` maps a scanned requirement to the node and package that met it in the box.
    """

    entries: dict[str, IndexEntry]
    discovered: dict[str, tuple[str, str]]


# Who asks, where an external package does.
FROM_POOL = "pool"

# The real metadata of a node, or None while it is not known.
Metadata = Callable[[str], Built | None]


class Locals:
    """The local packages of one architecture, found by what they provide."""

    def __init__(self, packages: Iterable[LocalPackage]) -> None:
        self.by_node: dict[str, dict[str, LocalPackage]] = {}
        self._providers: dict[str, list[tuple[LocalPackage, str | None]]] = {}
        for package in packages:
            self.by_node.setdefault(package.node, {})[package.name] = package
            self._providers.setdefault(package.name, []).append((package, package.version))
            for provide in package.provides:
                name, version = split_provide(provide)
                if name != package.name:
                    self._providers.setdefault(name, []).append((package, version))

    def names(self) -> list[str]:
        """Every name that a local package has or provides."""
        return list(self._providers)

    def offers(self, name: str) -> list[str]:
        """Who has or provides a name by what recipes declare, one line each: what ``meets`` can depend on besides the asker."""
        return sorted(
            f"{name} {version} {package.node} {package.name} {package.folder}"
            for package, version in self._providers.get(name, ())
        )

    def meets(self, requirement: Requirement, folder: str, asking_node: str, need: Need | None = None) -> list[LocalPackage]:
        """The local packages that a requirement means, empty where it is external's.

        A package of that very name comes before packages that only provide it; of several packages of one name the one nearest
        upwards from the asking recipe's folder is meant. Raises GraphError where two are equally near, at the place of the
        ``need`` if that is given.
        """
        fitting = [
            package
            for package, version in self._providers.get(requirement.name, ())
            if package.node != asking_node and requirement.accepts(version)
        ]
        found = [package for package in fitting if package.name == requirement.name] or fitting
        if len(found) < 2:  # noqa: PLR2004 - nothing to choose from
            return found
        same_name: dict[str, dict[str, LocalPackage]] = {}
        for package in found:
            same_name.setdefault(package.name, {})[package.node] = package
        return [_nearest(list(made.values()), folder, asking_node, need) for made in same_name.values()]


@dataclass(slots=True)
class Resolution:
    """What a box may hold.

    ``packages``: the local packages by name, each with the need that first asked for it; ``requirements``: what was asked of
    the pool, sorted; ``reach``: what of the pool that reaches; ``asked``: all that was asked for, each with the asking recipe's
    folder and node, the latter empty for the world itself and ``FROM_POOL`` for an external package.
    """

    packages: dict[str, LocalPackage] = field(default_factory=dict)
    causes: dict[str, Need] = field(default_factory=dict)
    requirements: list[str] = field(default_factory=list)
    reach: Reach = field(default_factory=Reach)
    needs: dict[str, Need] = field(default_factory=dict)
    asked: set[tuple[str, str, str]] = field(default_factory=set)

    def nodes(self) -> list[str]:
        """The nodes that make the local packages, sorted."""
        return sorted({package.node for package in self.packages.values()})


def split_provide(text: str) -> tuple[str, str | None]:
    """A provide's name and version; None where it has none."""
    name, equals, version = text.partition("=")
    return name, version if equals else None


def resolve(node: Node, local: Locals, pool: Pool | None, metadata: Metadata) -> Resolution:
    """The packages that the box of ``node`` may hold; ``pool`` None leaves the external part open.

    Raises GraphError for an ambiguous name. External requirements that nothing meets are in ``reach.missing``.
    """
    return resolve_world(node.world, node.folder, node.id, local, pool, metadata)


def resolve_world(
    world: Sequence[Need], folder: str, asking_node: str, local: Locals, pool: Pool | None, metadata: Metadata
) -> Resolution:
    """As ``resolve``, for any list of needs as seen from ``folder``."""
    result = Resolution()
    walk = _Walk(local, metadata, asking_node, result)
    for need in world:
        walk.ask(need, folder, "")
    walk.run()
    while True:
        offered = walk.offered()
        result.requirements = sorted(text for text in walk.external if not _met(Requirement.parse(text), offered))
        if pool is None:
            return result
        result.reach = reach(pool, result.requirements, frozenset(result.packages), frozenset(offered))
        rescued = walk.rescue(result.reach)
        if not rescued:
            return result


def _met(requirement: Requirement, offered: dict[str, list[str | None]]) -> bool:
    return any(requirement.accepts(version) for version in offered.get(requirement.name, ()))


class _Walk:
    """The growing set of local packages, and the requirements that none of them meets."""

    def __init__(self, local: Locals, metadata: Metadata, asking_node: str, result: Resolution) -> None:
        self.local = local
        self.metadata = metadata
        self.asking_node = asking_node
        self.result = result
        self.external: dict[str, None] = {}
        self._pending: list[tuple[Need, str, str]] = []

    def ask(self, need: Need, folder: str, asker: str) -> None:
        key = (need.text, folder, asker)
        if key not in self.result.asked:
            self.result.asked.add(key)
            self._pending.append((need, folder, asker))

    def run(self) -> None:
        while self._pending:
            need, folder, asker = self._pending.pop()
            requirement = Requirement.parse(need.text)
            if requirement.negated:
                continue
            found = self._discovered(need.text, asker) or self.local.meets(requirement, folder, self.asking_node, need)
            if found:
                for package in found:
                    self._take(package, need)
            else:
                self.external.setdefault(need.text)
                self.result.needs.setdefault(need.text, need)

    def _take(self, package: LocalPackage, cause: Need) -> None:
        known = self.result.packages.get(package.name)
        if known is not None:
            if known.node != package.node:
                raise _ambiguous([known, package], self.asking_node, cause)
            return
        self.result.packages[package.name] = package
        self.result.causes[package.name] = cause
        built = self.metadata(package.node)
        entry = built.entries.get(package.name) if built else None
        needs = [Need(text, package.path, package.line, via="scan") for text in entry.depends] if entry else package.depends
        for need in needs:
            self.ask(need, package.folder, package.node)

    def _discovered(self, text: str, asker: str) -> list[LocalPackage]:
        """The local package that met a requirement when the asking package was made: no recipe declares a ``so:``."""
        built = self.metadata(asker) if asker else None
        if built is None or text not in built.discovered:
            return []
        node, name = built.discovered[text]
        package = self.local.by_node.get(node, {}).get(name)
        return [package] if package and node != self.asking_node else []

    def offered(self) -> dict[str, list[str | None]]:
        """What the chosen local packages provide, by name."""
        result: dict[str, list[str | None]] = {}
        for package in self.result.packages.values():
            built = self.metadata(package.node)
            entry = built.entries.get(package.name) if built else None
            result.setdefault(package.name, []).append(entry.version if entry else package.version)
            for provide in entry.provides if entry else package.provides:
                name, version = split_provide(provide)
                result.setdefault(name, []).append(version)
        return result

    def rescue(self, found: Reach) -> bool:
        """Local packages for what external packages ask and the pool lacks; whether there were any."""
        before = len(self.result.packages)
        for text, asker in list(found.missing.items()):
            if asker:
                self.result.asked.add((text, "", FROM_POOL))
                for package in self.local.meets(Requirement.parse(text), "", self.asking_node):
                    self._take(package, Need(text, via=f"the external package {asker}"))
        self.run()
        return len(self.result.packages) > before


def _nearest(packages: list[LocalPackage], folder: str, asking_node: str, need: Need | None) -> LocalPackage:
    ranked = sorted(packages, key=lambda package: (*_distance(folder, package.folder), package.path))
    if len(ranked) > 1 and _distance(folder, ranked[0].folder) == _distance(folder, ranked[1].folder):
        raise _ambiguous(ranked, asking_node or "the pool", need)
    return ranked[0]


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
