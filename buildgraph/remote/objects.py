"""Object storage as a store: S3 and what speaks like it, Google's, Azure's; the one door to obstore.

Results lie under ``results/``, blobs under ``blobs/``, below the path of the address. Credentials come from where the clients of
these services look: the environment (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``), the machine's own identity, and
``GOOGLE_APPLICATION_CREDENTIALS`` (https://docs.rs/object_store lists them); profiles of AWS by way of `buildgraph.remote.aws`.

S3 and Google's storage answer 403 for what is not there to whoever may not list
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, "Permissions"). Such an answer is a miss where listing is
denied too, and so is asked about once; wrong or ended credentials have other codes than ``AccessDenied``.
"""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from buildgraph.remote.patience import patience
from buildgraph.remote.store import MAX_RESULT_BYTES, AbsentError, Blob, RefusedError, Sink, StoreError
from buildgraph.web.client import interrupt_too

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore as Opened

_Answer = TypeVar("_Answer")
_CONNECTING = 15.0  # seconds
_LONGEST = 86_400.0  # seconds; what is read is bounded here, by what came
_CHUNK = 256 << 10  # bytes that must come in the time that a silent server has
_AT_ONCE = 8 << 20  # bytes that are sent in one request; only then can the server be told not to replace what is there
_PART, _PARTS = 5 << 20, 2  # bytes of a part of what is larger, the least that S3 takes; and those under way
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CREDENTIALS = re.compile(r"credential provider: \w+: (.*)")
_SYSTEM = re.compile(r'message: "([^"]+)"')
_SILENT = "the server fell silent"


