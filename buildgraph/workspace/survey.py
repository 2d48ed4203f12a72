"""A look at a repository of recipes: what bg makes of it by itself, and what only its scripts say.

``propose_...`` put into a manifest what is needed and no more; each value names the line that it comes from.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from buildgraph.errors import BgError
from buildgraph.recipes.builtins import Table
from buildgraph.recipes.values import ApkoRecipe, MelangeRecipe, Written, is_remote
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Node, Scalar
from buildgraph.structs import Struct
from buildgraph.workspace.discovery import RecipeFile, Target
from buildgraph.workspace.evidence import Flag, Invocation, Match
from buildgraph.workspace.manifest import FILE_NAME, TargetSettings
from buildgraph.workspace.proposal import Proposal
from buildgraph.workspace.stats import Tree
from buildgraph.workspace.workspace import Workspace, load_workspace

REPOSITORY_FLAGS = ("repository-append", "build-repository-append")
PIPELINE_FLAGS = ("pipeline-dir", "pipeline-dirs")
_FETCHING = frozenset({"fetch", "git-checkout"})


class Known(Struct, frozen=True):
    """A target and what its recipe says."""

    target: Target
    recipe: MelangeRecipe | ApkoRecipe

    @property
    def path(self) -> str:
        """Where the recipe lies."""
        return self.target.recipe.path

    @property
    def repositories(self) -> list[Written]:
        """The repository lines that count while it is made."""
        own = self.recipe.build_repositories if isinstance(self.recipe, ApkoRecipe) else ()
        return [*own, *self.recipe.repositories]


class Run(Struct, frozen=True):
    """A run of melange or apko that some file describes, and the recipes that it is for."""

    invocation: Invocation
    matches: Mapping[str, Match]

    def existing(self, flag: Flag, there: Collection[str]) -> str | None:
        """The path among those that are ``there`` which a value means, whatever the recipe; the root is ``""``."""
        places = list(self.matches.values()) or [Match(folder, {}) for folder in self.invocation.folders]
        return next((path for match in places if (path := existing(match, flag, there)) is not None), None)


def existing(match: Match, flag: Flag, there: Collection[str]) -> str | None:
    """As ``Run.existing``, for one recipe."""
    paths = ("" if path == "." else path for path in match.paths(flag.value))
    return next((path for path in paths if path in there), None)


def runs_of(invocations: Iterable[Invocation], recipes: Iterable[RecipeFile]) -> list[Run]:
    """Which recipes the invocations are for."""
    paths: dict[str, list[str]] = {"melange": [], "apko": []}
    for recipe in recipes:
        paths[recipe.kind].append(recipe.path)
    return [Run(invocation, invocation.matches(paths[invocation.tool])) for invocation in invocations]


def readable_workspace(proposal: Proposal, tree: Tree) -> Workspace:
    """The workspace that a proposal makes; what cannot be read as the recipe that it is meant to be gets excluded.

    Raises BgError for what excluding does not cure.
    """
    while True:
        try:
            return load_workspace(proposal.manifest(), tree)
        except BgError as error:
            if not exclude_culprit(proposal, tree, error):
                raise


def exclude_culprit(proposal: Proposal, tree: Tree, error: BgError, path: str = "") -> bool:
    """Excludes ``path``, or the file that an error points to; false where it is no file of the tree, or excluded already."""
    where = error.where
    path = path or (where.path if where else "")
    if path not in tree.files or path == FILE_NAME or path in proposal.exclude:
        return False
    place = "" if where is None else f"line {where.line}: " if where.path == path else f"{where}: "
    more = f", {error.details}" if error.details and "\n" not in error.details else ""
    proposal.exclude[path] = f"{place}{error.what}{more}"
    return True


def propose_pipelines(proposal: Proposal, workspace: Workspace, runs: Iterable[Run]) -> None:
    """Folders of pipelines that scripts name, or that hold what recipes use, where bg would not look by itself."""
    needed: dict[str, str] = {}
    for run in runs:
        for flag in run.invocation.values(*PIPELINE_FLAGS):
            folder = run.existing(flag, workspace.tree.folders)
            if folder is not None:
                needed.setdefault(folder, flag.place)
    places = {posixpath.dirname(recipe.path) for recipe in workspace.recipes.values() if recipe.kind == "melange"}
    usual = {name for folder in places for name in workspace.pipeline_folders(folder)}
    used: dict[str, str] = {}
    for path, name, line in _uses_of(workspace):
        folders = workspace.pipeline_folders(posixpath.dirname(path))
        local = next((folder for folder in folders if f"{folder}/{name}.yaml" in workspace.tree.files), "")
        if local:
            used.setdefault(local, f"{path}:{line} uses {name}")
        elif name not in Table().names() and not any(f"{folder}/{name}.yaml" in workspace.tree.files for folder in needed):
            holder = _holder(name, workspace.tree)
            if holder is not None:
                needed[holder] = f"{path}:{line} uses {name}"
    if needed.keys() - usual:
        proposal.pipelines = {**used, **needed}


def _uses_of(workspace: Workspace) -> Iterator[tuple[str, str, int]]:
    """What recipes use: the recipe, the pipeline, the line."""
    for path, recipe in workspace.recipes.items():
        if recipe.kind == "melange":
            yield from ((path, name, line) for name, line in _uses(recipe.tree))


def _uses(node: Node) -> Iterator[tuple[str, int]]:
    """What the steps of a recipe use, but for those of its tests."""
    if isinstance(node, YamlMapping):
        uses = node.items.get("uses")
        if isinstance(uses, Scalar):
            yield uses.text, uses.line
        for key, value in node.items.items():
            if key != "test":
                yield from _uses(value)
    elif not isinstance(node, Scalar):
        for item in node.items:
            yield from _uses(item)


def _holder(name: str, tree: Tree) -> str | None:
    """The folder that holds a pipeline of this name, the highest if there are several."""
    ending = f"/{name}.yaml"
    found = [path.removesuffix(ending) for path in tree.files if path.endswith(ending)]
    return min(found, key=lambda folder: (folder.count("/"), folder), default=None)


def propose_repositories(proposal: Proposal, known: Sequence[Known], runs: Iterable[Run], tree: Tree) -> list[Known]:
    """Repositories and keys for the recipes that name none, from what scripts pass for them, else from what the others name.

    The answer are these recipes.
    """
    without = [one for one in known if not any(is_remote(line.text) for line in one.repositories)]
    if not without:
        return []
    paths = {one.path for one in without}
    for run in runs:
        if run.matches and paths.isdisjoint(run.matches):
            continue
        signing = {f"{flag.value}.pub" for flag in run.invocation.values("signing-key")}
        for flag in run.invocation.values(*REPOSITORY_FLAGS):
            if is_remote(flag.value) and "$" not in flag.value:
                proposal.repositories.setdefault(flag.value.rstrip("/"), flag.place)
        for flag in run.invocation.values("keyring-append"):
            key = flag.value if is_remote(flag.value) else run.existing(flag, tree.files)
            if key and "$" not in key and flag.value not in signing:
                proposal.keyring.setdefault(key, flag.place)
    if not proposal.repositories:
        proposal.keyring.clear()
        _propose_as_others(proposal, [one for one in known if one.path not in paths])
    return without


def _propose_as_others(proposal: Proposal, others: Sequence[Known]) -> None:
    """What most of the recipes name that do name something."""
    lines = Counter(tuple(dict.fromkeys(line.text for line in one.repositories if is_remote(line.text))) for one in others)
    if not lines:
        return
    chosen, times = lines.most_common(1)[0]
    alike = [one for one in others if tuple(line.text for line in one.repositories if is_remote(line.text)) == chosen]
    why = f"as {alike[0].path} and {times - 1} more name it" if times > 1 else f"as {others[0].path} names it"
    proposal.repositories.update(dict.fromkeys(chosen, why))
    proposal.keyring.update((line.text, why) for one in alike for line in one.recipe.keyring if is_remote(line.text))


def propose_targets(proposal: Proposal, workspace: Workspace, known: Iterable[Known], runs: Sequence[Run]) -> None:
    """Sources and build options of single targets."""
    for one in known:
        if not isinstance(one.recipe, MelangeRecipe):
            continue
        mine = [(run, run.matches[one.path]) for run in runs if one.path in run.matches]
        _propose_sources(proposal, workspace, one, one.recipe, mine)
        options = one.target.recipe.tree.items.get("options")
        for run, _ in mine:
            for flag in run.invocation.values("build-option"):
                if isinstance(options, YamlMapping) and flag.value in options.items:
                    proposal.setting(str(one.target.label), "options", flag.value, flag.place)


def _propose_sources(
    proposal: Proposal, workspace: Workspace, one: Known, recipe: MelangeRecipe, mine: Sequence[tuple[Run, Match]]
) -> None:
    """The folder that is passed as ``--source-dir``; without one melange takes the recipe's own, which counts if it is used."""
    label = one.target.label

    def files(settings: TargetSettings) -> Mapping[str, str]:
        return workspace.sources.sources(one.target.recipe, label.name, settings).files

    usual = files(TargetSettings())
    passed = [(flag, match) for run, match in mine for flag in run.invocation.values("source-dir")]
    folder, why = posixpath.dirname(one.path), ""
    for flag, match in passed:
        found = existing(match, flag, workspace.tree.folders)
        if found is not None:
            folder, why = found, flag.place
            break
    else:
        if passed:
            return  # to a folder that stays open, or that is made on the way
    theirs = files(TargetSettings(sources=(folder,)))
    if not theirs or theirs == usual:
        return
    names = {path.split("/", 1)[0] for path in theirs.keys() - usual.keys()}
    named = _named_in(one.target.recipe, names, as_path=bool(usual))
    fetches = any(use.name in _FETCHING for use in recipe.uses)
    if named or (why and not fetches):
        reason = why or f"the recipe names {named}, which lies beside it"
        proposal.setting(str(label), "sources", folder or ".", reason)


