"""Whether a set of packages is whole: every dependency met, nothing in two packages that cannot be beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.version import Requirement
from buildgraph.errors import RepositoryError
from buildgraph.structs import Struct


class Made(Struct, frozen=True):
    """A package that was made. ``files`` gives, for each path that is no folder, what tells its content."""

    entry: IndexEntry
    files: Mapping[str, str]


def check(packages: Sequence[Made]) -> None:
    """Raise RepositoryError with everything that is wrong, each line naming the packages at fault."""
    entries = [package.entry for package in packages]
    faults = [*_unmet(entries), *_rivals(entries), *_clashes(packages)]
    if faults:
        what = f"the set of {len(packages)} packages does not hold together"
        raise RepositoryError(what, details="\n".join(faults[:40]), hint="the map of names (tools/seed/names.py) is at fault")


def _unmet(entries: Sequence[IndexEntry]) -> Iterable[str]:
    offers: dict[str, list[IndexEntry]] = {}
    for entry in entries:
        for name, _ in entry.provided():
            offers.setdefault(name, []).append(entry)
    for entry in entries:
        for text in entry.depends:
            wanted = Requirement.parse(text)
            if not any(offer.meets(wanted) for offer in offers.get(wanted.name, ())):
                yield f"{entry.name} depends on {text}, which nothing provides"


def _rivals(entries: Sequence[IndexEntry]) -> Iterable[str]:
    """Two packages that provide one name, each with a version: apko never installs both (repo.go: disqualifyConflicts)."""
    first: dict[str, IndexEntry] = {}
    for entry in entries:
        for name, version in entry.provided():
            other = first.setdefault(name, entry) if version is not None else entry
            if other is not entry:
                yield f"{other.name} and {entry.name} both provide {name}"


def _clashes(packages: Sequence[Made]) -> Iterable[str]:
    """Paths that two packages have with different bytes: apko refuses that (install.go: installRegularFile)."""
    first: dict[str, Made] = {}
    for package in packages:
        for path, content in package.files.items():
            other = first.setdefault(path, package)
            if other.files[path] != content:
                yield f"{other.entry.name} and {package.entry.name} both have {path}, with different content"
