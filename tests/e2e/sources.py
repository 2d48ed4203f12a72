"""Servers of sources: archives over HTTP, repositories over git's own protocol; and a world without a network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@contextmanager
def archives_served(folder: Path) -> Iterator[str]:
    """The address of an HTTP server for the files of a folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def repositories_served(folder: Path) -> Iterator[str]:
    """The address of git's own server for the repositories in a folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["git", "daemon", "--export-all", f"--base-path={folder}", "--listen=127.0.0.1", f"--port={port}", "--reuseaddr"]
    server = subprocess.Popen([*command, str(folder)], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"git://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()


@dataclass(frozen=True)
class Upstream:
    """A git repository that others clone."""

    folder: Path

    def git(self, *arguments: str, when: int = 1_600_000_000) -> str:
        """What git prints; commits and tags are made at a time of their own."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": f"@{when} +0000",
            "GIT_COMMITTER_DATE": f"@{when} +0000",
            **_IDENTITY,
        }
        done = subprocess.run(["git", *arguments], cwd=self.folder, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], *, when: int) -> str:
        """A new commit with these files; its hash."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            self.git("add", name)
        self.git("commit", "--quiet", "-m", f"at {when}", when=when)
        return self.git("rev-parse", "HEAD")


def make_upstream(folder: Path) -> Upstream:
    """An empty repository whose branch is ``trunk``."""
    folder.mkdir(parents=True)
    upstream = Upstream(folder)
    upstream.git("init", "--quiet", "--initial-branch=trunk")
    return upstream


def make_archive(path: Path, files: Mapping[str, str]) -> bytes:
    """A source archive with one folder, as fetch expects one; its bytes."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"source/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path.read_bytes()


def sha256(data: bytes) -> str:
    """The digest that recipes name."""
    return hashlib.sha256(data).hexdigest()


def sha512(data: bytes) -> str:
    """The other digest that recipes name."""
    return hashlib.sha512(data).hexdigest()


def no_network() -> list[str]:
    """A command prefix for a process tree that has no network but a loopback that is down. Skips where that cannot be."""
    prefix = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no new network namespace")
    return prefix
