"""One store of a run, with what went right and wrong there; one that is bad for the build is left alone."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from buildgraph.remote.breaker import Breaker
from buildgraph.remote.store import AbsentError, RefusedError, Store, StoreError
from buildgraph.remote.trust import Refusal
from buildgraph.structs import Struct, field

_Answer = TypeVar("_Answer")


class Level(Struct):
    """A store and its part in this run. Threads share it.

    ``reads`` and ``writes`` say what it is for; ``unsigned`` lifts the need of signatures. Counted are results that were found
    and not found, bytes in both directions, and by reason what was not believed (``refused``) and what failed (``failed``).
    """

    name: str
    store: Store
    reads: bool = True
    writes: bool = False
    unsigned: bool = False
    hits: int = 0
    misses: int = 0
    received: int = 0
    sent: int = 0
    results_sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    breaker: Breaker = field(default_factory=Breaker)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_used(self) -> bool:
        """Whether it is still asked."""
        return self.breaker.is_worth_asking

    def attempt(
        self, action: Callable[[Store], _Answer], *, size: int = 0, since: float | None = None, is_waited_for: bool = True
    ) -> _Answer | None:
        """The answer of the store; None where it fails or is not asked any more.

        ``size`` in bytes is what is moved; ``is_waited_for`` says whether the build stands still meanwhile, ``since`` when, by
        ``breaker.now``, where that began before.
        """
        if not self.breaker.lets_through():
            return None
        started = self.breaker.now() if since is None else since
        answer: _Answer | None
        try:
            answer = action(self.store)
        except AbsentError as error:  # the store is well, a blob was removed
            self._note(error)
            answer, size = None, 0
        except Exception as error:  # noqa: BLE001 - no store breaks a build, not even by a mistake in bg
            self._note(error)
            self.breaker.failed(started, is_waited_for=is_waited_for)
            return None
        self.breaker.succeeded(started, size, is_waited_for=is_waited_for)
        return answer

    def succeeds(
        self, action: Callable[[Store], object], *, size: int = 0, since: float | None = None, is_waited_for: bool = True
    ) -> bool:
        """Whether the store does it."""
        return self.attempt(lambda store: (action(store),), size=size, since=since, is_waited_for=is_waited_for) is not None

    def _note(self, error: Exception) -> None:
        with self._guard:
            self.failed[str(error) if isinstance(error, StoreError) else mistake(error)] += 1
            if isinstance(error, RefusedError):
                self.writes = False  # most often it says no to writing; a reader that is refused is left alone soon enough

    def count(self, *, hits: int = 0, misses: int = 0, received: int = 0, sent: int = 0, results: int = 0) -> None:
        """Adds to what is counted."""
        with self._guard:
            self.hits += hits
            self.misses += misses
            self.received += received
            self.sent += sent
            self.results_sent += results

    def refuse(self, reason: Refusal) -> None:
        """Counts a result that was not believed."""
        with self._guard:
            self.refused[reason.value] += 1

    def summary(self) -> str:
        """One line for people; empty where nothing happened."""
        parts: list[str] = []
        if self.hits or self.misses:
            parts += [f"{self.hits} hit{_s(self.hits)}, {self.misses} miss{'es' if self.misses != 1 else ''}"]
        parts += [f"{size(self.received)} received"] if self.received else []
        parts += [f"{self.results_sent} result{_s(self.results_sent)} and {size(self.sent)} sent"] if self.results_sent else []
        parts += [f"{count} result{_s(count)} {reason}" for reason, count in sorted(self.refused.items())]
        parts += [f"{count} failed: {reason}" for reason, count in sorted(self.failed.items())]
        parts += [f"not asked any more: {self.breaker.why}"] if self.breaker.why else []
        return f"cache  {self.name}: {'; '.join(parts)}" if parts else ""


def summaries(levels: Sequence[Level]) -> list[str]:
    """A line for each store that had a part in the run."""
    return [line for level in levels if (line := level.summary())]


def mistake(error: Exception) -> str:
    """What is said of an error that nobody expected: enough to find it, without its traceback."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"a mistake in bg, {type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}: {error}"


def size(count: int) -> str:
    """Bytes for people."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:  # noqa: PLR2004 - binary units
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
