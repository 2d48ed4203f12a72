"""An OCI registry as a store, with artefacts that other tools for registries can list, copy and read.

A result is an image manifest tagged with its key: its config is the result as it is signed, its layers are the blobs that it
names, so that the registry keeps them as long as the result. Blobs have the names that registries give them anyway. The
protocol is https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md, the manifest that of image-spec v1.1.0,
manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from buildgraph.remote.http import UNAUTHORIZED, asking, copy, expect_success, is_there, missing_of, read_all
from buildgraph.remote.ociauth import Credentials
from buildgraph.remote.store import Blob, Sink, StoreError, read_result
from buildgraph.web.access import THIS_MACHINE, Access
from buildgraph.web.client import Answer
from buildgraph.web.transfer import Body

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT = "application/vnd.buildgraph.result.v1+json"
RESULT = "application/vnd.dsse.envelope.v1+json"
BLOB = "application/octet-stream"
EMPTY = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")  # distribution-spec
_MAX_MANIFEST = 4 << 20  # what registries must take at least
_INLINE = 64 << 10  # bytes of a result that are in the manifest too, so that one request finds it
_READS = ("GET", "HEAD")
_NOTHING = b"{}"  # the layer of a result that names no blob: some registries want one


class RegistryStore:
    """The repository at an address such as ``oci://registry.example/team/cache``; without encryption on this machine alone.

    Raises StoreError where the address names no repository.
    """

    def __init__(self, address: str, access: Access) -> None:
        parts = urlsplit(address)
        name = parts.path.strip("/")
        if not parts.hostname or not _NAME.fullmatch(name):
            message = "it names no repository; such a name has small letters, digits, and -, _, . and / between them"
            raise StoreError(message)
        scheme = "http" if parts.scheme == "oci+http" or parts.hostname in THIS_MACHINE else "https"
        self._base = f"{scheme}://{parts.netloc.rpartition('@')[2]}/v2/{name}/"
        self._access = access
        self._credentials = Credentials(f"{scheme}://{parts.netloc}", access)

    def result(self, key: str) -> bytes | None:
        """As Store."""
        with self._asking("GET", f"manifests/{key}", {"Accept": MANIFEST}) as answer:
            if not is_there(answer):
                return None
            data = read_all(answer, _MAX_MANIFEST + 1)
        blob, inline = _config(data)
        return inline if inline is not None else read_result(self, blob)

    def put_result(self, key: str, value: bytes, blobs: Sequence[Blob]) -> None:
        """As Store."""
        config = Blob(hashlib.sha256(value).hexdigest(), len(value))
        self._keep(config, value)
        layers = [_descriptor(BLOB, blob) | {"annotations": {_TITLE: blob.sha256}} for blob in dict.fromkeys(blobs)]
        if not layers:
            nothing = Blob(hashlib.sha256(_NOTHING).hexdigest(), len(_NOTHING))
            self._keep(nothing, _NOTHING)
            layers = [_descriptor(EMPTY, nothing)]
        inline = {"data": base64.b64encode(value).decode()} if len(value) <= _INLINE else {}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": _descriptor(RESULT, config) | inline,
            "layers": layers,
        }
        data = json.dumps(manifest, separators=(",", ":")).encode()
        with self._asking("PUT", f"manifests/{key}", {"Content-Type": MANIFEST}, body=data) as answer:
            expect_success(answer)

    def missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        """As Store."""
        return missing_of(blobs, self._has)

    def _has(self, blob: Blob) -> bool:
        with self._asking("HEAD", f"blobs/sha256:{blob.sha256}") as answer:
            return is_there(answer)

    def read(self, blob: Blob, sink: Sink) -> None:
        """As Store."""
        with self._asking("GET", f"blobs/sha256:{blob.sha256}") as answer:
            copy(answer, sink)

    def write(self, blob: Blob, source: Path) -> None:
        """As Store."""
        try:
            with source.open("rb") as body:
                self._upload(blob, body)
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    def close(self) -> None:
        """As Store. Connections are shared with others."""

    def _keep(self, blob: Blob, data: bytes) -> None:
        if not self._has(blob):
            self._upload(blob, io.BytesIO(data))

    def _upload(self, blob: Blob, body: BinaryIO) -> None:
        """Sends a blob in one piece, to where the registry says."""
        with self._asking("POST", "blobs/uploads/") as answer:
            expect_success(answer)
            place = urljoin(f"{self._base}blobs/uploads/", answer.headers.get("Location", ""))
        address = f"{place}{'&' if '?' in place else '?'}digest=sha256:{blob.sha256}"
        headers = {"Content-Type": BLOB, "Content-Length": str(blob.size)}
        with self._asking("PUT", address, headers, body=body) as answer:
            expect_success(answer)

    @contextmanager
    def _asking(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, body: Body | None = None
    ) -> Iterator[Answer]:
        """The answer to a request; what the registry asks for before it answers is given to it."""
        address = urljoin(self._base, path)
        writes = method not in _READS
        for is_last in (False, True):
            sent = self._credentials.header(address, writes=writes)
            everything = {**(headers or {}), **({"Authorization": sent} if sent else {})}
            with asking(method, address, self._access, everything, body=body) as answer:
                if answer.status != UNAUTHORIZED or is_last or not self._credentials.are_for(answer.address):
                    yield answer
                    return
                challenge = answer.headers.get("WWW-Authenticate", "")
            self._credentials.renew(challenge, sent, writes=writes)
            if body is not None and not isinstance(body, bytes):
                body.seek(0)


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{blob.sha256}", "size": blob.size}


def _config(manifest: bytes) -> tuple[Blob, bytes | None]:
    """Where a result is, and its bytes if they are in the manifest. Raises StoreError."""
    try:
        config = json.loads(manifest)["config"]
        blob = Blob(config["digest"].removeprefix("sha256:"), config["size"])
        return blob, base64.b64decode(config["data"], validate=True) if "data" in config else None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        message = "a result that bg did not write"
        raise StoreError(message) from error
