"""Making room in a cache: what goes, least recently used first, and removing it.

Rows go before the blobs that they name, so that a kill leaves blobs without rows, which the next collection removes. Whoever
removes must be alone in the cache (`locks.UseLock`) from before the inventory was taken.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.cache.storage import damaged, unpacked
from buildgraph.errors import CacheError
from buildgraph.plan.inventory import Held, Inventory
from buildgraph.plan.roots import WANTED, Pin, is_gone
from buildgraph.plan.store import LAST
from buildgraph.structs import Struct, field

# Blobs that nothing names may belong to a bg of an earlier version, which does not say that it uses the cache: they are left for
# so long (seconds).
GRACE = 3600.0
_BATCH = 64


class Limits(Struct, frozen=True):
    """How much may stay: bytes in all, and seconds since the last use; None for any."""

    max_size: int | None = None
    older_than: float | None = None


class Removed(Struct):
    """What went: things by kind, their names, and bytes."""

    counts: Counter[str] = field(default_factory=Counter)
    results: list[str] = field(default_factory=list)
    size: int = 0
    whole: bool = True  # whether all that was to go did

    def add(self, held: Held, size: int) -> None:
        """Counts something that went, with what went with it."""
        self.counts[held.kind] += 1
        self.size += size
        if held.record is not None:
            self.results.append(held.name)


def kept_actions(inventory: Inventory, pins: Iterable[Pin], now: float) -> dict[str, str]:
    """The actions whose results are kept, each with the reason: "pinned", or "built lately"."""
    kept: dict[str, str] = {}
    for wanted, stored_at in inventory.wanted.values():
        if not is_gone(wanted, stored_at, now):
            kept.update((action, "built lately") for actions in wanted.builds.values() for action in actions)
    pinned = {(pin.workspace, pin.target) for pin in pins}
    for key, last in inventory.lasts.items():
        workspace, _, node = key.partition(":")
        if (workspace, node.partition("@")[0]) in pinned:
            kept[last.action] = "pinned"
    return kept


def choose(inventory: Inventory, kept: Collection[str], limits: Limits, now: float) -> list[Held]:
    """What goes, in order: all that was not used for too long, then the least recently used until the rest fits.

    ``kept`` are the actions whose results stay whatever the limits say. What has a time in the future counts as used now.
    """
    left = inventory.size()
    weights = _Weights(inventory)
    going = []
    for held in sorted(inventory.held, key=lambda held: (min(held.used_at, now), held.kind, held.name, held.action)):
        too_old = limits.older_than is not None and now - held.used_at > limits.older_than
        too_much = limits.max_size is not None and left > limits.max_size
        if not (too_old or too_much):
            break
        if held.action in kept or (held.kind == "stray" and abs(now - held.used_at) < GRACE):
            continue
        going.append(held)
        left -= weights.let_go(held)
    return going


def size_beside(root: Path) -> int:
    """The bytes of what a collection can remove besides blobs."""
    return sum(stored.size for stored in (*unpacked(root), *damaged(root)))


def forgotten(inventory: Inventory, now: float) -> list[Held]:
    """The notes on workspaces that are gone, which take next to no room."""
    gone = {key: wanted for key, (wanted, stored_at) in inventory.wanted.items() if is_gone(wanted, stored_at, now)}
    rows: dict[str, list[tuple[str, str]]] = {key: [(WANTED, key)] for key in gone}
    for key in inventory.lasts:
        workspace = key.partition(":")[0]
        if workspace in rows:
            rows[workspace].append((LAST, key))
    return [Held("workspace", wanted.path, 0.0, tuple(rows[key])) for key, wanted in gone.items()]


def weigh(going: Iterable[Held], inventory: Inventory) -> Removed:
    """What removing would come to."""
    weights, found = _Weights(inventory), Removed()
    for held in going:
        found.add(held, weights.let_go(held))
    return found


def remove(
    going: Sequence[Held],
    inventory: Inventory,
    cas: Cas,
    records: Records,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Removed:
    """Removes things, and every blob that nothing else names; asks now and then whether to ``stop``. Raises CacheError."""
    weights, found = _Weights(inventory), Removed()
    # What has no rows first: on a full disk the database cannot be written before there is room.
    for batch in _batches(sorted(going, key=lambda held: bool(held.rows))):
        if stop():
            found.whole = False
            break
        rows = [row for held in batch for row in held.rows]
        try:
            records.delete_many(rows)
        except CacheError:
            _remove_files(batch, weights, found, cas)  # a record without its files is a miss
            records.delete_many(rows)
        else:
            _remove_files(batch, weights, found, cas)
    if found.counts:
        with suppress(CacheError):  # the disk is full; the journal says what was removed
            records.renew_journal()
    return found


def _remove_files(batch: Iterable[Held], weights: _Weights, found: Removed, cas: Cas) -> None:
    for held in batch:
        free = weights.free(held)
        found.add(held, weights.let_go(held))
        for digest in free:
            cas.remove(digest)
        if held.stored is not None:
            held.stored.remove()


class _Weights:
    """Who still names a blob."""

    def __init__(self, inventory: Inventory) -> None:
        self._blobs = inventory.blobs
        self._named = Counter(inventory.foreign)
        for held in inventory.held:
            self._named.update(held.blobs)

    def free(self, held: Held) -> list[str]:
        """The blobs that only this thing names."""
        return [digest for digest in held.blobs if self._named[digest] == 1 and digest in self._blobs]

    def let_go(self, held: Held) -> int:
        """The bytes that go with a thing."""
        size = sum(self._blobs[digest].size for digest in self.free(held))
        self._named.subtract(held.blobs)
        return size + (held.stored.size if held.stored else 0)


def _batches(items: Iterable[Held]) -> Iterator[list[Held]]:
    source = iter(items)
    while batch := list(islice(source, _BATCH)):
        yield batch


def deadline(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed since."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
