"""Packages of npm's registry, checked against a pinned digest. Which registry, npm's own settings say."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from buildgraph.errors import RepositoryError
from buildgraph.structs import Struct
from tools.seed.files import Say, has_digest

_TIMEOUT = 60.0  # seconds without a byte


class Tarball(Struct, frozen=True):
    """One version of a package. ``size`` in bytes, ``integrity`` as the registry writes it, ``arch`` by apk's name.

    ``place`` is the folder that its files go to.
    """

    name: str
    version: str
    arch: str
    place: str
    size: int
    integrity: str

    @property
    def filename(self) -> str:
        """The name under which ``npm pack`` leaves it."""
        return f"{self.name}-{self.version}.tgz"

    def is_at(self, path: Path) -> bool:
        """Whether the file is that package, byte for byte."""
        algorithm, _, digest = self.integrity.partition("-")
        return has_digest(path, self.size, algorithm, base64.b64decode(digest).hex())


def download(tarball: Tarball, folder: Path, say: Say, *, offline: bool) -> None:
    """Leave the tarball in ``folder``; one that is there and right stays. Raises RepositoryError."""
    target = folder / tarball.filename
    if tarball.is_at(target):
        return
    if offline:
        what = f"the npm package {tarball.name} is not in the store, and --offline forbids downloading it"
        raise RepositoryError(what, hint="run once without --offline")
    start = time.monotonic()
    say(f"download: {tarball.name} {tarball.version} of npm's registry, {tarball.size / 1e6:.0f} MB")
    incoming = folder / ".incoming"  # the store is locked; what a killed run left goes
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        said = _pack(tarball, incoming) if shutil.which("npm") else _fetch(tarball, incoming, os.environ)
        if not tarball.is_at(incoming / tarball.filename):
            there = (incoming / tarball.filename).exists()
            what = f"{tarball.name} {tarball.version} {'is not what it was' if there else 'could not be downloaded'}"
            raise RepositoryError(what, details=said, hint="does npm's registry answer? `npm config get registry` names it")
        (incoming / tarball.filename).replace(target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    say(f"download: done in {time.monotonic() - start:.1f} s")


def _pack(tarball: Tarball, folder: Path) -> str:
    """Let npm download it, with a cache of its own: its usual one would keep a second copy. What npm complains of."""
    command = ["npm", "pack", f"{tarball.name}@{tarball.version}", "--ignore-scripts", "--cache", str(folder / "cache")]
    command += ["--fetch-retries", "1"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "\n".join([line for line in done.stderr.splitlines() if line.lower().startswith("npm err")][:4])


def _fetch(tarball: Tarball, folder: Path, environment: Mapping[str, str]) -> str:
    """Download it without npm; what went wrong."""
    address = registry(environment)
    try:
        with _open(f"{address}/{tarball.name}/{tarball.version}") as answer:
            place = json.load(answer)["dist"]["tarball"]
        with _open(place) as answer, (folder / tarball.filename).open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError, LookupError, TypeError) as error:
        return str(error)
    return ""


def _open(address: str) -> IO[bytes]:
    answer: IO[bytes] = urllib.request.urlopen(address, timeout=_TIMEOUT)  # noqa: S310 - the user's own settings name the registry
    return answer


def registry(environment: Mapping[str, str]) -> str:
    """The registry that npm would ask, by the environment or the user's ``.npmrc``. Raises RepositoryError where none is set."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if environment.get(name):
            return environment[name].rstrip("/")
    try:
        text = Path(environment.get("NPM_CONFIG_USERCONFIG") or Path(environment.get("HOME", "/"), ".npmrc")).read_text("utf-8")
    except OSError:
        text = ""
    found = re.search(r"^\s*registry\s*=\s*[\"']?(https?://[^\s\"']+)", text, re.MULTILINE)
    if found is None:
        what = "npm is not on PATH, and no registry is set by which its packages could be had without it"
        raise RepositoryError(what, hint="install npm, or set NPM_CONFIG_REGISTRY to the registry's address")
    return found[1].rstrip("/")
