"""Getting files over HTTP."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from buildgraph.cache.files import fault, is_full
from buildgraph.errors import RepositoryError

TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 20


def is_remote(line: str) -> bool:
    """Whether a repository or keyring line of a recipe is an address, not a folder of somebody's machine."""
    return line.rpartition(" ")[2].startswith(("https://", "http://"))


def download(address: str, target: Path) -> None:
    """Puts what lies at ``address`` into ``target``, which appears when it is whole. Raises RepositoryError, CacheError."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen  # slow to import, and few runs fetch something

    partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        request = Request(address)  # noqa: S310 - only http and https get here
        with urlopen(request, timeout=TIMEOUT) as answer, partial.open("wb") as stream:  # noqa: S310 - as above
            expected = answer.headers.get("Content-Length")
            size = 0
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                size += len(chunk)
        if expected is not None and int(expected) != size:
            message = f"{address} ended after {size} of {expected} bytes"
            raise RepositoryError(message, hint="try again")
        partial.replace(target)
    except (OSError, ValueError) as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and is_full(error):
            raise fault(error, f"write {address} to the cache") from error
        reason = error.reason if isinstance(error, URLError) else error
        message = f"cannot fetch {address}: {reason}"
        hint = "is the network there? `mirrors:` in the manifest can name another place"
        raise RepositoryError(message, hint=hint) from error
