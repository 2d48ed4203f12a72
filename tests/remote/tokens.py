"""A token server for a registry, as https://distribution.github.io/distribution/spec/auth/token/ has it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.remote.certificates import self_signed

ISSUER, SERVICE = "the test", "the registry"


@dataclass
class Tokens:
    """The server: its address, its certificate, who may write, and what it was asked for. ``seconds`` is how long tokens hold."""

    certificate: Path
    writer: str
    seconds: int = 300
    url: str = ""
    scopes: list[str] = field(default_factory=list)

    def settings(self) -> str:
        """The section of the registry's settings."""
        return (
            f"auth: {{token: {{realm: {self.url}/token, service: {SERVICE}, issuer: {ISSUER}, "
            f"rootcertbundle: {self.certificate}}}}}"
        )


@contextmanager
def token_server(folder: Path, user: str, password: str) -> Iterator[Tokens]:
    """Gives everybody tokens to read with, and one user tokens to write with."""
    key, certificate = self_signed(ISSUER, is_authority=True)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    tokens = Tokens(folder / "certificate.pem", login)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (scope,) = parse_qs(urlsplit(self.path).query)["scope"]
            tokens.scopes.append(scope)
            kind, repository, actions = scope.split(":")
            allowed = [one for one in actions.split(",") if one == "pull" or self.headers.get("Authorization") == tokens.writer]
            moment = int(time.time())
            claims = {
                "iss": ISSUER,
                "sub": user,
                "aud": SERVICE,
                "nbf": moment - 600,
                "iat": moment - 600,
                "exp": moment + tokens.seconds,
                "access": [{"type": kind, "name": repository, "actions": allowed}],
            }
            header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]}
            signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
            r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
            token = f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
            data = json.dumps({"token": token}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tokens.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
