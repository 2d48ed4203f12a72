"""A circuit breaker: when a store is left alone, and when it is tried again.

It opens after a few failures in a row, or once requests that a build waited for took too long in all. What is lost is wall time:
of requests that wait side by side it counts once. After a pause, which doubles from time to time, one request is let through;
where that does well the breaker closes. So what a bad store costs grows with the logarithm of a run's time. Threads share it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST_FAILURES = 3  # in a row
BUDGET = 30.0  # seconds that may be lost
PAUSE = 30.0  # seconds, the first time
PROMPT = 2.0  # seconds in which an answer is no loss
_RATE = 1 << 20  # bytes a second, at which a blob is none


class Breaker:
    """Closed at first. ``clock`` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._guard = threading.Lock()
        self._in_a_row = 0
        self._lost = 0.0
        self._lost_until = clock()  # what lies before is counted
        self._pause = PAUSE
        self._opened = self._tried_again = 0.0
        self._why = ""

    @property
    def why(self) -> str:
        """Why it is open; empty where it is closed."""
        return self._why

    @property
    def is_worth_asking(self) -> bool:
        """Whether ``lets_through`` may say yes."""
        return not self._why or self.now() >= self._tried_again

    def lets_through(self) -> bool:
        """Whether a request may start now. Where the breaker is open, one may after each pause."""
        with self._guard:
            if not self._why:
                return True
            now = self.now()
            if now < self._tried_again:
                return False
            self._tried_again = now + self._pause
            return True

    def succeeded(self, started: float, size: int = 0, *, is_waited_for: bool = True) -> None:
        """Notes that a request of ``size`` bytes ended well now; one that nobody waits for may be slow."""
        with self._guard:
            is_late = is_waited_for and self._lose(started, size)
            self._in_a_row = 0
            if not self._why and self._lost > BUDGET:
                self._open(f"its answers took {BUDGET:.0f} s too long")
            elif self._is_trial(started):
                if is_late:
                    self._open(self._why)
                else:
                    self._why, self._lost = "", 0.0

    def failed(self, started: float, *, is_waited_for: bool = True) -> None:
        """Notes that a request failed now."""
        with self._guard:
            self._in_a_row += 1
            if is_waited_for:
                self._lose(started, 0)
            if not self._why and self._in_a_row >= MOST_FAILURES:
                self._open(f"{MOST_FAILURES} failures in a row")
            elif not self._why and self._lost > BUDGET:
                self._open(f"{BUDGET:.0f} s were lost waiting for it")
            elif self._is_trial(started):
                self._open(self._why)

    def _is_trial(self, started: float) -> bool:
        """Whether a request was let through an open breaker; others were under way when it opened, and say nothing new."""
        return bool(self._why) and started > self._opened

    def _open(self, why: str) -> None:
        self._why, self._opened = why, self.now()
        self._tried_again = self._opened + self._pause
        self._pause *= 2

    def _lose(self, started: float, size: int) -> bool:
        """Counts the time beyond what a request may take; whether there was any."""
        now = self.now()
        due = started + PROMPT + size / _RATE
        self._lost += max(0.0, now - max(due, self._lost_until))
        self._lost_until = max(self._lost_until, now if now > due else 0.0)
        return now > due
