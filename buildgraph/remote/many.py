"""Asking a store for many things at once: by itself where it can, else in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from contextlib import closing
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TypeVar

from buildgraph.remote.level import Level
from buildgraph.remote.store import Arriving, Blob, ManyStore, StoreError
from buildgraph.structs import Struct

# Questions to a store whose answers are on their way, or that nobody has looked at yet. Behind a long line each mostly waits;
# each answer may be as large as a result.
AT_ONCE = 50
_POLL = 0.05  # seconds between looks at whether the user has given up
_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")


class Many(Struct, frozen=True):
    """Asks stores, in the threads of ``workers`` those that answer one question at a time.

    What comes after ``cancelled`` says that the user has given up, or the level is not used any more, is left out.
    """

    workers: Executor
    cancelled: Callable[[], bool]

    def results(self, level: Level, keys: Iterable[str]) -> Generator[tuple[str, bytes | StoreError | None]]:
        """As ManyStore."""
        store = level.store
        return self._wanted(
            level, store.results(keys) if isinstance(store, ManyStore) else self._side_by_side(keys, store.result)
        )

    def read_many(self, level: Level, wanted: Iterable[tuple[Blob, Arriving]]) -> Generator[tuple[Arriving, StoreError | None]]:
        """As ManyStore."""
        store = level.store
        if isinstance(store, ManyStore):
            return self._wanted(level, store.read_many(wanted))

        def read(one: tuple[Blob, Arriving]) -> None:
            store.read(*one)

        return self._wanted(level, ((sink, error) for (_, sink), error in self._side_by_side(wanted, read)))

    def _wanted(self, level: Level, answers: Generator[_Told]) -> Generator[_Told]:
        with closing(answers):
            for answer in answers:
                if self.cancelled():
                    return
                yield answer
                if not level.is_used:
                    return

    def _side_by_side(
        self, asked: Iterable[_Asked], ask: Callable[[_Asked], _Told]
    ) -> Generator[tuple[_Asked, _Told | StoreError]]:
        answers: SimpleQueue[tuple[_Asked, _Told | BaseException]] = SimpleQueue()

        def run(one: _Asked) -> None:
            try:
                answers.put((one, ask(one)))
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                answers.put((one, error))

        futures: list[Future[None]] = []
        following = iter(asked)
        try:
            futures.extend(self.workers.submit(run, one) for one in islice(following, AT_ONCE))
            left = len(futures)
            while left and not self.cancelled():
                try:
                    one, answer = answers.get(timeout=_POLL)
                except Empty:
                    continue
                left -= 1
                for next_one in islice(following, 1):
                    futures.append(self.workers.submit(run, next_one))
                    left += 1
                if isinstance(answer, BaseException) and not isinstance(answer, StoreError):
                    raise answer
                yield one, answer
        finally:
            for future in futures:
                future.cancel()
