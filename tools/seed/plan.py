"""From the map of names and Debian's lists to what is to be made: versions, packages, dependencies, as a closure.

Versions keep their order within a Debian release: upstream's part, then the Debian revision with its stable updates and
rebuilds as two digits each (``2.36-9+deb12u14`` -> ``2.36-r914``), so that another package is another version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from buildgraph.errors import RepositoryError, UsageError, did_you_mean
from buildgraph.structs import Struct, replace
from tools.seed.debian import Deb, Lists, wrong_distribution
from tools.seed.names import DROPPED, HANDMADE_VERSIONS, OLDER, RECIPES, SETS, VIRTUALS, Recipe
from tools.seed.npm import Tarball

TRIPLETS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


class Item(Struct, frozen=True):
    """One apk to make. ``depends`` and ``provides`` as an index has them, without what is found in its files."""

    name: str
    version: str
    arch: str
    description: str
    debs: tuple[Deb, ...]
    depends: tuple[str, ...]
    provides: tuple[str, ...]
    only: tuple[str, ...]
    leave: tuple[str, ...]
    npm: Tarball | None = None


def apk_version(debian: str) -> str:
    """A Debian version in apk's form; the epoch and words of upstream's part are left out."""
    upstream, _, revision = debian.rpartition(":")[2].rpartition("-")
    if not upstream:
        upstream, revision = revision, ""
    found = re.match(r"\d+(?:\.\d+)*(?:[a-z](?![a-z0-9]))?", upstream)
    if found is None:
        what = f"the Debian version {debian!r} has no number to make an apk version of"
        raise RepositoryError(what)
    if not revision:  # a native package: its updates follow upstream's part
        revision = "0" + upstream[found.end() :]
    numbers = re.findall(r"\d+", re.sub(r"deb\d+u", "", revision)) or ["0"]
    return f"{found[0]}-r{int(numbers[0] + ''.join(f'{int(number):02d}' for number in numbers[1:]))}"


class Planner:
    """Finds what is to be made so that the wanted names can be installed."""

    def __init__(self, lists: Lists, arch: str) -> None:
        self._lists = lists
        self._arch = arch
        triplet = TRIPLETS[arch].replace("_", "-")
        self._recipes = {name: _with_debs(recipe, triplet) for name, recipe in RECIPES.items()}
        self._missing = {name: [deb for deb in recipe.debs if not self._may_do(deb)] for name, recipe in self._recipes.items()}
        self._absent = {name for name, recipe in self._recipes.items() if recipe.debs and not any(map(self._counts, recipe.debs))}
        self._owners: dict[str, str] = {}
        for name, recipe in self._recipes.items():
            for deb in recipe.debs:
                self._owners.setdefault(deb.removesuffix("?"), name)

    def _present(self, deb: str) -> bool:
        return deb.removesuffix("?") in self._lists

    def _may_do(self, deb: str) -> bool:
        return deb.endswith("?") or deb in self._lists

    def _counts(self, deb: str) -> bool:
        return not deb.endswith("?") or self._present(deb)

    def closure(self, wanted: Iterable[str]) -> list[Item]:
        """The wanted apks and all that they depend on, sorted by name.

        Raises RepositoryError if the lists lack a package, naming every one that is missing.
        """
        items: dict[str, Item] = {}
        missing: set[str] = set()
        todo = [name for name in wanted if name not in self._absent]
        while todo:
            name = todo.pop()
            if name in items:
                continue
            recipe = self._recipes.get(name) or Recipe((name,))
            missing.update(self._missing.get(name, []))
            debs = tuple(self._lists[deb.removesuffix("?")] for deb in recipe.debs if self._present(deb))
            items[name] = item = self._item(name, recipe, debs)
            todo += item.depends
        if missing:
            raise _missing_packages(missing)
        return [items[name] for name in sorted(items)]

    def _item(self, name: str, recipe: Recipe, debs: tuple[Deb, ...]) -> Item:
        if recipe.npm and recipe.npm.arch != self._arch:
            what = f"{name} is made of a package for {recipe.npm.arch}; there is none for {self._arch}"
            raise RepositoryError(what, hint=f"ask for it with --arch {recipe.npm.arch}")
        version = apk_version(debs[0].version) if debs else HANDMADE_VERSIONS.get(name, "1-r0")
        depends = set(recipe.depends)
        if not recipe.alone:
            depends |= {found for deb in debs for found in self._dependencies(deb)} - set(recipe.drop)
        return Item(
            name=name,
            version=version,
            arch=self._arch,
            description=re.split("[#;]", debs[0].description)[0].strip() if debs else name,
            debs=debs,
            depends=tuple(sorted(depends - {name} - self._absent)),
            provides=tuple(sorted([f"{other}={version}" for other in recipe.provides] + list(VIRTUALS.get(name, ())))),
            only=recipe.only,
            leave=recipe.leave,
            npm=recipe.npm,
        )

    def _dependencies(self, deb: Deb) -> Iterable[str]:
        for clause in filter(None, (part.strip() for part in deb.depends.split(","))):
            alternatives = [re.split(r"[\s(:\[]", text.strip(), maxsplit=1)[0] for text in clause.split("|")]
            if DROPPED.isdisjoint(alternatives):
                yield self._choose(deb, clause, alternatives)

    def _choose(self, deb: Deb, clause: str, alternatives: Sequence[str]) -> str:
        """The apk for one clause: a package of the map before any other, a real one before a virtual one."""
        concrete = [name for name in alternatives if name in self._lists]
        virtual = [provider for name in alternatives for provider in self._lists.providers(name)]
        for name in (*(n for n in concrete if n in self._owners), *concrete, *virtual):
            return self._owners.get(name, name)
        what = f"the Debian package {deb.name} depends on `{clause}`, which apt's sources do not have"
        raise RepositoryError(what, hint="the seed is mapped for Debian 12's main section")


def _with_debs(recipe: Recipe, triplet: str) -> Recipe:
    debs = tuple(deb.format(triplet=triplet) for deb in recipe.debs)
    return replace(recipe, debs=debs)


def _missing_packages(missing: Iterable[str]) -> RepositoryError:
    error = wrong_distribution([])
    what = f"apt's sources lack Debian packages that this seed is mapped for: {', '.join(sorted(missing))}"
    return RepositoryError(what, hint=error.hint)


def wanted_names(set_name: str, only: Sequence[str], known: Mapping[str, Recipe] = RECIPES) -> tuple[str, ...]:
    """The names that a run starts from; raise UsageError for one that the map does not have."""
    for name in only:
        if name not in known:
            what = f"no package of the seed is called `{name}`"
            raise UsageError(what, hint=did_you_mean(name, known))
    return tuple(sorted(set(only or SETS[set_name])))


def older_debs(wanted: Iterable[str], known: Mapping[str, Recipe] = RECIPES) -> list[str]:
    """The Debian packages of earlier releases that names of the map come to need by what the map itself says, sorted."""
    seen: set[str] = set()
    todo = list(wanted)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += known[name].depends if name in known else ()
    return sorted(OLDER.keys() & {deb for name in seen & known.keys() for deb in known[name].debs})
