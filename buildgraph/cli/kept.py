"""What a session keeps from run to run beside answers and readings: the graph with its keys, and what was planned.

All of it is in the state file and is taken only where it still holds: the same files are there, what changed in them leaves the
graph as it was, and what lies outside the workspace (keys, lock, tools) is the same. Otherwise a run works it out again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildgraph.cli import quick
from buildgraph.errors import BgError, ManifestError
from buildgraph.plan import snapshot
from buildgraph.plan.planner import Decision, Plan
from buildgraph.plan.readings import naming_in, naming_of, nodes_in
from buildgraph.plan.snapshot import Bump, Restored
from buildgraph.structs import Struct, field, from_json, to_json
from buildgraph.workspace.discovery import SUFFIXES
from buildgraph.workspace.state import NEVER
from buildgraph.workspace.stats import Tree
from buildgraph.workspace.workspace import recipe_candidates

if TYPE_CHECKING:
    from buildgraph.cli.session import Session
    from buildgraph.keys.digest import Digest
    from buildgraph.plan.rebuild import Rebuilder

GRAPH, OFFERS, BASIS, PLANNED = "graph", "offers", "basis", "planned"
PARTS = (GRAPH, OFFERS, BASIS)  # of the state, that a graph can be taken over from


class Kept(Struct):
    """A graph that was taken over.

    ``dirty`` are the nodes with files that changed, ``bumped`` the versions that are others for it, ``basis`` what all rests on;
    ``touched`` the dirty nodes and all that depend on them; ``stale`` those of them whose keys may be others.
    """

    restored: Restored
    dirty: set[str]
    bumped: set[Bump]
    basis: Mapping[str, Any]
    touched: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.touched = self.stale = snapshot.with_dependents(self.restored, self.dirty)

    def hand_over(self, rebuilder: Rebuilder, basis: Mapping[str, Any]) -> None:
        """Gives a rebuilder the deep keys that still hold with this lock and these tools."""
        if self.basis.get("environment") != basis["environment"] or not self.same_pool(basis, rebuilder):
            self.touched = self.stale = set(self.restored.graph.order)
            return
        keys = self.restored.keys
        rebuilder.kept_keys.update((name, key) for name, key in keys.items() if name not in self.touched)
        # What changed in a file may not count: a comment, a test.
        changed = {name for name in self.dirty if not _has_key(rebuilder, name, keys.get(name))}
        self.stale = snapshot.with_dependents(self.restored, changed) | self.dirty
        rebuilder.kept_keys.update((name, key) for name, key in keys.items() if name not in self.stale)

    def same_pool(self, basis: Mapping[str, Any], rebuilder: Rebuilder) -> bool:
        """Whether the lock is the same, and what its packages ask of local ones is answered the same."""
        same = bool(self.basis.get("lock") == basis["lock"])
        return same and not (self.bumped and snapshot.asked_for(self.bumped, rebuilder.pools.values()))

    def uncovered(self, *, tolerant: bool = False) -> set[str]:
        """The nodes whose worlds the same pool may not cover.

        Where ``tolerant``, without those that lack only what no repository had when it was asked.
        """
        return self.touched | set(self.basis.get("open", ())) | (set() if tolerant else set(self.basis.get("lacking", ())))


def _has_key(rebuilder: Rebuilder, name: str, key: Digest | None) -> bool:
    """Whether a node has this deep key; not so where it has none, which is told only if somebody wants the node."""
    try:
        return rebuilder.deep(name).key == key
    except BgError:
        return False


def take_over(session: Session, changed: Collection[str] | None) -> Kept | None:
    """The graph of the last run if it is that of now; ``changed`` are the files that are not what they were."""
    parts = session.state.parts
    if changed is None or GRAPH not in parts or OFFERS not in parts or not session.readings.lines:
        return None
    bare = session.readings.bare
    try:
        basis = from_json(parts[BASIS])
        if basis["signature"] != session.signature() or not quick.as_before(basis["around"]):
            return None
        restored = snapshot.restore(bare, parts[GRAPH], lambda: parts[OFFERS], session.readings.describe)
        found = _compared(session, restored, changed)
    except (BgError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None  # an error is told by the run that works it all out, which meets errors in their order
    return None if found is None else Kept(restored, *found, basis)


def _compared(session: Session, restored: Restored, changed: Collection[str]) -> tuple[set[str], set[Bump]] | None:
    """The nodes whose own inputs changed, and the versions that did; None where the graph may be another."""
    readings = session.readings
    lines = {path: readings.lines.get(path) for path in changed}
    if not all(path in restored.users for path in changed if path.endswith(SUFFIXES)):
        return None  # it counted for nothing; whether it does now takes a look at all
    tree = Tree(dict.fromkeys(changed, NEVER), session.state.tree.folders)
    for path in recipe_candidates(session.manifest, tree):
        # Also where it counts as a source: it may be a recipe now, or have been one.
        line, recipe = lines[path], readings.recipe_file(path)
        if line is None or (recipe and naming_of(recipe)) != naming_in(line):
            return None
    dirty = {name for path in changed for name in restored.users.get(path, ())}
    bumped: set[Bump] = set()
    for path in sorted({restored.path_of[name] for name in dirty}):
        target = restored.target_of[path]
        line = lines.get(path, readings.lines.get(path)) or b""
        now = readings.describe(target)
        if readings.lines[path] == line:
            continue
        was = nodes_in(line, target)
        found = snapshot.bumps(was, now, restored.offers)
        if found is None:
            return None
        bumped |= found
    return dirty, bumped


def keep(session: Session, open_nodes: Sequence[str], lacking: Sequence[str]) -> None:
    """Puts the graph of a session and the keys that it knows into its state.

    ``open_nodes`` are those whose worlds the lock may not cover, ``lacking`` those that lack what no repository has.
    """
    basis: dict[str, Any] = {
        "signature": session.signature(),
        "around": quick.grouped(session.around()),
        "open": list(open_nodes),
        "lacking": list(lacking),
        **session.basis(),
    }
    parts = session.state.parts
    keys = session.rebuilder.known_keys()
    if session.kept is None:
        parts |= snapshot.take(session.workspace, session.nodes, session.graph, keys, lambda name: _sources(session, name))
    else:
        parts[GRAPH] = snapshot.update(session.kept.restored, keys, session.kept.dirty)
    parts[BASIS] = to_json(basis)


def _sources(session: Session, name: str) -> Iterable[str]:
    """A node's source files; none where the manifest names some that are not there, which ``around`` has."""
    try:
        return session.inputs.source_files(name)
    except ManifestError:
        return ()


