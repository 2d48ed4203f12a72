"""Several stores: asked in order, filled backwards, left alone when they fail; whatever fails is a miss."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildgraph.cli.sharing import finish
from buildgraph.keys.digest import digest_text
from buildgraph.remote.breaker import BUDGET, PROMPT, Breaker
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.level import Level
from buildgraph.remote.many import AT_ONCE, Many
from buildgraph.remote.shared import Author, SharedCache
from buildgraph.remote.store import Arriving, Blob, RefusedError, Sink, StoreError
from buildgraph.remote.trust import Trust
from buildgraph.report.console import Console
from tests.remote.makers import CI, WRITERS, cas_in, give, made


class Counting:
    """A store that counts what it is asked, and fails on demand."""

    def __init__(self, store: FolderStore) -> None:
        self.store = store
        self.asked: list[str] = []
        self.failing: dict[str, Exception] = {}

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if what in self.failing:
            raise self.failing[what]

    def result(self, key: str) -> bytes | None:
        self._note("result")
        return self.store.result(key)

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        self._note("put_result")
        self.store.put_result(key, value, blobs)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        self._note("missing")
        return self.store.missing(blobs)

    def read(self, blob: Blob, sink: Sink) -> None:
        self._note("read")
        self.store.read(blob, sink)

    def write(self, blob: Blob, source: Path) -> None:
        self._note("write")
        self.store.write(blob, source)

    def close(self) -> None:
        self.store.close()


@pytest.fixture
def near(tmp_path: Path) -> Counting:
    (tmp_path / "near").mkdir()
    return Counting(FolderStore(tmp_path / "near"))


@pytest.fixture
def far(tmp_path: Path) -> Counting:
    (tmp_path / "far").mkdir()
    return Counting(FolderStore(tmp_path / "far"))


def two(near: Counting, far: Counting, folder: Path, *keys: str, near_writes: bool = True) -> SharedCache:
    """A machine with a near store, which it may fill, and a far one."""
    levels = [Level("near", near, writes=near_writes), Level("far", far, writes=bool(keys))]
    return SharedCache(levels, Trust("local", WRITERS), Author(keys, "local"), cas_in(folder))


def test_the_near_store_is_asked_first_and_filled_from_the_far_one(near: Counting, far: Counting, tmp_path: Path) -> None:
    """So that a second machine of the same place gets everything there."""
    record, key = give(far.store, tmp_path / "origin", CI)
    shared = two(near, far, tmp_path / "one")
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    shared.finish(lambda _: None)
    far.asked.clear()
    again = two(near, far, tmp_path / "two")
    (found,) = again.look_up("deep", [key])
    assert again.bring_all([found.record]) == [True]
    assert far.asked == []
    assert found.record == record


def test_nothing_is_asked_twice_in_a_run(near: Counting, far: Counting, tmp_path: Path) -> None:
    shared = two(near, far, tmp_path / "one")
    assert shared.look_up("deep", [digest_text("nobody's")]) == []
    asked = len(near.asked)
    assert shared.look_up("deep", [digest_text("nobody's")]) == []
    assert len(near.asked) == asked


def test_a_look_up_downloads_no_blob(near: Counting, far: Counting, tmp_path: Path) -> None:
    _, key = give(far.store, tmp_path / "origin", CI)
    shared = two(near, far, tmp_path / "one")
    (found,) = shared.look_up("deep", [key])
    assert shared.can_bring(output.digest for output in found.record.outputs)
    assert "read" not in near.asked + far.asked


def test_a_store_that_fails_is_a_miss_and_soon_left_alone(near: Counting, far: Counting, tmp_path: Path) -> None:
    """The far one still answers; the near one is asked no more after three failures in a row."""
    keys = [give(far.store, tmp_path / f"origin {number}", CI, name=str(number))[1] for number in range(20)]
    near.failing["result"] = StoreError("connection refused")
    shared = two(near, far, tmp_path / "one")
    for key in keys:
        assert [found.key for found in shared.look_up("deep", [key])] == [key]
    assert near.asked.count("result") == 3
    (line,) = [level.summary() for level in shared.levels if level.name == "near"]
    assert "3 failed: connection refused" in line
    assert "not asked any more" in line


class Late(FolderStore):
    """A store that is asked for many things at once, and at one of these questions fails as a whole when much time has gone."""

    def __init__(self, root: Path, question: str) -> None:
        super().__init__(root)
        self.question = question
        self.seconds = 1000.0

    def _fail(self, question: str) -> None:
        if question == self.question:
            self.seconds += BUDGET + PROMPT + 1
            message = "reset"
            raise StoreError(message)

    def results(self, keys: Iterable[str]) -> Generator[tuple[str, bytes | StoreError | None]]:
        self._fail("results")
        yield from ((key, self.result(key)) for key in keys)

    def read_many(self, wanted: Iterable[tuple[Blob, Arriving]]) -> Generator[tuple[Arriving, StoreError | None]]:
        for blob, sink in wanted:
            self.read(blob, sink)
            yield sink, None
            self._fail("read_many")


@pytest.mark.parametrize("question", ["results", "read_many"])
def test_the_time_until_many_answers_fail_is_lost(tmp_path: Path, question: str) -> None:
    """A build waited for it, be it for the first answer or for those that did not come after it."""
    (tmp_path / "late").mkdir()
    store = Late(tmp_path / "late", question)
    record, key = give(FolderStore(tmp_path / "late"), tmp_path / "origin", CI)
    level = Level("late", store, breaker=Breaker(lambda: store.seconds))
    shared = SharedCache([level], Trust("local", WRITERS), Author(), cas_in(tmp_path / "one"))
    found = shared.look_up("deep", [key])
    if question == "read_many":
        assert [one.record for one in found] == [record]
        assert shared.bring_all([record]) == [False]
    else:
        assert found == []
    assert level.breaker.why == f"{BUDGET:.0f} s were lost waiting for it"


def test_failures_now_and_then_do_not_end_it(near: Counting, far: Counting, tmp_path: Path) -> None:
    """Only those in a row count."""
    shared = two(near, far, tmp_path / "one")
    for number in range(10):
        near.failing = {"result": StoreError("reset")} if number % 2 else {}
        shared.look_up("deep", [digest_text(str(number))])
    assert shared.levels[0].is_used


def test_a_blob_that_one_store_lost_comes_from_another(near: Counting, far: Counting, tmp_path: Path) -> None:
    _, key = give(far.store, tmp_path / "origin", CI)
    shared = two(near, far, tmp_path / "one")
    (found,) = shared.look_up("deep", [key])
    shared.bring_all([found.record])
    shared.finish(lambda _: None)
    for path in (tmp_path / "near/blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    again = two(near, far, tmp_path / "two")
    (found,) = again.look_up("deep", [key])
    assert again.bring_all([found.record]) == [True]


def test_a_store_that_refuses_writing_is_still_read(near: Counting, far: Counting, tmp_path: Path) -> None:
    """As a pull request from a fork meets it."""
    _, key = give(far.store, tmp_path / "origin", CI)
    far.failing["write"] = RefusedError("403 Forbidden")
    shared = two(near, far, tmp_path / "one", CI, near_writes=False)
    record, own, deep = made(cas_in(tmp_path / "one"), "own")
    shared.share(record, own, deep)
    assert [found.key for found in shared.look_up("deep", [key])] == [key]
    shared.finish(lambda _: None)
    assert not shared.levels[1].writes
    assert shared.levels[1].is_used
    assert shared.levels[1].results_sent == 0


@pytest.mark.parametrize("step", ["missing", "write", "put_result"])
def test_uploads_that_fail_are_counted_and_nothing_else(near: Counting, far: Counting, tmp_path: Path, step: str) -> None:
    """A result never names a blob that was not sent before it."""
    far.failing[step] = StoreError("the disk is full")
    shared = two(near, far, tmp_path / "one", CI, near_writes=False)
    record, key, deep = made(cas_in(tmp_path / "one"))
    shared.share(record, key, deep)
    shared.finish(lambda _: None)
    assert shared.levels[1].results_sent == 0
    assert shared.levels[1].failed["the disk is full"] > 0
    far.failing.clear()
    assert two(near, far, tmp_path / "two").look_up("deep", [key]) == []


def test_a_blob_that_left_this_machine_meanwhile_is_told(near: Counting, far: Counting, tmp_path: Path) -> None:
    """Somebody cleaned the cache while results were being sent."""
    shared = two(near, far, tmp_path / "one", CI, near_writes=False)
    cas = cas_in(tmp_path / "one")
    record, key, deep = made(cas)
    cas.path(record.outputs[0].digest).unlink()
    shared.share(record, key, deep)
    shared.finish(lambda _: None)
    assert sum(shared.lost.values()) == 1
    assert shared.levels[1].results_sent == 0


def test_a_mistake_while_sending_is_told_and_nothing_else(
    near: Counting, far: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of stores too: it is neither lost nor the end of the build."""

    def broken(_: object) -> bytes:
        message = "no such field"
        raise KeyError(message)

    monkeypatch.setattr("buildgraph.remote.result.to_bytes", broken)
    shared = two(near, far, tmp_path / "one", CI)
    record, key, deep = made(cas_in(tmp_path / "one"))
    shared.share(record, key, deep)
    shared.finish(lambda _: None)
    (reason,) = shared.lost
    assert reason.startswith("a mistake in bg, KeyError in test_levels.py:")
    assert [level.results_sent for level in shared.levels] == [0, 0]


