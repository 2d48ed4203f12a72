"""`bg cache push`: sends what was cached before a store was there to it, as builds send what they make."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import CacheError, UsageError, did_you_mean
from buildgraph.keys.digest import Digest
from buildgraph.plan.archive import is_whole
from buildgraph.plan.inventory import Held, Inventory
from buildgraph.plan.record import DeepRecord, Record, told_tier
from buildgraph.report.graphs import counted
from buildgraph.report.inspection import size
from buildgraph.report.views import to_json

if TYPE_CHECKING:
    from buildgraph.remote.level import Level
    from buildgraph.remote.shared import SharedCache


def push(options: argparse.Namespace, session: Session, chosen: Sequence[Held], inventory: Inventory) -> int:
    """The command, for some results. Raises UsageError where nothing may be sent, CacheError where not all was sent."""
    shared = session.elsewhere
    levels = _levels(shared, options.to, session)
    assert shared is not None  # noqa: S101 - it has levels
    left_out: Counter[str] = Counter()
    own = [held for held in chosen if _is_own(held, inventory, session.settings.tier, left_out)]
    shared.push(_results(own, session.settings.tier))
    session.finish_sharing()
    told = {level.name: {"keys": level.results_sent, "size": level.sent, "there": shared.there[level.name]} for level in levels}
    if options.json:
        show([to_json({"results": len(own), "left_out": left_out, "stores": told})])
    else:
        show([f"{counted(count, 'result')} left out: {reason}" for reason, count in sorted(left_out.items())])
        show([counted(len(own), "result"), *(f"  {_line(name, one)}" for name, one in told.items())])
    if shared.lost or any(level.failed for level in levels):
        raise CacheError("not everything was sent", hint="`bg cache push` again sends what is lacking")
    return 0


def _line(name: str, told: dict[str, int]) -> str:
    """What one store got; most results are under two keys there."""
    return f"{name}: {counted(told['keys'], 'key')} and {size(told['size'])} sent, {counted(told['there'], 'key')} there already"


def _levels(shared: SharedCache | None, name: str, session: Session) -> list[Level]:
    """The stores to send to; the others are left alone. Raises UsageError."""
    remotes = session.manifest.remotes
    if shared is None:
        raise UsageError("there is no store to send to", hint="`remotes:` in the manifest names stores")
    known = {label: number for number, one in enumerate(remotes) for label in (one.url, one.name) if label}
    if name and name not in known:
        names = ", ".join(f"`{one.name or shared.levels[number].name}`" for number, one in enumerate(remotes))
        hint = did_you_mean(name, known) or f"the manifest names {names}"
        raise UsageError(f"the manifest names no store `{name}`", hint=hint)
    if name and not remotes[known[name]].writes:
        raise UsageError(f"`{name}` is only read", hint="`mode: read-write` in the manifest")
    wanted = [shared.levels[known[name]]] if name else list(shared.levels)
    for level in shared.levels:
        level.writes = level.writes and level in wanted
    found = [level for level in wanted if level.writes]
    if not found:
        what = f"nothing may be sent to `{name}`" if name else "there is no store that may be written"
        raise UsageError(what, hint="`mode: read-write` in the manifest, and a key in BG_CACHE_KEY that `trust:` names")
    return found


def _is_own(held: Held, inventory: Inventory, tier: str, left_out: Counter[str]) -> bool:
    """Whether this run may answer for a result, by the rules that builds follow."""
    record = held.record
    if record is None or not is_whole(held, inventory):
        left_out["without all its files"] += 1
    elif record.fetched:
        left_out["made by another machine"] += 1
    elif record.tier != tier:
        left_out[told_tier(record.tier)] += 1
    else:
        return True
    return False


def _results(chosen: Sequence[Held], tier: str) -> Iterator[tuple[Record, Digest | None, DeepRecord | None]]:
    for held in chosen:
        if held.record is None:
            continue
        deeps = {key: deep for key, deep in sorted(held.deep.items()) if deep.tier == tier}
        for key, deep in deeps.items():
            yield held.record, key, deep
        if not deeps:
            yield held.record, None, None
