"""A request to a server and its answer on their way, one or many side by side; the one door to pycurl.

A loop runs its transfers in the thread that asks for what comes next, and keeps the connections; threads do not share one.
"""

from __future__ import annotations

import io
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from itertools import takewhile
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, urlsplit

from buildgraph import __version__
from buildgraph.errors import RepositoryError
from buildgraph.web.access import Access, Header, Login, without_login

CONNECTIONS = 50  # to one server, for many requests
_CONNECTING = 15.0  # seconds
_TICK = 0.05  # seconds between looks at whether the user has given up, and whether a server has fallen silent
_BUFFER = 64 << 10
_REDIRECTS = 5
_FOR_UPLOADS = 3  # times the patience
_SENDABLE = re.compile(r"[\t -~\x80-\xff]*")  # what a name or value of a header is made of
_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_STATUS = re.compile(rb"HTTP/[0-9.]+ [0-9]{3}(?=\s|$)")  # how an answer begins; a header may be called like it
_ASKABLE = re.compile(r"https?://[a-z0-9.:-]+/[A-Za-z0-9._~/-]*")  # as it is
_PLAIN = "%/:?#[]@!$&'()*+,;=~"  # what an address has besides letters, digits, and -._ (RFC 3986)

Take = Callable[[bytes], object]
Body = bytes | BinaryIO

stopped = threading.Event()  # nothing is to be asked any more


class WebError(Exception):
    """A server was not reached, or fell silent. ``is_final``: another attempt will not do better."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


class AddressError(WebError):
    """An address that cannot be asked."""


class Headers(dict[str, str]):
    """The headers of an answer under their names in small letters; the last of several counts."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # headers are always text
        """The value of a header, whose name may have any letters."""
        return super().get(name.lower(), default)


class Head(NamedTuple):
    """How a server answered."""

    status: int
    reason: str


class Loop:
    """Transfers that run side by side, as far as ``turn`` is called."""

    def __init__(self) -> None:
        import pycurl  # type: ignore[import-untyped]  # it has types, and does not say so

        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, CONNECTIONS)
        self._running: dict[Any, Transfer] = {}
        self._refused: list[Transfer] = []

    def start(self, transfer: Transfer) -> None:
        """Has a transfer run from now on."""
        self._running[transfer.curl] = transfer
        self._multi.add_handle(transfer.curl)

    def drop(self, transfer: Transfer) -> None:
        """Ends a transfer that is under way, which ``turn`` does not tell of then; nothing where it is not."""
        if self._running.pop(transfer.curl, None) is not None:
            self._multi.remove_handle(transfer.curl)
        elif transfer in self._refused:
            self._refused.remove(transfer)

    def push(self) -> None:
        """Has the transfers go on as far as they can at once; ``turn`` tells of those whose taker raised."""
        self._multi.perform()
        for transfer in [one for one in self._running.values() if one.pieces]:
            if not transfer.hand_on():
                self.drop(transfer)
                transfer.end(None)
                self._refused.append(transfer)

    def turn(self) -> list[Transfer]:
        """Has the transfers go on, or waits a moment where they cannot; those that have ended."""
        self.push()
        ended = self._ended()
        if not ended and self._running:
            with suppress(InterruptedError):
                # Nothing to wait for is there while a name is being resolved.
                if not self._multi.select(_TICK):
                    time.sleep(0.001)
            ended = self._given_up()
        return ended

    def _ended(self) -> list[Transfer]:
        found, self._refused = self._refused, []
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl, error in [*((curl, None) for curl in good), *((curl, (code, text)) for curl, code, text in bad)]:
                transfer = self._running[curl]
                self.drop(transfer)
                transfer.end(None if error is None else _failure(curl, *error))
                found.append(transfer)
        return found

    def _given_up(self) -> list[Transfer]:
        """Ends what is not worth waiting for, or not waited for any more."""
        now = time.monotonic()
        found = [one for one in self._running.values() if stopped.is_set() or now - one.moved > one.patience]
        for transfer in found:
            self.drop(transfer)
            transfer.end(_interrupted() if stopped.is_set() else WebError("the server fell silent"))
        return found


