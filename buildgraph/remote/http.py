"""What the stores that speak HTTP have in common: how a server's answers, and its failures, become those of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from buildgraph.errors import BgError
from buildgraph.remote.store import AbsentError, Blob, RefusedError, Sink, StoreError
from buildgraph.web.access import Access
from buildgraph.web.client import Answer, WebError, failing, request, status

Body = bytes | BinaryIO
UNAUTHORIZED = 401
_ABSENT, _REFUSED = (404, 410), (UNAUTHORIZED, 403, 405)
_CHUNK = 1 << 20
_AT_ONCE = 8  # questions to a server


@contextmanager
def asking(
    method: str, address: str, access: Access, headers: Mapping[str, str] | None = None, *, body: Body | None = None
) -> Iterator[Answer]:
    """The answer to a request, its body still to be read. Raises StoreError, also for what goes wrong while it is read."""
    try:
        with failing(), request(method, address, access, headers, body=body) as answer:
            yield answer
            answer.drain_conn()  # what is left of it (an error's page), so that the connection can be used again
    except WebError as error:
        raise StoreError(error.reason) from error
    except BgError as error:  # a netrc that cannot be read
        raise StoreError(error.what) from error


def is_there(answer: Answer) -> bool:
    """Whether the server has what it was asked for. Raises StoreError where it says neither yes nor no."""
    if answer.status in _ABSENT:
        return False
    expect_success(answer)
    return True


def expect_success(answer: Answer) -> None:
    """Raises StoreError where the server did not do it."""
    if answer.status in _REFUSED:
        raise RefusedError(status(answer))
    if answer.status // 100 != 2:  # noqa: PLR2004 - the class of success
        raise StoreError(status(answer))


def copy(answer: Answer, sink: Sink) -> None:
    """Gives the body of an answer, which is a blob, to a sink. Raises AbsentError, StoreError."""
    if not is_there(answer):
        message = "a blob is gone"
        raise AbsentError(message)
    while chunk := answer.read(_CHUNK):
        sink.write(chunk)


def missing_of(blobs: Iterable[Blob], has: Callable[[Blob], bool]) -> list[Blob]:
    """Those of some blobs that ``has`` denies, several asked at once: for protocols without a question about many blobs."""
    asked = list(blobs)
    if not asked:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(asked)), thread_name_prefix="asking") as threads:
        return [blob for blob, is_here in zip(asked, threads.map(has, asked), strict=True) if not is_here]
