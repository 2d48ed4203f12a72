"""The ActionResult of the remote execution API, as far as caches look into it: which blobs there must be for it to hold.

Bazel's caches keep such messages, and drop those whose blobs they lost. bg's own result rides in ``stdout_raw``, or is a blob
that ``stdout_digest`` names; the blobs are ``output_files``. The fields are those of build/bazel/remote/execution/v2/
remote_execution.proto (v2.3): ActionResult output_files 2, stdout_raw 5, stdout_digest 6; OutputFile path 1, digest 2; Digest
hash 1, size_bytes 2.
"""

from __future__ import annotations

from collections.abc import Iterable

from buildgraph.remote.protobuf import field, integer, messages
from buildgraph.remote.store import Blob

_OUTPUT_FILES, _STDOUT_RAW, _STDOUT_DIGEST = 2, 5, 6


def wrap(value: bytes | Blob, blobs: Iterable[Blob]) -> bytes:
    """The message that carries a result, or names the blob that it is."""
    files = (field(1, f"blobs/{blob.sha256}".encode()) + field(2, digest(blob)) for blob in blobs)
    carried = field(_STDOUT_DIGEST, digest(value)) if isinstance(value, Blob) else field(_STDOUT_RAW, value)
    return b"".join(field(_OUTPUT_FILES, file) for file in files) + carried


def unwrap(data: bytes) -> bytes | Blob:
    """The result in a message, or the blob that it is. Raises ValueError for what is no message, or has none."""
    carried = messages(data, _STDOUT_RAW)
    if carried and carried[-1]:
        return carried[-1]
    named = messages(data, _STDOUT_DIGEST)
    if not named:
        message = "a result that bg did not write"
        raise ValueError(message)
    return parse_digest(named[-1])


def digest(blob: Blob) -> bytes:
    """A Digest."""
    return field(1, blob.sha256.encode()) + (field(2, blob.size) if blob.size else b"")


def parse_digest(data: bytes) -> Blob:
    """The blob that a Digest names. Raises ValueError."""
    return Blob(b"".join(messages(data, 1)[-1:]).decode(), integer(data, 2))