def test_a_mistake_in_a_store_is_a_miss_that_is_told(near: Counting, far: Counting, tmp_path: Path) -> None:
    """In a look-up and in a transfer; the far store still gives what it has."""
    _, key = give(far.store, tmp_path / "origin", CI)
    near.failing["result"] = near.failing["read"] = KeyError("no such field")
    shared = two(near, far, tmp_path / "one")
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    (reason,) = shared.levels[0].failed
    assert reason.startswith("a mistake in bg, KeyError in test_levels.py:")


def test_answers_wait_for_whoever_looks_at_them(near: Counting) -> None:
    """A store that has something large under every key fills no memory: no more is asked for than is being looked at."""
    with ThreadPoolExecutor(16) as workers:
        answers = Many(workers, lambda: False).results(Level("near", near), [f"{number:064}" for number in range(200)])
        next(answers)
        workers.shutdown()
    assert len(near.asked) <= AT_ONCE + 1
    answers.close()


def test_what_a_store_says_does_not_steer_the_terminal(near: Counting, far: Counting, tmp_path: Path) -> None:
    """Its words are another machine's."""
    near.failing["result"] = StoreError("the server answers 500 \x1b]0;title\x07\x1b[2J\x9b31m\rall is well")
    shared = two(near, far, tmp_path / "one")
    shared.look_up("deep", [digest_text("any")])
    shown = io.StringIO()
    console = Console(shown)
    finish(shared, console.say)
    assert "\ufffd]0;title\ufffd\ufffd[2J\ufffd31m\ufffdall is well" in shown.getvalue()
    assert all(character.isprintable() or character == "\n" for character in shown.getvalue())
