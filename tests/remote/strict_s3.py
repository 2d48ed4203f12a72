"""An S3 that checks who asks: moto with its own access control, `python -m tests.remote.strict_s3 PORT`.

moto says 404 for what is not there to whoever may read. S3 says so to those alone who may list the bucket, and 403 to others
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, "Permissions"). Nobody here may list who reads, so
every 404 for an object becomes a 403; all else is moto's, and so is who may do what.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_DENIED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
Environment = dict[str, Any]


class StrictS3:
    """The WSGI application."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        is_read = environ["REQUEST_METHOD"] in {"GET", "HEAD"} and environ["PATH_INFO"].count("/") > 1
        said: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            said.append(status)
            if is_read and status.startswith("404"):
                length = str(len(_DENIED))
                return start_response("403 FORBIDDEN", [("Content-Type", "application/xml"), ("Content-Length", length)], *rest)
            return start_response(status, headers, *rest)

        body: Iterable[bytes] = self._moto(environ, start)
        if is_read and said[0].startswith("404"):
            return [_DENIED if environ["REQUEST_METHOD"] == "GET" else b""]
        return body


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), StrictS3(), threaded=True)
