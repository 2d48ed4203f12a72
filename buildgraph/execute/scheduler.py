"""In what order: demand from the wanted nodes downwards, then the longest path first, within ``-j``.

A node's state only ever moves forward through ``State``; ``_Run._settle`` is the one place where it ends. The scheduler knows
nothing of melange, boxes or keys: it asks a ``Rebuilder`` whether something is stale and a ``Runner`` to run it, so that the
property tests drive it with fakes.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Protocol

from buildgraph.errors import BgError, BuildError, GraphError
from buildgraph.execute.events import Finished, Listener, Outcome, Started, Waiting
from buildgraph.graph.model import Graph
from buildgraph.plan.rebuild import Action, Suspended, Unlocked
from buildgraph.plan.record import Record
from buildgraph.structs import Struct, field

_POLL = 0.1  # seconds between looks at a cancellation; Python handles signals only in the main thread, between bytecodes


class Staleness(Protocol):
    """The part of the rebuilder that the scheduler needs."""

    graph: Graph
    known: dict[str, Record]

    def prepare(self, names: Iterable[str]) -> None:
        """Says which nodes are about to be looked up."""

    def deep_hit(self, name: str) -> Record | None:
        """The record that a node's deep key leads to."""

    def action(self, name: str) -> Action | Suspended | Unlocked:
        """The action of a node whose dependencies are in ``known``."""


class Runner(Protocol):
    """Runs actions. Called from worker threads."""

    def prepare(self, actions: Sequence[Action]) -> None:
        """Says which actions are about to be looked up."""

    def lookup(self, action: Action) -> Record | None:
        """The record of an action that ran before, if its outputs are at hand."""

    def remember(self, name: str, action: Action, record: Record) -> None:
        """Notes that a node's deep key leads to this action."""

    def reasons(self, name: str, action: Action) -> tuple[str, ...]:
        """Why the action has to run."""

    def run(self, action: Action, waiting: Callable[[str], None]) -> tuple[Record, Outcome]:
        """Runs an action and stores its record; raises BuildError where it fails."""

    def unchanged(self, name: str, record: Record) -> bool:
        """Whether the record's content is that of the node's previous run."""

    def unlocked(self, name: str, found: Unlocked) -> None:
        """Extends the lock so that the action can be determined, or raises LockError."""


class State(Enum):
    """Where a node is. Each only ever moves down this list."""

    DEMANDED = auto()  # its deep key missed; its dependencies are demanded
    READY = auto()  # its action is determined and has to run
    RUNNING = auto()
    DONE = auto()  # its record is known
    FAILED = auto()
    SKIPPED = auto()  # something it needs failed


