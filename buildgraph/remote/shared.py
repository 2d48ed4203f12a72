"""The caches elsewhere as one: look-ups in order of the levels, blobs brought when they are needed, uploads on the side.

Whatever a store does wrong is a miss. What was found in a later level is given to the earlier ones that may be written, once
its blobs are here. Look-ups and transfers run in threads; uploads end before ``finish`` returns.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from pathlib import Path

from buildgraph.cache.cas import Arrival, Cas
from buildgraph.errors import BgError, CacheError
from buildgraph.keys.digest import Digest
from buildgraph.plan.record import DeepRecord, Record
from buildgraph.remote import envelope
from buildgraph.remote import result as results
from buildgraph.remote.level import Level, mistake
from buildgraph.remote.many import AT_ONCE, Many
from buildgraph.remote.result import Kind, Result
from buildgraph.remote.store import MAX_RESULT_BYTES, Blob, Store, StoreError
from buildgraph.remote.trust import Trust
from buildgraph.structs import Struct, field

_SENDERS = 16
_MOST_PENDING = 64  # results that wait for a sender, so that a large cache is no large queue
_POLL = 0.05  # seconds between looks at whether the user has given up
_CHUNK = 1 << 20
_PATIENCE = 600.0  # seconds that uploads may take after the build


class Author(Struct, frozen=True):
    """Who writes results here: private keys, the tier, and what is said of the builder."""

    keys: tuple[str, ...] = ()
    tier: str = "local"
    builder: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Author({self.tier!r}, ...)"


class _Found(Struct, frozen=True):
    result: Result
    sealed: bytes
    level: int


class SharedCache:
    """Levels of stores, in the order in which they are asked. Threads share it."""

    def __init__(
        self,
        levels: Sequence[Level],
        trust: Trust,
        author: Author,
        cas: Cas,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.levels = tuple(levels)
        self._trust = trust
        self._author = author
        self._cas = cas
        self._cancelled = cancelled
        self._workers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="remote")
        self._many = Many(self._workers, cancelled)
        # Of their own, so that nobody who looks something up waits behind a large blob on its way out.
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="sender")
        self._uploads: list[Future[None]] = []
        self._asked: set[tuple[Kind, Digest]] = set()
        self._wire: dict[Digest, tuple[Blob, int]] = {}  # blobs that a store has, with the level that said so
        self._found: dict[Digest, _Found] = {}  # by action
        self._sums: dict[Digest, Blob] = {}
        self._guard = threading.Lock()
        self.seconds_elsewhere = 0.0  # that the results which came took to build, without what they needed
        self.lost: Counter[str] = Counter()
        self.there: Counter[str] = Counter()  # results that were not pushed, by level
        self.is_finished = False

    def look_up(self, kind: Kind, keys: Iterable[Digest]) -> list[Result]:
        """The results under some keys that were not asked for before; all at once, each level after the other."""
        with self._guard:
            wanted = [key for key in dict.fromkeys(keys) if (kind, key) not in self._asked]
            self._asked.update((kind, key) for key in wanted)
        found: list[_Found] = []
        for number, level in enumerate(self.levels):
            if not wanted or not level.reads or not level.is_used:
                continue
            here = self._ask(number, kind, wanted)
            level.count(hits=len(here), misses=len(wanted) - len(here))
            found += [here[key] for key in wanted if key in here]
            wanted = [key for key in wanted if key not in here]
        with self._guard:
            for one in found:
                self._found.setdefault(one.result.record.action, one)
                for digest, blob in one.result.blobs.items():
                    self._wire.setdefault(digest, (blob, one.level))
        return [one.result for one in found]

    def _ask(self, number: int, kind: Kind, keys: Sequence[Digest]) -> dict[Digest, _Found]:
        """What is believed of what a level has under some keys, tier by tier."""
        level = self.levels[number]
        found: dict[Digest, _Found] = {}
        for tier in self._trust.tiers():
            asked = {results.place(kind, key, tier): key for key in keys if key not in found}
            if not asked or not level.is_used:
                break
            since = level.breaker.now()
            try:
                with closing(self._many.results(level, asked)) as answers:
                    for place, answer in answers:
                        data = level.attempt(partial(_result, answer), since=since)
                        if data is not None:
                            judged = self._trust.judge(data, kind, asked[place], tier, unsigned=level.unsigned)
                            if isinstance(judged, Result):
                                found[asked[place]] = _Found(judged, data, number)
                            else:
                                level.refuse(judged)
                        since = level.breaker.now()
            except Exception as error:  # noqa: BLE001 - what a store does wrong beyond single answers
                level.succeeds(partial(_refuse, error), since=since)
        return found

    def can_bring(self, digests: Iterable[Digest]) -> bool:
        """Whether a store said that it has these blobs."""
        return all(digest in self._wire for digest in digests)

    def bring_all(self, records: Sequence[Record]) -> list[bool]:
        """Brings what is lacking here of some records' outputs and key documents; for each whether all of it is here then.

        Without its document a result could neither be explained nor attested.
        """
        needed = [{record.document: None} | {output.digest: output.size for output in record.outputs} for record in records]
        sizes = {digest: size for one in needed for digest, size in one.items()}
        lacking = [digest for digest, size in sizes.items() if not self._cas.has(digest, size=size)]
        came = self.bring(lacking)
        absent = set(lacking) - came
        whole = [absent.isdisjoint(one) for one in needed]
        for record, one, is_here in zip(records, needed, whole, strict=True):
            if is_here and not came.isdisjoint(one):
                self._arrived(record)
        return whole

    def bring(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of some blobs that came, each from the level that said that it has it, else from another."""
        left = {digest: self._wire[digest] for digest in digests if digest in self._wire}
        came: set[Digest] = set()
        for attempt in range(len(self.levels)):
            asked: dict[int, list[Digest]] = {}
            for digest, (_, first) in left.items():
                order = [first, *(number for number in range(len(self.levels)) if number != first)]
                asked.setdefault(order[attempt], []).append(digest)
            for number, wanted in asked.items():
                came |= self._fetch(self.levels[number], wanted)
            left = {digest: known for digest, known in left.items() if digest not in came}
        return came

    def _fetch(self, level: Level, digests: Sequence[Digest]) -> set[Digest]:
        """Those of some blobs that a level gave."""
        came: set[Digest] = set()
        if not level.reads or not level.is_used:
            return came
        since = level.breaker.now()
        try:
            with self._cas.arrivals() as begin:
                wanted = ((self._wire[digest][0], _Arriving(begin(), digest, self._wire[digest][0].size)) for digest in digests)
                with closing(self._many.read_many(level, wanted)) as arrived:
                    for one, error in arrived:
                        if level.succeeds(partial(_keep, one, error), size=one.size, since=since):
                            level.count(received=one.size)
                            came.add(one.digest)
                        since = level.breaker.now()
        except CacheError as error:
            level.succeeds(partial(_refuse, _not_kept(error)), since=since)
        except Exception as error:  # noqa: BLE001 - likewise
            level.succeeds(partial(_refuse, error), since=since)
        return came

    def _arrived(self, record: Record) -> None:
        """Counts the time that a result took, and gives it to earlier levels."""
        found = self._found.get(record.action)
        with self._guard:
            self.seconds_elsewhere += record.seconds
        if found is not None:
            earlier = [
                level for level in self.levels[: found.level] if level.writes and level.is_used and self._suits(found, level)
            ]
            if earlier:
                self._later(self._backfill, found, earlier)

    def _suits(self, found: _Found, level: Level) -> bool:
        """Whether readers of a level believe a result: what an unsigned store had may not be signed by anybody."""
        one = found.result
        judged = self._trust.judge(found.sealed, one.kind, one.key, one.tier, unsigned=level.unsigned)
        return isinstance(judged, Result)

    def _backfill(self, found: _Found, levels: Sequence[Level]) -> None:
        place = results.place(found.result.kind, found.result.key, found.result.tier)
        for level in levels:
            self._give(level, {place: found.sealed}, found.result.blobs, partly=True)

    def share(self, record: Record, key: Digest | None, deep: DeepRecord | None) -> None:
        """Gives a result to every store that may be written, on the side: under its action, and under its deep key."""
        if any(level.writes and level.is_used for level in self.levels):
            self._later(self._share, record, key, deep)

    def push(self, made: Iterable[tuple[Record, Digest | None, DeepRecord | None]]) -> None:
        """Gives results as `share` does, but for those that a store has; returns once all are there or were given up."""
        pending: set[Future[None]] = set()
        for one in made:
            pending.add(self._later(partial(self._share, only_new=True), *one))
            while len(pending) >= _MOST_PENDING and not self._cancelled():
                _, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            if self._cancelled() or not any(level.writes and level.is_used for level in self.levels):
                break
        while pending and not self._cancelled():
            _, pending = wait(pending, timeout=0.2)

    def _share(self, record: Record, key: Digest | None, deep: DeepRecord | None, *, only_new: bool = False) -> None:
        blobs = {digest: self._blob(digest) for digest in results.named_blobs(record, deep)}
        author = self._author
        made = [Result("action", record.action, author.tier, record, blobs, None, author.builder)]
        if key is not None and deep is not None:
            made.append(Result("deep", key, author.tier, record, blobs, deep, author.builder))
        sealed = {results.place(one.kind, one.key, one.tier): envelope.seal(results.to_bytes(one), author.keys) for one in made}
        for level in self.levels:
            if not level.writes or not level.is_used:
                continue
            there = {
                place: found for place, one in zip(sealed, made, strict=True) if only_new and (found := self._there(level, one))
            }
            self.there[level.name] += len(there)
            lacking = {place: data for place, data in sealed.items() if place not in there}
            # Another machine's result may have other files; those of this one are of no use beside it.
            if lacking or all(found.blobs == blobs for found in there.values()):
                self._give(level, lacking, blobs)

    def _there(self, level: Level, one: Result) -> Result | None:
        """What a level has already in place of a result, and readers believe."""
        if not level.reads:
            return None
        data = level.attempt(lambda store: store.result(results.place(one.kind, one.key, one.tier)))
        judged = None if data is None else self._trust.judge(data, one.kind, one.key, one.tier, unsigned=level.unsigned)
        return judged if isinstance(judged, Result) else None

    def _give(self, level: Level, sealed: Mapping[str, bytes], blobs: Mapping[Digest, Blob], *, partly: bool = False) -> None:
        """Gives blobs, then the results that name them, by place. With ``partly`` blobs that are not here (a log) are brought."""
        by_name = {blob: digest for digest, blob in blobs.items()}
        lacking = level.attempt(lambda store: store.missing(by_name), is_waited_for=False)
        if lacking is None:
            return
        for blob in lacking:
            path = self._cas.path(by_name[blob])
            if partly and not path.exists() and not self.bring([by_name[blob]]):
                return
            if not level.succeeds(partial(_write, blob=blob, path=path), is_waited_for=False):
                return
            level.count(sent=blob.size)
        for place, data in sealed.items():
            if level.succeeds(partial(_put, place=place, data=data, blobs=list(by_name)), is_waited_for=False):
                level.count(results=1)

    def _blob(self, digest: Digest) -> Blob:
        """The name of a blob on the wire."""
        known = self._sums.get(digest)
        if known is None:
            known = self._sums[digest] = blob_of(self._cas.path(digest))
        return known

    def _later(self, action: Callable[..., None], *arguments: object) -> Future[None]:
        def guarded() -> None:
            try:
                action(*arguments)
            except (OSError, BgError) as error:  # a blob that went away meanwhile, a disk that fails
                self._lose(error.what if isinstance(error, BgError) else str(error))
            except Exception as error:  # noqa: BLE001 - the result is here, and nobody waits for it there
                self._lose(mistake(error))

        with self._guard:
            self._uploads.append(upload := self._senders.submit(guarded))
        return upload

    def _lose(self, reason: str) -> None:
        with self._guard:
            self.lost[reason] += 1

    def finish(self, say: Callable[[str], None]) -> None:
        """Waits for uploads as long as it is worth it, and ends them and the stores. Never raises."""
        self.is_finished = True
        started = time.monotonic()
        pending: set[Future[None]] = set(self._uploads)
        told = False
        while pending and not self._cancelled() and time.monotonic() - started < _PATIENCE:
            _, pending = wait(pending, timeout=0.2)
            if pending and not told and time.monotonic() - started > 1:
                told = True
                say(f"cache  sending {len(pending)} result{'s' if len(pending) != 1 else ''}")
        if pending and not self._cancelled():
            self.lost[f"that took longer than {_PATIENCE / 60:.0f} minutes"] += len(pending)
        for upload in self._uploads:
            upload.cancel()
        for threads in (self._senders, self._workers):
            threads.shutdown(wait=False, cancel_futures=True)
        for level in self.levels:
            level.store.close()


