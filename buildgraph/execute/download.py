"""Getting files over HTTP; the one door to urllib3."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from buildgraph import __version__
from buildgraph.cache.files import fault
from buildgraph.errors import Interrupted, RepositoryError
from buildgraph.execute.access import Access, without_login

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_CHUNK = 1 << 20
_OK, _PARTIAL, _GONE = 200, 206, (404, 410)
_CREDENTIALS = (401, 403)
_RANGE = 416  # the server does not have what the download would go on with
_PASSING = (408, _PARTIAL, _RANGE, 425, 429, 500, 502, 503, 504)  # statuses after which another attempt may do
_CONNECTING = 15.0  # seconds until a server takes the connection
_LONGEST = 60.0  # seconds between attempts, whatever the server asks for
_MIRRORS = "`mirrors:` in the manifest can name another place"


class AbsentError(RepositoryError):
    """The server says that there is no such file."""


def is_remote(line: str) -> bool:
    """Whether a repository or keyring line of a recipe is an address, not a folder of somebody's machine."""
    return line.rpartition(" ")[2].startswith(("https://", "http://"))


def download(address: str, target: Path, *, access: Access | None = None) -> None:
    """Puts what lies at ``address`` into ``target``, which appears when it is whole.

    What passes (cut connections, silence, 429, 500 and the like) is tried again after a pause, going on where the server can.
    Raises AbsentError where there is no such file, RepositoryError for what else the server or the network does, CacheError
    where the file cannot be written, Interrupted where ``access`` says so.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with partial.open("wb") as stream:
            _Transfer(address, stream, access or Access()).run()
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


@dataclass(slots=True)
class _Transfer:
    """One file on its way into a stream. ``identity`` is that of the content whose beginning the stream holds."""

    address: str
    stream: BinaryIO
    access: Access
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
            if failed.final or attempt == self.access.attempts:
                message = f"cannot fetch {shown}: {failed.reason} ({attempt} attempt{'s' if attempt > 1 else ''})"
                raise RepositoryError(message, hint=f"is the network there, and the server well? {_MIRRORS}")
            _wait(self.access, min(failed.pause or 0.5 * 2 ** (attempt - 1), _LONGEST))

    def _attempt(self, shown: str) -> _Failure | None:
        from urllib3.exceptions import HTTPError, LocationValueError, SSLError

        try:
            with _open(self.address, self.access, self.stream.tell() if self.identity else 0, self.identity) as answer:
                if answer.status == _OK or self._goes_on(answer):
                    self._take(answer)
                    return None
                if answer.status not in _PASSING:
                    raise _refused(shown, answer)
                if answer.status in {_PARTIAL, _RANGE}:
                    self.identity = ""  # so that the next attempt asks for all of it
                return _Failure(_status(answer), _asked_for(answer))
        except LocationValueError as error:
            raise _senseless(shown) from error
        except HTTPError as error:
            causes = _causes(error)
            # A certificate that is not trusted will not be the next time.
            return _Failure(_reason(causes), final=any(isinstance(cause, SSLError) for cause in causes))

    def _goes_on(self, answer: BaseHTTPResponse) -> bool:
        """Whether an answer has what comes after the bytes that are here."""
        start = f"bytes {self.stream.tell()}-"
        return bool(self.identity) and answer.status == _PARTIAL and answer.headers.get("Content-Range", "").startswith(start)

    def _take(self, answer: BaseHTTPResponse) -> None:
        if answer.status == _OK:
            self.stream.seek(0)
            self.stream.truncate()
        self.identity = _identity(answer)
        while chunk := answer.read1(_CHUNK):
            self.stream.write(chunk)
            _wait(self.access, 0)


def _open(address: str, access: Access, offset: int, identity: str) -> BaseHTTPResponse:
    from urllib3 import Retry, Timeout

    headers = {"User-Agent": f"buildgraph/{__version__}"}
    login = access.login(address)
    if login is not None:
        headers["Authorization"] = login.header()
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": identity}
    # Only redirects are followed here; at another host they lose the credentials, as is urllib3's default.
    retries = Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)
    timeout = Timeout(connect=min(_CONNECTING, access.timeout), read=access.timeout)
    pool, plain = _pool(access.proxy(address)), without_login(address)
    return pool.request(
        "GET", plain, headers=headers, retries=retries, timeout=timeout, preload_content=False, decode_content=False
    )


@cache
def _pool(proxy: str) -> PoolManager:
    """The connections that all threads share."""
    from urllib3 import PoolManager, ProxyManager
    from urllib3.exceptions import LocationValueError

    if not proxy:
        return PoolManager(maxsize=16)
    try:
        login = Access().login(proxy)
        headers = {"Proxy-Authorization": login.header()} if login else None
        return ProxyManager(without_login(proxy), maxsize=16, proxy_headers=headers)
    except (LocationValueError, ValueError) as error:
        message = "the proxy that the environment names is no address that can be used"
        raise RepositoryError(
            message, hint="HTTP_PROXY and HTTPS_PROXY are addresses such as http://proxy.example:3128"
        ) from error


def _identity(answer: BaseHTTPResponse) -> str:
    """What tells a server that its file is still the same; a weak tag does not say so byte by byte (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else ""


def _asked_for(answer: BaseHTTPResponse) -> float:
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    try:
        return Retry().get_retry_after(answer) or 0.0
    except InvalidHeader:
        return 0.0


def _wait(access: Access, seconds: float) -> None:
    if access.wait(seconds):
        message = "interrupted"
        raise Interrupted(message)


def _senseless(address: str) -> RepositoryError:
    return RepositoryError(f"cannot fetch {address}: this is no address that can be asked")


def _status(answer: BaseHTTPResponse) -> str:
    return f"the server answers {answer.status} {answer.reason or ''}".rstrip()


def _refused(shown: str, answer: BaseHTTPResponse) -> RepositoryError:
    message = f"cannot fetch {shown}: {_status(answer)}"
    if answer.status in _GONE:
        return AbsentError(message, hint=f"is the address right? {_MIRRORS}")
    if answer.status in _CREDENTIALS:
        return RepositoryError(message, hint="a user and password are taken from HTTP_AUTH=basic:HOST:USER:PASSWORD or ~/.netrc")
    return RepositoryError(message, hint=_MIRRORS)


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it comes from, the first cause last."""
    from urllib3.exceptions import MaxRetryError

    causes = [error]
    while True:
        last = causes[-1]
        inner = last.args[-1] if last.args and isinstance(last.args[-1], BaseException) else None
        cause = last.reason if isinstance(last, MaxRetryError) else last.__cause__ or inner
        if cause is None:
            return causes
        causes.append(cause)


def _reason(causes: list[BaseException]) -> str:
    """What went wrong, in plain words where urllib3 has its objects."""
    from urllib3.exceptions import IncompleteRead, NameResolutionError, ReadTimeoutError

    for error in causes:
        match error:
            case IncompleteRead():
                return f"the answer ended {error.expected} bytes too early"
            case ReadTimeoutError():
                return "the server fell silent"
            case NameResolutionError():
                return "its name cannot be resolved"
    first = causes[-1]
    return (isinstance(first, OSError) and first.strerror) or str(first) or type(first).__name__
