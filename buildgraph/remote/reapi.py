"""The cache of the remote execution API as a store: bazel-remote, buildbox-casd, Buildbarn, NativeLink, BuildBuddy and others.

https://github.com/bazelbuild/remote-apis, build/bazel/remote/execution/v2/remote_execution.proto, and google/bytestream/
bytestream.proto of https://github.com/googleapis/googleapis: the numbers of fields are from there. A result is an ActionResult
under the key as the digest of an action; caches do not ask for the action itself. Blobs that fit into one message travel in one,
others as streams.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

from buildgraph.remote import actionresult
from buildgraph.remote.actionresult import digest, parse_digest
from buildgraph.remote.channel import Channel, UnknownMethodError, failure
from buildgraph.remote.protobuf import field, integer, integers, messages
from buildgraph.remote.store import AbsentError, Blob, RefusedError, Sink, StoreError, read_result
from buildgraph.web.access import Access

_API = "/build.bazel.remote.execution.v2."
_CAPABILITIES = f"{_API}Capabilities/GetCapabilities"
_GET, _UPDATE = f"{_API}ActionCache/GetActionResult", f"{_API}ActionCache/UpdateActionResult"
_CAS = f"{_API}ContentAddressableStorage/"
_READ, _WRITE = "/google.bytestream.ByteStream/Read", "/google.bytestream.ByteStream/Write"
_SHA256 = 1  # DigestFunction.Value
_MESSAGE = 4 << 20  # bytes that gRPC takes in one message unless it is told otherwise
_SLACK = 64 << 10  # what a message has besides a blob
_CHUNK = 1 << 20
_SIZE = 1  # of the action that there is not; some servers find 0 wrong
_MOST_DIGESTS = 10_000  # of some 75 bytes in one message
_INLINE = 1 << 20  # bytes of a result that are in the ActionResult; larger ones are blobs


@dataclass(frozen=True, slots=True)
class _Server:
    """What a server can do: the bytes that it takes in one message, and whether it takes results."""

    batch: int = _MESSAGE - _SLACK
    takes_results: bool = True


class RemoteExecutionStore:
    """The cache at ``grpc://host[:port][/instance]``, with encryption at ``grpcs://``."""

    def __init__(self, address: str, access: Access) -> None:
        self._channel = Channel(address, access)
        self._instance = urlsplit(address).path.strip("/")
        self._known: _Server | None = None
        self._guard = threading.Lock()

    def result(self, key: str) -> bytes | None:
        """As Store."""
        self._server()
        request = self._naming() + field(2, _action(key)) + field(3, 1)
        try:
            with _reading():
                found = actionresult.unwrap(self._channel.ask(_GET, request))
        except AbsentError:
            return None
        return read_result(self, found) if isinstance(found, Blob) else found

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        self._expect_to_write()
        carried: bytes | Blob = value
        if len(value) > _INLINE:
            carried = Blob(hashlib.sha256(value).hexdigest(), len(value))
            self._send(carried, io.BytesIO(value))
        request = self._naming() + field(2, _action(key)) + field(3, actionresult.wrap(carried, blobs))
        self._channel.ask(_UPDATE, request)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        self._server()
        asked, found = list(blobs), set[Blob]()
        left = iter(asked)
        while some := list(islice(left, _MOST_DIGESTS)):
            request = self._naming() + b"".join(field(2, digest(blob)) for blob in some)
            answer = self._channel.ask(f"{_CAS}FindMissingBlobs", request)
            with _reading():
                found.update(parse_digest(data) for data in messages(answer, 2))
        return [blob for blob in asked if blob in found]

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        if blob.size > self._server().batch:
            request = field(1, f"{self._prefix()}blobs/{blob.sha256}/{blob.size}".encode())
            for answer in self._channel.receive(_READ, request, blob.size):
                with _reading():
                    parts = messages(answer, 10)
                for part in parts:
                    sink.write(part)
            return
        answer = self._channel.ask(f"{_CAS}BatchReadBlobs", self._naming() + field(2, digest(blob)), blob.size)
        with _reading():
            (response,) = messages(answer, 1)
            _expect_ok(messages(response, 3))
            sink.write(b"".join(messages(response, 2)))

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        self._expect_to_write()
        try:
            with source.open("rb") as body:
                self._send(blob, body)
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    def close(self) -> None:
        """As Store."""
        self._channel.close()

    def _send(self, blob: Blob, body: BinaryIO) -> None:
        if blob.size > self._server().batch:
            answer = self._channel.send(_WRITE, self._parts(blob, body), blob.size)
            with _reading():
                kept = integer(answer, 1)
            if kept != blob.size:
                message = "the server did not take all of a blob"
                raise StoreError(message)
            return
        request = self._naming() + field(2, field(1, digest(blob)) + field(2, body.read()))
        answer = self._channel.ask(f"{_CAS}BatchUpdateBlobs", request)
        with _reading():
            (response,) = messages(answer, 1)
            _expect_ok(messages(response, 2))

    def _parts(self, blob: Blob, body: BinaryIO) -> Iterator[bytes]:
        """The messages of an upload. A server that has the blob already does not wait for all of them."""
        name = field(1, f"{self._prefix()}uploads/{uuid4()}/blobs/{blob.sha256}/{blob.size}".encode())
        position = 0
        while data := body.read(_CHUNK):
            is_last = position + len(data) >= blob.size
            yield name + field(2, position) + (field(3, 1) if is_last else b"") + field(10, data)
            position += len(data)
            name = b""

    def _server(self) -> _Server:
        """What the server can do, which is asked once. Raises StoreError for one that is of no use."""
        with self._guard:
            if self._known is None:
                try:
                    answer = self._channel.ask(_CAPABILITIES, self._naming())
                except UnknownMethodError:
                    self._known = _Server()
                    return self._known
                with _reading():
                    self._known = _parsed(answer)
            return self._known

    def _expect_to_write(self) -> None:
        if not self._server().takes_results:
            message = "the server takes no results"
            raise RefusedError(message)

    def _naming(self) -> bytes:
        """The instance, which is the first field of every request."""
        return field(1, self._instance.encode()) if self._instance else b""

    def _prefix(self) -> str:
        return f"{self._instance}/" if self._instance else ""


def _action(key: str) -> bytes:
    return digest(Blob(key, _SIZE))


def _parsed(capabilities: bytes) -> _Server:
    """ServerCapabilities. Raises StoreError, ValueError."""
    cache = b"".join(messages(capabilities, 1))  # parts of one message may be joined
    if _SHA256 not in integers(cache, 1):
        message = "the server does not name blobs by SHA-256"
        raise StoreError(message)
    limit = integer(cache, 4) or _MESSAGE
    return _Server(min(limit, _MESSAGE) - _SLACK, bool(integer(b"".join(messages(cache, 2)), 1)))


def _expect_ok(status: list[bytes]) -> None:
    """Raises StoreError where a google.rpc.Status is no success."""
    joined = b"".join(status)
    code = integer(joined, 1)
    if code:
        raise failure(code, b"".join(messages(joined, 2)).decode(errors="replace"))


@contextmanager
def _reading() -> Iterator[None]:
    """Turns what is wrong with an answer into StoreError."""
    try:
        yield
    except ValueError as error:
        message = "an answer that is none of the remote execution API"
        raise StoreError(message) from error
