"""Secrets that files and programs keep: those of the user's ``credentials.yaml``, and docker's.

Programs that keep passwords for docker have them from the operating system's key ring, or make a cloud's short-lived tokens.
https://github.com/docker/docker-credential-helpers describes how they are asked: the registry on the standard input of
``docker-credential-NAME get``, JSON with ``Username`` and ``Secret`` on its output.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from buildgraph.errors import BgError, RepositoryError
from buildgraph.execute import process
from buildgraph.web.access import Header, Helper, Login, Own
from buildgraph.workspace.credentials import Entry

_SECONDS = 30.0
_MOST = 64 << 10  # bytes of a secret
_TOKEN = "<token>"  # noqa: S105 - the user of whom the secret is no password, but a token that bg cannot use


def docker_helper(environment: Mapping[str, str]) -> Helper:
    """What asks them, with this environment."""

    def ask(name: str, registry: str) -> Login | None:
        program = f"docker-credential-{name}"
        done = process.run([program, "get"], env=environment, timeout=_SECONDS, given=registry.encode())
        if done.returncode:
            return None  # it does not know this registry
        try:
            answer = json.loads(done.output)
            user, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError, RecursionError):
            # Not in the error's own words: they may quote the password.
            message = f"{program} does not answer as such programs do"
        else:
            return Login(user, secret) if user != _TOKEN else None
        raise RepositoryError(message)

    return ask


def own(entry: Entry, environment: Mapping[str, str]) -> Own:
    """What says who to be at a store, by the user's file: its file is read, or its command run, once and when it is first asked.

    Commands run with this environment; files are relative to the folder of ``credentials.yaml``.
    """
    guard = threading.Lock()
    found: list[Login | Header | BgError] = []

    def get() -> Login | Header:
        with guard:
            if not found:
                try:
                    found.append(_known(entry, environment))
                except BgError as error:
                    found.append(error)
            (one,) = found
        if isinstance(one, BgError):
            raise one
        return one

    return get


def _known(entry: Entry, environment: Mapping[str, str]) -> Login | Header:
    secret = _secret(entry, environment)
    if entry.user:
        return Login(entry.user, secret)
    if not (secret.isascii() and secret.isprintable()):
        raise RepositoryError(f"{entry.place}: the secret has characters that no header can have")
    return Header(entry.header, secret) if entry.header else Header("Authorization", f"Bearer {secret}")


def _secret(entry: Entry, environment: Mapping[str, str]) -> str:
    """The secret, without the line break that may end it. Raises BgError, with nothing of what was read."""
    given = entry.secret.given
    if entry.secret.form == "text":
        (data,) = (word.encode("utf-8", "surrogateescape") for word in given)
    elif entry.secret.form == "file":
        data = _content(given[0], entry, environment)
    else:
        try:
            done = process.run(given, env=environment, timeout=_SECONDS)
        except BgError as error:
            raise RepositoryError(f"{entry.place}: {error.what}") from error
        if done.returncode:
            raise RepositoryError(f"{entry.place}: {given[0]} ended with exit code {done.returncode}")
        data = done.output
    text = data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if not text or len(data) > _MOST or any(sign in text for sign in "\r\n\0"):
        raise RepositoryError(f"{entry.place}: what is there is no secret of one line")
    return text


def _content(name: str, entry: Entry, environment: Mapping[str, str]) -> bytes:
    at_home = name.startswith("~/") and environment.get("HOME")
    path = Path(environment["HOME"], name[2:]) if at_home else Path(entry.place.rpartition(":")[0]).parent / name
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST + 1)
    except OSError as error:
        raise RepositoryError(f"{entry.place}: cannot read {path}: {(error.strerror or str(error)).lower()}") from error
