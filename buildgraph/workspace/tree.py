"""The walk over the files of the workspace, without what git ignores: the base of discovery and of source digests."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from buildgraph.errors import RecipeError
from buildgraph.workspace.ignore import IgnoreRules
from buildgraph.workspace.root import Entry, Root, Scan
from buildgraph.workspace.stats import CACHE_TAG, GITIGNORE, Tree, file_stat, regular, stat_of

# Of version control, folders and files: in a worktree or a submodule .git is a file with a path of this machine.
SKIPPED = frozenset({".git", ".hg", ".svn", ".jj"})


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


def walk_if_counted(root: Root, top: str) -> Tree:
    """The tree below a folder of the workspace ``root``; nothing where it is not there, or where git ignores it."""
    parts = top.split("/")
    folders = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    ignored = any(rules_above(root, folder).ignores(folder, is_folder=True) for folder in folders)
    return walk(root, [top], frozenset()) if (root / top).is_dir() and not ignored else Tree()


def rules_above(root: Root, top: str, tree: Tree | None = None) -> IgnoreRules:
    """The rules that hold in the folder ``top`` of ``root``, from the folders above it; ``tree`` notes their files."""
    rules = IgnoreRules.none()
    parts = top.split("/") if top else []
    for depth in range(len(parts)):
        folder = "/".join(parts[:depth])
        path = f"{folder}/{GITIGNORE}" if folder else GITIGNORE
        if tree is not None:
            tree.rules[path] = stat_of(root / path)
        rules = _with_own_rules(root, folder, rules)
    return rules


def _with_own_rules(root: Root, folder: str, rules: IgnoreRules) -> IgnoreRules:
    try:
        text = (root / f"{folder}/{GITIGNORE}".lstrip("/")).read_text("utf-8", "surrogateescape")
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
    if GITIGNORE in names:
        rules = _with_own_rules(root, folder, rules)
    for entry in entries:
        path = prefix + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if path in excluded or entry.name in SKIPPED or rules.ignores(path, is_folder=is_folder):
            skipped.append(entry.name + "/" if is_folder else entry.name)
            if entry.name == GITIGNORE:
                tree.rules[path] = stat_of(root / path)
        elif is_folder:
            children.append(path)
        else:
            found = regular(entry)
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
