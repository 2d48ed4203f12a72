"""What a build would do, without doing it: for each node that matters hit, run, or maybe, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from buildgraph.keys.document import KeyDocument
from buildgraph.plan.rebuild import Action, Rebuilder, Suspended, Unlocked
from buildgraph.plan.record import Record

# hit: the deep key is known; spared: only the action key is; run: it has to run; maybe: it runs unless what it depends on
# comes out as it was.
DecisionKind = Literal["hit", "spared", "run", "maybe"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What would happen to one node."""

    kind: DecisionKind
    reasons: tuple[str, ...]
    network: tuple[str, ...]
    deep_key: str
    action_key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The wanted nodes, and a decision for each node that was looked at, dependencies first."""

    wanted: tuple[str, ...]
    decisions: dict[str, Decision]


Reasons = Callable[[str, KeyDocument, "KeyDocument | None"], tuple[str, ...]]


def make_plan(wanted: Sequence[str], rebuilder: Rebuilder, explain: Reasons, network: Callable[[str], tuple[str, ...]]) -> Plan:
    """Plans a build of the wanted nodes. ``explain`` gives the reasons from a node, its deep document and its action's."""
    demanded = _demanded(wanted, rebuilder)
    decisions: dict[str, Decision] = {}
    for name in rebuilder.graph.order:
        if name in demanded:
            decisions[name] = _decide(name, demanded[name], decisions, rebuilder, explain, network)
    return Plan(tuple(wanted), decisions)


def _demanded(wanted: Sequence[str], rebuilder: Rebuilder) -> dict[str, Record | None]:
    """The nodes that a build looks at: the wanted ones, and what those depend on that missed."""
    found: dict[str, Record | None] = {}
    pending = list(wanted)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = hit = rebuilder.deep_hit(name)
        if hit is not None:
            rebuilder.known[name] = hit
        else:
            pending.extend(rebuilder.graph.dependencies[name])
    return found


def _decide(
    name: str,
    hit: Record | None,
    decisions: dict[str, Decision],
    rebuilder: Rebuilder,
    explain: Reasons,
    network: Callable[[str], tuple[str, ...]],
) -> Decision:
    deep = rebuilder.deep(name)
    if hit is not None:
        return Decision("hit", (), (), deep.key, hit.action)
    document: KeyDocument | None = None
    action_key = ""
    unsettled = [other for other in rebuilder.graph.dependencies[name] if decisions[other].kind in {"run", "maybe"}]
    if not unsettled:
        action = _action(name, rebuilder)
        if isinstance(action, Action):
            record = rebuilder.store.record(action.key)
            if record is not None:
                rebuilder.known[name] = record
                return Decision("spared", (), (), deep.key, action.key)
            document, action_key = action.document, action.key
    reasons = explain(name, deep.document, document)
    only_below = bool(unsettled) and bool(reasons) and all(reason.startswith("depends on ") for reason in reasons)
    return Decision("maybe" if only_below else "run", reasons, network(name), deep.key, action_key)


def _action(name: str, rebuilder: Rebuilder) -> Action | Suspended | Unlocked:
    """A node's action, with the cached records of nodes that only their real metadata names."""
    while True:
        action = rebuilder.action(name)
        if not isinstance(action, Suspended):
            return action
        hits = {other: rebuilder.deep_hit(other) for other in action.nodes}
        rebuilder.known.update({other: hit for other, hit in hits.items() if hit is not None})
        if None in hits.values():
            return action
