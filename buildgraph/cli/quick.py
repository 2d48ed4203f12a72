"""The answer to a build that has nothing to do, from the state file and stat alone.

It is given only if the workspace's files, the manifest, the lock, the tools, every output and bg itself are, as far as stat can
tell, what they were when the same command ended well.
"""

from __future__ import annotations

import json
import os
import time
from hashlib import blake2b
from typing import Self

from buildgraph import __version__
from buildgraph.cli.main import ANSWERED
from buildgraph.cli.places import user_cache
from buildgraph.workspace.statefile import ANSWER, StateFile, state_path
from buildgraph.workspace.stats import changed_files, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from buildgraph.workspace.stats import FileStat, Tree

MANIFEST = "buildgraph.yaml"  # as workspace.manifest has it, which would load the YAML reader


def asked(arguments: Sequence[str], here: str, environment: Mapping[str, str]) -> str:
    """What was asked, as a part of the state: two commands with the same have the same answer while nothing changes."""
    around = [environment.get(name, "") for name in ("BG_CACHE_DIR", "BG_CACHE_TIER", "XDG_CONFIG_HOME", "HOME", "PATH", "CI")]
    # A home may be shared by machines of several architectures; paths are shown as seen from the current folder.
    asked = [program(), os.uname().machine, _with_effect(arguments), here, _current_folder(), around]
    return ANSWER + blake2b(json.dumps(asked).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _with_effect(arguments: Sequence[str]) -> list[str]:
    """A command line without what changes how a build goes, but not what it answers where there is nothing to do."""
    if "build" not in arguments:
        return list(arguments)
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*found, word, *words]
        if word in _JOBS:
            number = next(words, "")
            found += [] if _is_number(number) else [word, number]
        elif word not in _WITHOUT_EFFECT and not (word.startswith("-j") and _is_number(word[2:])):
            found.append(word)
    return found


_JOBS = ("-j", "--jobs")
_WITHOUT_EFFECT = ("-q", "--quiet", "-k", "--keep-going")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def program() -> str:
    """Which bg this is: its files with their sizes and times. In a clone it changes without a new version."""
    if _program:
        return _program[0]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    files = [f"{package}/../tools/go.mod"]
    for folder in (package, *(entry.path for entry in os.scandir(package) if entry.is_dir())):
        files += [entry.path for entry in os.scandir(folder) if entry.name.endswith((".py", ".json"))]
    stats = ((file, stamp(file)) for file in sorted(files))
    _program.append(blake2b(repr([(file, found[1:3]) for file, found in stats]).encode(), digest_size=16).hexdigest())
    return _program[0]


_program: list[str] = []


class Look:
    """A look at what changed since a command was answered. To be used in ``with``, as the state file that it holds.

    ``answer``: the output of the command, None where it has to be worked out in earnest; ``root``: the workspace, where there is
    one; ``tree``: the files that the last run saw, where they were looked at again, and ``changed`` as ``changed_files`` has it,
    from ``at`` (ns) on.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.answer: str | None = None
        self.root = ""
        self.file: StateFile | None = None
        self.tree: Tree | None = None
        self.changed: dict[str, FileStat] | None = None
        self.at = 0
        directory, command = _directory_and_command(arguments)
        here = os.path.abspath(directory)  # links stay as the user named them
        if command in ANSWERED:
            self.root = _workspace(here)
        if self.root:
            self.file = StateFile(state_path(user_cache(environment), self.root), __version__)
            self._look(self.file, asked(arguments, here, environment))

    def _look(self, file: StateFile, name: str) -> None:
        known: Any = file.json(name)
        try:
            stamps, text = known["stamps"], str(known["answer"])
            if as_before(stamps):
                self.at = time.time_ns()
                self.tree = file.tree()
                self.changed = changed_files(self.root, self.tree)
                self.answer = text if self.changed == {} else None
        except (KeyError, TypeError, AttributeError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.file is not None:
            self.file.close()


def _workspace(folder: str) -> str:
    """The nearest folder at or above one with a manifest; empty where there is none."""
    while not os.path.isfile(os.path.join(folder, MANIFEST)):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return ""
    return folder


def _directory_and_command(arguments: Sequence[str]) -> tuple[str, str]:
    """The folder to start in and the command, where they are said in the usual way; otherwise an empty command."""
    words = [*arguments, "", "", ""]
    return (words[1], words[2]) if words[0] in {"-C", "--directory"} else (".", words[0])


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
    try:
        # From there, since resolving the path of a folder for each of thousands of outputs takes longer than they do.
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return not any(names.values())
    try:
        return all(_is_as_before(name, known, descriptor) for name, known in names.items())
    finally:
        os.close(descriptor)


def _is_as_before(name: str, known: list[int], folder: int) -> bool:
    try:
        now = os.stat(name, dir_fd=folder)
    except OSError:
        return not known
    return [now.st_mode, now.st_size, now.st_mtime_ns, now.st_ino, now.st_ctime_ns] == known
