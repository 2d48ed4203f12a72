"""What stat says of the files of the workspace, and whether it still says so: the base of the null build.

A file whose stat (size, mtime_ns, inode, ctime_ns, mode) is what it was when its digest was taken is not read again. A file
changed so recently that a later change could leave the same stat is never trusted (git's "racily clean" entries).

Like all that a run loads which finds nothing to do, this module imports little: no pathlib, dataclasses or typing, which take
longer to load than a look at a thousand files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from buildgraph.workspace.root import Entry

# mode, size, mtime_ns, inode, ctime_ns
FileStat = tuple[int, int, int, int, int]
# A file changed within this time of being looked at may change again and keep its stat: clocks of file systems tick slowly.
RACY_NS = 50_000_000
GITIGNORE = ".gitignore"
CACHE_TAG = "CACHEDIR.TAG"
_NO_FILES: Mapping[str, Sequence[int]] = {}


class Tree:  # noqa: PLW1641 - it can be changed
    """What a walk saw. Paths are relative to the workspace, with slashes.

    ``files``: regular files (symbolic links to files as what they point to), without ignored ones; ``folders``: each folder
    walked with the names in it that git ignores or that are never entered (folders with a slash), the tag alone for a cache;
    ``links``: the files that are symbolic links; ``odd``: sockets, devices, dangling links, links to folders; ``loose``: files
    that were named one by one; ``rules``: ``.gitignore`` files that count and are not among ``files``: those above the folders
    walked, None for one that is not there, and those that ignore themselves.

    Where ``by_folder`` has the files by folder and name, ``files`` are given without these: most runs need no path of each.
    """

    __slots__ = ("_by_folder", "_files", "_given", "folders", "links", "loose", "odd", "rules")
    _PARTS = ("files", "folders", "links", "loose", "odd", "rules")

    def __init__(
        self,
        files: dict[str, FileStat] | None = None,
        folders: dict[str, list[str]] | None = None,
        links: set[str] | None = None,
        odd: set[str] | None = None,
        loose: set[str] | None = None,
        rules: dict[str, FileStat | None] | None = None,
        by_folder: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
    ) -> None:
        self._given = {} if files is None else files
        self._files = self._given if by_folder is None else None
        self._by_folder = by_folder
        self.folders = {} if folders is None else folders
        self.links = set() if links is None else links
        self.odd = set() if odd is None else odd
        self.loose = set() if loose is None else loose
        self.rules = {} if rules is None else rules

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and all(getattr(self, name) == getattr(other, name) for name in self._PARTS)

    def __repr__(self) -> str:
        return "Tree(" + ", ".join(f"{name}={getattr(self, name)!r}" for name in self._PARTS) + ")"

    @property
    def files(self) -> dict[str, FileStat]:
        """The regular files."""
        if self._files is None:
            self._files = dict(self._given)
            for folder, names in (self._by_folder or {}).items():
                prefix = folder + "/" if folder else ""
                self._files.update({prefix + name: tuple(known) for name, known in names.items()})  # type: ignore[misc]
        return self._files

    def with_files(self, changed: dict[str, FileStat]) -> Tree:
        """This tree after some of its files changed."""
        if not changed:
            return self
        return Tree(self.files | changed, self.folders, self.links, self.odd, self.loose, self.rules)

    def grouped(self) -> Mapping[str, Mapping[str, Sequence[int]]]:
        """The files by folder and name, without those that were named one by one."""
        if self._by_folder is not None:
            return self._by_folder
        found: dict[str, dict[str, Sequence[int]]] = {}
        for path, known in self.files.items():
            if path not in self.loose:
                folder, _, name = path.rpartition("/")
                found.setdefault(folder, {})[name] = known
        return found

    def below(self, folder: str) -> Iterator[str]:
        """The files at or below a folder ("" for all)."""
        prefix = folder + "/" if folder else ""
        return (path for path in self.files if path.startswith(prefix))


def file_stat(found: os.stat_result) -> FileStat:
    """The part of a stat result that tells whether a file may have changed."""
    return (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def regular(entry: Entry) -> FileStat | None:
    """The stat of a regular file, through symbolic links; None for sockets, devices, dangling links."""
    try:
        found = entry.stat()
    except OSError:
        return None
    return file_stat(found) if stat.S_ISREG(found.st_mode) else None


def stat_of(path: str | Path) -> FileStat | None:
    """The stat of a file; None where it is not there."""
    try:
        return file_stat(os.stat(path))
    except OSError:
        return None


def stamp(path: str | Path) -> list[int]:
    """The stat of a file outside the tree (an output, a tool, the manifest), to be compared later; empty where it is missing."""
    return list(stat_of(path) or ())


def changed_files(root: str | Path, tree: Tree) -> dict[str, FileStat] | None:
    """The files whose stat is not what it was, with what it is now; None where a walk might see other files than then.

    That is: a file or folder came or went, or a file that says what is ignored changed.
    """
    if not tree.folders:
        return None  # nothing was walked, or it is not known what
    look = _Again(root, tree)
    try:
        look.at_single_files()
        for folder in tree.folders:
            look.at_folder(folder)
    except (OSError, _OthersError):
        return None
    return look.changed


class _OthersError(Exception):
    """A walk would see other files."""


class _Again:
    """A second look at a tree: the same files, or ``_OthersError``."""

    def __init__(self, root: str | Path, tree: Tree) -> None:
        self.root = root
        self.tree = tree
        self.grouped = tree.grouped()
        self.changed: dict[str, FileStat] = {}

    def at_single_files(self) -> None:
        for path, known in self.tree.rules.items():
            if stat_of(os.path.join(self.root, path)) != known:
                raise _OthersError
        for path in self.tree.loose:
            found = file_stat(os.stat(os.path.join(self.root, path)))
            if found != self.tree.files[path]:
                self.note(path, found)

    def at_folder(self, folder: str) -> None:
        prefix = folder + "/" if folder else ""
        skipped, files = frozenset(self.tree.folders[folder]), self.grouped.get(folder, _NO_FILES)
        links, seen = self.tree.links, 0
        if folder and CACHE_TAG in skipped:
            os.lstat(os.path.join(self.root, folder, CACHE_TAG))
            return
        with os.scandir(os.path.join(self.root, folder)) as entries:
            for entry in entries:
                known = files.get(entry.name)
                if known is None:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if (entry.name + "/" if is_folder else entry.name) not in skipped:
                        self.at_other(prefix + entry.name, entry, is_folder=is_folder)
                    continue
                seen += 1
                now = entry.stat()
                if (now.st_mode, now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns) != tuple(known):
                    self.note(prefix + entry.name, file_stat(now))
                if entry.is_symlink() != (prefix + entry.name in links):
                    raise _OthersError
        if seen != len(files):
            raise _OthersError

    def at_other(self, path: str, entry: os.DirEntry[str], *, is_folder: bool) -> None:
        """What was no file of the tree must be none now, and a folder only if it was one."""
        if path in self.tree.folders or is_folder:
            same = path in self.tree.folders and is_folder
        else:
            same = path in self.tree.loose or (path in self.tree.odd and regular(entry) is None)
        if not same:
            raise _OthersError

    def note(self, path: str, found: FileStat) -> None:
        if not stat.S_ISREG(found[0]) or path.rpartition("/")[2] == GITIGNORE:
            raise _OthersError
        self.changed[path] = found
