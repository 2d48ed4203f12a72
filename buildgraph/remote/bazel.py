"""Bazel's HTTP cache as a store: bazel-remote, nginx with WebDAV, and what else knows GET, HEAD and PUT of ``ac/`` and ``cas/``.

https://bazel.build/remote/caching#http-caching describes it: results under ``ac/<64 hex digits>`` as ActionResult messages,
blobs under ``cas/<SHA-256>``, 404 for what is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from buildgraph.errors import BgError
from buildgraph.remote import actionresult
from buildgraph.remote.store import MAX_RESULT_BYTES, AbsentError, Blob, RefusedError, Sink, StoreError
from buildgraph.web.access import Access
from buildgraph.web.client import Answer, WebError, failing, request, status

_CHUNK = 1 << 20
_SLACK = 1 << 20  # what a message has besides the result
_ABSENT, _REFUSED = (404, 410), (401, 403, 405)


class BazelStore:
    """The cache at an address, which may end in the name of an instance."""

    def __init__(self, address: str, access: Access) -> None:
        self._address = address.rstrip("/")
        self._access = access

    def result(self, key: str) -> bytes | None:
        """As Store."""
        with self._asking("GET", f"ac/{key}") as answer:
            if answer.status in _ABSENT:
                return None
            _expect(answer)
            data = answer.read(MAX_RESULT_BYTES + _SLACK)
        try:
            return actionresult.unwrap(data)
        except ValueError as error:
            raise StoreError(str(error)) from error

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        with self._asking("PUT", f"ac/{key}", body=actionresult.wrap(value, blobs)) as answer:
            _expect(answer)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        return [blob for blob in blobs if not self._has(blob)]

    def _has(self, blob: Blob) -> bool:
        with self._asking("HEAD", f"cas/{blob.sha256}") as answer:
            if answer.status in _ABSENT:
                return False
            _expect(answer)
            return True

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        with self._asking("GET", f"cas/{blob.sha256}") as answer:
            if answer.status in _ABSENT:
                message = "a blob is gone"
                raise AbsentError(message)
            _expect(answer)
            while chunk := answer.read(_CHUNK):
                sink.write(chunk)

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        headers = {"Content-Length": str(blob.size)}
        try:
            with source.open("rb") as body, self._asking("PUT", f"cas/{blob.sha256}", headers, body=body) as answer:
                _expect(answer)
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    def close(self) -> None:
        """As Store. Connections are shared with others."""

    @contextmanager
    def _asking(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, body: bytes | BinaryIO | None = None
    ) -> Iterator[Answer]:
        try:
            with failing(), request(method, f"{self._address}/{path}", self._access, headers, body=body) as answer:
                yield answer
                answer.drain_conn()  # what is left of it (an error's page), so that the connection can be used again
        except WebError as error:
            raise StoreError(error.reason) from error
        except BgError as error:  # a netrc that cannot be read
            raise StoreError(error.what) from error


def _expect(answer: Answer) -> None:
    """Raises StoreError where the server did not do it."""
    if answer.status in _REFUSED:
        raise RefusedError(status(answer))
    if answer.status // 100 != 2:  # noqa: PLR2004 - the class of success
        raise StoreError(status(answer))
