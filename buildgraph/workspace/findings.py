"""What a look at a repository found, in sentences: one fact each, with the places where it can be checked."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from buildgraph.apk.version import Requirement
from buildgraph.recipes.values import MelangeRecipe, Written, is_remote
from buildgraph.structs import Struct
from buildgraph.workspace.evidence import Flag
from buildgraph.workspace.proposal import Proposal
from buildgraph.workspace.survey import PIPELINE_FLAGS, REPOSITORY_FLAGS, Known, Run
from buildgraph.workspace.workspace import Workspace

MOST_SHOWN = 4
# What changes packages, and has no place in a manifest.
_NO_SETTING = frozenset({
    "env-file", "vars-file", "package-append", "namespace", "license", "strip-origin-name",
    "override-host-triplet-libc-substitution-flavor", "include-paths",
})  # fmt: skip


class Finding(Struct, frozen=True):
    """A fact and what it is about."""

    topic: str
    text: str


class Reading(Struct, frozen=True):
    """A flag that some file passes, how often, and what becomes of it."""

    flag: Flag
    times: int
    outcome: str


def findings(workspace: Workspace, known: Sequence[Known]) -> list[Finding]:
    """The facts that decide how bg sees a repository."""
    found = [
        *_folders(known),
        *_pipelines(workspace, known),
        *_repositories(known),
        *_keys(workspace, known),
        *_local(known),
        *_sources(workspace, known),
        *_same_names(known),
    ]
    return [Finding(topic, text) for topic, text in found]


def _shown(texts: Iterable[str]) -> str:
    """The first few of some texts, and how many more there are."""
    listed = list(texts)
    more = f" and {len(listed) - MOST_SHOWN} more" if len(listed) > MOST_SHOWN else ""
    return ", ".join(listed[:MOST_SHOWN]) + more


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _folders(known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    for kind in ("package", "image"):
        folders = Counter(posixpath.dirname(one.path) or "." for one in known if one.target.kind == kind)
        if folders:
            yield f"{kind}s", _shown(f"{folder} ({number})" if number > 1 else folder for folder, number in folders.items())


def _pipelines(workspace: Workspace, known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    users: Counter[str] = Counter()
    for one in known:
        if isinstance(one.recipe, MelangeRecipe):
            folders = workspace.pipeline_folders(posixpath.dirname(one.path))
            files = {use.file for use in one.recipe.uses if use.file}
            users.update({folder for folder in folders if any(file.startswith(f"{folder}/") for file in files)})
    for folder, number in users.items():
        yield "pipelines", f"{folder}, used by {_counted(number, 'recipe')}"


def _by_text(known: Sequence[Known], lines: Callable[[Known], Iterable[Written]]) -> dict[str, list[Written]]:
    """Lines that recipes name, each once for a recipe."""
    found: dict[str, list[Written]] = {}
    for one in known:
        for line in {line.text: line for line in lines(one)}.values():
            found.setdefault(line.text, []).append(line)
    return found


def _repositories(known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    for text, lines in _by_text(known, lambda one: one.repositories).items():
        if is_remote(text):
            yield "repositories", f"{text}, named by {_counted(len(lines), 'recipe')}"
    without = sum(not any(is_remote(line.text) for line in one.repositories) for one in known)
    if without:
        yield "repositories", f"none named by {_counted(without, 'recipe')}"


def _keys(workspace: Workspace, known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    for text, lines in _by_text(known, lambda one: one.recipe.keyring).items():
        there = is_remote(text) or bool(set(workspace.keyring(lines[:1])) - set(workspace.manifest.keyring))
        absent = "" if there else "; it is not there and is left out: packages from here need none"
        yield "keyring", f"{text}, named by {_counted(len(lines), 'recipe')}{absent}"


def _local(known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    for text, lines in _by_text(known, lambda one: one.repositories).items():
        if not is_remote(text):
            places = _shown(f"{line.path}:{line.line}" for line in lines)
            yield "local", f"`{text}` in {places} means the packages of this workspace"
    made = {package.name for one in known if isinstance(one.recipe, MelangeRecipe) for package in one.recipe.packages}
    tags = {line.text[1:].split()[0] for one in known for line in one.repositories if _is_local_tag(line.text)}
    for one in known:
        for need in one.recipe.environment if isinstance(one.recipe, MelangeRecipe) else one.recipe.packages:
            requirement = Requirement.parse(need.text)
            if requirement.pin in tags and requirement.name not in made:
                yield "local", f"{need.place} asks for `{need.text}`, and no recipe here is called so"


def _is_local_tag(line: str) -> bool:
    return line.startswith("@") and not is_remote(line)


def _sources(workspace: Workspace, known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    reasons: dict[str, list[str]] = {}
    for one in known:
        if one.target.kind == "package":
            label = one.target.label
            found = workspace.sources.sources(one.target.recipe, label.name, workspace.manifest.settings(str(label)))
            why = "the folder of its name beside it" if found.why.endswith("beside the recipe") else found.why
            reasons.setdefault(why if found.files else "none of its own", []).append(str(label))
    for why, labels in reasons.items():
        which = f" ({_shown(labels)})" if len(labels) <= MOST_SHOWN else ""
        yield "sources", f"{why}: {_counted(len(labels), 'package')}{which}"


def _same_names(known: Sequence[Known]) -> Iterator[tuple[str, str]]:
    places: dict[str, list[str]] = {}
    for one in known:
        for package in one.recipe.packages if isinstance(one.recipe, MelangeRecipe) else ():
            places.setdefault(package.name, []).append(f"{package.path}:{package.line}")
    for name, made in places.items():
        if len(made) > 1:
            yield "same name", f"{name} is made by {_shown(made)}; who asks for it means the nearest"


def readings(proposal: Proposal, workspace: Workspace, known: Sequence[Known], runs: Sequence[Run]) -> list[Reading]:
    """What became of the flags that were read, each value once."""
    judge = _Judge(proposal, workspace, known)
    counted: dict[tuple[str, str], list[tuple[Flag, Run]]] = {}
    for run in runs:
        for flag in run.invocation.flags:
            if flag.name in _JUDGED | _NO_SETTING:
                counted.setdefault((flag.name, flag.value), []).append((flag, run))
    found = []
    for same in counted.values():
        flag, run = next(((flag, run) for flag, run in same if flag.place in judge.sources), same[0])
        found.append(Reading(flag, len({other.place for other, _ in same}), judge.outcome(flag, run)))
    return found


_JUDGED = frozenset({*REPOSITORY_FLAGS, *PIPELINE_FLAGS, "keyring-append", "source-dir", "build-option", "signing-key", "arch"})
_DECISIONS = {
    "signing-key": "for you to decide: `signing-key:` names a key, else each user has one",
    "arch": "for you to decide: `architectures:`, else this machine's",
}
_UNKNOWN = "not taken over: what it stands for is not known here"


class _Judge:
    """Tells what becomes of a flag."""

    def __init__(self, proposal: Proposal, workspace: Workspace, known: Sequence[Known]) -> None:
        self.proposal = proposal
        self.workspace = workspace
        lines = [*_by_text(known, lambda one: one.repositories), *_by_text(known, lambda one: one.recipe.keyring)]
        self.named = {text.rpartition(" ")[2] for text in lines}
        self.sources = {why for settings in proposal.targets.values() for why in settings.get("sources", {}).values()}
        self.options = {value for settings in proposal.targets.values() for value in settings.get("options", {})}

    def outcome(self, flag: Flag, run: Run) -> str:
        if flag.name in {"source-dir", *PIPELINE_FLAGS}:
            return self._folder(flag, run)
        if flag.name in REPOSITORY_FLAGS:
            return self._line(flag, self.proposal.repositories, "`repositories:`", "the packages of this workspace")
        if flag.name == "keyring-append":
            return self._line(flag, self.proposal.keyring, "`keyring:`", "not needed for packages from here, or not there")
        if flag.name == "build-option":
            return "`options:`" if flag.value in self.options else "no recipe that it is for has this option"
        return _DECISIONS.get(flag.name, "not taken over: bg has no setting for it")

    def _folder(self, flag: Flag, run: Run) -> str:
        source = flag.name == "source-dir"
        if flag.place in (self.sources if source else self.proposal.pipelines.values()):
            return "`sources:`" if source else "`pipelines:`"
        if "$" in flag.value and not run.existing(flag, self.workspace.tree.folders):
            return "it stays open here; bg takes the folder of a recipe's name" if source else _UNKNOWN
        if run.existing(flag, self.workspace.tree.folders) is None:
            return "not taken over: there is no such folder"
        return "bg takes that by itself, or it is not needed"

    def _line(self, flag: Flag, kept: Mapping[str, str], key: str, local: str) -> str:
        value = flag.value.rstrip("/")
        if value in kept:
            return key
        if "$" in value:
            return _UNKNOWN
        if not is_remote(value):
            return local
        return "recipes name it themselves" if value in self.named else "not taken over: the recipes that it is for name others"
