"""The workspace as it was at a commit: its files as a checkout of that commit here would give them.

Only what differs is checked out, into a scratch folder. A file that the work tree has byte for byte as a checkout would write it
is read there: nothing is copied for it, and nothing downloaded where a filter keeps contents elsewhere (Git LFS). Git's index
tells that from stat; where something converts a file (line ends, filters, ``ident``), attributes and bytes are compared too.

What git does not see is the same at all commits: files that it ignores, and folders that hold nothing else.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from buildgraph.errors import ToolError
from buildgraph.execute.git import LINK, SUBMODULE, Entry, Index, Repository, find_repository
from buildgraph.structs import Struct, field

_Kind = Literal["file", "link", "folder"]


class _Found(Struct, frozen=True):
    """What a folder holds under a name."""

    name: str
    kind: _Kind
    place: str

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.kind == "folder" or (follow_symlinks and os.path.isdir(self.place))  # noqa: PTH112 - a hot loop

    def is_symlink(self) -> bool:
        return self.kind == "link"

    def stat(self) -> os.stat_result:
        return os.stat(self.place)  # noqa: PTH116 - a hot loop


class _Part(NamedTuple):
    """A repository at a commit, the workspace's own or a submodule: the folder that it is in, its index there, what that has."""

    repository: Repository
    folder: str
    commit: str
    staged: Index
    entries: Mapping[str, Entry]