def blob_of(path: Path) -> Blob:
    """The name on the wire of a file's content. Raises OSError."""
    hasher, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
            size += len(chunk)
    return Blob(hasher.hexdigest(), size)


class _Arriving:
    """A blob on its way into this machine's cache, from whoever has it."""

    def __init__(self, arrival: Arrival, digest: Digest, size: int) -> None:
        self.digest = digest
        self.size = size
        self._arrival = arrival
        self._left = size

    def write(self, data: bytes) -> None:
        """Takes the next bytes. Raises StoreError where there are too many, or they cannot be kept."""
        self._left -= len(data)
        if self._left < 0:
            message = "a blob is longer than it should be"
            raise StoreError(message)
        try:
            self._arrival.write(data)
        except CacheError as error:
            raise _not_kept(error) from error

    def keep(self) -> None:
        """Stores what came. Raises StoreError where that is another blob."""
        try:
            is_kept = self._arrival.keep(self.digest)
        except CacheError as error:
            raise _not_kept(error) from error
        if not is_kept:
            message = "a blob has other bytes than its name says"
            raise StoreError(message)


def _keep(one: _Arriving, error: StoreError | None, _: Store) -> None:
    if error is not None:
        raise error
    one.keep()


def _not_kept(error: CacheError) -> StoreError:
    return StoreError(f"cannot keep a blob here: {error.what}")


def _refuse(error: Exception, _: Store) -> None:
    raise error


def _result(answer: bytes | StoreError | None, _: Store) -> bytes | None:
    if isinstance(answer, StoreError):
        raise answer
    if answer is not None and len(answer) > MAX_RESULT_BYTES:
        message = "a result is too large"
        raise StoreError(message)
    return answer


def _write(store: Store, blob: Blob, path: Path) -> None:
    store.write(blob, path)


def _put(store: Store, place: str, data: bytes, blobs: Sequence[Blob]) -> None:
    store.put_result(place, data, blobs)
