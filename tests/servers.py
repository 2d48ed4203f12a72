"""HTTP servers on this machine: the distribution's nginx, and one of a few lines that fails as it is told to."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import wait_for
from tools.seed.debian import ARCHITECTURES, Apt

# What one request gets; called with the handler and the content of the file that was asked for.
Fault = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves the files of a folder as a good server does, but for the requests that have a fault."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """One request."""
        files = self.server.files
        files.requests.append((self.path, self.headers))
        faults = files.faults.get(self.path, [])
        path = files.folder / self.path.lstrip("/")
        if faults:
            faults.pop(0)(self, path.read_bytes() if path.is_file() else b"")
        elif path.is_file():
            self.send_file(path.read_bytes())
        else:
            self.send_error(404)

    def send_file(self, content: bytes) -> None:
        """The content, or the part of it that is asked for."""
        tag = etag(content)
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range", tag) == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """An HTTP server that knows its files."""

    request_queue_size = 128  # as servers have it; bg opens many connections at once

    daemon_threads = True
    files: Files

    def handle_error(self, *_: object) -> None:
        """Clients that go away are part of the tests."""


@dataclass
class Files:
    """A folder that is served at ``url``, the faults by path, each for one request, and what was asked."""

    folder: Path
    url: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, Message]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def headers(self, name: str) -> list[str | None]:
        """A header of each request so far."""
        return [headers.get(name) for _, headers in self.requests]


@contextmanager
def faulty_server(folder: Path) -> Iterator[Files]:
    """Serves a folder, with faults."""
    server = Server(("127.0.0.1", 0), Handler)
    server.files = Files(folder, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.files
    finally:
        server.files.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def etag(content: bytes) -> str:
    """The strong tag of a content."""
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def cut(after: int, *, tag: bool = True, claim: int | None = None) -> Fault:
    """The connection ends after some bytes; ``claim`` is the length that the server promised, the right one if not given."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        if tag:
            handler.send_header("ETag", etag(content))
        handler.send_header("Content-Length", str(len(content) if claim is None else claim))
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.close_connection = True

    return fault


def silence(after: int) -> Fault:
    """Nothing comes after some bytes, but the connection stays."""

    def fault(handler: Handler, content: bytes) -> None:
        cut(after)(handler, content)
        handler.wfile.flush()
        handler.server.files.ended.wait()

    return fault


def drops(handler: Handler, content: bytes) -> None:
    """The connection ends without an answer."""
    handler.close_connection = True


def status(code: int, **headers: str) -> Fault:
    """A status, with headers."""

    def fault(handler: Handler, content: bytes) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def find_packaged(package: str, path: str, store: Path) -> Path:
    """A program of the distribution: as it is installed, else taken out of its package, which is kept in ``store``.

    ``path`` is that of the program in the package. Installed it would be a service that starts by itself. Skips the test where
    it cannot be had.
    """
    installed = shutil.which(Path(path).name, path=f"{os.environ['PATH']}:/usr/sbin")
    if installed:
        return Path(installed)
    program = store / package / path
    store.mkdir(parents=True, exist_ok=True)
    with (store / f".{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it too
        if not program.is_file():
            try:
                _unpack(package, store)
            except Exception as error:  # noqa: BLE001 - no apt, no network, another distribution
                pytest.skip(f"{package} is not installed and its package cannot be had: {error}")
    return program


def find_nginx(store: Path) -> Path:
    """nginx, as find_packaged has it."""
    return find_packaged("nginx", "usr/sbin/nginx", store)


def _unpack(package: str, store: Path) -> None:
    apt = Apt(store / "apt", ARCHITECTURES[os.uname().machine], print)
    apt.make_fresh(offline=False, refresh=False)
    deb = apt.lists()[package]
    apt.download([deb], store, offline=False)
    subprocess.run(["dpkg-deb", "-x", store / deb.filename, store / f"{package}.part"], check=True)
    (store / f"{package}.part").rename(store / package)


@contextmanager
def nginx_server(
    nginx: Path,
    folder: Path,
    scratch: Path,
    login: tuple[str, str] | None = None,
    *,
    dav: bool = False,
    reads_are_open: bool = False,
    header: tuple[str, str] | None = None,
) -> Iterator[str]:
    """Serves a folder with nginx, to everybody or only with a user and password, with ``dav`` for writing too; its address.

    With ``reads_are_open`` only who writes needs these. ``header`` is one that every request must have.
    """
    port = free_port()
    protected = ""
    if login:
        user, password = login
        (scratch / "users").write_text(f"{user}:{{PLAIN}}{password}\n")
        protected = f'auth_basic "packages"; auth_basic_user_file {scratch}/users;'
    if reads_are_open:
        protected = f"location / {{ limit_except GET {{ {protected} }} }}"
    if header:
        name, value = header
        protected = f'if ($http_{name.lower().replace("-", "_")} != "{value}") {{ return 403; }}'
    writable = "dav_methods PUT; create_full_put_path on; client_max_body_size 0;" if dav else ""
    (scratch / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {scratch}/pid; error_log {scratch}/error.log;
        events {{}}
        http {{
            access_log {scratch}/access.log;
            client_body_temp_path {scratch}/t1; proxy_temp_path {scratch}/t2; fastcgi_temp_path {scratch}/t3;
            uwsgi_temp_path {scratch}/t4; scgi_temp_path {scratch}/t5;
            server {{ listen 127.0.0.1:{port}; root {folder}; {protected} {writable} }}
        }}
    """)
    command: list[str | Path] = [nginx, "-c", scratch / "nginx.conf", "-p", scratch, "-e", scratch / "error.log"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: answers(port) or server.poll() is not None)
        assert server.poll() is None, server.communicate()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def free_port() -> int:
    """A port that nobody listened at a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
