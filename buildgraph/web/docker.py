"""The passwords for registries that ``docker login`` and others leave in a file, or in programs that the file names.

https://docs.docker.com/reference/cli/docker/login/: ``auths`` maps a registry to the base64 of ``user:password``; ``credHelpers``
names a program for single registries, ``credsStore`` one for all others.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from buildgraph.errors import RepositoryError
from buildgraph.web.access import Helper, Login


def registry_login(config: Path, host: str, helper: Helper | None = None) -> Login | None:
    """Who to be at a registry (``host`` or ``host:port``); None where neither the file, if there is one, nor a program says.

    Raises RepositoryError where the file cannot be read, without what it holds, and what ``helper`` raises.
    """
    try:
        content = json.loads(config.read_bytes())
        program = content.get("credHelpers", {}).get(host) or content.get("credsStore")
        written = _written(content.get("auths", {}), host)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        message = f"cannot read {config}: {error.strerror}"
    except (ValueError, AttributeError, TypeError, RecursionError):
        # Not in the error's own words: they may quote a password.
        message = f"{config} is not as `docker login` writes it"
    else:
        return (program and helper and helper(str(program), host)) or written
    raise RepositoryError(message, hint="DOCKER_CONFIG in the environment names another folder")


def _written(auths: dict[str, dict[str, str]], host: str) -> Login | None:
    """What stands in the file itself. Raises ValueError, AttributeError, TypeError where it is something else."""
    for name in (host, f"https://{host}", f"http://{host}"):
        if name in auths:
            user, colon, password = base64.b64decode(auths[name].get("auth", ""), validate=True).decode().partition(":")
            return Login(user, password) if colon else None
    return None
