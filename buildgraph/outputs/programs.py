"""Whether a program can be started in an unpacked image: what the kernel would say only with a number, told with names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from buildgraph.errors import OutputError, closest

_MOST_LINKS = 40  # as Linux follows (path_resolution(7))
_SHEBANG = 256  # characters of the line that Linux reads (execve(2))


def check_program(name: str, root: Path, folder: str, search: str) -> None:
    """Raises OutputError unless ``name`` is a program of the image, with a hint of what it has.

    ``root`` is where the image lies, ``folder`` its working directory, ``search`` its PATH.
    """
    paths = (
        [posixpath.join(folder, name)] if "/" in name else [posixpath.join(place, name) for place in search.split(":") if place]
    )
    found = [file for path in paths if (file := inside(root, path)) is not None and file.is_file()]
    if not found:
        message = f"the image has no program `{name}`" + ("" if "/" in name else f" in its PATH, {search}")
        raise OutputError(message, hint=_hint(name, root, search))
    file = next((file for file in found if file.stat().st_mode & 0o111), None)
    if file is None:
        message = f"`{name}` is in the image, and is not executable"
        raise OutputError(message, hint="the package or the image's `paths:` sets its mode")
    interpreter = _interpreter(file)
    if interpreter and inside(root, interpreter) is None:
        message = f"`{name}` is a script for {interpreter}, which the image does not have"
        raise OutputError(message, hint="an image holds what its `contents:` name, and what those depend on")


def inside(root: Path, path: str) -> Path | None:
    """Where a path of the image lies on disk, its links followed as from within; None where there is nothing."""
    left, at = [part for part in reversed(path.split("/")) if part], "/"
    links = 0
    while left:
        part = left.pop()
        at = posixpath.normpath(posixpath.join(at, part))
        here = root / at.lstrip("/")
        if here.is_symlink():
            links += 1
            target = str(here.readlink())
            if links > _MOST_LINKS:
                return None
            left += [step for step in reversed(target.split("/")) if step]
            at = "/" if target.startswith("/") else posixpath.dirname(at)
        elif not here.exists():
            return None
    return root / at.lstrip("/")


def _interpreter(file: Path) -> str:
    with file.open("rb") as stream:
        line = stream.read(_SHEBANG).partition(b"\n")[0]
    words = line[2:].split() if line.startswith(b"#!") else []
    return words[0].decode("utf-8", "replace") if words else ""


def _hint(name: str, root: Path, search: str) -> str:
    programs = dict(_programs(root, search))
    base = posixpath.basename(name)
    if base in programs:
        return f"did you mean `{programs[base]}`?"
    close = closest(base, programs)
    if close:
        return "did you mean " + " or ".join(f"`{programs[one] if '/' in name else one}`" for one in close) + "?"
    if not programs:
        return f"there is no program at all in its PATH, {search}"
    some = sorted(programs)
    shown = ", ".join(some[:10]) + (f" and {len(some) - 10} more" if len(some) > 10 else "")  # noqa: PLR2004 - enough to see
    return f"its PATH has {shown}"


def _programs(root: Path, search: str) -> Iterator[tuple[str, str]]:
    """What can be called by name, and where it is; of two of one name the first counts, so it comes last."""
    for place in reversed(_places(search)):
        folder = inside(root, place)
        if folder is not None and folder.is_dir():
            for entry in sorted(folder.iterdir()):
                yield entry.name, posixpath.join(place, entry.name)


def _places(search: str) -> list[str]:
    return [place for place in search.split(":") if place]
