"""Bazel's HTTP cache as a store: bazel-remote, nginx with WebDAV, and what else knows GET, HEAD and PUT of ``ac/`` and ``cas/``.

https://bazel.build/remote/caching#http-caching describes it: results under ``ac/<64 hex digits>`` as ActionResult messages,
blobs under ``cas/<SHA-256>``, 404 for what is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from buildgraph.remote import actionresult
from buildgraph.remote.http import Body, asking, copy, expect_success, is_there, missing_of
from buildgraph.remote.store import MAX_RESULT_BYTES, Blob, Sink, StoreError, read_result
from buildgraph.web.access import Access
from buildgraph.web.client import Answer

_SLACK = 1 << 20  # what a message has besides the result


class BazelStore:
    """The cache at an address, which may end in the name of an instance."""

    def __init__(self, address: str, access: Access) -> None:
        self._address = address.rstrip("/")
        self._access = access

    def result(self, key: str) -> bytes | None:
        """As Store."""
        with self._asking("GET", f"ac/{key}") as answer:
            if not is_there(answer):
                return None
            data = answer.read(MAX_RESULT_BYTES + _SLACK)
        try:
            found = actionresult.unwrap(data)
        except ValueError as error:
            raise StoreError(str(error)) from error
        return read_result(self, found) if isinstance(found, Blob) else found

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        with self._asking("PUT", f"ac/{key}", body=actionresult.wrap(value, blobs)) as answer:
            expect_success(answer)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        return missing_of(blobs, self._has)

    def _has(self, blob: Blob) -> bool:
        with self._asking("HEAD", f"cas/{blob.sha256}") as answer:
            return is_there(answer)

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        with self._asking("GET", f"cas/{blob.sha256}") as answer:
            copy(answer, sink)

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        headers = {"Content-Length": str(blob.size)}
        try:
            with source.open("rb") as body, self._asking("PUT", f"cas/{blob.sha256}", headers, body=body) as answer:
                expect_success(answer)
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    def close(self) -> None:
        """As Store. Connections are shared with others."""

    def _asking(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, body: Body | None = None
    ) -> AbstractContextManager[Answer]:
        return asking(method, f"{self._address}/{path}", self._access, headers, body=body)