class Revision(Struct, dict=True):
    """The files of a workspace at a commit. ``revision / path`` is where one lies, ``scan`` gives what a folder holds.

    The workspace is the folder ``below`` (or "") of the work tree ``top``; ``scratch`` is an empty folder that must stay. Paths
    in here are relative to ``top``. Methods raise ToolError where an object or a submodule is not to be had.
    """

    top: Path
    below: str
    scratch: Path
    _parts: list[_Part] = field(default_factory=list)
    _folders: dict[str, dict[str, _Kind]] = field(default_factory=lambda: {"": {}})
    _placed: set[str] = field(default_factory=set)  # files, links and paths that nothing is at
    _same: set[str] = field(default_factory=set)  # of these, the files that the work tree has

    def __truediv__(self, path: str) -> Path:
        """Where a file of the workspace lies; a folder is one with the same names in it."""
        inner = posixpath.normpath(posixpath.join(self.below, path))
        return self.top / inner if inner.startswith(("/", "../")) else Path(self._place_of(inner))

    def scan(self, folder: str) -> list[_Found]:
        """What a folder of the workspace holds. Raises FileNotFoundError."""
        path = self._end_of(posixpath.normpath(posixpath.join(self.below, folder)))
        if path not in self._folders:
            raise FileNotFoundError(2, os.strerror(2), folder)
        held = self._folders[path].items()
        return [_Found(name, kind, "" if kind == "folder" else self._place_of(_join(path, name))) for name, kind in list(held)]

    def same(self) -> set[str]:
        """The files of the workspace that are those of the work tree, by their paths in the workspace."""
        prefix = f"{self.below}/" if self.below else ""
        return {path.removeprefix(prefix) for path in self._same if path.startswith(prefix)}

    def _place_of(self, path: str) -> str:
        end = self._end_of(path)
        if end in self._same:
            return f"{self.top}/{end}"
        if end in self._folders:
            self._make_folder(end)
        return os.path.normpath(f"{self._files}/{end}")

    def _end_of(self, path: str) -> str:
        """The path behind all symbolic links of the commit; what they lead to is placed."""
        path = "" if path == "." else path
        while path not in self._same and path not in self._folders:
            end = os.path.relpath(os.path.realpath(self._files / path), os.path.realpath(self._files))
            if end == path:
                if path in self._placed:
                    break
                self._placed.add(path)
                self._place(self._parts[0], path)
            path = end
        return path

    def _make_folder(self, folder: str) -> None:
        """Makes a folder real, as far as the names in it."""
        (self._files / folder).mkdir(parents=True, exist_ok=True)
        for name, kind in self._folders[folder].items():
            place = self._files / folder / name
            if kind == "folder":
                place.mkdir(exist_ok=True)
            elif not os.path.lexists(place):
                place.symlink_to(self.top / folder / name)

    @property
    def _files(self) -> Path:
        return self.scratch / "files"

    def add(self, repository: Repository, commit: str, folder: str, below: str) -> None:
        """Adds a repository that is checked out in ``folder``, and places what it has at or below a path of it."""
        index = Index(repository, self.scratch / f"index{len(self._parts)}", self._files / folder)
        index.files.mkdir(parents=True, exist_ok=True)
        part = _Part(repository, folder, commit, index, index.read(commit))
        self._parts.append(part)
        self._add_folder(folder)
        self._place(part, below)

    def _place(self, part: _Part, below: str) -> None:
        """Makes what is at or below a path of a part be there, with the submodules that it is in or that are in it."""
        wanted = {path: entry for path, entry in part.entries.items() if _is_below(path, below)}
        modules = [
            path
            for path, entry in part.entries.items()
            if entry.mode == SUBMODULE and (_is_below(path, below) or _is_below(below, path))
        ]
        same = _same(part, below, wanted)
        differing = [path for path, entry in wanted.items() if path not in same and entry.mode != SUBMODULE]
        part.staged.check_out(differing)
        self._same.update(_join(part.folder, path) for path in same)
        for path in (*same, *differing):
            whole = _join(part.folder, path)
            self._placed.add(whole)
            self._note(whole, "link" if wanted[path].mode == LINK and self._settle_link(whole) else "file")
        for path in modules:
            if _join(part.folder, path) not in self._folders:
                self._add_submodule(part, path)

    def _note(self, path: str, kind: _Kind) -> None:
        """Lists a path in its folder, and that in its own."""
        while path:
            folder, _, name = path.rpartition("/")
            known = self._folders.get(folder)
            if known is not None:
                known[name] = kind
                break
            self._folders[folder] = {name: kind}
            path, kind = folder, "folder"

    def _settle_link(self, path: str) -> bool:
        """Makes a link that leads out of the repository lead there from the scratch folder; False for what is none.

        Where the file system or the user wants no links, git writes a file that says where one would lead.
        """
        place = self._files / path
        if not place.is_symlink():
            return False
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), place.readlink()))
        if target.startswith("../"):
            place.unlink()
            place.symlink_to(os.path.normpath(self.top / target))
        return True

    def _add_submodule(self, part: _Part, path: str) -> None:
        """Adds a submodule at the commit that a part has for it; one that is not checked out now is an empty folder then too."""
        folder, commit, now = _join(part.folder, path), part.entries[path].object, part.repository.index.get(path)
        top = part.repository.top and part.repository.top / path
        if top and (top / ".git").exists():
            found = find_repository(top, part.repository.environment)
        elif now and now.mode == SUBMODULE:
            self._add_folder(folder)
            return
        else:
            found = part.repository.submodule(part.commit, path)
        if found is None or not found.has(commit):
            message = f"the submodule {folder} is not here as it was at {part.commit[:12]}"
            hint = (
                f"`git -C {top} fetch origin {commit}` brings it" if found and found.top else "it is no longer checked out here"
            )
            raise ToolError(message, details=f"its commit was {commit}", hint=hint)
        self.add(found, commit, folder, "")

    def _add_folder(self, folder: str) -> None:
        self._note(folder, "folder")
        self._folders.setdefault(folder, {})

    def add_unseen(self, files: Iterable[str], folders: Iterable[str]) -> None:
        """Of files and folders that are there now, adds the files that git ignores and the folders that it has nothing of."""
        inputs = {_join(self.below, path) for path in files}
        checked_out = [(part, part.repository.top) for part in self._parts if part.repository.top]
        ignored = {path for part, top in checked_out for path in self._ignored(part, top, inputs)}
        for path in ignored - self._placed:
            self._same.add(path)
            self._placed.add(path)
            self._note(path, "link" if (self.top / path).is_symlink() else "file")
        tracked = (_join(part.folder, path) for part, _ in checked_out for path in part.repository.index)
        seen = {folder for path in (inputs - ignored).union(tracked) for folder in _folders_of(path)}
        for folder in {_join(self.below, path) for path in folders} - seen - self._folders.keys():
            self._add_folder(folder)

    def _ignored(self, part: _Part, top: Path, files: Iterable[str]) -> Iterator[str]:
        """Those of some files that a part's repository, checked out in ``top``, ignores."""
        repository, prefix = part.repository, f"{part.folder}/" if part.folder else ""
        modules = {path for path, entry in repository.index.items() if entry.mode == SUBMODULE}
        own = (path.removeprefix(prefix) for path in files if path.startswith(prefix))
        asked = [path for path in own if path not in repository.index and modules.isdisjoint(_folders_of(path))]
        # git refuses to say anything of what is behind a symbolic link.
        places = {folder: top / folder for folder in map(posixpath.dirname, asked)}
        real = {folder for folder, place in places.items() if os.path.realpath(place) == str(place)}
        plain = [path for path in asked if posixpath.dirname(path) in real]
        yield from (prefix + path for path in repository.ignored(plain))


