"""The plan of a build, which takes less to load than a build."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from buildgraph.cli import kept
from buildgraph.cli.session import Session
from buildgraph.errors import BgError, CacheError, GraphError
from buildgraph.plan.planner import Plan, make_plan


def planned(patterns: Sequence[str], session: Session) -> tuple[Plan, BgError | None]:
    """The plan of a build, and what that build would fail with before it starts, if there is such a thing.

    Completes the lock first, as far as repositories can.
    """
    _stand_in_for_cache(session)
    session.store.brings = False
    session.records.looks_first = True
    wanted = session.selection.nodes(patterns)
    session.locker.complete(wanted, tolerant=True)
    found, refusal = _plan(wanted, session), None
    if blocked := _blocked(found):
        lock = session.lock
        try:
            session.locker.complete(wanted)  # not tolerant: it says what nothing provides, and what to try
        except BgError as error:
            refusal = error
        if session.lock is not lock:  # what was not there when it was asked for last time is there now
            found = _plan(wanted, session)
        if refusal is None and (blocked := _blocked(found)):
            refusal = GraphError(f"{blocked[0]} cannot be built" + (f", and {len(blocked) - 1} more" if blocked[1:] else ""))
    kept.keep_planned(session, found)
    return found, refusal


def _plan(wanted: Sequence[str], session: Session) -> Plan:
    reasons, network = session.explainer.reasons, session.inputs.network
    before = kept.planned(session)
    session.store.prepare_last(name for name in wanted if name not in before)
    return make_plan(wanted, session.rebuilder, reasons, network, before)


def _blocked(plan: Plan) -> list[str]:
    return [name for name, decision in plan.decisions.items() if decision.kind == "blocked"]


def _stand_in_for_cache(session: Session) -> None:
    """Where there is no cache and none can be made, as in a checkout that is read-only, a plan does with an empty one."""
    try:
        _ = session.cas
    except CacheError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in {errno.EROFS, errno.EACCES}:
            raise
        from tempfile import TemporaryDirectory  # it loads much

        session.console.say(f"cache  {error.what}; so this plan knows of no result, and BG_CACHE_DIR names another place")
        session.cache_folder = Path(session.closing.enter_context(TemporaryDirectory(prefix="bg-plan-")))
        session.remembers = False
