"""Building a second time what the cache has, in other surroundings, and what came of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from math import ceil

from buildgraph.cache.cas import Cas
from buildgraph.errors import BgError, Interrupted
from buildgraph.execute.actions import DISK, MEMORY, Executor, Surroundings
from buildgraph.execute.box import HOST_NAME
from buildgraph.keys.digest import digest_text
from buildgraph.plan.cached import Cached
from buildgraph.plan.record import Output, Record
from buildgraph.structs import Struct

OTHER_HOST = "elsewhere"
OTHER_FOLDER = "/another-place/bg"


class Second(Struct, frozen=True):
    """A second build: what it made, where; or why it failed. ``damaged`` are outputs of the first that the cache has wrong."""

    outputs: tuple[Output, ...] = ()
    surroundings: Surroundings | None = None
    error: BgError | None = None
    damaged: tuple[str, ...] = ()

    def is_same(self, record: Record) -> bool:
        """Whether it made the same as the first."""
        return not self.error and not self.damaged and self.outputs == record.outputs


def sample(found: Mapping[str, Cached], share: float, seed: str) -> list[str]:
    """A share of the nodes, at least one: the same ones for the same ``seed`` and the same actions, in their order."""
    count = min(len(found), ceil(share * len(found)))
    drawn = sorted(found, key=lambda name: digest_text(f"{seed} {found[name].action.key}"))[:count]
    return [name for name in found if name in set(drawn)]


def first_surroundings(record: Record) -> Surroundings:
    """The surroundings of the build that a record is of, as far as it says."""
    return Surroundings(record.scratch, record.processors, HOST_NAME)


def other_surroundings(record: Record) -> Surroundings:
    """Surroundings that differ from those of a record: scratch elsewhere, one processor or all, another host and folder."""
    scratch = MEMORY if record.scratch == DISK else DISK
    processors = len(os.sched_getaffinity(0)) if record.processors == 1 else 1
    return Surroundings(scratch, processors, OTHER_HOST, OTHER_FOLDER)


def build_again(
    chosen: Mapping[str, Cached],
    executor: Executor,
    kept: Cas,
    *,
    jobs: int,
    cancelled: threading.Event,
    begin: Callable[[str], None],
) -> Iterator[tuple[str, Second]]:
    """Runs actions a second time, ``jobs`` at once, and gives each as it ends; ``kept`` gets what they make.

    Nothing is recorded. ``begin`` is called as one starts. Raises Interrupted where ``cancelled`` is set.
    """

    def run(name: str, cached: Cached) -> tuple[str, Second]:
        if cancelled.is_set():
            return name, Second(error=Interrupted("interrupted"))
        begin(name)
        damaged = tuple(output.path for output in cached.record.outputs if not executor.cas.verify(output.digest))
        try:
            outputs, seen = executor.again(cached.action, kept, other_surroundings(cached.record))
        except BgError as error:
            return name, Second(error=error, damaged=damaged)
        return name, Second(tuple(outputs), seen, damaged=damaged)

    with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="again") as workers:
        for done in as_completed([workers.submit(run, name, cached) for name, cached in chosen.items()]):
            if not cancelled.is_set():
                yield done.result()
    if cancelled.is_set():
        message = "interrupted"
        raise Interrupted(message)
