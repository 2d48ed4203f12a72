"""HTTP requests: one with an answer to read from, or many that run side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Protocol, Self, TypeVar
from weakref import WeakSet

from buildgraph.web.access import Access, Login
from buildgraph.web.transfer import CONNECTIONS, Body, Head, Headers, Loop, Take, Transfer, WebError, stopped

_Asked = TypeVar("_Asked")


class Answer:
    """What a server answers, its body still to be read; to be closed. Methods raise WebError."""

    status: int
    reason: str
    headers: Headers
    address: str  # where the last redirect led

    def __init__(self, transfer: Transfer) -> None:
        """For ``request``; begins a transfer."""
        self._transfer = transfer
        self._loop: Loop | None = _borrow()
        self._loop.start(transfer)

    def begin(self) -> None:
        """Waits until the server answers."""
        self._wait()
        if self._transfer.error is not None and not self._transfer.came:
            raise self._transfer.error
        if self._transfer.is_of_another_page():
            raise WebError("the server answers by sending us to another page", is_final=True)
        self.status, self.reason = self._transfer.head()
        self.headers = self._transfer.headers()
        self.address = self._transfer.answering()

    def read1(self, limit: int) -> bytes:
        """The next bytes of the body, at most ``limit``; none at its end."""
        transfer = self._transfer
        self._wait()
        if not transfer.came:
            if transfer.error is not None:
                raise transfer.error
            return b""
        data = transfer.came[:limit]
        del transfer.came[:limit]
        return bytes(data)

    def read(self, limit: int) -> bytes:
        """The body as far as ``limit`` bytes."""
        found = bytearray()
        while len(found) < limit and (chunk := self.read1(limit - len(found))):
            found += chunk
        return bytes(found)

    def _wait(self) -> None:
        while self._loop is not None and not self._transfer.came and not self._transfer.is_done:
            self._loop.turn()

    def close(self) -> None:
        """Ends the request; its connection stays if the body was read."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.drop(self._transfer)
            _idle.append(loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(
    method: str,
    address: str,
    access: Access,
    headers: Mapping[str, str] | None = None,
    *,
    body: Body | None = None,
    login: Login | None = None,
) -> Answer:
    """The answer to a request, its body still to be read, and to be closed. Raises WebError.

    ``login`` stands in for what ``access`` knows. Redirects are followed, without credentials at another host; nothing is tried
    again. ``body`` is bytes or a binary stream, whose length is in ``headers``.
    """
    transfer = Transfer(access)
    transfer.configure(method, address, headers or {}, body, login)
    answer = Answer(transfer)
    try:
        answer.begin()
    except BaseException:
        answer.close()
        raise
    return answer


def fetch(
    asked: Iterable[tuple[_Asked, str, Callable[[int], Take]]], access: Access
) -> Generator[tuple[_Asked, Head | Exception]]:
    """The answers to many GET requests to one server, as they come; to be closed where not all of them are waited for.

    Asked are something to know the answer by, the address, and who takes the body: it is called with the status when the body
    begins, and what it returns with each piece. In place of an answer there is a WebError, or what taking the body raised.
    """
    loop, waiting = _borrow(), iter(asked)
    free: list[Transfer] = []
    running: dict[Transfer, _Asked] = {}
    answers: list[tuple[_Asked, Head | Exception]] = []
    try:
        while True:
            while len(running) < CONNECTIONS and (following := next(waiting, None)) is not None:
                one, address, taking = following
                if free:
                    transfer = free.pop()
                else:
                    transfer = Transfer(access)
                    transfer.configure("GET", address, {}, None, None)
                transfer.begin(address, taking)
                loop.start(transfer)
                running[transfer] = one
            loop.push()  # so that the server is at work while the answers are looked at
            yield from answers
            if not running:
                return
            answers = []
            for transfer in loop.turn():
                answers.append((running.pop(transfer), transfer.error or transfer.head()))
                free.append(transfer)
    finally:
        for transfer in running:
            loop.drop(transfer)
        _idle.append(loop)


def interrupt() -> None:
    """Ends every request that is under way, however silent its server is, and has those to come fail: the process is to end."""
    stopped.set()
    for other in list(_others):
        other.interrupt()


class Interruptible(Protocol):
    """Connections of another kind."""

    def interrupt(self) -> None:
        """As ``interrupt``; called by a signal's handler, so it must not wait for anything."""


def interrupt_too(other: Interruptible) -> None:
    """Has ``interrupt`` end these as well, for as long as they live."""
    _others.add(other)


def status(answer: Answer | Head) -> str:
    """What a server says, for people."""
    return f"the server answers {answer.status} {answer.reason}".rstrip()


def retry_after(answer: Answer) -> float:
    """How many seconds a server asks to wait; 0 where it does not say."""
    from email.utils import parsedate_to_datetime

    said = answer.headers.get("Retry-After")
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


_others: WeakSet[Interruptible] = WeakSet()
_idle: list[Loop] = []  # with the connections that they keep


def _borrow() -> Loop:
    """A loop that nobody uses; the one that was used last is the likeliest to have a connection."""
    try:
        return _idle.pop()
    except IndexError:
        return Loop()
