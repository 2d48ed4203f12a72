"""The passwords for registries that ``docker login`` and ``podman login`` leave in a file.

https://docs.docker.com/reference/cli/docker/login/: ``auths`` maps a registry to the base64 of ``user:password``. Programs that
keep passwords elsewhere (``credsStore``, ``credHelpers``) are not run.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from buildgraph.errors import RepositoryError
from buildgraph.web.access import Login


def registry_login(config: Path, host: str) -> Login | None:
    """Who to be at a registry (``host`` or ``host:port``); None where the file, if there is one, does not say.

    Raises RepositoryError where it cannot be read, without what it holds.
    """
    try:
        content = json.loads(config.read_bytes())
        known = content.get("auths", {})
        found = [known[name].get("auth", "") for name in (host, f"https://{host}", f"http://{host}") if name in known]
        text = base64.b64decode(found[0], validate=True).decode() if found else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        message = f"cannot read {config}: {error.strerror}"
    except (ValueError, binascii.Error, AttributeError, TypeError, RecursionError):
        # Not in the error's own words: they may quote a password.
        message = f"{config} is not as `docker login` writes it"
    else:
        user, colon, password = text.partition(":")
        return Login(user, password) if colon else None
    raise RepositoryError(message, hint="DOCKER_CONFIG in the environment names another folder")
