"""What a build would do, without doing it: for each node that matters hit, run, or maybe, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.plan.explain import Documented
from buildgraph.plan.rebuild import Action, Rebuilder, Suspended, Unlocked
from buildgraph.structs import Struct, replace

# hit: the deep key is known; spared: only the action key is; run: it has to run; maybe: it runs unless what it depends on
# comes out as it was; blocked: it would have to run and cannot.
DecisionKind = Literal["hit", "spared", "run", "maybe", "blocked"]


class Decision(Struct, frozen=True):
    """What would happen to one node.

    ``found`` are nodes that it waits for and that no recipe named; ``beyond`` all nodes that the decision rests on besides those
    that the graph says it depends on.
    """

    kind: DecisionKind
    reasons: tuple[str, ...]
    network: tuple[str, ...]
    deep_key: str
    action_key: str
    found: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """The wanted nodes, and a decision for each node that was looked at, dependencies first.

    ``settled``: no decision was made while one that it rests on was open, so that each is the same in every plan.
    """

    wanted: tuple[str, ...]
    decisions: dict[str, Decision]
    settled: bool = True


Reasons = Callable[[str, Documented, "Documented | None"], tuple[str, ...]]


def make_plan(
    wanted: Sequence[str],
    rebuilder: Rebuilder,
    explain: Reasons,
    network: Callable[[str], tuple[str, ...]],
    before: Mapping[str, Decision] | None = None,
) -> Plan:
    """Plans a build of the wanted nodes. ``explain`` gives the reasons from a node, its deep key and its action.

    ``before`` are decisions that were made with the same keys and the same cache, and so hold.
    """
    planner = _Planner(rebuilder, explain, network, before or {})
    rebuilder.prepare(name for name in wanted if name not in planner.before)
    for name in wanted:
        planner.look_at(name)
    decisions = {name: planner.decisions[name] for name in rebuilder.graph.order if name in planner.decisions}
    return Plan(tuple(wanted), decisions, planner.settled)


def _boxed(action: Action | Unlocked | None) -> Iterable[str]:
    return action.dependencies if isinstance(action, Action) else ()


class _Planner:
    """Goes down from the wanted nodes through what missed, as the scheduler does, and decides on the way back."""

    def __init__(
        self,
        rebuilder: Rebuilder,
        explain: Reasons,
        network: Callable[[str], tuple[str, ...]],
        before: Mapping[str, Decision],
    ) -> None:
        self.rebuilder = rebuilder
        self.graph = rebuilder.graph
        self.explain = explain
        self.network = network
        self.before = before
        self.decisions: dict[str, Decision] = {}
        self.below: dict[str, set[str]] = {}  # what a node that missed waits for
        self.settled = True

    def look_at(self, first: str) -> None:
        pending = [first]
        while pending:
            name = pending[-1]
            if name in self.decisions:
                pending.pop()
            elif name not in self.below:
                pending += self._begin(name)
            else:
                action = self._action(name)
                found = action.nodes if isinstance(action, Suspended) else ()
                # Also what is known already: in a plan of this node alone it would not be.
                self.below[name].update(action.needed if isinstance(action, Suspended) else _boxed(action))
                # What is begun and not decided waits for this node: a cycle, which the build will tell.
                more = [other for other in found if other not in self.decisions and other not in self.below]
                pending += more
                if not more:
                    self.settled = self.settled and not self._undecided(self.below[name])
                    self.decisions[name] = self._noted(name, self._missed(name, action if isinstance(action, Action) else None))

    def _begin(self, name: str) -> Sequence[str]:
        """Looks a node up; gives the nodes to be decided on before it where that fails."""
        known = self.before.get(name)
        if known is not None:
            self.decisions[name] = known
            # What it would wait for is part of the plan too.
            return () if known.kind == "hit" else self._undecided((*self.graph.dependencies[name], *known.found))
        hit = self.rebuilder.deep_hit(name)
        if hit is not None:
            self.rebuilder.known[name] = hit
            self.decisions[name] = self._noted(name, Decision("hit", (), (), self.rebuilder.deep_key(name), hit.action))
            return ()
        self.below[name] = set(self.graph.dependencies[name])
        undecided = self._undecided(self.graph.dependencies[name])
        self.rebuilder.prepare(undecided)
        return undecided

    def _noted(self, name: str, decision: Decision) -> Decision:
        """A decision with what it rests on."""
        found = self.below.get(name, set()) - set(self.graph.dependencies[name])
        beyond = found | self.rebuilder.rests_on(name)
        return replace(decision, found=tuple(sorted(found)), beyond=tuple(sorted(beyond))) if beyond else decision

    def _undecided(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self.decisions]

    def _action(self, name: str) -> Action | Suspended | Unlocked | None:
        """A node's action, None while something below it is open."""
        if self._open(name):
            return None
        self._load(self.below[name])
        action = self.rebuilder.action(name)
        while isinstance(action, Suspended) and self._load(action.nodes):
            action = self.rebuilder.action(name)
        return action

    def _load(self, names: Iterable[str]) -> bool:
        """Gets the records behind decisions that were taken over; whether there was one to get."""
        loaded = False
        for name in names:
            decision = self.decisions.get(name)
            if decision is not None and decision.kind in {"hit", "spared"} and name not in self.rebuilder.known:
                record = self.rebuilder.deep_hit(name) or self.rebuilder.store.record(
                    parse_digest(decision.action_key) or Digest("")
                )
                if record is not None:
                    self.rebuilder.known[name] = record
                    loaded = True
        return loaded

    def _open(self, name: str) -> bool:
        decided = (self.decisions.get(other) for other in self.below[name])
        return any(decision is None or decision.kind in {"run", "maybe", "blocked"} for decision in decided)

    def _missed(self, name: str, action: Action | None) -> Decision:
        deep = self.rebuilder.deep(name)
        record = self.rebuilder.store.record(action.key) if action else None
        if action and record:
            self.rebuilder.known[name] = record
            return Decision("spared", (), (), deep.key, action.key)
        blocked = self._blocked(name)
        if blocked:
            return Decision("blocked", blocked, (), deep.key, "")
        reasons = self.explain(name, deep, action)
        only_below = self._open(name) and bool(reasons) and all(reason.startswith("depends on ") for reason in reasons)
        return Decision("maybe" if only_below else "run", reasons, self.network(name), deep.key, action.key if action else "")

    def _blocked(self, name: str) -> tuple[str, ...]:
        """Why a node cannot be built, so far as that is known before."""
        unmet = (
            f"nothing provides `{text}`" + (f" ({need.place})" if need.place else "")
            for text, need in self.rebuilder.unmet(name).items()
        )
        below = sorted(self.below[name] | set(self.graph.dependencies[name]))
        needed = (f"needs {other}" for other in below if (found := self.decisions.get(other)) and found.kind == "blocked")
        return (*unmet, *needed)
