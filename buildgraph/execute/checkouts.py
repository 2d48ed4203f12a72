"""Commits as sources: brought from a repository, kept as one pack, and given to a box as a repository to clone from.

What a box gets is a function of what the recipe pins. Branches and tags are not: a branch moves on, a tag's message and time are
its repository's. So the branch ends at the commit, and a tag is made anew unless its own object is what is pinned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from buildgraph.cache.cas import Cas
from buildgraph.errors import RepositoryError, ToolError
from buildgraph.execute.git import Repository, new_repository
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.recipes.values import PinnedSource
from buildgraph.structs import Struct, replace

_BRANCH, _DEFAULT_BRANCH = "refs/heads/", "refs/heads/main"
_TAG = "refs/tags/"
_HASH = re.compile(r"[0-9a-f]{40}")
_REF = re.compile(r"refs/(?:heads|tags)/[A-Za-z0-9_][A-Za-z0-9_./+@-]*")
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-gc")
# With these, and without anybody's settings, one version of git makes the same pack of the same objects everywhere.
_PACK = ("pack-objects", "--revs", "--quiet", "--threads=1", "--window=10", "--depth=50", "--compression=6",
         "--delta-base-offset", "--no-reuse-delta", "--no-reuse-object", "--index-version=2")  # fmt: skip
_NO_SETTINGS = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
_OWN_SETTINGS = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"


class Checkout(Struct, frozen=True):
    """A commit as it is kept: the blobs of its pack and of the pack's index, its refs, and where its history is cut off."""

    name: str
    pack: Digest
    index: Digest
    refs: Mapping[str, str]
    shallow: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The form in which it is recorded."""
        return {
            "name": self.name,
            "pack": self.pack,
            "index": self.index,
            "refs": dict(self.refs),
            "shallow": list(self.shallow),
        }

    def lay_out(self, folder: Path, cas: Cas) -> None:
        """Makes ``folder`` a bare repository that holds it. Raises OSError, MissingBlobError."""
        packs = folder / "objects/pack"
        packs.mkdir(parents=True)
        (folder / "refs").mkdir()
        for digest, suffix in ((self.pack, "pack"), (self.index, "idx")):
            cas.copy(digest, packs / f"pack-{self.name}.{suffix}", 0o644)
        head = next(ref for ref in self.refs if ref.startswith(_BRANCH))
        (folder / "HEAD").write_text(f"ref: {head}\n")
        (folder / "config").write_text(_OWN_SETTINGS)
        (folder / "packed-refs").write_text("".join(f"{name} {ref}\n" for ref, name in sorted(self.refs.items())))
        if self.shallow:
            (folder / "shallow").write_text("".join(f"{name}\n" for name in self.shallow))


def checkout_from_json(raw: Mapping[str, Any] | None) -> Checkout | None:
    """The checkout that was recorded, None for anything that is not exactly one."""
    try:
        if raw is None:
            return None
        pack, index = parse_digest(raw["pack"]), parse_digest(raw["index"])
        refs = {ref: name for ref, name in raw["refs"].items() if _REF.fullmatch(ref) and _HASH.fullmatch(name)}
        names = (raw["name"], *raw["shallow"])
        sound = (
            refs == raw["refs"]
            and isinstance(raw["shallow"], list)
            and any(ref.startswith(_BRANCH) for ref in refs)
            and all(map(_HASH.fullmatch, names))
        )
        return Checkout(raw["name"], pack, index, refs, tuple(raw["shallow"])) if sound and pack and index else None
    except (KeyError, TypeError, AttributeError):
        return None


def settings_for(repositories: Mapping[str, str]) -> str:
    """The settings by which git takes each address for the repository in a folder of the box."""
    sections = [
        f'[safe]\n\tdirectory = {folder}\n[url "file://{folder}"]\n\tinsteadOf = {address}\n'
        for address, folder in sorted(repositories.items())
    ]
    return "".join(sections)


def bring(source: PinnedSource, places: Iterable[str], scratch: Path, cas: Cas, environment: Mapping[str, str]) -> Checkout:
    """Brings a commit from the first of some repositories that gives it, and keeps it.

    ``environment`` is git's, and with it the user's settings count (credentials, proxies). Raises RepositoryError, ToolError.
    """
    said = []
    for number, place in enumerate(places):
        repository = new_repository(scratch / f"git-{number}", environment)
        try:
            _check_tip(repository, source, place)
            _fetch(repository, source, place, scratch / f"whole-{number}")
            return _kept(replace(repository, environment={**repository.environment, **_NO_SETTINGS}), source, cas)
        except ToolError as error:
            if not error.details:
                raise
            said.append(f"{place}: {error.details.splitlines()[-1]}")
    message = f"cannot bring {source.digest} of {source.address} ({source.place})"
    raise RepositoryError(message, details="\n".join(said), hint="is the network there? `source-mirrors:` can name another place")


def _check_tip(repository: Repository, source: PinnedSource, place: str) -> None:
    """Raises ToolError where a branch must end at the commit and does not; what is cloned from later always ends there."""
    if source.is_tip:
        tip = repository.ask("ls-remote", "--", place, source.ref).partition("\t")[0]
        if tip != source.digest.partition(":")[2]:
            message = f"{source.address} has another commit there"
            raise ToolError(
                message, details=f"{source.ref} ends at {tip or 'nothing'}, and `expected-commit-is-branch-tip` is set"
            )


def _fetch(repository: Repository, source: PinnedSource, place: str, whole: Path) -> None:
    """By its hash and with its depth; where a server gives only what a ref names, or all, out of the ref's whole history."""
    depth = (f"--depth={source.depth}",) if source.depth else ()
    commit = source.digest.partition(":")[2]
    try:
        repository.ask(*_FETCH, *depth, "--", place, commit)
    except ToolError as refused:
        between = new_repository(whole, repository.environment)
        try:
            between.ask(*_FETCH, "--", place, f"{source.ref or 'HEAD'}:refs/brought")
            between.ask("config", "uploadpack.allowAnySHA1InWant", "true")
            repository.ask(*_FETCH, *depth, "--", f"file://{whole}", commit)
        except ToolError:
            raise refused from None


