"""Records and blobs together: what the cache can answer about actions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.errors import CacheError
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.keys.document import KeyDocument
from buildgraph.plan.record import (
    LOCAL,
    DeepRecord,
    Output,
    Record,
    deep_from_json,
    deep_to_json,
    record_from_json,
    record_to_json,
)
from buildgraph.structs import Struct, asdict, field, replace

ACTION: Final = "action"
DEEP: Final = "deep"
LAST: Final = "last"


class Last(Struct, frozen=True):
    """A node's latest result in this workspace: for explanations and estimates, never for decisions.

    ``since`` is when it became that, in seconds since 1970, 0 where that is not known. ``reasons`` are why its action ran, empty
    where it did not run for this workspace.
    """

    action: Digest
    deep_document: Digest
    content: Digest
    seconds: float
    since: int = 0
    reasons: tuple[str, ...] = ()


def last_from_json(raw: Mapping[str, Any] | None) -> Last | None:
    """The result that is noted, or None for anything else."""
    raw = raw or {}
    action, document, content = (parse_digest(raw.get(name)) for name in ("action", "deep_document", "content"))
    seconds = raw.get("seconds")
    if action is None or document is None or content is None or not isinstance(seconds, int | float):
        return None
    since, reasons = raw.get("since"), raw.get("reasons")
    if not isinstance(since, int) or not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        since, reasons = 0, []
    return Last(action, document, content, float(seconds), since, tuple(reasons))


class FoundElsewhere(Protocol):
    """What a cache elsewhere has under a key: the action's record, and under a deep key what that leads to."""

    @property
    def key(self) -> Digest:
        """The key."""

    @property
    def record(self) -> Record:
        """The record of the action."""

    @property
    def deep(self) -> DeepRecord | None:
        """What the deep key leads to."""


class Elsewhere(Protocol):
    """Caches on other machines, which never fail: what they cannot give they do not have."""

    def look_up(self, kind: Literal["deep", "action"], keys: Iterable[Digest]) -> Sequence[FoundElsewhere]:
        """What is believed of what they have under some keys; nothing for a key that was asked for before."""

    def can_bring(self, digests: Iterable[Digest]) -> bool:
        """Whether they said that they have these blobs."""

    def bring_all(self, records: Sequence[Record]) -> Sequence[bool]:
        """Brings what the outputs of some records lack here; for each whether all of it is here then."""

    def bring(self, digests: Iterable[Digest]) -> object:
        """Brings those of some blobs that they said they have."""

    def share(self, record: Record, key: Digest | None, deep: DeepRecord | None) -> None:
        """Gives a result to those that may be written, on the side."""


