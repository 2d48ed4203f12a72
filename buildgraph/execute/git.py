"""What git knows: revisions, and how the files of a work tree stand to them. Asked of the git on PATH.

Of a user's repository nothing is written but git's own note of file times in its index, as `git diff` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from buildgraph.errors import ToolError, UsageError, closest
from buildgraph.execute import process
from buildgraph.structs import Struct

LINK, SUBMODULE = "120000", "160000"

# A hook runs with these set for the repository that it is about; which repository is meant here, the workspace's folder says.
_OF_A_HOOK = frozenset({
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH",
})  # fmt: skip
_SETTINGS = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
# A server that sends less than this many bytes a second for so many seconds is given up.
_GIVES_UP = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "60"}
# Files of a commit can look like a repository of their own, whose settings name programs to run: none is taken for one.
_TO_FIND = ("safe.bareRepository=explicit",)
# No program says what has changed, and new files count whatever the user wants to see of them.
_LOOKING = ("core.fsmonitor=false", "core.untrackedCache=false", "status.showUntrackedFiles=normal")
_ALWAYS: tuple[str, ...] = ("diff.autoRefreshIndex=true",)
# For a temporary index: nothing of it outside of its file, nobody told.
_FOR_AN_INDEX = ("core.hooksPath=/dev/null", "core.splitIndex=false", "core.fsmonitor=false", "core.untrackedCache=false")
_SUFFIX = re.compile(r"[~^:]|@\{")
_MOST_SUGGESTED = 3


class Entry(NamedTuple):
    """A file of an index: how git marks it (``H``; ``S`` if it is not to be in the work tree, small if not to be looked at)."""

    tag: str
    mode: str
    object: str


class Repository(Struct, frozen=True, dict=True):
    """A repository: its own folder, and the work tree, None where nothing is checked out.

    Paths are relative to the work tree, with slashes. Methods raise ToolError where git does not do what it is asked.
    """

    folder: Path
    top: Path | None
    environment: Mapping[str, str]
    shallow: bool = False

    def ask(
        self,
        *arguments: str,
        given: Iterable[str] | None = None,
        index: Index | None = None,
        fine: Collection[int] = (0,),
        separator: str = "\0",
        settings: Iterable[str] = (),
    ) -> str:
        """What git prints, working on ``index`` instead of its own; ``given`` are the lines of its input, ``fine`` exit codes."""
        place = index.files if index else self.top or self.folder
        env = {**self.environment, "GIT_DIR": str(self.folder), "GIT_WORK_TREE": str(place)}
        settings = (*_ALWAYS, *settings)
        if index is not None:
            env["GIT_INDEX_FILE"] = str(index.file)
            settings = _FOR_AN_INDEX
        text = None if given is None else b"".join(os.fsencode(item + separator) for item in given)
        return os.fsdecode(_git(arguments, env, place, settings, text, fine))

    def commit(self, name: str) -> str:
        """The commit that a branch, a tag or an expression such as ``HEAD~3`` means. Raises UsageError."""
        if ".." in name:
            message = f"`{name}` is no single revision"
            raise UsageError(message, hint="--since takes one; --merge-base compares with where its branch and this one parted")
        found = self._parsed(name)
        commit = self._parsed(f"{found}^{{commit}}") if found else ""
        if not commit:
            # A whole hash is taken for one of something, whether it is there or not.
            if not found or not self.ask("cat-file", "-t", found, fine=(0, 128)):
                raise self._unknown(name)
            message = f"`{name}` is no commit"
            raise UsageError(message)
        return commit

    def state(self, folder: Path, *beside: Path) -> str:
        """The commit of HEAD, with a ``+`` where the files of a folder are others than it has; empty where there is no commit.

        What lies ``beside``, such as outputs, does not count, nor do submodules, in which git would run what their settings name.
        Nothing is written or locked: the user may be at work in the repository.
        """
        commit = self._parsed("HEAD^{commit}")
        if not commit or self.top is None:
            return ""
        places = [f":(top,literal){folder.relative_to(self.top)}"]
        places += [f":(top,exclude,literal){one.relative_to(self.top)}" for one in beside]
        status = ("--no-optional-locks", "status", "--porcelain", "--ignore-submodules=all", "--", *places)
        return f"{commit}+" if self.ask(*status, settings=_LOOKING) else commit

    def merge_base(self, commit: str) -> str:
        """The commit at which the history of HEAD and that of another commit parted. Raises UsageError where there is none."""
        base = self.ask("merge-base", commit, self.commit("HEAD"), fine=(0, 1)).strip()
        if not base:
            message = f"HEAD and {commit[:12]} have no common commit here"
            raise UsageError(message, hint=_deepen if self.shallow else "")
        return base

    def _parsed(self, name: str) -> str:
        return self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", name, fine=(0, 1, 128)).strip()

    def _unknown(self, name: str) -> UsageError:
        stem = _SUFFIX.split(name, maxsplit=1)[0]
        if stem != name and self._parsed(stem):
            return UsageError(f"there is no `{name}`: the history ends before it", hint=_deepen if self.shallow else "")
        kinds = ("refs/heads", "refs/tags", "refs/remotes")
        known = self.ask("for-each-ref", "--format=%(refname:short)", *kinds).splitlines()
        meant = [other for other in known if other.endswith(f"/{stem}")] or closest(stem, known)
        hints = ["did you mean " + " or ".join(f"`{other}`" for other in meant[:_MOST_SUGGESTED]) + "?"] if meant else []
        branch = stem.removeprefix("origin/")
        hints += [f"this clone is shallow: `git fetch --depth=1 origin {branch}` brings one more commit"] if self.shallow else []
        hints += ["this repository has no commit yet"] if not self._parsed("HEAD") else []
        return UsageError(f"git knows no revision `{name}`", hint="; ".join(hints))

    @cached_property
    def index(self) -> dict[str, Entry]:
        """The files that git keeps track of."""
        return _entries(self.ask("ls-files", "-s", "-v", "-z"))

    def changed(self, commit: str, below: str) -> set[str]:
        """The files at or below a folder that differ between a commit and the work tree, without those git was not told of."""
        options = ("--name-only", "-z", "--no-color", "--no-renames", "--no-relative", "--no-ext-diff", "--ignore-submodules=all")
        where = ["--", f":(literal){below}"] if below else ["--"]
        return set(_split(self.ask("diff", *options, commit, *where)))

    def ignored(self, paths: Iterable[str]) -> set[str]:
        """Those of some paths without an entry in the index that git ignores, by all of its rules."""
        asked = [f"./{path}" for path in paths if path not in self.index]  # so that none is taken for a pattern
        found = _split(self.ask("check-ignore", "-z", "--stdin", given=asked, fine=(0, 1))) if asked else []
        return {path.removeprefix("./") for path in found}

    def attributes(self, paths: Iterable[str], index: Index | None = None) -> dict[str, dict[str, str]]:
        """The attributes (of .gitattributes and the like) of paths that have any, in the work tree or in an index."""
        source = () if index is None else ("--cached",)
        fields = iter(_split(self.ask("check-attr", *source, "-z", "--stdin", "--all", given=paths, index=index)))
        found: dict[str, dict[str, str]] = {}
        for path, name, value in zip(fields, fields, fields, strict=True):
            found.setdefault(path, {})[name] = value
        return found

    def objects_of(self, paths: Iterable[str]) -> list[str]:
        """The objects that files of the work tree would be, byte for byte. No path may contain a line break."""
        return self.ask("hash-object", "--no-filters", "--stdin-paths", given=paths, separator="\n").split()

    @cached_property
    def settings(self) -> dict[str, str]:
        """The settings ``core.*``, by their names in small letters."""
        found = _split(self.ask("config", "-z", "--get-regexp", r"^core\.", fine=(0, 1)))
        return {name: value if given else "true" for name, given, value in (item.partition("\n") for item in found)}

    def is_set(self, name: str) -> bool:
        """Whether a setting is one of git's words for yes."""
        return self.settings.get(name, "").lower() in {"true", "yes", "on", "1"}

    def has(self, commit: str) -> bool:
        """Whether a commit is here, given as its full hash."""
        return bool(self._parsed(f"{commit}^{{commit}}"))

    def submodule(self, commit: str, path: str) -> Repository | None:
        """The repository of a submodule that a commit has and the work tree does not, None where it was never cloned."""
        listed = self.ask("config", "-z", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"\.path$", fine=(0, 1, 128))
        names = {place: key.removesuffix(".path") for key, _, place in (item.partition("\n") for item in _split(listed))}
        modules = Path(self.ask("rev-parse", "--path-format=absolute", "--git-common-dir").removesuffix("\n")) / "modules"
        name = names.get(path, path).removeprefix("submodule.")
        if name.startswith("/") or ".." in name.split("/"):  # git takes no such name either: files of a commit could be there
            return None
        folder = modules / name
        return Repository(folder, None, self.environment) if folder.is_dir() else None