def _kept(repository: Repository, source: PinnedSource, cas: Cas) -> Checkout:
    """What belongs to the commit, as one pack. Raises ToolError where the history is shorter than was asked for."""
    commit = source.digest.partition(":")[2]
    peeled = repository.ask("rev-parse", "--verify", f"{commit}^{{commit}}").strip()
    refs = {source.ref if source.ref.startswith(_BRANCH) else _DEFAULT_BRANCH: peeled}
    if source.ref.startswith(_TAG):
        refs[source.ref] = commit if peeled != commit else _new_tag(repository, source.ref.removeprefix(_TAG), commit)
    shallow = repository.folder / "shallow"
    cut = shallow.read_text().split() if shallow.exists() else []
    if not _cut_where_asked(repository, peeled, source.depth, set(cut)):
        message = f"{source.address} was cloned from what is itself a part"
        raise ToolError(message, details="it has only a part of the history")
    name = repository.ask(*_PACK, str(repository.folder / "pack"), given=sorted(set(refs.values())), separator="\n").strip()
    files = [repository.folder / f"pack-{name}.{suffix}" for suffix in ("pack", "idx")]
    pack, index = (Digest(cas.put_file(path, move=True)) for path in files)
    return Checkout(name, pack, index, refs, tuple(sorted(cut)))


def _cut_where_asked(repository: Repository, commit: str, depth: int, cut: set[str]) -> bool:
    """Whether the history ends after so many commits and no earlier, as it does where a server has only a part of it."""
    if not depth:
        return not cut
    parents = {one: rest for one, *rest in map(str.split, repository.ask("rev-list", "--parents", commit).splitlines())}
    generation = seen = {commit}
    for _ in range(depth - 1):
        generation = {parent for one in generation for parent in parents[one]} - seen
        seen = seen | generation
    return cut <= generation


def _new_tag(repository: Repository, tag: str, commit: str) -> str:
    """An annotated tag, which all of git's ways to describe a commit see, with nothing in it but its name and the commit."""
    seconds = repository.ask("show", "--no-patch", "--format=%ct", commit).strip()
    text = f"object {commit}\ntype commit\ntag {tag}\ntagger bg <bg@localhost> {seconds} +0000\n\n{tag}\n"
    return repository.ask("hash-object", "-t", "tag", "-w", "--stdin", given=[text], separator="").strip()
