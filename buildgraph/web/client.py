"""HTTP requests, over connections that all threads share; the one door to urllib3."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakSet

from buildgraph import __version__
from buildgraph.errors import RepositoryError
from buildgraph.web.access import Access, Header, Login, without_login

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager
    from urllib3.connection import HTTPConnection

Answer: TypeAlias = "BaseHTTPResponse"
CONNECTIONS = 16  # to one server
_CONNECTING = 15.0  # seconds


class WebError(Exception):
    """A server was not reached, or fell silent. ``is_final``: another attempt will not do better."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


class AddressError(WebError):
    """An address that cannot be asked."""


def request(
    method: str,
    address: str,
    access: Access,
    headers: Mapping[str, str] | None = None,
    *,
    body: Any = None,
    login: Login | None = None,
) -> Answer:
    """The answer to a request, its body still to be read, and to be closed. To be called within ``failing``.

    ``login`` stands in for what ``access`` knows. Redirects are followed, without credentials at another host; nothing is tried
    again. ``body`` is bytes or a binary stream.
    """
    from urllib3 import Retry, Timeout

    _refuse_if_stopped()
    sent = {"User-Agent": f"buildgraph/{__version__}", **(headers or {})}
    own = Header("Authorization", login.header()) if login else access.header(address)
    if own is not None and own.name not in sent:
        sent[own.name] = own.value
    return _pool(access.proxy(address)).request(
        method,
        without_login(address),
        headers=sent,
        body=body,
        # Of the kinds of retries only redirects; at another host these lose the credentials, as is urllib3's default.
        # A header of another name they would keep, so that request ends where it was to go.
        redirect=own is None or own.name.lower() == "authorization",
        retries=Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5),
        timeout=Timeout(connect=min(_CONNECTING, access.timeout), read=access.timeout),
        preload_content=False,
        decode_content=False,
    )


def interrupt() -> None:
    """Ends every request that is under way, however silent its server is, and has those to come fail: the process is to end."""
    _stopped.set()
    with _guard:
        connections = list(_connections)
    for connection in connections:
        sock = connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
    for other in list(_others):
        other.interrupt()


class Interruptible(Protocol):
    """Connections of another kind."""

    def interrupt(self) -> None:
        """As ``interrupt``; called by a signal's handler, so it must not wait for anything."""


def interrupt_too(other: Interruptible) -> None:
    """Has ``interrupt`` end these as well, for as long as they live."""
    _others.add(other)


_stopped = threading.Event()
_guard = threading.RLock()  # the thread that a signal interrupts may hold it
_connections: WeakSet[HTTPConnection] = WeakSet()
_others: WeakSet[Interruptible] = WeakSet()


@contextmanager
def failing() -> Iterator[None]:
    """Turns what urllib3 raises, in requests and while answers are read, into WebError."""
    from urllib3.exceptions import HTTPError, LocationValueError, SSLError

    try:
        yield
    except LocationValueError as error:
        raise AddressError("this is no address that can be asked") from error
    except HTTPError as error:
        causes = _causes(error)
        # A certificate that is not trusted will not be the next time.
        raise WebError(_reason(causes), is_final=any(isinstance(cause, SSLError) for cause in causes)) from error


def status(answer: Answer) -> str:
    """What a server says, for people."""
    return f"the server answers {answer.status} {answer.reason or ''}".rstrip()


def retry_after(answer: Answer) -> float:
    """How many seconds a server asks to wait; 0 where it does not say."""
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    try:
        return Retry().get_retry_after(answer) or 0.0
    except InvalidHeader:
        return 0.0


@cache
def _pool(proxy: str) -> PoolManager:
    """The connections that all threads share."""
    from urllib3 import PoolManager, ProxyManager
    from urllib3.exceptions import LocationValueError

    if not proxy:
        return _known(PoolManager(maxsize=CONNECTIONS))
    try:
        login = Access().login(proxy)
        headers = {"Proxy-Authorization": login.header()} if login else None
        return _known(ProxyManager(without_login(proxy), maxsize=CONNECTIONS, proxy_headers=headers))
    except (LocationValueError, ValueError) as error:
        message = "the proxy that the environment names is no address that can be used"
        hint = "HTTP_PROXY and HTTPS_PROXY are addresses such as http://proxy.example:3128"
        raise RepositoryError(message, hint=hint) from error


def _note(connection: HTTPConnection) -> None:
    with _guard:
        _connections.add(connection)


def _refuse_if_stopped() -> None:
    if _stopped.is_set():
        message = "interrupted"
        raise WebError(message, is_final=True)


def _known(manager: PoolManager) -> PoolManager:
    """The same, with connections that ``interrupt`` knows."""
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Http(HTTPConnection):
        def connect(self) -> None:
            _note(self)
            super().connect()
            _refuse_if_stopped()

    class Https(HTTPSConnection):
        def connect(self) -> None:
            _note(self)
            super().connect()
            _refuse_if_stopped()

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return manager


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