class ObjectStore:
    """The bucket, or a path in it, at an address such as ``s3://bucket/path``.

    Calls run in a thread of their own, so that they can be given up: obstore knows no bound for what comes a byte at a time.
    With ``aws`` the files of Amazon's tools may say who to be at S3.
    """

    def __init__(self, address: str, timeout: float, *, aws: bool = False) -> None:
        import obstore

        self._obstore = obstore
        self._timeout = timeout
        self._pending: set[Future[Any]] = set()
        self._is_ended = False
        self._hides: bool | None = None
        self._guard = threading.Lock()
        try:
            who = _identity() if aws and address.startswith("s3") else {}
            self._reading = _opened(address, timeout, _LONGEST, who)
            self._writing = _opened(address, timeout, patience(timeout, _PART * _PARTS), who)
        except obstore.exceptions.BaseError as error:
            raise StoreError(_reason(error)) from error
        interrupt_too(self)

    def result(self, key: str) -> bytes | None:
        """As Store."""
        stream = io.BytesIO()
        try:
            answer = self._get(f"results/{key}")
            if answer.meta["size"] > MAX_RESULT_BYTES:
                message = "a result is too large"
                raise StoreError(message)
            self._copy(answer, stream)
        except AbsentError:
            return None
        return stream.getvalue()

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        del blobs
        self._put(f"results/{key}", value, use_multipart=False)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        return [blob for blob in blobs if not self._has(blob)]

    def _has(self, blob: Blob) -> bool:
        try:
            found = self._asked(lambda: self._obstore.head_async(self._reading, f"blobs/{blob.sha256}"))
        except AbsentError:
            return False
        return bool(found["size"] == blob.size)

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        self._copy(self._get(f"blobs/{blob.sha256}"), sink)

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        path = f"blobs/{blob.sha256}"
        if blob.size > _AT_ONCE:
            self._put(path, source, blob.size, chunk_size=_PART, max_concurrency=_PARTS)
            return
        try:
            data = source.read_bytes()
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error
        with suppress(self._obstore.exceptions.AlreadyExistsError):
            try:
                self._put(path, data, mode="create", use_multipart=False)
            except self._obstore.exceptions.NotSupportedError:  # a server without conditional writes
                self._put(path, data, use_multipart=False)

    def close(self) -> None:
        """As Store."""

    def interrupt(self) -> None:
        """Ends calls that are under way, and has those to come fail. To be called by a signal's handler."""
        self._is_ended = True
        for future in list(self._pending):
            future.cancel()

    def _get(self, path: str) -> GetResult:
        answer: GetResult = self._asked(lambda: self._obstore.get_async(self._reading, path))
        return answer

    def _copy(self, answer: GetResult, sink: Sink) -> None:
        stream = answer.stream(min_chunk_size=_CHUNK)
        with suppress(StopAsyncIteration):
            while True:
                sink.write(bytes(self._run(stream.__anext__, self._timeout)))

    def _put(self, path: str, data: bytes | Path, size: int | None = None, **options: Any) -> None:
        seconds = patience(self._timeout, len(data) if isinstance(data, bytes) else size or 0)
        self._run(lambda: self._obstore.put_async(self._writing, path, data, **options), seconds)

    def _asked(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """The answer to a question about an object. Raises AbsentError also where the server must not say that it is absent."""
        try:
            return self._run(ask, self._timeout)
        except RefusedError as error:
            if _is_denied(error) and self._hides_what_it_lacks():
                raise AbsentError(str(error)) from error
            raise

    def _hides_what_it_lacks(self) -> bool:
        """Whether listing is denied, so that the server does not tell absent from forbidden."""
        with self._guard:
            if self._hides is None:
                try:
                    self._run(lambda: self._obstore.list_with_delimiter_async(self._reading, "none"), self._timeout)
                except StoreError as error:
                    if not _STATUS.search(str(error.__cause__)):
                        return False  # it gave no answer
                    self._hides = _is_denied(error) and bool(_CODE.search(str(error.__cause__)))
                else:
                    self._hides = False
            return self._hides

    def _run(self, work: Callable[[], Awaitable[_Answer]], seconds: float) -> _Answer:
        """What comes of a call, within some seconds. Raises StoreError; what ``write`` and ``_copy`` know passes through."""
        errors = self._obstore.exceptions

        async def bounded() -> _Answer:
            async with asyncio.timeout(seconds):
                return await work()

        future = asyncio.run_coroutine_threadsafe(bounded(), _loop())
        self._pending.add(future)
        try:
            if self._is_ended:
                future.cancel()
            return future.result()
        except CancelledError:
            message = "interrupted"
            raise StoreError(message) from None
        except TimeoutError:
            raise StoreError(_SILENT) from None
        except (errors.NotFoundError, FileNotFoundError):
            message = "a blob is gone"
            raise AbsentError(message) from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise RefusedError(_reason(error)) from error
        except (errors.AlreadyExistsError, errors.NotSupportedError):
            raise
        except errors.BaseError as error:
            raise StoreError(_reason(error)) from error
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error
        finally:
            self._pending.discard(future)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Where calls run, for as long as the process lives."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="objects", daemon=True).start()
    return loop


def _identity() -> dict[str, Any]:
    """What obstore is told of who asks, and where; nothing of what it finds out by itself."""
    from buildgraph.remote import aws

    found = aws.identity()
    known = {"credential_provider": found.credentials, "region": found.region}
    return {name: value for name, value in known.items() if value}


def _opened(address: str, timeout: float, longest: float, who: Mapping[str, Any]) -> Opened:
    """The objects at an address; ``longest`` in seconds is what one request may take."""
    from obstore.store import from_url

    return from_url(
        address,
        client_options={
            "timeout": timedelta(seconds=longest),
            "connect_timeout": timedelta(seconds=min(_CONNECTING, timeout)),
            "allow_http": True,
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=timeout)},
        **who,
    )


def _is_denied(error: StoreError) -> bool:
    """Whether a server knows who asks, and says no; an answer to HEAD says less, as it has no page."""
    text = str(error.__cause__)
    answer, code = _STATUS.search(text), _CODE.search(text)
    return bool(answer and answer[1].startswith("403")) and (not code or code[1] == "AccessDenied")


def _reason(error: BaseException) -> str:
    """What went wrong, the same for each object that it happens to: obstore says it with addresses and times around it."""
    text = str(error)
    if answer := _STATUS.search(text):
        return f"the server answers {answer[1]}"
    if refused := _CREDENTIALS.search(text):
        return refused[1][:200]
    if "kind: Timeout" in text:
        return _SILENT
    if "InvalidCertificate" in text:
        return "its certificate is not trusted"
    if said := _SYSTEM.search(text):
        return said[1]
    # Not what a server's page says of it, nor an address that may carry a signature.
    return text.partition("\n")[0].rpartition(" - ")[2].partition("?")[0][:200]