def revision(
    repository: Repository, commit: str, workspace: Path, files: Iterable[str], folders: Iterable[str], scratch: Path
) -> Revision:
    """The files of a workspace at a commit of the repository that it is checked out from, by way of an empty folder ``scratch``.

    ``files`` and ``folders`` are those that count now, relative to the workspace: what of them git does not see counts then too.
    """
    top = repository.top or workspace
    below = os.path.relpath(os.path.realpath(workspace), os.path.realpath(top))
    found = Revision(top, "" if below == "." else below, scratch)
    found.add(repository, commit, "", found.below)
    found.add_unseen(files, folders)
    return found


def _same(part: _Part, below: str, wanted: Mapping[str, Entry]) -> set[str]:
    """The files of a part that are in its work tree byte for byte as a checkout would write them."""
    repository = part.repository
    if repository.top is None or not wanted:
        return set()
    differing = repository.changed(part.commit, below)
    tracked = repository.index
    alike = [
        path
        for path, entry in wanted.items()
        if entry.mode not in {LINK, SUBMODULE} and path not in differing and path in tracked and tracked[path].tag == "H"
    ]
    now, then = repository.attributes(alike), repository.attributes(alike, part.staged)
    found, doubtful = set(), []
    for path in alike:
        before, after = (_conversion(attributes.get(path, {}), repository) for attributes in (then, now))
        if before == after and not before.text:
            found.add(path)
        elif before.as_stored and "\n" not in path and not path.startswith('"'):
            doubtful.append(path)
    objects = repository.objects_of(doubtful) if doubtful else []
    return found.union(path for path, name in zip(doubtful, objects, strict=True) if name == wanted[path].object)


class _Conversion(NamedTuple):
    """What git does to a file on its way between its store and a work tree.

    ``text``: it may change its text; ``as_stored``: a checkout does not; ``filter``: the program that the file goes through.
    """

    text: bool
    as_stored: bool
    filter: str


_PLAIN = _Conversion(text=False, as_stored=True, filter="")


def _conversion(attributes: Mapping[str, str], repository: Repository) -> _Conversion:
    """As gitattributes(5) and git-config(1) have it; systems whose lines end otherwise than in LF are not among bg's."""
    automatic = repository.is_set("core.autocrlf") or repository.settings.get("core.autocrlf", "").lower() == "input"
    if not attributes and not automatic:
        return _PLAIN
    given = {name: value for name, value in attributes.items() if value != "unset"}
    binary = attributes.get("text", attributes.get("crlf")) == "unset"
    ends = not binary and (automatic or any(name in given for name in ("text", "crlf", "eol")))
    crlf = repository.is_set("core.autocrlf") or (not automatic and repository.settings.get("core.eol", "").lower() == "crlf")
    writes_crlf = ends and (given["eol"] == "crlf" if "eol" in given else crlf)
    other = "ident" in given or "working-tree-encoding" in given
    driver = given.get("filter", "")
    return _Conversion(ends or other, not (writes_crlf or other or driver), driver)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _folders_of(path: str) -> Iterator[str]:
    """The folders that a path is in, the nearest first."""
    while path := posixpath.dirname(path):
        yield path
