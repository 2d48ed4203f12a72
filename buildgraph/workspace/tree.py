"""The files of the workspace with what stat says of them: the base of discovery, of source digests and of the null build.

A file whose stat (size, mtime_ns, inode, ctime_ns, mode) is what it was when its digest was taken is not read again. A file
changed so recently that a later change could leave the same stat is never trusted (git's "racily clean" entries).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from buildgraph.errors import RecipeError
from buildgraph.workspace.ignore import FILE_NAME, IgnoreRules
from buildgraph.workspace.root import Entry, Root, Scan

# mode, size, mtime_ns, inode, ctime_ns
FileStat = tuple[int, int, int, int, int]
_NO_FILES: dict[str, FileStat] = {}

# Of version control, folders and files: in a worktree or a submodule .git is a file with a path of this machine.
SKIPPED = frozenset({".git", ".hg", ".svn", ".jj"})
CACHE_TAG = "CACHEDIR.TAG"


@dataclass(slots=True)
class Tree:
    """What a walk saw. Paths are relative to the workspace, with slashes.

    ``files``: regular files (symbolic links to files as what they point to), without ignored ones; ``folders``: each folder
    walked with the names in it that git ignores or that are never entered (folders with a slash), the tag alone for a cache;
    ``links``: the files that are symbolic links; ``odd``: sockets, devices, dangling links, links to folders; ``loose``: files
    that were named one by one; ``rules``: ``.gitignore`` files that count and are not among ``files``: those above the folders
    walked, None for one that is not there, and those that ignore themselves.
    """

    files: dict[str, FileStat] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    odd: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    rules: dict[str, FileStat | None] = field(default_factory=dict)

    def with_files(self, changed: dict[str, FileStat]) -> Tree:
        """This tree after some of its files changed."""
        return replace(self, files=self.files | changed) if changed else self

    def grouped(self) -> dict[str, dict[str, FileStat]]:
        """The files by folder and name, without those that were named one by one."""
        found: dict[str, dict[str, FileStat]] = {}
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


def walk(root: Root, tops: Iterable[str], excluded: frozenset[str], named: Iterable[str] = (), scan: Scan | None = None) -> Tree:
    """The tree below the folders ``tops`` of the workspace ``root``; ``excluded`` folders (cache, outputs) are not entered.

    ``named`` are files and folders that count though they lie elsewhere or git ignores them; what is not there is left out.
    ``scan`` stands in for a look at folders of ``root``. Raises RecipeError for a folder that cannot be read.
    """
    tree = Tree()
    look = scan or partial(_scan, root)
    for top in sorted(set(tops)):
        if top not in tree.folders:
            _walk_folder(root, top, rules_above(root, top, tree), excluded, tree, look)
    for path in sorted(set(named)):
        if path in tree.folders or path in tree.files:
            continue
        if (root / path).is_dir():
            _walk_folder(root, path, IgnoreRules.none(), excluded, tree, look)
        elif (root / path).is_file():
            tree.files[path] = file_stat((root / path).stat())
            tree.loose.add(path)
    return tree


def rules_above(root: Root, top: str, tree: Tree | None = None) -> IgnoreRules:
    """The rules that hold in the folder ``top`` of ``root``, from the folders above it; ``tree`` notes their files."""
    rules = IgnoreRules.none()
    parts = top.split("/") if top else []
    for depth in range(len(parts)):
        folder = "/".join(parts[:depth])
        path = f"{folder}/{FILE_NAME}" if folder else FILE_NAME
        if tree is not None:
            tree.rules[path] = stat_of(root / path)
        rules = _with_own_rules(root, folder, rules)
    return rules


def _with_own_rules(root: Root, folder: str, rules: IgnoreRules) -> IgnoreRules:
    try:
        text = (root / f"{folder}/{FILE_NAME}".lstrip("/")).read_text("utf-8", "surrogateescape")
    except OSError:
        return rules
    return rules.below(folder, text)


def _walk_folder(root: Root, top: str, rules: IgnoreRules, excluded: frozenset[str], tree: Tree, scan: Scan) -> None:
    pending = [(top, rules)]
    while pending:
        folder, inherited = pending.pop()
        pending += reversed(_look(root, folder, inherited, excluded, tree, scan))


def _look(
    root: Root, folder: str, rules: IgnoreRules, excluded: frozenset[str], tree: Tree, scan: Scan
) -> list[tuple[str, IgnoreRules]]:
    """Takes in one folder; the folders to look at next, with the rules that hold there."""
    prefix = folder + "/" if folder else ""
    skipped: list[str] = []
    children: list[str] = []
    entries = _entries(scan, folder)
    names = {entry.name for entry in entries}
    if CACHE_TAG in names and folder:
        tree.folders[folder] = [CACHE_TAG]
        return []
    if FILE_NAME in names:
        rules = _with_own_rules(root, folder, rules)
    for entry in entries:
        path = prefix + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if path in excluded or entry.name in SKIPPED or rules.ignores(path, is_folder=is_folder):
            skipped.append(entry.name + "/" if is_folder else entry.name)
            if entry.name == FILE_NAME:
                tree.rules[path] = stat_of(root / path)
        elif is_folder:
            children.append(path)
        else:
            found = _stat_entry(entry)
            if found is None:
                tree.odd.add(path)
                continue
            tree.files[path] = found
            if entry.is_symlink():
                tree.links.add(path)
    tree.folders[folder] = sorted(skipped)
    return [(child, rules) for child in children]


def _scan(root: Root, folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(root / folder) as entries:
        return list(entries)


def _entries(scan: Scan, folder: str) -> list[Entry]:
    try:
        return sorted(scan(folder), key=lambda entry: entry.name)
    except OSError as error:
        message = f"cannot read the folder {folder or '.'}: {error.strerror}"
        raise RecipeError(message, hint="make it readable, or leave it out with .gitignore") from error


def _stat_entry(entry: Entry) -> FileStat | None:
    """The stat of a regular file, through symbolic links; None for sockets, devices, dangling links."""
    try:
        found = entry.stat()
    except OSError:
        return None
    return file_stat(found) if stat.S_ISREG(found.st_mode) else None


def stat_of(path: Path) -> FileStat | None:
    """The stat of a file; None where it is not there."""
    try:
        return file_stat(path.stat())
    except OSError:
        return None


def unchanged(root: Path, tree: Tree) -> bool:
    """Whether a walk would see the same again: no file added, removed or changed, as far as stat can tell."""
    return changed_files(root, tree) == {}


def changed_files(root: Path, tree: Tree) -> dict[str, FileStat] | None:
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

    def __init__(self, root: Path, tree: Tree) -> None:
        self.root = root
        self.tree = tree
        self.grouped = tree.grouped()
        self.changed: dict[str, FileStat] = {}

    def at_single_files(self) -> None:
        for path, known in self.tree.rules.items():
            if stat_of(self.root / path) != known:
                raise _OthersError
        for path in self.tree.loose:
            found = file_stat((self.root / path).stat())
            if found != self.tree.files[path]:
                self.note(path, found)

    def at_folder(self, folder: str) -> None:
        prefix = folder + "/" if folder else ""
        skipped, files = frozenset(self.tree.folders[folder]), self.grouped.get(folder, _NO_FILES)
        links, seen = self.tree.links, 0
        if folder and CACHE_TAG in skipped:
            (self.root / folder / CACHE_TAG).lstat()
            return
        with os.scandir(os.path.join(self.root, folder)) as entries:  # noqa: PTH118 - a hot loop
            for entry in entries:
                known = files.get(entry.name)
                if known is None:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if (entry.name + "/" if is_folder else entry.name) not in skipped:
                        self.at_other(prefix + entry.name, entry, is_folder=is_folder)
                    continue
                seen += 1
                now = entry.stat()
                if (now.st_mode, now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns) != known:
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
            same = path in self.tree.loose or (path in self.tree.odd and _stat_entry(entry) is None)
        if not same:
            raise _OthersError

    def note(self, path: str, found: FileStat) -> None:
        if not stat.S_ISREG(found[0]) or path.rpartition("/")[2] == FILE_NAME:
            raise _OthersError
        self.changed[path] = found
