"""The cache of the remote execution API as a store: bazel-remote, buildbox-casd, Buildbarn, NativeLink, BuildBuddy and others.

https://github.com/bazelbuild/remote-apis, build/bazel/remote/execution/v2/remote_execution.proto, and google/bytestream/
bytestream.proto of https://github.com/googleapis/googleapis: the numbers of fields are from there. A result is an ActionResult
under the key as the digest of an action; caches do not ask for the action itself. Blobs that fit into one message travel in one,
others as streams; compressed, where the server knows zstd and it makes them smaller.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

from buildgraph.remote import actionresult, zstd
from buildgraph.remote.actionresult import digest, parse_digest
from buildgraph.remote.channel import Channel, UnknownMethodError, failure
from buildgraph.remote.protobuf import field, integer, integers, messages
from buildgraph.remote.store import AbsentError, Blob, RefusedError, Sink, StoreError, read_result
from buildgraph.structs import Struct
from buildgraph.web.access import Access

_API = "/build.bazel.remote.execution.v2."
_CAPABILITIES = f"{_API}Capabilities/GetCapabilities"
_GET, _UPDATE = f"{_API}ActionCache/GetActionResult", f"{_API}ActionCache/UpdateActionResult"
_CAS = f"{_API}ContentAddressableStorage/"
_READ, _WRITE = "/google.bytestream.ByteStream/Read", "/google.bytestream.ByteStream/Write"
_SHA256 = 1  # DigestFunction.Value
_ZSTD = 1  # Compressor.Value
_THERE_ALREADY = (1 << 64) - 1  # -1, as a number on the wire
_MESSAGE = 4 << 20  # bytes that gRPC takes in one message unless it is told otherwise
_SLACK = 64 << 10  # what a message has besides a blob
_CHUNK = 1 << 20
_SIZE = 1  # of the action that there is not; some servers find 0 wrong
_MOST_DIGESTS = 10_000  # of some 75 bytes in one message
_INLINE = 1 << 20  # bytes of a result that are in the ActionResult; larger ones are blobs


class _Server(Struct, frozen=True):
    """What a server can do: the bytes that it takes in one message, whether it takes results, and where it knows zstd."""

    batch: int = _MESSAGE - _SLACK
    takes_results: bool = True
    compresses_streams: bool = False
    compresses_updates: bool = False


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
        server = self._server()
        if blob.size > server.batch:
            if server.compresses_streams:
                sink = zstd.Expanding(sink, blob.size)
            request = field(1, f"{self._prefix()}{_resource(blob, compressed=server.compresses_streams)}".encode())
            for answer in self._channel.receive(_READ, request, blob.size):
                with _reading():
                    parts = messages(answer, 10)
                for part in parts:
                    sink.write(part)
            return
        request = self._naming() + field(2, digest(blob)) + (field(3, _ZSTD) if server.compresses_streams else b"")
        answer = self._channel.ask(f"{_CAS}BatchReadBlobs", request, blob.size)
        with _reading():
            (response,) = messages(answer, 1)
            _expect_ok(messages(response, 3))
            if integer(response, 4) == _ZSTD:
                sink = zstd.Expanding(sink, blob.size)
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
        server = self._server()
        if blob.size > server.batch:
            compressed = server.compresses_streams and zstd.pays(body, blob.size)
            self._stream(blob, zstd.compressing(body, blob.size) if compressed else body, compressed=compressed)
            return
        compressed = server.compresses_updates and zstd.pays(body, blob.size)
        data = body.read()
        sent = field(2, zstd.compress(data)) + field(3, _ZSTD) if compressed else field(2, data)
        answer = self._channel.ask(f"{_CAS}BatchUpdateBlobs", self._naming() + field(2, field(1, digest(blob)) + sent))
        with _reading():
            (response,) = messages(answer, 1)
            _expect_ok(messages(response, 2))

    def _stream(self, blob: Blob, body: BinaryIO, *, compressed: bool) -> None:
        """Sends a large blob. A server that has it already says so at once: by its size, or -1 where it was to be compressed."""
        name = f"{self._prefix()}uploads/{uuid4()}/{_resource(blob, compressed=compressed)}"
        sent = _Parts(name, body)
        answer = self._channel.send(_WRITE, sent, blob.size)
        with _reading():
            kept = integer(answer, 1)
        if kept not in ({sent.position, _THERE_ALREADY} if compressed else {blob.size}):
            message = "the server did not take all of a blob"
            raise StoreError(message)

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


class _Parts:
    """The messages of an upload, and how many bytes were in those so far. The last one says that it is."""

    def __init__(self, name: str, body: BinaryIO) -> None:
        self.position = 0
        self._name = name
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        name, data = field(1, self._name.encode()), self._body.read(_CHUNK)
        while data:
            following = self._body.read(_CHUNK)
            start, self.position = self.position, self.position + len(data)
            yield name + field(2, start) + (b"" if following else field(3, 1)) + field(10, data)
            name, data = b"", following


def _resource(blob: Blob, *, compressed: bool) -> str:
    """What ByteStream calls a blob, after the name of an instance."""
    return f"{'compressed-blobs/zstd' if compressed else 'blobs'}/{blob.sha256}/{blob.size}"


def _action(key: str) -> bytes:
    return digest(Blob(key, _SIZE))


def _parsed(capabilities: bytes) -> _Server:
    """ServerCapabilities. Raises StoreError, ValueError."""
    cache = b"".join(messages(capabilities, 1))  # parts of one message may be joined
    if _SHA256 not in integers(cache, 1):
        message = "the server does not name blobs by SHA-256"
        raise StoreError(message)
    limit = integer(cache, 4) or _MESSAGE
    return _Server(
        min(limit, _MESSAGE) - _SLACK,
        takes_results=bool(integer(b"".join(messages(cache, 2)), 1)),
        compresses_streams=_ZSTD in integers(cache, 6),
        compresses_updates=_ZSTD in integers(cache, 7),
    )


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