class Transfer:
    """A request and its answer on their way; another may follow it with the same settings. ``moved`` is when a byte last did."""

    def __init__(self, access: Access) -> None:
        import pycurl

        self.curl = pycurl.Curl()
        self.patience = access.timeout
        self.came = bytearray()
        self.pieces: list[bytes] = []
        self.moved = 0.0
        self.is_done = False
        self.error: Exception | None = None
        self._access = access
        self._method = ""  # where another one would be something else, whatever a redirect says
        self._lines: list[bytes] = []
        self._head: Head | None = None
        self._taking: Callable[[int], Take] = lambda _: self.came.extend
        self._take: Take | None = None
        self._raised: Exception | None = None

    def configure(self, method: str, address: str, headers: Mapping[str, str], body: Body | None, login: Login | None) -> None:
        """Says what is asked, and of whom. Raises WebError, RepositoryError."""
        import pycurl

        if stopped.is_set():
            raise _interrupted()
        curl, access = self.curl, self._access
        for option, value in (
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.FOLLOWLOCATION, 1),
            (pycurl.MAXREDIRS, _REDIRECTS),
            (pycurl.CONNECTTIMEOUT_MS, int(1000 * min(_CONNECTING, access.timeout)) or 1),
            (pycurl.NOPROGRESS, 1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.BUFFERSIZE, _BUFFER),
            (pycurl.HEADERFUNCTION, self._lines.append),
            (pycurl.WRITEFUNCTION, self.pieces.append),
            (pycurl.NOPROXY, ""),
        ):
            curl.setopt(option, value)
        try:
            proxy = access.proxy(address)
        except ValueError as error:
            raise _senseless() from error
        sent = {"User-Agent": f"buildgraph/{__version__}", **headers}
        own = Header("Authorization", login.header()) if login else access.header(address)
        if own is not None and own.name not in sent:
            sent[own.name] = own.value
        if own is not None and own.name.lower() != "authorization":
            # libcurl would send a header of another name on to another host: such a request ends where it was to go.
            curl.setopt(pycurl.FOLLOWLOCATION, 0)
        self._send(method, sent, body)
        self._go_through(proxy)
        if address.startswith("https:") or proxy.startswith("https:"):
            self._trust()
        self.begin(address, self._taking)

    def begin(self, address: str, taking: Callable[[int], Take]) -> None:
        """Says where something is, and who takes it."""
        import pycurl

        self._taking, self._take = taking, None
        self._lines.clear()
        self.pieces.clear()
        self._head = None
        self.error, self._raised, self.is_done = None, None, False
        self.moved = time.monotonic()
        try:
            self.curl.setopt(pycurl.URL, _encoded(address))
        except ValueError as error:
            raise _senseless() from error

    def hand_on(self) -> bool:
        """Gives what came to whoever takes it; whether that went well."""
        self.moved = time.monotonic()
        data = b"".join(self.pieces)
        self.pieces.clear()
        try:
            if self._take is None:
                self._take = self._taking(self.head().status)
            self._take(data)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            self._raised = error
            return False
        return True

    def end(self, failure: WebError | None) -> None:
        """Notes how it ended."""
        self.error = self._raised or failure
        self.is_done = True

    def is_of_another_page(self) -> bool:
        """Whether what is answered is another question: a redirect may make a GET of an upload."""
        import pycurl

        return bool(self._method) and self.curl.getinfo(pycurl.EFFECTIVE_METHOD) != self._method

    def answering(self) -> str:
        """The address that answers: where the last redirect led."""
        import pycurl

        return str(self.curl.getinfo(pycurl.EFFECTIVE_URL))

    def head(self) -> Head:
        """How the server answered."""
        if self._head is None:
            line = next(line for line in reversed(self._lines) if _STATUS.match(line))
            _, code, *reason = line.split(None, 2)
            self._head = Head(int(code), b"".join(reason).decode("latin-1").strip())
        return self._head

    def headers(self) -> Headers:
        """The headers of the answer."""
        # Lines before the last status were of redirects, or of a proxy.
        last = takewhile(lambda line: not _STATUS.match(line), reversed(self._lines))
        lines = (line.decode("latin-1").partition(":") for line in reversed(list(last)))
        return Headers((name.strip().lower(), value.strip()) for name, _, value in lines)

    def _send(self, method: str, headers: dict[str, str], body: Body | None) -> None:
        import pycurl

        curl = self.curl
        length = headers.pop("Content-Length", "")
        if method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif method != "GET":
            if body is not None or method in {"PUT", "POST", "PATCH"}:
                stream = io.BytesIO(body or b"") if body is None or isinstance(body, bytes) else body
                curl.setopt(pycurl.UPLOAD, 1)
                # What lies in the system's buffers moves unseen.
                self.patience = _FOR_UPLOADS * self._access.timeout
                curl.setopt(pycurl.READFUNCTION, self._reading(stream))
                curl.setopt(pycurl.SEEKFUNCTION, lambda offset, whence: stream.seek(offset, whence) and 0)
                size = len(body or b"") if body is None or isinstance(body, bytes) else int(length or -1)
                curl.setopt(pycurl.INFILESIZE_LARGE, size)
            if method != "PUT":
                curl.setopt(pycurl.CUSTOMREQUEST, method)
            self._method = method
        if not all(_SENDABLE.fullmatch(text) for pair in headers.items() for text in pair):
            raise WebError("a header has characters that no header can have", is_final=True)
        # Without `Expect` a server is not asked first whether it would take what comes.
        curl.setopt(pycurl.HTTPHEADER, [b"Expect:", *(f"{name}: {value}".encode("latin-1") for name, value in headers.items())])

    def _go_through(self, proxy: str) -> None:
        import pycurl

        self.curl.setopt(pycurl.PROXY, "")  # else libcurl reads the environment
        if not proxy:
            return
        if not _is_proxy(proxy):
            message = "the proxy that the environment names is no address that can be used"
            hint = "HTTP_PROXY and HTTPS_PROXY are addresses such as http://proxy.example:3128"
            raise RepositoryError(message, hint=hint)
        self.curl.setopt(pycurl.PROXY, without_login(proxy))
        login = Access().login(proxy)
        if login is not None:
            self.curl.setopt(pycurl.PROXYUSERNAME, login.user.encode("utf-8", "surrogateescape"))
            self.curl.setopt(pycurl.PROXYPASSWORD, login.password.encode("utf-8", "surrogateescape"))

    def _trust(self) -> None:
        """Has certificates checked by the authorities that Python knows: the system's, or those of SSL_CERT_FILE and _DIR."""
        import pycurl

        file, folder = _authorities()
        known = ((pycurl.CAINFO, file), (pycurl.CAPATH, folder), (pycurl.PROXY_CAINFO, file), (pycurl.PROXY_CAPATH, folder))
        for option, value in known:
            if value is None:
                self.curl.unsetopt(option)
            else:
                self.curl.setopt(option, value)

    def _reading(self, stream: BinaryIO) -> Callable[[int], bytes | int]:
        # libcurl calls this; what it raises would be printed, and lost.
        def read(size: int) -> bytes | int:
            import pycurl

            self.moved = time.monotonic()
            try:
                return stream.read(size)
            except Exception as error:  # noqa: BLE001 - as above
                self._raised = error
                return int(pycurl.READFUNC_ABORT)

        return read


