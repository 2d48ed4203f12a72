"""Getting files over HTTP: tried again, resumed, and in the end told plainly."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO, NamedTuple

from buildgraph.cache.files import fault
from buildgraph.errors import Interrupted, NoSuchFileError, RepositoryError
from buildgraph.structs import Struct
from buildgraph.web.access import Access, without_login
from buildgraph.web.client import Answer, request, retry_after, status
from buildgraph.web.transfer import AddressError, WebError

_CHUNK = 1 << 20
_OK, _PARTIAL, _GONE = 200, 206, (404, 410)
_CREDENTIALS = (401, 403)
_RANGE = 416  # the server does not have what the download would go on with
_PASSING = (408, _PARTIAL, _RANGE, 425, 429, 500, 502, 503, 504)  # statuses after which another attempt may do
_LONGEST = 60.0  # seconds between attempts, whatever the server asks for
_MIRRORS = "`mirrors:` in the manifest can name another place"


def download(address: str, target: Path, *, access: Access | None = None, most: int | None = None) -> None:
    """Puts what lies at ``address`` into ``target``, which appears when it is whole; at most ``most`` bytes.

    What passes (cut connections, silence, 429, 500 and the like) is tried again after a pause, going on where the server can.
    Raises NoSuchFileError where there is no such file, RepositoryError for what else the server or the network does, CacheError
    where the file cannot be written, Interrupted where ``access`` says so.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with partial.open("wb") as stream:
            _Transfer(address, stream, access or Access(), most).run()
        partial.replace(target)
    except OSError as error:
        raise fault(error, f"write {target.name} to the cache") from error
    finally:
        partial.unlink(missing_ok=True)


class _Failure(NamedTuple):
    """Why an attempt failed, how many seconds the server asks for, and whether no other attempt can do better."""

    reason: str
    pause: float = 0
    final: bool = False


class _Transfer(Struct):
    """One file on its way into a stream. ``identity`` is that of the content whose beginning the stream holds."""

    address: str
    stream: BinaryIO
    access: Access
    most: int | None = None
    identity: str = ""

    def run(self) -> None:
        """Makes as many attempts as it takes, or as there may be."""
        try:
            shown = without_login(self.address)
        except ValueError as error:
            raise _senseless(self.address.rpartition("@")[2]) from error
        for attempt in range(1, self.access.attempts + 1):
            failed = self._attempt(shown)
            if failed is None:
                return
            _wait(self.access, 0)
            if failed.final or attempt == self.access.attempts:
                message = f"cannot fetch {shown}: {failed.reason} ({attempt} attempt{'s' if attempt > 1 else ''})"
                raise RepositoryError(message, hint=f"is the network there, and the server well? {_MIRRORS}")
            _wait(self.access, min(failed.pause or 0.5 * 2 ** (attempt - 1), _LONGEST))

    def _attempt(self, shown: str) -> _Failure | None:
        try:
            with _open(self.address, self.access, self.stream.tell() if self.identity else 0, self.identity) as answer:
                if answer.status == _OK or self._goes_on(answer):
                    self._take(answer)
                    return None
                if answer.status not in _PASSING:
                    raise _refused(shown, answer)
                if answer.status in {_PARTIAL, _RANGE}:
                    self.identity = ""  # so that the next attempt asks for all of it
                return _Failure(status(answer), retry_after(answer))
        except AddressError as error:
            raise _senseless(shown) from error
        except WebError as error:
            return _Failure(error.reason, final=error.is_final)

    def _goes_on(self, answer: Answer) -> bool:
        """Whether an answer has what comes after the bytes that are here."""
        start = f"bytes {self.stream.tell()}-"
        return bool(self.identity) and answer.status == _PARTIAL and answer.headers.get("Content-Range", "").startswith(start)

    def _take(self, answer: Answer) -> None:
        if answer.status == _OK:
            self.stream.seek(0)
            self.stream.truncate()
        self.identity = _identity(answer)
        while chunk := answer.read1(_CHUNK):
            self.stream.write(chunk)
            if self.most is not None and self.stream.tell() > self.most:
                message = f"{without_login(self.address)} has more than {self.most} bytes"
                raise RepositoryError(message, hint=_MIRRORS)
            _wait(self.access, 0)


def _open(address: str, access: Access, offset: int, identity: str) -> Answer:
    headers = {"Range": f"bytes={offset}-", "If-Range": identity} if offset else {}
    return request("GET", address, access, headers)


def _identity(answer: Answer) -> str:
    """What tells a server that its file is still the same; a weak tag does not say so byte by byte (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""


def _wait(access: Access, seconds: float) -> None:
    if access.wait(seconds):
        message = "interrupted"
        raise Interrupted(message)


def _senseless(address: str) -> RepositoryError:
    return RepositoryError(f"cannot fetch {address}: this is no address that can be asked")


def _refused(shown: str, answer: Answer) -> RepositoryError:
    message = f"cannot fetch {shown}: {status(answer)}"
    if answer.status in _GONE:
        return NoSuchFileError(message, hint=f"is the address right? {_MIRRORS}")
    if answer.status in _CREDENTIALS:
        return RepositoryError(message, hint="a user and password are taken from HTTP_AUTH=basic:HOST:USER:PASSWORD or ~/.netrc")
    return RepositoryError(message, hint=_MIRRORS)
