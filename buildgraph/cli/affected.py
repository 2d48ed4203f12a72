"""`bg affected`: the targets whose keys differ between a commit and the files as they are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from buildgraph.cli.commands import show
from buildgraph.cli.past import PastSession, digest_at
from buildgraph.cli.session import Session
from buildgraph.errors import GraphError, LockError, ManifestError, RecipeError, TargetError, UsageError
from buildgraph.execute import git
from buildgraph.execute.revision import Revision, revision
from buildgraph.plan.affected import Affected, Comparison, Kind, State, headline
from buildgraph.plan.shards import pack
from buildgraph.report.graphs import counted
from buildgraph.report.views import to_json
from buildgraph.structs import Struct
from buildgraph.workspace.manifest import FILE_NAME, LOCK_NAME

MOST_JOBS = 256  # that one matrix of GitHub Actions may have
UNMEASURED = 1.0  # seconds, of what was never built here


class Answer(Struct, frozen=True):
    """What is affected; ``work`` gives the nodes that have to be built for one; ``several`` architectures are planned."""

    rows: Sequence[Affected]
    work: Callable[[str], set[str]]
    several: bool

    def name(self, row: Affected) -> str:
        """A node for people, as all commands name it."""
        return row.node.id if self.several else row.node.label


def affected(options: argparse.Namespace, session: Session) -> int:
    """The command."""
    if options.shards and options.format != "matrix":
        message = "--shards is for --format matrix"
        raise UsageError(message)
    settings = session.settings
    repository = git.find_repository(settings.root, settings.environment)
    if repository is None:
        message = f"{settings.root} is in no git repository"
        raise UsageError(message, hint="what is affected is told by comparing with a commit")
    commit = repository.commit(options.since)
    if options.merge_base:
        commit = repository.merge_base(commit)
    with session.cas.scratch() as scratch:
        answer = _compared(options, session, repository, commit, scratch)
    match options.format:
        case "json":
            show([to_json(_as_json(answer, options, commit))])
        case "matrix":
            show([json.dumps({"include": _matrix(answer, options.shards, session)})])
        case _:
            show(_as_text(answer, options, session))
    return int(options.exit_code and bool(answer.rows))


def _compared(options: argparse.Namespace, session: Session, repository: git.Repository, commit: str, scratch: Path) -> Answer:
    """What differs between the workspace at a commit and now; everything, where the former cannot be told."""
    now = _nodes([word for word in options.targets if _names_something(word, session)], session)
    for name in session.graph.closure(now):
        session.rebuilder.deep_key(name)  # what is wrong with the files as they are is told first
    session.keep_graph()
    past = PastSession(session.settings, session.console, now=session, revision=_revision(session, repository, commit, scratch))
    if not (past.revision / FILE_NAME).is_file():
        return _everything(options, session, "new", f"{options.since} has no {FILE_NAME}")
    try:
        before = _nodes(_named_in_past(options.targets, past, session), past)
        comparison = Comparison(_state(past), _state(session), session.store.deep, session.user_tree)
        rows = comparison.affected(before, now, reasons=options.why or options.format == "json")
    except (ManifestError, RecipeError, GraphError, LockError) as error:
        reason = f"{options.since} cannot be read: {headline(error)}"
        session.console.say(f"{reason}; so everything counts as changed")
        return _everything(options, session, "changed", reason)
    return Answer(rows, comparison.work, len(session.rebuilder_architectures | past.rebuilder_architectures) > 1)


def _revision(session: Session, repository: git.Repository, commit: str, scratch: Path) -> Revision:
    root, tree = session.settings.root, session.state.tree
    # What counts beside the tree; a cache is known by its FORMAT.
    beside = [root / FILE_NAME, root / LOCK_NAME, session.cache_folder / "FORMAT", *session.around()]
    inside = (str(path.relative_to(root)) for path in beside if path.is_relative_to(root) and path.is_file())
    return revision(repository, commit, root, {*tree.files, *inside}, tree.folders, scratch)


def _state(session: Session) -> State:
    return State(session.rebuilder, session.inputs, session.lock.digest(), partial(digest_at, session))


def _everything(options: argparse.Namespace, session: Session, change: Kind, reason: str) -> Answer:
    names = session.selection.nodes(options.targets)
    rows = [Affected(session.graph.nodes[name], change, (reason,)) for name in names]
    return Answer(rows, lambda name: session.graph.closure([name]), len(session.rebuilder_architectures) > 1)


def _named_in_past(words: Sequence[str], past: Session, now: Session) -> list[str]:
    """The patterns that name something at the commit. Raises TargetError for one that names nothing in either state."""
    found = [word for word in words if _names_something(word, past)]
    for word in words:
        if word not in found:
            now.selection.targets([word.removeprefix("-")])
    return found


def _names_something(word: str, session: Session) -> bool:
    try:
        return bool(session.selection.targets([word.removeprefix("-")]))
    except TargetError:
        return False


def _nodes(words: Sequence[str], session: Session) -> list[str]:
    try:
        targets = session.selection.targets(words) if words else []
    except TargetError:  # nothing is left of them
        return []
    return [name for target in targets for name in session.nodes.by_target.get(target.recipe.path, ())]


def _as_text(answer: Answer, options: argparse.Namespace, session: Session) -> list[str]:
    if not answer.rows:
        session.console.say("nothing is affected")
    if options.why:
        return [
            line for row in answer.rows for line in (f"{answer.name(row)}  {row.change}", *(f"    {why}" for why in row.reasons))
        ]
    removed = {answer.name(row) for row in answer.rows if row.change == "removed"}
    if removed:
        are = "is" if len(removed) == 1 else "are"
        session.console.say(f"{counted(len(removed), 'target')} of {options.since} {are} no longer there (--why shows which)")
    return list(dict.fromkeys(answer.name(row) for row in answer.rows if row.change != "removed"))


def _as_json(answer: Answer, options: argparse.Namespace, commit: str) -> dict[str, Any]:
    rows = [
        {
            "target": row.node.label,
            "node": row.node.id,
            "kind": row.node.kind,
            "change": row.change,
            "reasons": list(row.reasons),
            "files": list(row.files),
        }
        for row in answer.rows
    ]
    return {"since": options.since, "commit": commit, "targets": rows}


def _matrix(answer: Answer, shards: int, session: Session) -> list[dict[str, str]]:
    """The jobs of a matrix in GitHub Actions: one for each target, or one for each of some groups."""
    work: dict[str, set[str]] = {}
    for row in answer.rows:
        if row.change != "removed":
            work.setdefault(row.node.label, set()).update(answer.work(row.node.id) if shards else ())
    if shards:
        packed = pack(work, partial(_seconds, session), shards)
        return [
            {"name": f"{number} of {len(packed)}", "targets": " ".join(sorted(shard.targets))}
            for number, shard in enumerate(packed, 1)
        ]
    if len(work) > MOST_JOBS:
        session.console.say(
            f"these are {len(work)} jobs, and GitHub starts at most {MOST_JOBS} of a matrix (--shards packs them)"
        )
    return [{"name": label, "targets": label} for label in work]


def _seconds(session: Session, name: str) -> float:
    """How long a node took when it was last built here."""
    last = session.store.last(name)
    return last.seconds if last else UNMEASURED
