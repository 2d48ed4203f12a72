"""Builds of one world after another with one store, each held against the clean build. Every property of a run is asserted here,
so that a wrong rebuilder or scheduler meets the same oracle as the right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from buildgraph.errors import GraphError
from buildgraph.execute import scheduler
from buildgraph.execute.scheduler import Result
from buildgraph.keys.digest import Digest
from buildgraph.plan.planner import Plan, make_plan
from tests.properties.fakes import Log, MemoryRunner, MemoryStore, RebuilderFactory, graph_of, make_rebuilder
from tests.properties.model import World
from tests.properties.oracle import Clean, clean_build


@dataclass(frozen=True, slots=True)
class Run:
    """One build, with what was known before it."""

    world: World
    wanted: tuple[str, ...]
    keep_going: bool
    clean: dict[str, Clean]
    stored: set[str]  # the idents whose record was in the store with all of its outputs
    torn: set[str]  # those whose record was there, but not each output
    blobs: set[Digest]  # the outputs in the store
    plan: Plan | None
    result: Result
    log: Log

    @property
    def hits(self) -> set[str]:
        return {name for name, outcome in self.result.outcomes.items() if outcome == "hit"}

    def needed(self) -> set[str]:
        """The wanted nodes and what those that were no hits need."""
        seen: set[str] = set()
        pending = list(self.wanted)
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending += [] if name in self.hits else self.clean[name].needs
        return seen


@dataclass
class History:
    """A store that sees one world after another."""

    rebuilder: RebuilderFactory = make_rebuilder
    run: Callable[..., Result] = scheduler.run
    nap: float = 0.0  # seconds that an action takes
    store: MemoryStore = field(default_factory=MemoryStore)
    keys: dict[str, Digest] = field(default_factory=dict)  # the action key of each ident ever met
    settled: dict[str, World] = field(default_factory=dict)  # where a node's deep record was last written

    def build(self, world: World, wanted: Sequence[str], jobs: int = 1, *, keep_going: bool = False) -> Run | None:
        """Builds and checks; None for a world that has no graph (a cycle, an ambiguous name)."""
        try:
            graph = graph_of(world)
        except GraphError:
            return None
        stored = {ident for ident, key in self.keys.items() if self.store.record(key)}
        torn = {ident for ident, key in self.keys.items() if key in self.store.actions} - stored
        blobs = set(self.store.blobs)
        try:
            plan = make_plan(wanted, self.rebuilder(graph, world, self.store), self.store.reasons, lambda _: ())
        except GraphError:  # two packages of one name in a box, which only what is built already shows
            plan = None
        rebuilder = self.rebuilder(graph, world, self.store)
        log = Log(graph, jobs, keep_going)
        runner = MemoryRunner(world, self.store, rebuilder, log, dict.fromkeys(graph.nodes, self.nap))
        result = self.run(wanted, rebuilder, runner, jobs=jobs, listener=log.listen, keep_going=keep_going)
        for name, outcome in result.outcomes.items():
            if outcome == "hit":
                runner.note(name, result.records[name])
        done = Run(world, tuple(wanted), keep_going, clean_build(world, wanted), stored, torn, blobs, plan, result, log)
        self.check(done)
        return done

    def check(self, run: Run) -> None:
        """Every property of a run."""
        check_order(run)
        self.check_keys(run)
        check_content(run)
        check_failures(run)
        self.check_hits(run)
        check_minimal(run)
        check_plan(run)

    def check_keys(self, run: Run) -> None:
        """One key for each action that can be told apart, and one action for each key."""
        for name, key in run.log.determined.items():
            ident = run.clean[name].ident
            assert ident, f"{name} was determined, although it cannot be"
            assert self.keys.setdefault(ident, key) == key, f"{name}: the same action under another key"
        assert len(set(self.keys.values())) == len(self.keys), "two actions under one key"

    def check_hits(self, run: Run) -> None:
        """What was settled in this very world, and not lost since, is a hit."""
        for name in run.result.outcomes:
            if self.settled.get(name) == run.world:
                assert name in run.hits, f"{name} was settled in this world, and is no hit"
        self.settled |= dict.fromkeys(run.result.records, run.world)

    def lose(self, what: str, number: int) -> None:
        """Loses a record or a blob, or all of them."""
        parts: dict[str, list[Digest]] = {
            "action": sorted(self.store.actions),
            "deep": sorted(self.store.deeps),
            "blob": sorted(self.store.blobs),
        }
        chosen = parts[what]
        for lost in chosen if number < 0 else chosen[number % max(1, len(chosen)) :][:1]:
            self.store.actions.pop(lost, None)
            self.store.deeps.pop(lost, None)
            self.store.blobs.discard(lost)
        self.settled.clear()


def check_order(run: Run) -> None:
    """Nothing starts too early, too much at once, after a failure, or twice."""
    assert not run.log.wrong, run.log.wrong[0]
    assert not run.log.running
    ran = [key for _, key in run.log.ran]
    assert len(set(ran)) == len(ran), "an action ran twice"


def check_content(run: Run) -> None:
    """Whatever has a record is what a clean build gives."""
    for name, record in run.result.records.items():
        assert run.clean[name].built, f"{name} has a result, although a clean build gives none"
        assert tuple(record.content()) == run.clean[name].outputs, f"{name} is not what a clean build gives"


def check_failures(run: Run) -> None:
    """All that can be built is built, as far as failures allow; nothing failed is stored."""
    outcomes = run.result.outcomes
    failed = {name for name, _ in run.result.failures}
    assert failed == {name for name, outcome in outcomes.items() if outcome == "failed"}
    assert not failed & run.result.records.keys()
    assert all(not run.clean[name].built for name in failed), "a node failed that a clean build builds"
    can = {name for name in run.wanted if run.clean[name].built}
    if run.keep_going or not failed:
        assert can <= run.result.records.keys(), "a wanted node was not built"
    assert bool(failed) or can == set(run.wanted), "a wanted node was not built, and no failure says why"
    assert set(run.wanted) <= outcomes.keys(), "a wanted node has no outcome"
    assert set(outcomes.values()) <= {"hit", "spared", "shared", "ran", "failed", "skipped"}


def check_minimal(run: Run) -> None:
    """Exactly the needed nodes ran whose action was not in the store."""
    clean, outcomes = run.clean, run.result.outcomes
    acted = {name for name, outcome in outcomes.items() if outcome in {"ran", "shared"}}
    assert all(clean[name].ident not in run.stored for name in acted), "an action ran whose result was in the store"
    spared = {name for name, outcome in outcomes.items() if outcome == "spared"}
    # An output that was lost may come back in time from another action that gives the same.
    there = run.blobs | {digest for name in acted for _, digest in clean[name].outputs}
    again = {name for name in spared if clean[name].ident in run.torn and {digest for _, digest in clean[name].outputs} <= there}
    assert all(clean[name].ident in run.stored for name in spared - again), "a node was spared whose result was not in the store"
    if not run.result.failures:
        needed = run.needed()
        assert outcomes.keys() == needed, "what was looked at is not what is needed"
        missing = {name for name in needed - run.hits if clean[name].ident not in run.stored}
        assert acted == missing - again, "what ran is not what was missing"
        assert {name for name, _ in run.log.ran} <= acted


def check_plan(run: Run) -> None:
    """The plan said it before: hits and spared nodes do not run, the others do, and nothing that it did not name."""
    if run.plan is None:
        assert not all(run.clean[name].built for name in run.wanted), "no plan for what can be built"
        return
    outcomes, decisions = run.result.outcomes, run.plan.decisions
    acted = {name for name, _ in run.log.ran}
    stopped = bool(run.result.failures)
    for name, decision in decisions.items():
        outcome = outcomes.get(name)
        if stopped and outcome in {None, "failed", "skipped"}:
            continue
        if decision.kind in {"hit", "spared"}:
            assert outcome == decision.kind, f"{name} was planned {decision.kind} and is {outcome}"
            continue
        assert outcome in {"ran", "shared", "spared"}, f"{name} was planned {decision.kind} and is {outcome}"
        if decision.action_key:
            assert outcome != "spared" or run.clean[name].ident in run.torn, f"{name} was planned to run and was spared"
            assert run.log.determined[name] == decision.action_key
        elif outcome == "spared":
            # The action could not be known before: what is below was open, and its result lay in the store.
            assert run.clean[name].ident in run.stored | run.torn
    assert acted <= decisions.keys() | _below(run.log.found_late, run), "something ran outside the plan"
    assert list(decisions) == sorted(decisions, key=list(run.log.graph.order).index)


def _below(names: set[str], run: Run) -> set[str]:
    return run.log.graph.closure([name for name in names if name in run.log.graph.nodes])