def _is_proxy(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in _PROXIES and bool(parts.hostname)


def _interrupted() -> WebError:
    return WebError("interrupted", is_final=True)


def _encoded(address: str) -> str:
    """An address in the letters that it may have; the name of a host as it is."""
    if _ASKABLE.fullmatch(address):
        return address
    scheme, colon, rest = without_login(address).partition("://")
    host, slash, path = rest.partition("/")
    if not colon or not host:
        raise _senseless()
    return f"{scheme}://{host}{slash}{quote(path, safe=_PLAIN)}"


def _senseless() -> AddressError:
    return AddressError("this is no address that can be asked", is_final=True)


@cache
def _authorities() -> tuple[str | None, str | None]:
    """A file and a folder with the certificates of authorities, as the system or the environment has them."""
    import ssl

    known = ssl.get_default_verify_paths()
    return known.cafile, known.capath


def _failure(curl: Any, code: int, text: str) -> WebError:
    """What went wrong, in plain words, by the numbers of https://curl.se/libcurl/c/libcurl-errors.html."""
    import pycurl

    plain = {
        pycurl.E_COULDNT_RESOLVE_HOST: "its name cannot be resolved",
        pycurl.E_COULDNT_RESOLVE_PROXY: "the name of the proxy cannot be resolved",
        pycurl.E_OPERATION_TIMEDOUT: "it cannot be reached in time",
        pycurl.E_GOT_NOTHING: "the server closed the connection without an answer",
    }
    if code in plain:
        return WebError(plain[code])
    if code in {pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL}:
        return WebError("what the server says is not HTTP") if curl.getinfo(pycurl.NUM_CONNECTS) else _senseless()
    if code == pycurl.E_PARTIAL_FILE:
        size = curl.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T)
        left = f"{size - curl.getinfo(pycurl.SIZE_DOWNLOAD_T)} bytes " if size > 0 else ""
        return WebError(f"the answer ended {left}too early")
    # A certificate that is not trusted will not be the next time.
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return WebError(f"certificate verify failed: {text}", is_final=True)
    if code in {pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CIPHER}:
        return WebError(text, is_final=True)
    number = curl.getinfo(pycurl.OS_ERRNO)
    return WebError(os.strerror(number) if number else text)
