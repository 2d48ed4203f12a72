"""Object storage as a store: S3 and what speaks like it, Google's, Azure's; the one door to obstore.

Results lie under ``results/``, blobs under ``blobs/``, below the path of the address. Credentials come from where the clients of
these services look: the environment (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``), the machine's own identity, and
``GOOGLE_APPLICATION_CREDENTIALS`` (https://docs.rs/object_store lists them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from buildgraph.remote.store import MAX_RESULT_BYTES, AbsentError, Blob, RefusedError, Sink, StoreError

_CHUNK = 1 << 20
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
_SYSTEM = re.compile(r'message: "([^"]+)"')
_AT_ONCE = 8 << 20  # bytes that are sent in one request; only then can the server be told not to replace what is there


class ObjectStore:
    """The bucket, or a path in it, at an address such as ``s3://bucket/path``."""

    def __init__(self, address: str, timeout: float) -> None:
        import obstore
        from obstore.store import from_url

        self._obstore = obstore
        try:
            self._store = from_url(
                address,
                client_options={
                    "timeout": timedelta(seconds=30 * timeout),
                    "read_timeout": timedelta(seconds=timeout),
                    "connect_timeout": timedelta(seconds=timeout),
                    "allow_http": True,
                },
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=timeout)},
            )
        except obstore.exceptions.BaseError as error:
            raise StoreError(_reason(error)) from error

    def result(self, key: str) -> bytes | None:
        """As Store."""
        try:
            with self._failing():
                answer = self._obstore.get(self._store, f"results/{key}")
                if answer.meta["size"] > MAX_RESULT_BYTES:
                    message = "a result is too large"
                    raise StoreError(message)
                return bytes(answer.bytes())
        except AbsentError:
            return None

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        del blobs
        with self._failing():
            self._obstore.put(self._store, f"results/{key}", value)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        return [blob for blob in blobs if not self._has(blob)]

    def _has(self, blob: Blob) -> bool:
        try:
            with self._failing():
                return self._obstore.head(self._store, f"blobs/{blob.sha256}")["size"] == blob.size
        except AbsentError:
            return False

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        with self._failing():
            answer = self._obstore.get(self._store, f"blobs/{blob.sha256}")
            for chunk in answer.stream(min_chunk_size=_CHUNK):
                sink.write(bytes(chunk))

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        path = f"blobs/{blob.sha256}"
        with self._failing():
            if blob.size > _AT_ONCE:
                self._obstore.put(self._store, path, source)
                return
            data = source.read_bytes()
            try:
                with suppress(self._obstore.exceptions.AlreadyExistsError):
                    self._obstore.put(self._store, path, data, mode="create", use_multipart=False)
            except self._obstore.exceptions.NotSupportedError:  # a server without conditional writes
                self._obstore.put(self._store, path, data, use_multipart=False)

    def close(self) -> None:
        """As Store."""

    @contextmanager
    def _failing(self) -> Iterator[None]:
        errors = self._obstore.exceptions
        try:
            yield
        except (errors.NotFoundError, FileNotFoundError):
            message = "a blob is gone"
            raise AbsentError(message) from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise RefusedError(_reason(error)) from error
        except errors.BaseError as error:
            raise StoreError(_reason(error)) from error
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error


def _reason(error: BaseException) -> str:
    """What went wrong, the same for each object that it happens to: obstore says it with addresses and times around it."""
    text = str(error)
    if answer := _STATUS.search(text):
        return f"the server answers {answer[1]}"
    if "kind: Timeout" in text:
        return "the server fell silent"
    if "InvalidCertificate" in text:
        return "its certificate is not trusted"
    if said := _SYSTEM.search(text):
        return said[1]
    # Not what a server's page says of it, nor an address that may carry a signature.
    return text.partition("\n")[0].rpartition(" - ")[2].partition("?")[0][:200]
