"""Bazel's HTTP cache as a store: bazel-remote, nginx with WebDAV, and what else knows GET, HEAD and PUT of ``ac/`` and ``cas/``.

https://bazel.build/remote/caching#http-caching describes it: results under ``ac/<64 hex digits>`` as ActionResult messages,
blobs under ``cas/<SHA-256>``, 404 for what is not there.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from buildgraph.remote import actionresult
from buildgraph.remote.http import asking, expect_success, get_many, is_there, lack_of_blob, missing_of
from buildgraph.remote.store import MAX_RESULT_BYTES, Arriving, Blob, Sink, StoreError, read_result
from buildgraph.web.access import Access
from buildgraph.web.client import Answer
from buildgraph.web.transfer import Body, Head

_SLACK = 1 << 20  # what a message has besides the result


class BazelStore:
    """The cache at an address, which may end in the name of an instance."""

    def __init__(self, address: str, access: Access) -> None:
        self._address = address.rstrip("/")
        self._access = access

    def result(self, key: str) -> bytes | None:
        """As Store."""
        ((_, found),) = self.results([key])
        if isinstance(found, StoreError):
            raise found
        return found

    def results(self, keys: Iterable[str]) -> Generator[tuple[str, bytes | StoreError | None]]:
        """As ManyStore."""
        asked = ((_Message(key), f"{self._address}/ac/{key}") for key in keys)
        with closing(get_many(asked, self._access)) as answers:
            for message, answer in answers:
                try:
                    yield message.key, self._result(message, answer)
                except StoreError as error:
                    yield message.key, error

    def _result(self, message: _Message, answer: Head | StoreError) -> bytes | None:
        if isinstance(answer, StoreError):
            raise answer
        if not is_there(answer):
            return None
        try:
            found = actionresult.unwrap(message.getvalue())
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
        ((_, error),) = self.read_many([(blob, sink)])
        if error is not None:
            raise error

    def read_many(self, wanted: Iterable[tuple[Blob, Arriving]]) -> Generator[tuple[Arriving, StoreError | None]]:
        """As ManyStore."""
        asked = ((sink, f"{self._address}/cas/{blob.sha256}") for blob, sink in wanted)
        with closing(get_many(asked, self._access)) as answers:
            for sink, answer in answers:
                yield sink, lack_of_blob(answer)

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


class _Message(io.BytesIO):
    """What is under a key, no more than a result may have."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > MAX_RESULT_BYTES + _SLACK:
            message = "a result is too large"
            raise StoreError(message)
        return super().write(data)