def _named_in(recipe: RecipeFile, names: Collection[str], *, as_path: bool) -> str:
    """The first of some files or folders that a recipe's steps name, empty where they name none.

    ``as_path``: a word alone does not count (``cc -o foo`` makes a program of the package's name, whose sources lie in ``foo/``),
    but ``cd foo``, ``-C foo``, ``./foo`` and ``foo/...`` do.
    """
    text = "\n".join(_step_texts(recipe.tree, within=False))
    for name in sorted(names):
        quoted = re.escape(name)
        word = rf"(?:(?<![\w./-])|(?<![\w.])\./){quoted}(?![\w.-])"
        path = rf"(?:(?<![\w.])\./|(?<![\w./-])(?:cd|-C)\s+){quoted}(?![\w.-])|(?<![\w./-]){quoted}/"
        if re.search(path if as_path else word, text):
            return name
    return ""


def _step_texts(node: Node, *, within: bool) -> Iterator[str]:
    """The texts of ``runs:`` and ``with:``."""
    if isinstance(node, Scalar):
        if within:
            yield node.text
    elif isinstance(node, YamlMapping):
        for key, value in node.items.items():
            yield from _step_texts(value, within=within or key in {"runs", "with"})
    else:
        for item in node.items:
            yield from _step_texts(item, within=within)
