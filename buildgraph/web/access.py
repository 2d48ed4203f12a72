"""How servers are asked: through which proxy, as which user, and with how much patience.

Passwords are read when a server is asked and go nowhere else: no value of this module is part of a key, a record, the state or a
message, and what addresses carry of them is cut off before it is shown.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from buildgraph.errors import RepositoryError
from buildgraph.structs import Struct, field

# Where a registry is asked without encryption.
THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_FORM = "basic:HOST:USER:PASSWORD"
_PARTS = 4
_AWS_FILES = ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE")


class Login(Struct, frozen=True):
    """A user and a password, for HTTP's basic authentication."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ...)"

    def header(self) -> str:
        """The value of the header ``Authorization`` (RFC 7617)."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode("utf-8", "surrogateescape")).decode()


class Header(Struct, frozen=True):
    """A header that says who one is."""

    name: str
    value: str

    def __repr__(self) -> str:
        return f"Header({self.name!r}, ...)"


Own = Callable[[], Login | Header]
"""Who to be at a store, by the user's own file. Raises BgError."""

Helper = Callable[[str, str], Login | None]
"""Asks a program that keeps passwords, by docker's name for it, who to be at a registry. Raises BgError."""


class Access(Struct, frozen=True):
    """How to ask.

    ``proxies`` by scheme, with ``no`` for hosts that are asked directly, as urllib has them. ``http_auth`` and ``netrc`` are
    where passwords are, and ``docker`` is where those for registries are: docker's ``config.json``, which may name programs that
    ``helper`` asks. ``own`` says who to be at the store ``own_store``, before all of these. With ``aws`` there may be files of
    Amazon's tools that say who to be at S3. ``timeout`` in seconds without a byte. ``wait`` sleeps for a number of seconds, and
    says whether the user has given up meanwhile.
    """

    proxies: Mapping[str, str] = field(default_factory=dict)
    http_auth: str = ""
    netrc: Path | None = None
    docker: Path | None = None
    helper: Helper | None = None
    own: Own | None = None
    own_store: str = ""
    aws: bool = False
    attempts: int = 5
    timeout: float = 60
    wait: Callable[[float], object] = time.sleep

    def __repr__(self) -> str:
        return "Access(...)"  # it has passwords

    @staticmethod
    def of(environment: Mapping[str, str], wait: Callable[[float], object] = time.sleep) -> Access:
        """What an environment says; names of proxies in small letters go before others."""
        named = {name.lower(): value for name, value in sorted(environment.items()) if value}
        proxies = {name.removesuffix("_proxy"): value for name, value in named.items() if name.endswith("_proxy")}
        home = Path(environment.get("HOME") or "~").expanduser()
        netrc = Path(environment.get("NETRC") or home / ".netrc")
        docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")
        aws = not environment.get("AWS_ACCESS_KEY_ID") and (
            (home / ".aws").is_dir() or any(environment.get(name) for name in _AWS_FILES)
        )
        return Access(proxies, environment.get("HTTP_AUTH", ""), netrc, docker, aws=aws, wait=wait)

    def proxy(self, address: str) -> str:
        """The proxy for an address; empty where it is asked directly."""
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # as typeshed has it

        parts = urlsplit(address)
        if not self.proxies or proxy_bypass_environment(_host(parts), dict(self.proxies)):
            return ""
        proxy = self.proxies.get(parts.scheme, self.proxies.get("all", ""))
        return proxy if not proxy or "://" in proxy else f"http://{proxy}"

    def header(self, address: str) -> Header | None:
        """What a request to an address says of who asks; None where nobody said. Raises BgError, as `login`."""
        own = self.own_at(address)
        if isinstance(own, Header):
            return own
        login = self.login(address)
        return Header("Authorization", login.header()) if login else None

    def own_at(self, address: str) -> Login | Header | None:
        """Who to be by the user's own file, if the address is one of the store that it is for. Raises BgError."""
        if self.own is None:
            return None
        store, asked = urlsplit(self.own_store), urlsplit(address)
        open_to_all = asked.scheme in {"http", "grpc"} and store.scheme not in {"http", "grpc", "oci+http"}
        if _host(store) != _host(asked) or (open_to_all and store.hostname not in THIS_MACHINE):
            return None
        return self.own()

    def login(self, address: str) -> Login | None:
        """Who to be at an address.

        The user's own file says it first, then the address itself, HTTP_AUTH for its host and port, netrc for its host.
        Raises RepositoryError where these cannot be read, without what they hold.
        """
        own = self.own_at(address)
        if isinstance(own, Login):
            return own
        parts = urlsplit(address)
        if parts.username is not None:
            return Login(unquote(parts.username), unquote(parts.password or ""))
        return self._by_variable(parts.netloc.lower()) or self._by_netrc(parts.hostname or "")

    def _by_variable(self, host: str) -> Login | None:
        if not self.http_auth:
            return None
        words = self.http_auth.split(":")
        if words[0] != "basic" or len(words) < _PARTS:
            message = f"HTTP_AUTH is not of the form {_FORM}"
            raise RepositoryError(message, hint="HOST is as in the address, with its port where it names one")
        # The host may have a port, the password colons: apko v1.2.37 (pkg/apk/auth) knows the former, melange v0.59.1 the latter.
        for end in (2, 3):
            is_port = words[end].isdecimal() and len(words) > end + 2  # and no user: the login is for that port alone
            if ":".join(words[1:end]).lower() == host and len(words) > end + 1 and not is_port:
                return Login(words[end], ":".join(words[end + 1 :]))
        return None

    def _by_netrc(self, host: str) -> Login | None:
        from netrc import NetrcParseError, netrc

        if self.netrc is None:
            return None
        try:
            known = netrc(str(self.netrc)).hosts.get(host)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except NetrcParseError as error:
            # Not in its own words: what it complains of may be the password.
            message = f"{self.netrc}:{error.lineno}: not a line of a netrc file"
        except (OSError, UnicodeDecodeError) as error:
            message = f"cannot read {self.netrc}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        else:
            return Login(known[0], known[2]) if known else None
        raise RepositoryError(message, hint="NETRC in the environment names another file")


def without_login(address: str) -> str:
    """An address without a user and password that it may carry."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=_host(parts)))


def _host(parts: SplitResult) -> str:
    """The host, with its port where there is one."""
    return parts.netloc.rpartition("@")[2]
