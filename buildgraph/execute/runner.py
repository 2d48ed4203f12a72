"""The runner of real builds: the executor, the store and the explanations behind the scheduler's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from buildgraph.execute.actions import Executor
from buildgraph.execute.events import Outcome
from buildgraph.execute.scheduler import Result
from buildgraph.keys.digest import Digest, digest_text
from buildgraph.plan.explain import Explainer
from buildgraph.plan.rebuild import Action, Rebuilder, Unlocked
from buildgraph.plan.record import Record
from buildgraph.plan.store import Last, RecordStore
from buildgraph.structs import Struct, field


class LocalRunner(Struct):
    """Runs actions on this machine and keeps their records. ``extend_lock`` is called with the worlds that the lock lacks."""

    executor: Executor
    store: RecordStore
    rebuilder: Rebuilder
    explainer: Explainer
    extend_lock: Callable[[Mapping[str, Unlocked]], object]
    _before: dict[str, Last | None] = field(default_factory=dict)
    _reasons: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of the actions that ran

    def prepare(self, actions: Sequence[Action]) -> None:
        """Looks up elsewhere, all at once, what is about to be looked up one by one."""
        self.store.prepare_actions(action.key for action in actions)

    def lookup(self, action: Action) -> Record | None:
        """The record of an action that ran before, if its outputs are at hand."""
        return self.store.record(action.key)

    def remember(self, name: str, action: Action, record: Record) -> None:
        """Notes that a node's deep key leads to this action, and that it is the node's latest result."""
        deep = self.rebuilder.deep(name)
        self.store.cas.put_bytes(deep.document.to_bytes())
        led = self.rebuilder.deep_record(name, action)
        if led is not None:
            self.store.put_deep(deep.key, led)
        self.store.share(record, deep.key, led)
        self._note(name, record)

    def reasons(self, name: str, action: Action) -> tuple[str, ...]:
        """Why the action has to run."""
        self._reasons[name] = self.explainer.reasons(name, self.rebuilder.deep(name), action)
        return self._reasons[name]

    def run(self, action: Action, waiting: Callable[[str], None]) -> tuple[Record, Outcome]:
        """Runs an action and stores its record."""
        return self.executor.run(action, waiting)

    def unchanged(self, name: str, record: Record) -> bool:
        """Whether the record's content is that of the node's previous run."""
        before = self._before.get(name)
        return before is not None and before.content == content_digest(record)

    def unlocked(self, name: str, found: Unlocked) -> None:
        """Extends the lock so that the action can be determined."""
        self.extend_lock({name: found})

    def finish(self, result: Result) -> None:
        """Notes the results that came straight from the cache, so that the next explanation starts from them."""
        for name, outcome in result.outcomes.items():
            if outcome == "hit":
                self._note(name, result.records[name])

    def expected_seconds(self, nodes: Iterable[str]) -> dict[str, float]:
        """How long the nodes took last time, where that is known."""
        known = ((name, self.store.last(name)) for name in nodes)
        return {name: last.seconds for name, last in known if last is not None}

    def _note(self, name: str, record: Record) -> None:
        document = Digest(self.store.cas.put_bytes(self.rebuilder.deep(name).document.to_bytes()))
        self._before[name] = before = self.store.last(name)
        since, reasons = int(time.time()), self._reasons.get(name, ())
        if before is not None and before.action == record.action and not reasons:
            since, reasons = before.since, before.reasons
        latest = Last(record.action, document, content_digest(record), record.seconds, since, reasons)
        if before != latest:
            self.store.put_last(name, latest)


def content_digest(record: Record) -> Digest:
    """One digest over all that a record's outputs are."""
    return digest_text("\n".join(f"{digest} {path}" for path, digest in record.content()))
