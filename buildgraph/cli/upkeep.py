"""What a build does for the cache once its outputs are in place: it notes what it used, and keeps to the budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from buildgraph.cache.cas import Cas
from buildgraph.errors import BgError
from buildgraph.keys.digest import new_hasher
from buildgraph.plan.roots import note_wanted

if TYPE_CHECKING:
    from buildgraph.cli.session import Session
    from buildgraph.execute.scheduler import Result

PATIENCE = 5.0  # seconds that a build may spend on making room; the next one goes on


def after_build(session: Session, wanted: Sequence[str], result: Result) -> None:
    """Notes what was used, and lets the cache go: this session relies on nothing in it any more. Never fails."""
    with suppress(BgError):  # a cache that cannot be written notes nothing
        for record in result.records.values():
            session.cas.touch(record.document)
        newest = {name: result.records[name].action for name in wanted if name in result.records}
        with session.locks.hold("notes", on_wait=lambda: None, cancelled=session.cancelled.is_set):
            note_wanted(session.records, session.workspace_name, session.settings.root, newest)
    session.use.leave()
    if session.manifest.cache_size and result.count("ran", "shared"):
        try:
            _make_room(session)
        except BgError as error:
            session.console.say(f"cache  no room was made: {error.what}")


def _make_room(session: Session) -> None:
    """Removes what goes beyond the budget, unless another bg uses the cache."""
    from buildgraph.cli.cache import removed_line
    from buildgraph.plan import collection
    from buildgraph.plan.inventory import take_inventory
    from buildgraph.plan.roots import load_pins

    root, limits = session.cache_folder, collection.Limits(session.manifest.cache_size)
    cas = Cas(root, new_hasher)
    with session.use.alone_if_unused() as alone:
        if not alone:
            return
        stop = collection.deadline(PATIENCE)
        if sum(blob.size for blob in cas.stats().values()) + collection.size_beside(root) <= session.manifest.cache_size:
            return
        inventory = take_inventory(root, cas, session.records, texts=True)
        now = time.time()
        kept = collection.kept_actions(inventory, load_pins(root), now)
        going = collection.choose(inventory, kept, limits, now)
        removed = collection.remove(going, inventory, cas, session.records, stop=lambda: stop() or session.cancelled.is_set())
    if removed.counts:
        session.console.say(f"cache  {removed_line(removed)}")
