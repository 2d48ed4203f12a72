"""The pool: a set of external packages, and what of it a list of requirements can reach.

Reaching stands for solving: it follows every provider of every requirement through names, provides and install_if, so what
it finds is a superset of any solution, found without a solver. It goes into the key and into the box; there apko picks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.version import Requirement
from buildgraph.structs import Struct, field


class Pool:
    """Packages of one architecture, found by what they provide. Never changed once made."""

    def __init__(self, entries: Iterable[IndexEntry]) -> None:
        self.entries = tuple(entries)
        self._providers: dict[str, list[tuple[IndexEntry, str | None]]] = {}
        self._conditional: dict[str, list[IndexEntry]] = {}
        for entry in self.entries:
            for name, version in entry.provided():
                self._providers.setdefault(name, []).append((entry, version))
            for condition in entry.install_if:
                self._conditional.setdefault(Requirement.parse(condition).name, []).append(entry)

    def names(self) -> Iterator[str]:
        """Every name that something here provides."""
        return iter(self._providers)

    def providers(self, requirement: Requirement) -> list[IndexEntry]:
        """The packages that meet a requirement, by name or by what they provide."""
        return [entry for entry, version in self._providers.get(requirement.name, ()) if requirement.accepts(version)]

    @property
    def has_conditions(self) -> bool:
        """Whether something here has an install_if."""
        return bool(self._conditional)

    def conditional_on(self, name: str) -> list[IndexEntry]:
        """The packages that install_if ``name`` might bring in."""
        return self._conditional.get(name, [])

    def conditional(self) -> list[str]:
        """The names of the packages with an install_if, sorted."""
        return sorted({entry.name for entries in self._conditional.values() for entry in entries})

    def conditional_on_any(self, names: Collection[str]) -> Iterator[IndexEntry]:
        """The packages that install_if one of some names, and maybe more, might bring in."""
        return (entry for name, entries in self._conditional.items() if name in names for entry in entries)


class Reach(Struct):
    """What some requirements reach: ``entries``, and the ``missing`` requirements with what asked for each."""

    entries: dict[str, IndexEntry] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def sorted(self) -> list[IndexEntry]:
        """The entries in the order of their names and versions."""
        return [self.entries[key] for key in sorted(self.entries)]


def reach(
    pool: Pool, requirements: Iterable[str], shadowed: frozenset[str] = frozenset(), provided: frozenset[str] = frozenset()
) -> Reach:
    """All of the pool that the requirements can reach.

    ``shadowed`` names packages that are not there (a local package stands in their place), ``provided`` names that are met
    by something outside the pool.
    """
    found = Reach()
    pending = [(text, "") for text in requirements]
    # What names from outside alone bring in; every other install_if is looked at when one of its names arrives.
    for entry in pool.conditional_on_any(provided):
        if _conditions_met(entry, found, provided):
            pending.extend(_take(pool, entry, found, shadowed, provided))
    asked: set[str] = set()
    while pending:
        text, asker = pending.pop()
        if text in asked:
            continue
        asked.add(text)
        requirement = Requirement.parse(text)
        if requirement.negated or requirement.name in provided or requirement.name in shadowed:
            continue
        providers = pool.providers(requirement)
        if not providers:
            found.missing[text] = asker
        for entry in providers:
            pending.extend(_take(pool, entry, found, shadowed, provided))
    return found


def _take(
    pool: Pool, first: IndexEntry, found: Reach, shadowed: frozenset[str], provided: frozenset[str]
) -> list[tuple[str, str]]:
    """Adds a package and all that install_if brings in with it; returns what they depend on, each with its asker."""
    waiting = [first]
    depends: list[tuple[str, str]] = []
    while waiting:
        entry = waiting.pop()
        if entry.filename in found.entries or entry.name in shadowed:
            continue
        found.entries[entry.filename] = entry
        depends.extend((depend, entry.name) for depend in entry.depends)
        for name, _ in entry.provided():
            waiting.extend(other for other in pool.conditional_on(name) if _conditions_met(other, found, provided))
    return depends


def _conditions_met(candidate: IndexEntry, found: Reach, provided: frozenset[str]) -> bool:
    """Whether every install_if condition of a package could hold; asked again whenever one of its names arrives."""
    offered = [pair for entry in found.entries.values() for pair in entry.provided()]
    return all(
        wanted.name in provided or any(name == wanted.name and wanted.accepts(version) for name, version in offered)
        for wanted in map(Requirement.parse, candidate.install_if)
    )
