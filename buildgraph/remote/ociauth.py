"""Who to be at an OCI registry: what it asks for when it refuses, and what it is answered.

A registry refuses with a challenge, which asks for a user and a password (RFC 7617), or for a token and says where to get it
(https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import json
import re
import threading
from urllib.parse import urlencode, urlsplit

from buildgraph.errors import BgError
from buildgraph.remote.http import asking, expect_success
from buildgraph.remote.store import RefusedError, StoreError
from buildgraph.web.access import Access, Header, Login, without_login
from buildgraph.web.docker import registry_login

_BEARER = re.compile(r"\bbearer\s", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MAX_TOKEN = 1 << 20


class Credentials:
    """The ``Authorization`` for one registry, apart for reading and writing, as a token allows either. Threads share it."""

    def __init__(self, registry: str, access: Access) -> None:
        """``registry`` is an address; a user and password in it go before all others."""
        self._registry = registry
        self._access = access
        self._known: dict[bool, str] = {}
        self._guard = threading.Lock()

    def header(self, address: str, *, writes: bool) -> str:
        """What to send; empty where nothing was asked for yet, and for another server, to which a registry may point."""
        return self._known.get(writes, "") if self.are_for(address) else ""

    def are_for(self, address: str) -> bool:
        """Whether an address is one of the registry itself; where it points to may not even say who gets its password."""
        own, asked = urlsplit(without_login(self._registry)), urlsplit(address)
        return (own.scheme, own.netloc.lower()) == (asked.scheme, asked.netloc.lower())

    def renew(self, challenge: str, refused: str, *, writes: bool) -> None:
        """Gets what a challenge asks for in place of what was ``refused``. Raises StoreError where there is nothing."""
        with self._guard:
            if self._known.get(writes, "") != refused:
                return  # another thread did
            bearer = _BEARER.search(challenge)
            if bearer:
                header = f"Bearer {self._token(dict(_PARAMETER.findall(challenge[bearer.end() :])))}"
            else:
                login = self._login()
                if login is None:
                    message = "the registry asks for a user and password"
                    raise RefusedError(message)
                header = login.header()
            if header == refused:
                message = "the registry does not know this user and password"
                raise RefusedError(message)
            self._known[writes] = header

    def _login(self) -> Login | None:
        try:
            own = self._access.own_at(self._registry)
            if isinstance(own, Header):
                message = "the registry does not take what the user's credentials.yaml says"
                raise RefusedError(message)
            if own is not None:
                return own
            host = urlsplit(self._registry)
            if host.username is None and self._access.docker is not None:
                found = registry_login(self._access.docker, host.netloc, self._access.helper)
                if found is not None:
                    return found
            return self._access.login(self._registry)
        except BgError as error:  # a file that cannot be read
            raise StoreError(error.what) from error

    def _token(self, challenge: dict[str, str]) -> str:
        realm = challenge.pop("realm", "")
        if not realm.startswith(("https://", "http://") if self._registry.startswith("http://") else "https://"):
            message = "the registry has tokens fetched without encryption"
            raise StoreError(message)
        asked = [(name, value) for name, value in challenge.items() if name in {"service", "scope"}]
        login = self._login()
        headers = {"Authorization": login.header()} if login else {}
        with asking("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}", self._access, headers) as answer:
            expect_success(answer)
            data = answer.read(_MAX_TOKEN)
        try:
            content = json.loads(data)
            return str(content.get("token") or content["access_token"])
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            message = "the registry's token server gives no token"
            raise StoreError(message) from error
