"""Programs that keep passwords for docker: the operating system's key ring, a cloud's short-lived tokens.

https://github.com/docker/docker-credential-helpers describes how they are asked: the registry on the standard input of
``docker-credential-NAME get``, JSON with ``Username`` and ``Secret`` on its output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from buildgraph.errors import RepositoryError
from buildgraph.execute import process
from buildgraph.web.access import Helper, Login

_SECONDS = 30.0
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
