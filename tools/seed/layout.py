"""One Debian package -> its files where Wolfi's merged /usr has them.

In Wolfi /bin, /sbin and /usr/sbin are links to /usr/bin, and /lib, /lib64 and /usr/lib64 are links to /usr/lib; Debian 12's
packages still name the old places. ``usr/lib/<triplet>`` stays: Debian's compiler, loader and pkgconf look there.
"""

# ruff: noqa: SIM905 - dpkg-deb is what PATH says; a table of words

from __future__ import annotations

import io
import posixpath
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from buildgraph.apk.writer import PackageFile
from buildgraph.errors import RepositoryError
from buildgraph.structs import replace

MOVES = (
    ("bin", "usr/bin"),
    ("sbin", "usr/bin"),
    ("usr/sbin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib"),
    ("usr/lib64", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("libx32", "usr/libx32"),
)

LEFT_OUT = tuple(
    "usr/share/doc usr/share/doc-base usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug"
    " usr/share/menu usr/share/bash-completion usr/share/zsh usr/share/fish usr/share/gdb usr/share/applications usr/share/icons"
    " usr/share/pixmaps usr/share/initramfs-tools usr/share/apport usr/share/apparmor usr/share/polkit-1 usr/share/readline"
    " usr/share/emacs usr/share/vim usr/share/debhelper usr/share/debianutils usr/lib/systemd usr/lib/tmpfiles.d usr/lib/mime"
    " usr/lib/sysusers.d usr/lib/udev usr/lib/init etc/apparmor.d etc/apt etc/bash_completion.d etc/cron.daily etc/cron.weekly"
    " etc/cron.d etc/default etc/dpkg etc/init.d etc/kernel etc/logrotate.d etc/pam.d etc/update-motd.d var/cache".split()
)
"""Folders (after the move) of things that only a running Debian, or a reader, has use for."""

Tree = dict[str, PackageFile]
"""What is where: paths have no leading slash."""


def file(data: bytes | str, mode: int = 0o644) -> PackageFile:
    """A regular file."""
    return PackageFile("file", mode, data.encode() if isinstance(data, str) else data)


def link(target: str) -> PackageFile:
    """A symbolic link."""
    return PackageFile("symlink", 0o777, target=target)


def directory(mode: int = 0o755) -> PackageFile:
    """A folder."""
    return PackageFile("dir", mode)


def moved(path: str) -> str:
    """Where a path of a Debian package (no leading slash) lies in the merged layout."""
    for old, new in MOVES:
        if path == old or path.startswith(old + "/"):
            return new + path[len(old) :]
    return path


def moved_target(path: str, target: str) -> str:
    """What the symbolic link that was at ``path`` must say once it and its target have moved.

    Text that still holds is kept as it is; a relative link stays relative, an absolute one absolute.
    """
    old = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target))
    new = "/" + moved(old[1:])
    if target.startswith("/"):
        return target if new == old else new
    folder = "/" + posixpath.dirname(moved(path))
    if new == old and folder == "/" + posixpath.dirname(path):
        return target
    return posixpath.relpath(new, folder)


def _is_left_out(path: str) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in LEFT_OUT)


def read_deb(deb: Path) -> tuple[Tree, str]:
    """A package's files in the merged layout, and its postinst script ("" if it has none).

    A file wins over a link that comes to lie in the same place, and links that would point at themselves are dropped: both
    were there for machines half-way through the merge. Raises RepositoryError if the package cannot be read.
    """
    tree: Tree = {}
    originals: Tree = {}
    with _tar(deb, "--fsys-tarfile") as archive:
        for member in archive:
            path = posixpath.normpath(member.name).lstrip("/")
            if path in ("", "."):
                continue
            entry = _hard_link(path, member, originals) if member.islnk() else _entry(archive, member)
            if entry is None:
                continue
            originals[path] = entry
            place(tree, path, entry)
    return tree, _postinst(deb)


def read_tarball(path: Path, below: str, to: str) -> Tree:
    """The files below a folder of a tarball, put below another. Programs are known by their content, not by their modes.

    Raises RepositoryError if it cannot be read.
    """
    tree: Tree = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.isreg() and name.startswith(below) and (content := archive.extractfile(member)):
                    data = content.read()
                    program = data.startswith((b"\x7fELF", b"#!"))
                    tree[to + name.removeprefix(below)] = file(data, 0o755 if program else 0o644)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        message = f"{path.name} cannot be unpacked"
        raise RepositoryError(message, details=str(error), hint="remove it from the store and run again") from error
    return tree


