"""What a session keeps from run to run beside answers and readings: the graph with its keys, and what was planned.

All of it is in the state file and is taken only where it still holds: the same files are there, what changed in them leaves the
graph as it was, and what lies outside the workspace (keys, lock, tools) is the same. Otherwise a run works it out again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buildgraph.cli import quick
from buildgraph.plan import snapshot
from buildgraph.plan.planner import Decision
from buildgraph.plan.readings import naming_in, naming_of, nodes_from_json
from buildgraph.plan.snapshot import Restored
from buildgraph.workspace.discovery import SUFFIXES, Target

if TYPE_CHECKING:
    from buildgraph.cli.session import Session
    from buildgraph.plan.rebuild import Rebuilder

GRAPH, OFFERS, BASIS, PLANNED = "graph", "offers", "basis", "planned"
PARTS = (GRAPH, OFFERS, BASIS)  # of the state, that a graph can be taken over from


@dataclass(slots=True)
class Kept:
    """A graph that was taken over.

    ``dirty`` are the nodes with files that changed, ``stale`` those whose keys may be others for it, ``basis`` what all rests on.
    """

    restored: Restored
    dirty: set[str]
    basis: Mapping[str, Any]
    stale: set[str] = field(default_factory=set)

    def hand_over(self, rebuilder: Rebuilder, basis: Mapping[str, Any]) -> None:
        """Gives a rebuilder the deep keys that still hold with this lock and these tools."""
        if any(self.basis.get(name) != basis[name] for name in ("lock", "environment")):
            self.stale = set(self.restored.graph.order)
            return
        keys = self.restored.keys
        self.stale = snapshot.with_dependents(self.restored, self.dirty)
        rebuilder.kept_keys.update((name, key) for name, key in keys.items() if name not in self.stale)
        # What changed in a file may not count: a comment, a test.
        changed = {name for name in self.dirty if rebuilder.deep(name).key != keys.get(name)}
        self.stale = snapshot.with_dependents(self.restored, changed) | self.dirty
        rebuilder.kept_keys.update((name, key) for name, key in keys.items() if name not in self.stale)

    def uncovered(self, lock: str, *, tolerant: bool = False) -> set[str] | None:
        """The nodes whose worlds the lock may not cover; None for all.

        Where ``tolerant``, without those that lack only what no repository had when it was asked.
        """
        if self.basis.get("lock") != lock:
            return None
        stale = snapshot.with_dependents(self.restored, self.dirty)
        return stale | set(self.basis.get("open", ())) | (set() if tolerant else set(self.basis.get("lacking", ())))


def take_over(session: Session, changed: Iterable[str] | None) -> Kept | None:
    """The graph of the last run if it is that of now; ``changed`` are the files whose content is not what it was."""
    parts = session.state.parts
    if changed is None or GRAPH not in parts or OFFERS not in parts or not session.readings.lines:
        return None
    bare = session.readings.bare
    try:
        basis = json.loads(parts[BASIS])
        if basis["signature"] != session.signature() or not quick.as_before(basis["around"]):
            return None
        restored = snapshot.restore(bare, parts[GRAPH], lambda: parts[OFFERS], session.readings.describe)
        dirty = _dirty(session, restored, changed)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return None if dirty is None else Kept(restored, dirty, basis)


def _dirty(session: Session, restored: Restored, changed: Iterable[str]) -> set[str] | None:
    """The nodes whose own inputs changed; None where the graph may be another."""
    dirty: set[str] = set()
    reread: set[str] = set()
    for path in changed:
        users = restored.users.get(path, ())
        if not users and path.endswith(SUFFIXES):
            return None  # it counted for nothing; whether it does now takes a look at all
        dirty.update(users)
        reread.update(restored.path_of[name] for name in users)
    readings = session.readings
    for path in sorted(reread):
        target = restored.target_of[path]
        line, recipe = readings.lines.get(path, ""), readings.recipe_file(path)
        if recipe is None or naming_of(recipe) != naming_in(line):
            return None
        now = readings.describe(Target(target.label, recipe))
        if readings.lines[path] == line:
            continue
        was = nodes_from_json(json.loads(line.partition("\t")[2]), target)
        if not snapshot.same_for_graph(was, now, lambda: session.state.parts[OFFERS]):
            return None
    return dirty


def keep(session: Session, open_nodes: Sequence[str], lacking: Sequence[str]) -> None:
    """Puts the graph of a session and the keys that it knows into its state.

    ``open_nodes`` are those whose worlds the lock may not cover, ``lacking`` those that lack what no repository has.
    """
    basis: dict[str, Any] = {
        "signature": session.signature(),
        "around": quick.stamps_of(session.around()),
        "open": list(open_nodes),
        "lacking": list(lacking),
        **session.basis(),
    }
    parts = session.state.parts
    keys, sources = session.rebuilder.known_keys(), session.inputs.source_files
    if session.kept is None:
        parts |= snapshot.take(session.workspace, session.nodes, session.graph, keys, sources)
    else:
        parts[GRAPH] = snapshot.update(session.kept.restored, keys, session.kept.dirty, sources)
    parts[BASIS] = json.dumps(basis).encode()


def keep_planned(session: Session, decisions: Mapping[str, Decision]) -> None:
    """Puts what was planned into the state."""
    content = {
        "stamps": quick.stamps_of(session.cache_stamps()),
        "of": {name: [d.deep_key, d.kind, d.reasons, d.network, d.action_key] for name, d in decisions.items()},
    }
    session.state.parts[PLANNED] = json.dumps(content, separators=(",", ":")).encode()


def planned(session: Session) -> dict[str, Decision]:
    """What was planned, where that still holds: the cache is what it was then, and nothing that the node's key covers changed."""
    if session.kept is None:
        return {}
    stale = session.kept.stale
    try:
        content = json.loads(session.state.parts[PLANNED])
        if not quick.as_before(content["stamps"]):
            return {}
        return {
            name: Decision(kind, tuple(reasons), tuple(network), key, action)
            for name, (key, kind, reasons, network, action) in content["of"].items()
            if name not in stale
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
