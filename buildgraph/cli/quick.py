"""The answer to a build that has nothing to do, from the state file and stat alone.

It is given only if the workspace's files, the manifest, the lock, the tools, every output and bg itself are, as far as stat can
tell, what they were when the same command ended well.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from buildgraph import __version__
from buildgraph.cli.places import user_cache
from buildgraph.workspace.state import ANSWER, StateFile, stamp, state_path
from buildgraph.workspace.tree import unchanged

MANIFEST = "buildgraph.yaml"  # as workspace.manifest has it, which would load the YAML reader


def asked(options: argparse.Namespace, here: Path, environment: Mapping[str, str]) -> str:
    """What was asked, as a part of the state: two commands with the same have the same answer while nothing changes."""
    said = {name: value for name, value in vars(options).items() if name not in _WITHOUT_EFFECT}
    around = [environment.get(name, "") for name in ("BG_CACHE_DIR", "XDG_CONFIG_HOME", "HOME", "PATH", "CI")]
    # A home may be shared by machines of several architectures; paths are shown as seen from the current folder.
    text = json.dumps([program(), os.uname().machine, said, str(here), _current_folder(), around], sort_keys=True)
    return ANSWER + blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _current_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - quick
    except OSError:
        return ""


# What changes how a build goes, not what it answers where there is nothing to do.
_WITHOUT_EFFECT = frozenset({"jobs", "keep_going", "quiet", "directory"})


@cache
def program() -> str:
    """Which bg this is: its files with their sizes and times. In a clone it changes without a new version."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - quick
    files = [f"{package}/../tools/go.mod"]
    for folder in (package, *(entry.path for entry in os.scandir(package) if entry.is_dir())):
        files += [entry.path for entry in os.scandir(folder) if entry.name.endswith((".py", ".json"))]
    stats = ((file, stamp(file)) for file in sorted(files))
    return blake2b(repr([(file, found[1:3]) for file, found in stats]).encode(), digest_size=16).hexdigest()


def answer(options: argparse.Namespace, environment: Mapping[str, str]) -> str | None:
    """The output of the command, or None where it has to be looked at in earnest."""
    here = Path(os.path.abspath(options.directory or "."))  # noqa: PTH100 - links stay as the user named them
    root = next((folder for folder in (here, *here.parents) if os.path.isfile(folder / MANIFEST)), None)  # noqa: PTH113 - quick
    if root is None:
        return None
    state = StateFile(state_path(user_cache(environment), root), __version__)
    try:
        known = state.json(asked(options, here, environment))
        stamps, text = known["stamps"], known["answer"]
        if as_before(stamps) and unchanged(root, state.tree()):
            return str(text)
    except (KeyError, TypeError, AttributeError):
        return None
    return None


def stamps_of(paths: Iterable[str | Path]) -> dict[str, dict[str, list[int]]]:
    """The stats of files, to be compared later: by folder and name, empty for one that is not there."""
    return grouped({path: stamp(path) for path in paths})


def grouped(stamps: Mapping[Any, list[int]]) -> dict[str, dict[str, list[int]]]:
    """Stats by folder and name."""
    found: dict[str, dict[str, list[int]]] = {}
    for path, known in stamps.items():
        folder, name = os.path.split(path)
        found.setdefault(folder, {})[name] = known
    return found


def as_before(stamps: Mapping[str, Mapping[str, list[int]]]) -> bool:
    """Whether files have the stats that ``stamps_of`` saw."""
    return all(_as_before(folder, names) for folder, names in stamps.items())


def _as_before(folder: str, names: Mapping[str, list[int]]) -> bool:
    if len(names) <= _FEW:
        return all(stamp(os.path.join(folder, name)) == known for name, known in names.items())  # noqa: PTH118 - quick
    seen = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                known = names.get(entry.name)
                if known is not None:
                    now = entry.stat()
                    if [now.st_mode, now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns] != known:
                        return False
                    seen += 1
    except OSError:
        return not any(names.values())
    return seen == sum(bool(known) for known in names.values())


_FEW = 8  # of more files in a folder than these, the folder is read as a whole
