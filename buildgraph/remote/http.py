"""What the stores that speak HTTP have in common: how a server's answers, and its failures, become those of a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from buildgraph.errors import BgError
from buildgraph.remote.store import AbsentError, Arriving, Blob, RefusedError, Sink, StoreError
from buildgraph.web.access import Access
from buildgraph.web.client import Answer, fetch, request, status
from buildgraph.web.transfer import Body, Head, Take, WebError

UNAUTHORIZED = 401
_ABSENT, _REFUSED = (404, 410), (UNAUTHORIZED, 403, 405)
_GONE = "a blob is gone"
_CHUNK = 1 << 20
_AT_ONCE = 8  # questions to a server
_PAGE = 1 << 16  # bytes that an error's page may have
_GRACE, _SLOWEST = 20.0, 16 << 10  # seconds, and bytes a second after them


@contextmanager
def asking(
    method: str, address: str, access: Access, headers: Mapping[str, str] | None = None, *, body: Body | None = None
) -> Iterator[Answer]:
    """The answer to a request, its body still to be read. Raises StoreError, also for what goes wrong while it is read."""
    with _as_failures_of_a_store(), request(method, address, access, headers, body=body) as answer:
        yield answer
        _end(answer)


@contextmanager
def _as_failures_of_a_store() -> Iterator[None]:
    try:
        yield
    except WebError as error:  # also an address that cannot be asked, or no time for it
        raise StoreError(error.reason) from error
    except BgError as error:  # a netrc that cannot be read
        raise StoreError(error.what) from error


class Watch:
    """Sees to it that a body comes at a rate at which it is worth waiting for; a server could send a byte a minute."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _GRACE

    def note(self, count: int) -> None:
        """Counts bytes that came. Raises StoreError where they come too slowly."""
        self._until += count / _SLOWEST
        if time.monotonic() > self._until:
            message = "it is too slow"
            raise StoreError(message)


def read_all(answer: Answer, limit: int) -> bytes:
    """The body of an answer, as far as ``limit`` bytes. Raises StoreError."""
    watch, found = Watch(), bytearray()
    while len(found) < limit and (chunk := answer.read1(limit - len(found))):
        found += chunk
        watch.note(len(chunk))
    return bytes(found)


def _end(answer: Answer) -> None:
    """Reads what is left of a short answer (an error's page), so that the connection can be used again; drops a long one."""
    left = answer.headers.get("Content-Length", "")
    if left.isdecimal() and int(left) <= _PAGE:
        read_all(answer, _PAGE)
    else:
        answer.close()


def is_there(answer: Answer | Head) -> bool:
    """Whether the server has what it was asked for. Raises StoreError where it says neither yes nor no."""
    if answer.status in _ABSENT:
        return False
    expect_success(answer)
    return True


def expect_success(answer: Answer | Head) -> None:
    """Raises StoreError where the server did not do it."""
    if answer.status in _REFUSED:
        raise RefusedError(status(answer))
    if not _is_success(answer.status):
        raise StoreError(status(answer))


def _is_success(code: int) -> bool:
    return code // 100 == 2  # noqa: PLR2004 - the class of success


def copy(answer: Answer, sink: Sink) -> None:
    """Gives the body of an answer, which is a blob, to a sink. Raises AbsentError, StoreError."""
    if not is_there(answer):
        raise AbsentError(_GONE)
    watch = Watch()
    while chunk := answer.read1(_CHUNK):
        sink.write(chunk)
        watch.note(len(chunk))


def get_many(asked: Iterable[tuple[Arriving, str]], access: Access) -> Generator[tuple[Arriving, Head | StoreError]]:
    """What is at some addresses of one server, for a sink each: each sink with how the server answered, or why it did not.

    A sink gets nothing where the answer is no success.
    """
    wanted = ((sink, address, _taking(sink)) for sink, address in asked)
    with _as_failures_of_a_store(), closing(fetch(wanted, access)) as answers:
        for sink, answer in answers:
            yield sink, _outcome(answer)


def _taking(sink: Sink) -> Callable[[int], Take]:
    """What gives the body of an answer to a sink, or reads past an error's page."""

    def begin(code: int) -> Take:
        watch, left = Watch(), _PAGE

        def give(data: bytes) -> None:
            watch.note(len(data))
            sink.write(data)

        def drop(data: bytes) -> None:
            nonlocal left
            watch.note(len(data))
            left -= len(data)
            if left < 0:
                raise _LongPageError(Head(code, ""))

        return give if _is_success(code) else drop

    return begin


def lack_of_blob(answer: Head | StoreError) -> StoreError | None:
    """Why there is no blob in an answer to a question for one; None where there is."""
    try:
        if isinstance(answer, StoreError):
            return answer
        if not is_there(answer):
            return AbsentError(_GONE)
    except StoreError as error:
        return error
    return None


class _LongPageError(Exception):
    """The page of an error is not worth reading to its end. Has the answer."""


def _outcome(answer: Head | Exception) -> Head | StoreError:
    match answer:
        case Head() | StoreError():
            return answer
        case _LongPageError():
            return answer.args[0]  # type: ignore[no-any-return]
        case WebError():
            return StoreError(answer.reason)
    raise answer


def missing_of(blobs: Iterable[Blob], has: Callable[[Blob], bool]) -> list[Blob]:
    """Those of some blobs that ``has`` denies, several asked at once: for protocols without a question about many blobs."""
    asked = list(blobs)
    if not asked:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked)), thread_name_prefix="asking") as threads:
        return [blob for blob, is_here in zip(asked, threads.map(has, asked), strict=True) if not is_here]