class Index(Struct, frozen=True, dict=True):
    """A temporary index of a repository, and the folder that its files are checked out into."""

    repository: Repository
    file: Path
    files: Path

    def read(self, commit: str) -> dict[str, Entry]:
        """Makes it that of a commit; the files that a checkout here would have."""
        ask = self.repository.ask
        ask("read-tree", commit, index=self)
        if self.repository.is_set("core.sparsecheckout"):
            ask("sparse-checkout", "reapply", index=self)
        entries = _entries(ask("ls-files", "-s", "-v", "-z", index=self))
        return {path: entry for path, entry in entries.items() if entry.tag != "S"}

    def check_out(self, paths: Sequence[str]) -> None:
        """Writes some of its files, as a checkout would."""
        if paths:
            self.repository.ask("checkout-index", "-f", "-q", "-z", "--stdin", given=paths, index=self)


_deepen = (
    "this clone is shallow: `git fetch --deepen=100` brings more history (in GitHub Actions: `fetch-depth` of actions/checkout)"
)


def find_repository(folder: Path, environment: Mapping[str, str]) -> Repository | None:
    """The repository that a folder is checked out from, None where it is none. Raises ToolError."""
    env = {name: value for name, value in environment.items() if name not in _OF_A_HOOK} | _SETTINGS
    questions = ("--show-toplevel", "--absolute-git-dir", "--is-shallow-repository")
    try:
        answer = os.fsdecode(_git(("rev-parse", *questions), env, folder, _TO_FIND))
    except ToolError as error:
        if "not a git repository" in error.details or "must be run in a work tree" in error.details:
            return None
        raise
    top, own, shallow = answer.splitlines()
    return Repository(Path(own), Path(top), env, shallow == "true")


