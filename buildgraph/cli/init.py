"""`bg init`: looks at a repository, says what it found, and writes the smallest manifest that makes it work."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from buildgraph.apk.version import Requirement
from buildgraph.cli.commands import show
from buildgraph.errors import BgError, GraphError, OutputError, TargetError, UsageError
from buildgraph.graph.build import build_graph, locals_by_architecture
from buildgraph.graph.model import Node
from buildgraph.graph.resolve import Walk
from buildgraph.plan.nodes import Describe, Described, Nodes, describe, make_nodes, read_target, wanted_architectures
from buildgraph.recipes.architecture import to_apk
from buildgraph.recipes.builtins import Table
from buildgraph.report import views
from buildgraph.report.graphs import counted
from buildgraph.structs import Struct, asdict
from buildgraph.workspace.discovery import Target
from buildgraph.workspace.evidence import read_evidence
from buildgraph.workspace.findings import Finding, Reading, findings, readings
from buildgraph.workspace.manifest import FILE_NAME, LOCK_NAME, Manifest
from buildgraph.workspace.proposal import Proposal
from buildgraph.workspace.stats import GITIGNORE, Tree
from buildgraph.workspace.survey import (
    Known,
    exclude_culprit,
    propose_pipelines,
    propose_repositories,
    propose_targets,
    readable_workspace,
    runs_of,
)
from buildgraph.workspace.tree import rules_above
from buildgraph.workspace.workspace import Workspace, walk

_TOPIC_WIDTH = 12


class Survey(Struct):
    """What was found and what would be written.

    ``left_out`` has files and labels with the reasons; ``trouble`` is an error that no manifest cures, or empty.
    """

    proposal: Proposal
    known: list[Known]
    findings: list[Finding]
    readings: list[Reading]
    left_out: dict[str, str]
    trouble: str

    def count(self, kind: str) -> int:
        """How many targets of a kind there are."""
        return sum(one.target.kind == kind for one in self.known)


def init(options: argparse.Namespace) -> int:
    """The command."""
    root = Path(os.path.abspath(Path(options.directory) / options.folder))  # noqa: PTH100 - links stay as the user named them
    if not root.is_dir():
        message = f"there is no folder {root}"
        raise UsageError(message)
    survey = look(root)
    manifest = root / FILE_NAME
    there = next((path for folder in (root, *root.parents) if (path := folder / FILE_NAME).exists()), None)
    state = "shown" if options.dry_run else "kept" if there and not options.force else "written"
    text = survey.proposal.text()
    if state == "written":
        _write(manifest, text)
    missing = _not_ignored(root, survey.proposal.manifest())
    added = bool(missing) and options.gitignore and not options.dry_run
    if added:
        _ignore(root / GITIGNORE, missing)
    if options.json:
        show([views.to_json(_json(survey, manifest, state, missing, added=added))])
        return 0
    counts = ", ".join(counted(survey.count(kind), kind) for kind in ("package", "image"))
    show([f"{root}: {counts}", "", *_found(survey)])
    show(["", *_manifest_lines(manifest, there or manifest, state, text), *_gitignore_lines(root, missing, added=added)])
    return 0


def look(root: Path) -> Survey:
    """The survey of a folder; TargetError where it holds no recipe."""
    proposal = Proposal.beginning(root)
    tree = walk(proposal.manifest())
    workspace = readable_workspace(proposal, tree)
    runs = runs_of(read_evidence(root, tree), workspace.recipes.values())
    propose_pipelines(proposal, workspace, runs)
    workspace.manifest = proposal.manifest()
    workspace, nodes = _sound(workspace, proposal, tree)
    known = [
        Known(found.target, read_target(found.target, workspace, found.node.architectures[0], Table())) for found in _once(nodes)
    ]
    if not known:
        message = f"no melange or apko recipe in {root}"
        details = "\n".join(f"{path}: {why}" for path, why in proposal.exclude.items())
        raise TargetError(message, details=details, hint="a recipe is a YAML file with `package:` or with `contents:`")
    propose_repositories(proposal, known, runs, tree)
    propose_targets(proposal, workspace, known, runs)
    if proposal.targets:
        workspace, nodes = _sound(readable_workspace(proposal, tree), proposal, tree)
    left_out = dict(proposal.exclude)
    left_out |= {str(label): why for label, why in workspace.left_out.items()} | dict(nodes.left_out)
    workspace.manifest = proposal.manifest()
    return Survey(
        proposal,
        known,
        findings(workspace, known),
        readings(proposal, workspace, known, runs),
        left_out,
        _trouble(nodes),
    )


def _once(nodes: Nodes) -> Iterator[Described]:
    """One node of each target."""
    for names in nodes.by_target.values():
        yield nodes.described[names[0]]


def _sound(workspace: Workspace, proposal: Proposal, tree: Tree) -> tuple[Workspace, Nodes]:
    """The workspace and its nodes, without the recipes that would keep `bg list` and `bg graph` from working."""
    while True:
        before = len(proposal.exclude)
        nodes = make_nodes(workspace, _describe_or_exclude(workspace, proposal, tree), _wanted(workspace))
        if len(proposal.exclude) == before:
            _exclude_ambiguous([described.node for described in nodes.described.values()], proposal, tree)
        if len(proposal.exclude) == before:
            return workspace, nodes
        workspace = readable_workspace(proposal, tree)


def _wanted(workspace: Workspace) -> tuple[str, ...]:
    return wanted_architectures(workspace, to_apk(platform.machine()))


def _describe_or_exclude(workspace: Workspace, proposal: Proposal, tree: Tree) -> Describe:
    """The nodes of a target; of one that cannot be read none, and the proposal leaves it out."""

    def found(target: Target) -> list[Described]:
        try:
            return describe(target, workspace, _wanted(workspace), Table())
        except BgError as error:
            exclude_culprit(proposal, tree, error, target.recipe.path)
            return []

    return found


def _exclude_ambiguous(nodes: Sequence[Node], proposal: Proposal, tree: Tree) -> None:
    """Excludes recipes that make what another one in their folder makes, and those that ask for what two make equally near."""
    try:
        local = locals_by_architecture(nodes)
    except GraphError as error:
        exclude_culprit(proposal, tree, error)
        return
    for node in nodes:
        try:
            for architecture in node.architectures:
                Walk(node, local[architecture])
                for need in (need for package in node.packages for need in package.depends):
                    local[architecture].meets(Requirement.parse(need.text), node.folder, node.id, (), need)
        except GraphError as error:
            exclude_culprit(proposal, tree, error, node.path)


def _trouble(nodes: Nodes) -> str:
    """What keeps the graph from being made and is cured by no manifest, such as a cycle; empty where nothing does."""
    try:
        build_graph(described.node for described in nodes.described.values())
    except GraphError as error:
        return error.render()
    return ""


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = f"cannot write {path}: {error.strerror}"
        raise OutputError(message) from error


def _not_ignored(root: Path, manifest: Manifest) -> list[str]:
    """What .gitignore should have and does not; nothing where git is not used."""
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    if top is None:
        return []
    inner = root.relative_to(top).as_posix().removeprefix(".")
    rules = rules_above(top, f"{inner}/x".lstrip("/"))

    def is_ignored(name: str) -> bool:
        path = f"{inner}/{name}".lstrip("/")
        return rules.ignores(path, is_folder=True) or rules.ignores(f"{path}/x", is_folder=False)

    return [f"/{name}/" for name in (manifest.out, manifest.cache) if not is_ignored(name)]


def _ignore(path: Path, missing: list[str]) -> None:
    before = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    start = before if not before or before.endswith("\n") else before + "\n"
    _write(path, start + "".join(f"{line}\n" for line in missing))


def _found(survey: Survey) -> Iterator[str]:
    for one in survey.findings:
        yield f"{one.topic:{_TOPIC_WIDTH}}  {one.text}"
    for reading in survey.readings:
        flag = reading.flag
        more = f" (and {reading.times - 1} more)" if reading.times > 1 else ""
        yield f"{'read':{_TOPIC_WIDTH}}  {flag.place}{more} --{flag.name} {flag.value}: {reading.outcome}"
    for what, why in survey.left_out.items():
        yield f"{'left out':{_TOPIC_WIDTH}}  {what}: {why}"
    if survey.trouble:
        yield from ("", "This is left for you, and keeps the graph from being made:", "", survey.trouble)


def _manifest_lines(manifest: Path, there: Path, state: str, text: str) -> Iterator[str]:
    """``there`` is the manifest that counts in this folder so far, which may lie further up."""
    yield {
        "written": f"wrote {manifest}:",
        "kept": f"{there} is there and stays as it is; with `--force` {manifest} would be:",
        "shown": f"{manifest} would be:",
    }[state]
    yield from (f"    {line}" for line in text.splitlines())


def _gitignore_lines(root: Path, missing: list[str], *, added: bool) -> Iterator[str]:
    if added:
        yield f"added to {root / GITIGNORE}: {' '.join(missing)}"
    elif missing:
        yield f"{GITIGNORE} should have {' and '.join(missing)}; `--gitignore` adds that. {LOCK_NAME} belongs into git"


def _json(survey: Survey, manifest: Path, state: str, missing: list[str], *, added: bool) -> dict[str, Any]:
    return {
        "root": str(manifest.parent),
        "packages": survey.count("package"),
        "images": survey.count("image"),
        "targets": [{"target": str(k.target.label), "kind": k.target.kind, "file": k.path} for k in survey.known],
        "findings": [asdict(one) for one in survey.findings],
        "read": [{**asdict(one.flag), "times": one.times, "outcome": one.outcome} for one in survey.readings],
        "left_out": survey.left_out,
        "trouble": survey.trouble,
        "manifest": {"path": str(manifest), "state": state, "text": survey.proposal.text()},
        "gitignore": {"missing": missing, "added": added},
    }