class Result(Struct):
    """How a run ended: outcomes, records, why actions ran, and the failures in the order they came."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    failures: list[tuple[str, BgError]] = field(default_factory=list)
    reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def count(self, *outcomes: Outcome) -> int:
        """How many nodes ended so."""
        return sum(outcome in outcomes for outcome in self.outcomes.values())


def run(
    wanted: Sequence[str],
    staleness: Staleness,
    runner: Runner,
    *,
    jobs: int,
    listener: Listener,
    keep_going: bool = False,
    expected_seconds: Callable[[], Mapping[str, float]] = dict,
    cancelled: threading.Event | None = None,
) -> Result:
    """Brings every wanted node up to date, as far as failures allow.

    Exactly the nodes run whose key is not in the store and that a wanted node needs. ``cancelled`` ends the run soon: nothing
    new starts, and ``run`` returns when the running actions have ended (killing them is the caller's part).
    ``expected_seconds`` is asked once, when something has to run. Errors other than BgError from the runner are raised after
    the workers have stopped.
    """
    return _Run(staleness, runner, jobs, listener, keep_going, expected_seconds, cancelled or threading.Event()).go(wanted)


class _Run:
    def __init__(
        self,
        staleness: Staleness,
        runner: Runner,
        jobs: int,
        listener: Listener,
        keep_going: bool,  # noqa: FBT001 - private
        expected: Callable[[], Mapping[str, float]],
        cancelled: threading.Event,
    ) -> None:
        self.staleness = staleness
        self.graph = staleness.graph
        self.runner = runner
        self.jobs = max(1, jobs)
        self.listener = listener
        self.keep_going = keep_going
        self.expected = expected
        self.cancelled = cancelled
        self.result = Result()
        self.states: dict[str, State] = {}
        self.missing: dict[str, set[str]] = {}  # what a demanded node still waits for
        self.waiters: dict[str, set[str]] = {}
        self.ready: list[tuple[float, str]] = []
        self.actions: dict[str, Action] = {}
        self.running = 0
        self.finished: queue.SimpleQueue[tuple[str, Record | BaseException, Outcome]] = queue.SimpleQueue()
        self.rank: dict[str, float] = {}
        self.unblocked: list[str] = []  # demanded nodes that nothing open stands before

    def go(self, wanted: Sequence[str]) -> Result:
        unexpected: BaseException | None = None
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="action") as workers:
            self._demand(wanted)
            while True:
                self._advance_unblocked()
                self._start_ready(workers)
                if not self.running:
                    break
                try:
                    name, outcome, how = self.finished.get(timeout=_POLL)
                except queue.Empty:
                    continue
                self.running -= 1
                if isinstance(outcome, Record):
                    self.runner.remember(name, self.actions[name], outcome)
                    self._done(name, outcome, how)
                elif isinstance(outcome, BgError):
                    self._fail(name, outcome)
                else:
                    unexpected = unexpected or outcome
                    self.cancelled.set()
        if unexpected is not None:
            raise unexpected
        self._tell_deadlock()
        for name in sorted(self.states):
            self._skip(name)
        return self.result

    def _tell_deadlock(self) -> None:
        """Nodes that wait for each other, which only discovered dependencies can bring about, fail with an error that says so."""
        while not self._stopping():
            stuck = {name: self.missing[name] for name, state in self.states.items() if state is State.DEMANDED}
            if not stuck:
                return
            from buildgraph.graph.algorithms import shortest_cycle  # networkx is slow to import

            cycle = shortest_cycle(stuck)
            steps = [f"{name} needs {cycle[(place + 1) % len(cycle)]}" for place, name in enumerate(cycle)]
            message = f"a cycle of {len(cycle)} targets, found while building: each needs the next to be built first"
            hint = "what is built needs more than its recipes say; name a package in one of them as an external one, or split it"
            self._fail(cycle[0], GraphError(message, details="\n".join(steps), hint=hint))

    def _stopping(self) -> bool:
        return self.cancelled.is_set() or (bool(self.result.failures) and not self.keep_going)

    def _start_ready(self, workers: ThreadPoolExecutor) -> None:
        while self.ready and self.running < self.jobs and not self._stopping():
            _, name = heapq.heappop(self.ready)
            self.states[name] = State.RUNNING
            self.running += 1
            action = self.actions[name]
            self.result.reasons[name] = self.runner.reasons(name, action)
            self.listener(Started(name, self.result.reasons[name]))
            workers.submit(self._work, name, action)

    def _work(self, name: str, action: Action) -> None:
        try:
            record, how = self.runner.run(action, lambda why: self.listener(Waiting(name, why)))
            self.finished.put((name, record, how))
        except BaseException as error:  # noqa: BLE001 - handed over to the main thread, which raises it
            self.finished.put((name, error, "failed"))

    def _demand(self, names: Iterable[str]) -> None:
        """Looks nodes up, and those below the ones that are stale, in waves: what is far away is asked for all of a wave."""
        wave = list(dict.fromkeys(names))
        while wave:
            wave = [name for name in wave if name not in self.states]
            self.staleness.prepare(wave)
            below: dict[str, None] = {}
            for name in wave:
                try:
                    hit = self.staleness.deep_hit(name)
                except BgError as error:
                    self._fail(name, error)
                    continue
                if hit is not None:
                    self._done(name, hit, "hit")
                    continue
                self.states[name] = State.DEMANDED
                self._wait_for(name, self.graph.dependencies[name])
                below.update(dict.fromkeys(self.graph.dependencies[name]))
            wave = list(below)

    def _wait_for(self, name: str, others: Iterable[str]) -> None:
        open_ones = {other for other in others if self.states.get(other) is not State.DONE}
        self.missing[name] = open_ones
        for other in open_ones:
            self.waiters.setdefault(other, set()).add(name)
        if any(self.states.get(other) in {State.FAILED, State.SKIPPED} for other in open_ones):
            self._skip(name)
        elif not open_ones:
            self.unblocked.append(name)

    def _advance_unblocked(self) -> None:
        """Looks the actions of unblocked nodes up, in waves as ``_demand`` does."""
        while self.unblocked:
            wave, self.unblocked = dict.fromkeys(self.unblocked), []
            found = {name: action for name in wave if (action := self._determine(name)) is not None}
            self.runner.prepare(list(found.values()))
            for name, action in found.items():
                self._look_up(name, action)

    def _determine(self, name: str) -> Action | None:
        """The action of a demanded node, all that it waited for being done; None where it has none yet, or will not."""
        if self.states[name] is not State.DEMANDED:
            return None
        try:
            found = self.staleness.action(name)
            if isinstance(found, Unlocked):
                self.runner.unlocked(name, found)
                found = self.staleness.action(name)
            if isinstance(found, Unlocked):
                message = f"{name}: nothing provides " + ", ".join(
                    sorted({text for part in found.missing.values() for text in part})
                )
                raise BuildError(message)
        except BgError as error:
            self._fail(name, error)
            return None
        if isinstance(found, Suspended):
            self.listener(Waiting(name, "found through its dependencies: " + ", ".join(found.nodes)))
            self._wait_for(name, found.nodes)
            self._demand(found.nodes)
            return None
        return found

    def _look_up(self, name: str, action: Action) -> None:
        self.actions[name] = action
        record = self.runner.lookup(action)
        if record is not None:
            self.runner.remember(name, action, record)
            self._done(name, record, "spared")
            return
        self.states[name] = State.READY
        if not self.rank:
            self.rank = longest_paths(self.graph, self.expected())
        heapq.heappush(self.ready, (-self.rank[name], name))

    def _done(self, name: str, record: Record, how: Outcome) -> None:
        self.states[name] = State.DONE
        self.staleness.known[name] = record
        self.result.records[name] = record
        same = how == "ran" and self.runner.unchanged(name, record)
        self._settle(name, how, seconds=record.seconds if how == "ran" else 0.0, same=same)
        for waiter in sorted(self.waiters.pop(name, ())):
            self.missing[waiter].discard(name)
            if not self.missing[waiter]:
                self.unblocked.append(waiter)

    def _fail(self, name: str, error: BgError) -> None:
        self.states[name] = State.FAILED
        self.result.failures.append((name, error))
        self._settle(name, "failed", message=error.render())
        for waiter in sorted(self.waiters.pop(name, ())):
            self._skip(waiter)

    def _skip(self, first: str) -> None:
        pending = [first]
        while pending:
            name = pending.pop()
            if self.states[name] in {State.DEMANDED, State.READY}:
                self.states[name] = State.SKIPPED
                self._settle(name, "skipped")
                pending += sorted(self.waiters.pop(name, ()))

    def _settle(self, name: str, outcome: Outcome, *, seconds: float = 0.0, same: bool = False, message: str = "") -> None:
        self.result.outcomes[name] = outcome
        if self.cancelled.is_set() and outcome in {"failed", "skipped"}:
            return  # the user who stopped it knows
        self.listener(Finished(name, outcome, seconds, same, message))


def longest_paths(graph: Graph, expected: Mapping[str, float]) -> dict[str, float]:
    """For each node the expected seconds from its start to the end of everything that waits for it."""
    dependents = graph.dependents()
    rank: dict[str, float] = {}
    for name in reversed(graph.order):
        after = max((rank[other] for other in dependents[name]), default=0.0)
        rank[name] = after + expected.get(name, 1.0)
    return rank
