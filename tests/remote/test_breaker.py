"""When a store is left alone: after failures in a row, or once it cost a build too much time; and when it is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from buildgraph.remote.breaker import BUDGET, MOST_FAILURES, PAUSE, PROMPT, Breaker
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.level import Level
from buildgraph.remote.store import AbsentError, RefusedError, StoreError


@dataclass
class Clock:
    """Time as a test has it."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def asks(
    breaker: Breaker, clock: Clock, takes: float = 0.125, *, fails: bool = False, size: int = 0, waited: bool = True
) -> bool:
    """One request that takes some seconds; whether it was let through."""
    if not breaker.lets_through():
        return False
    started = breaker.now()
    clock.seconds += takes
    if fails:
        breaker.failed(started, is_waited_for=waited)
    else:
        breaker.succeeded(started, size, is_waited_for=waited)
    return True


def test_failures_in_a_row_open_it(breaker: Breaker, clock: Clock) -> None:
    for _ in range(MOST_FAILURES):
        assert asks(breaker, clock, fails=True)
    assert breaker.why == "3 failures in a row"
    assert not asks(breaker, clock)
    assert not breaker.is_worth_asking


def test_a_success_between_them_counts(breaker: Breaker, clock: Clock) -> None:
    for number in range(30):
        assert asks(breaker, clock, fails=bool(number % MOST_FAILURES))


def test_answers_that_come_late_open_it(breaker: Breaker, clock: Clock) -> None:
    """Each of them is right, and none fails; a build of many nodes would crawl."""
    asked = 0
    while asks(breaker, clock, takes=15):
        asked += 1
    assert asked == BUDGET // (15 - PROMPT) + 1
    assert breaker.why == "its answers took 30 s too long"


def test_failures_that_took_long_open_it_sooner(breaker: Breaker, clock: Clock) -> None:
    assert asks(breaker, clock, takes=20, fails=True)
    assert asks(breaker, clock, takes=20, fails=True)
    assert breaker.why == "30 s were lost waiting for it"


def test_prompt_answers_cost_nothing_however_many(breaker: Breaker, clock: Clock) -> None:
    for _ in range(1000):
        assert asks(breaker, clock, takes=PROMPT)


def test_requests_side_by_side_lose_their_time_once(breaker: Breaker, clock: Clock) -> None:
    """Sixteen threads that wait for ten seconds have lost eight."""
    started = breaker.now()
    clock.seconds += 10
    for _ in range(16):
        breaker.succeeded(started)
    assert not breaker.why


def test_a_large_blob_may_take_its_time(breaker: Breaker, clock: Clock) -> None:
    for _ in range(10):
        assert asks(breaker, clock, takes=400, size=400 << 20)
    assert asks(breaker, clock, takes=400, size=100 << 20)
    assert breaker.why


def test_uploads_may_be_slow(breaker: Breaker, clock: Clock) -> None:
    """Nobody waits for them; they still fail."""
    for _ in range(10):
        assert asks(breaker, clock, takes=100, waited=False)
    for _ in range(MOST_FAILURES):
        assert asks(breaker, clock, fails=True, waited=False)
    assert breaker.why


def test_after_a_pause_one_request_is_let_through(breaker: Breaker, clock: Clock) -> None:
    """And where it does well all are."""
    for _ in range(MOST_FAILURES):
        asks(breaker, clock, fails=True)
    clock.seconds += PAUSE
    assert breaker.is_worth_asking
    assert breaker.lets_through()
    started = breaker.now()
    assert not breaker.lets_through()
    clock.seconds += 1
    breaker.succeeded(started)
    assert not breaker.why
    assert asks(breaker, clock)


def test_each_pause_is_twice_as_long(breaker: Breaker, clock: Clock) -> None:
    """Also where the one request is late, or the breaker closed meanwhile."""
    for _ in range(MOST_FAILURES):
        asks(breaker, clock, fails=True)
    pauses = []
    for fails, takes in ((True, 1.0), (False, 15.0), (True, 1.0)):
        before = clock.seconds
        while not breaker.is_worth_asking:
            clock.seconds += 1
        pauses.append(clock.seconds - before)
        assert asks(breaker, clock, takes=takes, fails=fails)
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE]


def test_what_was_under_way_when_it_opened_says_nothing_new(breaker: Breaker, clock: Clock) -> None:
    """Sixteen threads that fail at once open it once; one that does well meanwhile does not close it."""
    started = breaker.now()
    clock.seconds += 1
    for _ in range(16):
        breaker.failed(started)
    breaker.succeeded(started)
    assert breaker.why
    clock.seconds += PAUSE
    assert breaker.is_worth_asking


def test_the_summary_says_why(tmp_path: Path, clock: Clock) -> None:
    level = Level("share", FolderStore(tmp_path), breaker=Breaker(clock))

    def late(_: object) -> str:
        clock.seconds += 15
        return "an answer"

    while level.is_used:
        assert level.attempt(late) == "an answer"
    assert level.attempt(late) is None
    assert level.summary() == "cache  share: not asked any more: its answers took 30 s too long"


def test_what_is_gone_is_no_failure_of_the_store(tmp_path: Path, clock: Clock) -> None:
    level = Level("share", FolderStore(tmp_path), breaker=Breaker(clock))

    def gone(_: object) -> None:
        message = "a blob is gone"
        raise AbsentError(message)

    for _ in range(10):
        assert not level.succeeds(gone)
    assert level.is_used
    assert level.failed == {"a blob is gone": 10}


@pytest.mark.parametrize("error", [StoreError("reset"), RefusedError("403"), KeyError("config"), RecursionError()])
def test_whatever_a_store_raises_is_a_failure(tmp_path: Path, error: Exception) -> None:
    """A mistake in bg's own code too, which the summary then names with its place."""
    level = Level("share", FolderStore(tmp_path), writes=True)

    def fail(_: object) -> None:
        raise error

    for _ in range(MOST_FAILURES):
        assert level.attempt(fail) is None
    assert not level.is_used
    (reason,) = level.failed
    known = isinstance(error, StoreError)
    assert reason.startswith(str(error) if known else f"a mistake in bg, {type(error).__name__} in test_breaker.py:")
    assert level.writes is not isinstance(error, RefusedError)
