"""Calls over gRPC, which all threads share; the one door to grpc.

Messages are bytes here: what is in them is the caller's. Every call has a deadline, and every stream one for each step.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

# grpc's core writes to stderr by itself where a connection fails, which is told in the run's summary. It reads this when it is
# loaded and nothing else can have it silent; who looks for faults in grpc may say otherwise.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - written for a library, not read

import grpc

from buildgraph.errors import BgError
from buildgraph.remote.patience import patience
from buildgraph.remote.store import AbsentError, RefusedError, StoreError
from buildgraph.web.access import Access, without_login
from buildgraph.web.client import interrupt_too

_MAX_MESSAGE = 20 << 20  # bytes that are taken in one
_MAX_WORDS = 200
_PORTS = {"grpc": 80, "grpcs": 443}
_SILENT, _INTERRUPTED = "the server fell silent", "interrupted"
# The server knows the deadline too (https://grpc.io/docs/guides/deadlines/), and may be the first to end a call.
_ENDED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class UnknownMethodError(StoreError):
    """The server does not have this method."""


class Channel:
    """A server at ``grpc://host:port`` or, with encryption, ``grpcs://host:port``. Opened when it is first used."""

    def __init__(self, address: str, access: Access) -> None:
        self._address = address
        self._access = access
        self._opened: grpc.Channel | None = None
        self._is_ended = False
        self._guard = threading.Lock()
        interrupt_too(self)

    def ask(self, method: str, request: bytes, size: int = 0) -> bytes:
        """The answer, which has some ``size`` bytes, to one message. Raises StoreError."""
        with self._failing():
            call = self._channel().unary_unary(method, _same, _same)
            return call(request, timeout=self._patience(len(request) + size), metadata=self._metadata())

    def send(self, method: str, requests: Iterable[bytes], size: int) -> bytes:
        """The answer to a stream of messages with ``size`` bytes in all. Raises StoreError."""
        watch = _Watch(self._access.timeout)
        with self._failing(watch):
            start = self._channel().stream_unary(method, _same, _same).future
            call = start(watch.over(requests), timeout=self._patience(size), metadata=self._metadata())
            with watch.ending(call.cancel):
                return call.result()

    def receive(self, method: str, request: bytes, size: int) -> Iterator[bytes]:
        """The messages that answer one, with ``size`` bytes in all. Raises StoreError."""
        watch = _Watch(self._access.timeout)
        with self._failing(watch):
            start = self._channel().unary_stream(method, _same, _same)
            call = start(request, timeout=self._patience(size), metadata=self._metadata())
            with watch.ending(call.cancel):
                yield from watch.over(call)

    def close(self) -> None:
        """Ends the connection, and calls that are under way."""
        with self._guard:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def interrupt(self) -> None:
        """Ends calls that are under way, and has those to come fail. To be called by a signal's handler."""
        self._is_ended = True
        threading.Thread(target=self.close, daemon=True).start()  # the thread that was interrupted may have the lock

    def _channel(self) -> grpc.Channel:
        with self._guard:
            if self._is_ended:
                raise StoreError(_INTERRUPTED)
            if self._opened is None:
                parts = urlsplit(without_login(self._address))
                target = parts.netloc if parts.port else f"{parts.netloc}:{_PORTS[parts.scheme]}"
                options = [("grpc.max_receive_message_length", _MAX_MESSAGE)]
                if parts.scheme == "grpcs":
                    self._opened = grpc.secure_channel(target, grpc.ssl_channel_credentials(_authorities()), options)
                else:
                    self._opened = grpc.insecure_channel(target, options)
            return self._opened

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        header = self._access.header(self._address)
        return ((header.name.lower(), header.value),) if header else ()

    def _patience(self, size: int) -> float:
        return patience(self._access.timeout, size)

    @contextmanager
    def _failing(self, watch: _Watch | None = None) -> Iterator[None]:
        try:
            yield
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            if watch and watch.has_ended_it:
                raise StoreError(_SILENT) from error
            if self._opened is None:
                raise StoreError(_INTERRUPTED) from error
            raise _failure(error) from error
        except ValueError as error:  # the channel was closed meanwhile
            raise StoreError(str(error)) from error
        except BgError as error:  # a netrc that cannot be read
            raise StoreError(error.what) from error


class _Watch:
    """Ends a stream in which no message moves for as long as a server may be silent, or at most twice that."""

    def __init__(self, timeout: float) -> None:
        self.has_ended_it = False
        self._timeout = timeout
        self._moved = threading.Event()

    def over(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        """The same messages, each noted."""
        for message in messages:
            self._moved.set()
            yield message

    @contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Calls ``end`` where the messages stop before the block does."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(self._timeout):
                if not self._moved.is_set():
                    self.has_ended_it = True
                    end()
                    return
                self._moved.clear()

        threading.Thread(target=watch, name="watch", daemon=True).start()
        try:
            yield
        finally:
            is_over.set()


def failure(code: int, reason: str) -> StoreError:
    """The error that a status is, by the number that https://grpc.io/docs/guides/status-codes/ has for it."""
    known = {code.value[0]: kind for code, kind in _KINDS.items()}
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    words = f"the server answers {names.get(code, code)} {reason.partition(chr(10))[0]}"
    return known.get(code, StoreError)(words.rstrip()[:_MAX_WORDS])


_KINDS: dict[grpc.StatusCode, type[StoreError]] = {
    grpc.StatusCode.NOT_FOUND: AbsentError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.UNIMPLEMENTED: UnknownMethodError,
}


def _failure(error: Exception) -> StoreError:
    call = cast("grpc.Call", error)  # as grpc's documentation says of what calls raise
    if call.code() in _ENDED:
        return StoreError(_SILENT)
    if call.code() is grpc.StatusCode.UNAVAILABLE:
        # What came last says more than that all addresses failed.
        said = (call.details() or "").rpartition("last error: ")[2].partition("\n")[0]
        return StoreError(f"the server cannot be reached: {said}"[:_MAX_WORDS])
    return failure(call.code().value[0], call.details() or "")


def _authorities() -> bytes | None:
    """The certificates that this machine believes, where they are in one file; None for those that grpc comes with."""
    file = ssl.get_default_verify_paths().cafile
    try:
        return Path(file).read_bytes() if file else None
    except OSError:
        return None


def _same(data: bytes) -> bytes:
    return data
