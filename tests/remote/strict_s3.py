"""An S3 that checks who asks: moto with its own access control, `python -m tests.remote.strict_s3 PORT`.

moto says 404 for what is not there to whoever may read. S3 says so to those alone who may list the bucket, and 403 to others
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, "Permissions"). Nobody here may list who reads, so
every 404 for an object becomes a 403; all else is moto's, and so is who may do what.

moto gives a role to whoever shows a token, and with access control on to nobody, for such a request is not signed. Here whoever
has a token with the claims that the role's trust policy wants gets it (AWS STS, API_AssumeRoleWithWebIdentity).
Who signed the token is not looked at.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.serving import run_simple

_DENIED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
_ISSUER = "token.actions.githubusercontent.com"
_ACCOUNT, _PARTITION, _REGION = "123456789012", "aws", "us-east-1"  # moto's
_REFUSED = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>The claims are others</Message></Error></ErrorResponse>"
_ASSUMED = (
    "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>"
    "<SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken><Expiration>{:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
    "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
)
Environment = dict[str, Any]


class StrictS3:
    """The WSGI application."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        if environ["REQUEST_METHOD"] == "POST" and "HTTP_AUTHORIZATION" not in environ:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            asked = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
            if asked.get("Action") == "AssumeRoleWithWebIdentity":
                answer = _assumed(asked)
                start_response("200 OK" if answer else "403 FORBIDDEN", [("Content-Type", "text/xml")])
                return [(answer or _REFUSED).encode()]
        is_read = environ["REQUEST_METHOD"] in {"GET", "HEAD"} and environ["PATH_INFO"].count("/") > 1
        said: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            said.append(status)
            if is_read and status.startswith("404"):
                length = str(len(_DENIED))
                return start_response("403 FORBIDDEN", [("Content-Type", "application/xml"), ("Content-Length", length)], *rest)
            return start_response(status, headers, *rest)

        found: Iterable[bytes] = self._moto(environ, start)
        if is_read and said[0].startswith("404"):
            return [_DENIED if environ["REQUEST_METHOD"] == "GET" else b""]
        return found


def _assumed(asked: Mapping[str, str]) -> str:
    """The credentials of a role, for a token with the claims that it wants; empty for others."""
    role = iam_backends[_ACCOUNT][_PARTITION].get_role_by_arn(asked["RoleArn"])
    payload = asked["WebIdentityToken"].split(".")[1]
    claims = {f"{_ISSUER}:{name}": value for name, value in json.loads(base64.urlsafe_b64decode(payload + "==")).items()}
    wanted = [
        statement["Condition"]["StringEquals"]
        for statement in json.loads(role.assume_role_policy_document)["Statement"]
        if statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    ]
    if not any(one.items() <= claims.items() for one in wanted):
        return ""
    made = sts_backends[_ACCOUNT][_PARTITION].assume_role_with_web_identity(
        region_name=_REGION,
        role_session_name=asked["RoleSessionName"],
        role_arn=asked["RoleArn"],
        policy="",
        duration=3600,
        external_id="",
    )
    return _ASSUMED.format(made.access_key_id, made.secret_access_key, made.session_token, made.expiration)


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), StrictS3(), threaded=True)
