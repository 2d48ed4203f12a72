"""The folder of the cache as a whole: its format number, and making a new one.

A folder that holds other things is refused rather than shared, because the cache removes what it finds in its own folders.
"""

from __future__ import annotations

import os
from pathlib import Path

from buildgraph.cache.files import fault, faults, replacing
from buildgraph.errors import CacheError

FORMAT = 1
COMPATIBLE = frozenset({1})

# What lies in a cache that is being made, or emptied, and at the top of a disk.
_HARMLESS = frozenset({"CACHEDIR.TAG", "users.lock", "lost+found"})
# The signature is given by https://bford.info/cachedir/.
_CACHEDIR_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This folder is a cache of bg (buildgraph); it can be removed at any time.
"""


def prepare(root: Path) -> None:
    """Make sure that ``root`` is a cache that this bg can use; one that exists costs a single read.

    Raises CacheError where it is of another format, holds other things, or cannot be made.
    """
    version = _version(root)
    if version is None:
        with faults(f"make a cache in {root}"):
            root.mkdir(parents=True, exist_ok=True)
            _begin(root)
        version = FORMAT
    if version > FORMAT:
        raise CacheError(
            f"the cache in {root} has format {version}, this bg knows {FORMAT}",
            hint="a newer bg wrote it: update this one, or choose another cache folder with BG_CACHE_DIR",
        )
    if version not in COMPATIBLE:
        raise CacheError(
            f"the cache in {root} has format {version}, which this bg no longer reads",
            hint="remove the folder (it can be rebuilt), or choose another cache folder with BG_CACHE_DIR",
        )


def _version(root: Path) -> int | None:
    """The number in FORMAT; None where there is no such file."""
    path = root / "FORMAT"
    try:
        with path.open("rb") as stream:
            text = stream.read(64).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise fault(error, f"read {path}") from error
    if not (text.isdigit() and len(text) < 10):  # noqa: PLR2004 - any number that somebody would choose
        raise CacheError(
            f"{path} does not hold the number of a format",
            hint="remove the cache folder (it can be rebuilt), or choose another with BG_CACHE_DIR",
        )
    return int(text)


def _begin(root: Path) -> None:
    """Write the files that mark a cache, FORMAT last of those that matter. Raises OSError, CacheError."""
    others = sorted(name for name in os.listdir(root) if not name.startswith(".") and name not in _HARMLESS)
    if others and _version(root) is None:
        raise CacheError(
            f"{root} is not a cache: it holds {others[0]}" + (f" and {len(others) - 1} more" if others[1:] else ""),
            hint="choose a folder that is empty or does not exist yet with BG_CACHE_DIR",
        )
    for name, text in (("CACHEDIR.TAG", _CACHEDIR_TAG), (".gitignore", "*\n"), ("FORMAT", f"{FORMAT}\n")):
        if not (root / name).exists():
            with replacing(root / name) as temporary, temporary.open("x", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                # Once per cache: an empty FORMAT after a power cut would condemn a sound cache.
                os.fsync(stream.fileno())