def _hard_link(path: str, member: tarfile.TarInfo, originals: Tree) -> PackageFile | None:
    """A symbolic link in its stead, as the writer has no hard ones and a second copy would cost its size.

    A copy all the same where what it links to is left out.
    """
    source = posixpath.normpath(member.linkname).lstrip("/")
    if _is_left_out(moved(source)) or originals[source].kind != "file":
        return originals[source]
    return link(posixpath.relpath("/" + source, "/" + posixpath.dirname(path)))


def place(tree: Tree, path: str, entry: PackageFile) -> None:
    """Add what a Debian package has at ``path`` where it belongs."""
    new = moved(path)
    if _is_left_out(new):
        return
    if entry.kind == "symlink":
        entry = replace(entry, target=moved_target(path, entry.target))
        if posixpath.normpath(posixpath.join("/", posixpath.dirname(new), entry.target)) == "/" + new:
            return
    there = tree.get(new)
    if there is not None and (entry.kind == "dir" or (entry.kind == "symlink" and there.kind != "symlink")):
        return
    tree[new] = entry


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo) -> PackageFile | None:
    mode = member.mode & 0o7777
    if member.isdir():
        return directory(mode)
    if member.issym():
        return link(member.linkname)
    if member.isreg():
        content = archive.extractfile(member)
        return file(content.read() if content else b"", mode)
    return None  # device nodes: none in what is mapped, and not to be made by a build


def _tar(deb: Path, what: str) -> tarfile.TarFile:
    done = subprocess.run(["dpkg-deb", what, str(deb)], capture_output=True, check=False)
    if done.returncode != 0:
        message = f"{deb.name} cannot be unpacked"
        raise RepositoryError(
            message, details=done.stderr.decode(errors="replace"), hint="remove it from the store and run again"
        )
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def _postinst(deb: Path) -> str:
    with _tar(deb, "--ctrl-tarfile") as archive:
        for member in archive:
            if posixpath.normpath(member.name) == "postinst" and (content := archive.extractfile(member)):
                return content.read().decode(errors="replace")
    return ""


def alternatives(script: str) -> dict[str, str]:
    """The links that a postinst's calls of update-alternatives make: link -> target, both absolute, in Debian's places.

    Understands continued lines, ``--slave`` and plain ``name=value`` lines before; what else the shell would have to work
    out is left alone, and so are manual pages. Of several targets for one link the one of highest priority counts.
    """
    script = script.replace("\\\n", " ")
    for name, value in re.findall(r"""^\s*([A-Za-z_]\w*)=["']?([\w.+/-]+)["']?\s*$""", script, re.MULTILINE):
        script = re.sub(rf"\${name}\b|\${{{name}}}", lambda _, value=value: value, script)  # type: ignore[misc]
    found: dict[str, tuple[int, str]] = {}
    for call in re.findall(r"update-alternatives\b([^\n;&|]*--install[^\n;&|]*)", script):
        words = [word.strip("\"'") for word in call.split()]
        priority = 0
        for at, word in enumerate(words):
            if word not in ("--install", "--slave") or at + 3 >= len(words):
                continue
            path, _, target = words[at + 1 : at + 4]
            if word == "--install":
                priority = int(words[at + 4]) if at + 4 < len(words) and words[at + 4].isdecimal() else 0
            plain = path.startswith("/") and target.startswith("/") and "$" not in path + target
            if plain and "/man/" not in path and priority >= found.get(path, (0, ""))[0]:
                found[path] = (priority, target)
    return {path: target for path, (_, target) in found.items()}


def add_alternatives(tree: Tree, links: dict[str, str]) -> None:
    """Make the links whose target is in the tree and whose place is free."""
    for path, target in links.items():
        here, there = moved(path[1:]), moved(target[1:])
        if here not in tree and there in tree:
            tree[here] = link(posixpath.relpath("/" + there, "/" + posixpath.dirname(here)))


def select(tree: Tree, only: Iterable[str], leave: Iterable[str]) -> Tree:
    """The entries that match a glob of ``only`` (all if there is none) and none of ``leave``; ``*`` also matches slashes.

    Folders stay only where something stays in them, unless everything was asked for.
    """
    only, leave = tuple(only), tuple(leave)
    if not only and not leave:
        return tree

    def stays(path: str) -> bool:
        wanted = not only or any(fnmatchcase(path, glob) for glob in only)
        return wanted and not any(fnmatchcase(path, glob) for glob in leave)

    kept = {path for path, entry in tree.items() if entry.kind != "dir" and stays(path)}
    used = {parent for path in tree for parent in _parents(path)}
    empty = {path for path, entry in tree.items() if entry.kind == "dir" and path not in used and not only and stays(path)}
    kept |= empty | {parent for path in kept | empty for parent in _parents(path)}
    return {path: entry for path, entry in tree.items() if path in kept}


def _parents(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path