def new_repository(folder: Path, environment: Mapping[str, str]) -> Repository:
    """A new bare repository in a folder that is made, with nothing in it. Raises ToolError."""
    env = {name: value for name, value in environment.items() if name not in _OF_A_HOOK} | _SETTINGS | _GIVES_UP
    folder.mkdir()
    _git(("init", "--quiet", "--bare", "--template=", "."), env, folder)
    return Repository(folder, None, env)


def _git(
    arguments: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    settings: Iterable[str] = (),
    given: bytes | None = None,
    fine: Collection[int] = (0,),
) -> bytes:
    command = ["git", *(word for setting in settings for word in ("-c", setting)), *arguments]
    try:
        answer = process.run(command, env=env, cwd=cwd, given=given)
    except ToolError as error:
        raise ToolError(error.what, hint="bg asks the program `git` about repositories; install it") from error
    if answer.returncode not in fine:
        message = f"`git {arguments[0]}` failed in {cwd}"
        raise ToolError(message, details=answer.stderr.strip())
    return answer.output


def _entries(listed: str) -> dict[str, Entry]:
    """The entries that ``git ls-files -s -v -z`` lists: tag, mode, object and stage, a tab, the path."""
    found = {}
    for row in _split(listed):
        head, _, path = row.partition("\t")
        tag, mode, name, _ = head.split(" ")
        found[path] = Entry(tag, mode, name)
    return found


def _split(text: str) -> list[str]:
    return text.split("\0")[:-1]