class RecordStore(Struct):
    """The cache as the rebuilder and the executor see it: this machine's, and behind it those of others.

    ``workspace`` keeps the nodes of workspaces apart. ``tier`` is who is answerable for what is written here; what is read is of
    this tier or of one in ``believed``. With ``brings`` a record counts once its outputs are here, else once they can be had.
    """

    cas: Cas
    records: Records
    workspace: str
    tier: str = LOCAL
    believed: frozenset[str] = frozenset({"trusted"})
    elsewhere: Elsewhere | None = None
    brings: bool = True
    elsewhere_only: set[Digest] = field(default_factory=set)  # actions that were found, and whose outputs are not here

    def prepare(self, deep_keys: Iterable[Digest], holds: Callable[[DeepRecord], bool] = lambda _: True) -> None:
        """Looks up all at once what is about to be asked for one by one, elsewhere too, and brings the outputs.

        ``holds`` says whether what a deep key leads to will be taken; nothing is brought of what will not.
        """
        keys = list(dict.fromkeys(deep_keys))
        if self.elsewhere is None:
            self.records.read_ahead(DEEP, keys)
            return
        led = {key: deep for key, raw in self.records.get_many(DEEP, keys).items() if (deep := self._deep_of(raw))}
        known, came = self._look_up(self.elsewhere, DEEP, {key: led[key].action if key in led else None for key in keys})
        if known:
            fit = {deep.action for deep in (led | came).values() if holds(deep)}
            self._bring(self.elsewhere, [record for action, record in known.items() if action in fit])

    def prepare_actions(self, actions: Iterable[Digest]) -> None:
        """As ``prepare``, for what is about to be asked for by the keys of actions."""
        if self.elsewhere is not None:
            known, _ = self._look_up(self.elsewhere, ACTION, {action: action for action in actions})
            self._bring(self.elsewhere, known.values())

    def _look_up(
        self, elsewhere: Elsewhere, kind: Literal["deep", "action"], keys: Mapping[Digest, Digest | None]
    ) -> tuple[dict[Digest, Record], dict[Digest, DeepRecord]]:
        """The records of keys of which something lacks, by action, and where deep keys that were found elsewhere lead.

        ``keys`` have the actions that they lead to where known.
        """
        known = self._previous_of(action for action in keys.values() if action is not None)
        here = {action for action, record in known.items() if not self._lacking(record)}
        lacking = [key for key, action in keys.items() if action not in here]
        if not lacking:
            return {}, {}
        found, deeps = self._take(elsewhere.look_up(kind, lacking))
        return {action: record for action, record in known.items() if action not in here} | found, deeps

    def _bring(self, elsewhere: Elsewhere, records: Iterable[Record]) -> None:
        if self.brings:
            elsewhere.bring_all(list(records))

    def _take(self, found: Sequence[FoundElsewhere]) -> tuple[dict[Digest, Record], dict[Digest, DeepRecord]]:
        """Keeps what was found as of this run's own tier, since it was this run's manifest that said who is believed.

        A result that is whole here stays: the one from elsewhere may have other bytes, which may not come. The records of all
        that was found, by action, and where deep keys lead.
        """
        records = self._previous_of(one.record.action for one in found)
        whole = {action for action, record in records.items() if not self._lacking(record)}
        taken = {
            one.record.action: replace(one.record, tier=self.tier, fetched=True)
            for one in found
            if one.record.action not in whole
        }
        self.records.put_many(ACTION, {action: record_to_json(record) for action, record in taken.items()})
        deeps = {one.key: replace(one.deep, tier=self.tier) for one in found if one.deep is not None}
        self.records.put_many(DEEP, {key: deep_to_json(deep) for key, deep in deeps.items()})
        return records | taken, deeps

    def record(self, action: Digest) -> Record | None:
        """The record of an action, only if all of its outputs are at hand too, or can be had."""
        record = self.previous(action)
        lacking = self._lacking(record) if record else []
        if record is not None and not lacking:
            return record
        if self.elsewhere is None:
            return None
        if record is None or not self.elsewhere.can_bring(output.digest for output in lacking):
            self._take(self.elsewhere.look_up(ACTION, [action]))
            record = self.previous(action)
        if record is None:
            return None
        if self.brings:
            return record if self.elsewhere.bring_all([record])[0] else None
        lacking = self._lacking(record)
        if lacking:
            self.elsewhere_only.add(action)
        return record if self.elsewhere.can_bring(output.digest for output in lacking) else None

    def _lacking(self, record: Record) -> list[Output]:
        return [output for output in record.outputs if not self.cas.has(output.digest, size=output.size)]

    def previous(self, action: Digest) -> Record | None:
        """The record of an action, whether or not its outputs are still there."""
        return self._previous_of([action]).get(action)

    def _previous_of(self, actions: Iterable[Digest]) -> dict[Digest, Record]:
        found = self.records.get_many(ACTION, actions)
        records = ((action, record_from_json(raw, Digest(action))) for action, raw in found.items())
        return {Digest(action): record for action, record in records if record is not None and self._believes(record.tier)}

    def tier_of(self, action: Digest) -> str | None:
        """Who is answerable for the record of an action, whether or not this run believes it; None where there is no record."""
        record = record_from_json(self.records.get(ACTION, action), action)
        return None if record is None else record.tier

    def is_here(self, action: Digest) -> bool:
        """Whether there is a record of an action that this run believes, with all of its outputs."""
        record = self.previous(action)
        return record is not None and not self._lacking(record)

    def _believes(self, tier: str) -> bool:
        return tier == self.tier or tier in self.believed

    def put(self, record: Record) -> None:
        """Stores a record; its blobs must be there already."""
        self.records.put(ACTION, record.action, record_to_json(replace(record, tier=self.tier, fetched=False)))

    def deep(self, key: Digest) -> DeepRecord | None:
        """What a deep key led to."""
        known = self._known_deep(key)
        if known is None and self.elsewhere is not None:
            self._take(self.elsewhere.look_up(DEEP, [key]))
            known = self._known_deep(key)
        return known

    def _known_deep(self, key: Digest) -> DeepRecord | None:
        return self._deep_of(self.records.get(DEEP, key))

    def _deep_of(self, raw: Mapping[str, Any] | None) -> DeepRecord | None:
        led = deep_from_json(raw)
        return led if led is not None and self._believes(led.tier) else None

    def put_deep(self, key: Digest, deep: DeepRecord) -> None:
        """Remembers what a deep key led to."""
        self.records.put(DEEP, key, deep_to_json(replace(deep, tier=self.tier)))

    def share(self, record: Record, key: Digest, deep: DeepRecord | None) -> None:
        """Gives a result to caches elsewhere. What another machine made, or another tier is answerable for, is not passed on."""
        stored = self.previous(record.action)
        if self.elsewhere is not None and stored is not None and stored.tier == self.tier and not stored.fetched:
            self.elsewhere.share(stored, key, None if deep is None else replace(deep, tier=self.tier))

    def prepare_last(self, nodes: Iterable[str]) -> None:
        """Reads at once what ``last`` is about to be asked for one by one."""
        self.records.read_ahead(LAST, map(self._in_workspace, nodes))

    def last(self, node: str) -> Last | None:
        """A node's previous result."""
        return last_from_json(self.records.get(LAST, self._in_workspace(node)))

    def _in_workspace(self, node: str) -> str:
        return f"{self.workspace}:{node}"

    def put_last(self, node: str, last: Last) -> None:
        """Remembers a node's result."""
        self.records.put(LAST, self._in_workspace(node), asdict(last) | {"reasons": list(last.reasons)})

    def log(self, record: Record) -> bytes | None:
        """What the tool said when it made a result; None where no cache has it any more."""
        if record.log is None:
            return None
        if self.elsewhere is not None and not self.cas.has(record.log):
            if not self.elsewhere.can_bring([record.log]):
                self.elsewhere.look_up(ACTION, [record.action])
            self.elsewhere.bring([record.log])
        try:
            return self.cas.read(record.log)
        except CacheError:
            return None

    def document(self, digest: Digest) -> KeyDocument | None:
        """A stored key document, None where it is gone or is none."""
        try:
            return KeyDocument.from_bytes(self.cas.read(digest))
        except (CacheError, ValueError):
            return None

    def text(self, digest: str) -> str | None:
        """A stored text, such as a recipe as it went into a box."""
        parsed = parse_digest(digest)
        try:
            return None if parsed is None else self.cas.read(parsed).decode("utf-8", "surrogateescape")
        except CacheError:
            return None