def keep_without_keys(session: Session, kept: Kept) -> None:
    """The same after a command that asked for no key: those that may be others now are forgotten."""
    lost = set(kept.restored.graph.order) if kept.bumped else kept.touched
    keys = {name: key for name, key in kept.restored.keys.items() if name not in lost}
    session.state.parts[GRAPH] = snapshot.update(kept.restored, keys, kept.dirty)
    session.state.parts[BASIS] = to_json({**kept.basis, "open": sorted(lost.union(kept.basis.get("open", ())))})


def forget(session: Session) -> None:
    """Drops the graph and what was planned on it: they are not known to be those of now."""
    for name in (GRAPH, OFFERS, BASIS, PLANNED):
        session.state.parts.pop(name, None)


def keep_planned(session: Session, plan: Plan) -> None:
    """Puts what was planned into the state, with what the cache looked like before."""
    session.planned = True
    decisions = plan.decisions if plan.settled else {}
    if session.elsewhere is not None:  # where results may come and go at any time
        decisions = {
            name: decision
            for name, decision in decisions.items()
            if decision.kind == "hit" and decision.action_key not in session.store.elsewhere_only
        }
    content = {
        "stamps": session.cache_seen,
        "asked": _asked(session),
        "of": {
            name: [d.deep_key, d.kind, d.reasons, d.network, d.action_key, d.found, d.beyond] for name, d in decisions.items()
        },
    }
    session.state.parts[PLANNED] = to_json(content)


def _asked(session: Session) -> list[object]:
    """Whose results count for this run besides those in the cache that ``stamps`` show."""
    return [session.settings.tier, session.elsewhere is not None]


def planned(session: Session) -> dict[str, Decision]:
    """What was planned, where that still holds.

    That is where the cache is what it was then, and nothing that a decision rests on changed: for a hit the keys, for others also
    what is told of them, such as lines.
    """
    kept, seen = session.kept, session.cache_seen
    if kept is None:
        return {}
    try:
        content = from_json(session.state.parts[PLANNED])
        if content["stamps"] != seen or content["asked"] != _asked(session):
            return {}
        return {
            name: Decision(kind, tuple(reasons), tuple(network), key, action, tuple(found), tuple(beyond))
            for name, (key, kind, reasons, network, action, found, beyond) in content["of"].items()
            if (kept.stale if kind == "hit" else kept.touched).isdisjoint((name, *beyond))
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
