"""Upstream's own source archives, out of Debian's source archive: apt with a state of its own finds them by their digest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITES = ("bookworm", "trixie", "sid")
_CONF = """\
Dir::State "{state}";
Dir::State::lists "lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Log "{state}/log";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
#clear APT::Update;
Acquire::Languages {{ "none"; }};
Acquire::GzipIndexes "false";
"""


def archives(wanted: Collection[str], kept: Path) -> Path:
    """A folder with files named ``sha256:HEX`` of these digests; ``kept`` keeps them for later runs. Skips where it cannot be."""
    missing = {digest for digest in wanted if not (kept / f"sha256:{digest}").is_file()}
    if missing:
        if shutil.which("apt-get") is None or not _KEYRING.is_file():
            pytest.skip("upstream's sources come from Debian's source archive, and this machine has no apt for it")
        _download(missing, kept)
    return kept


def _download(wanted: Collection[str], kept: Path) -> None:
    state = kept / "apt"
    shutil.rmtree(state, ignore_errors=True)  # of a run that was interrupted
    for folder in ("lists/partial", "cache/archives/partial", "log", "files"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "apt.conf").write_text(_CONF.format(state=state))
    lines = (f"deb-src [signed-by={_KEYRING}] http://deb.debian.org/debian {suite} main\n" for suite in _SUITES)
    (state / "sources.list").write_text("".join(lines))
    _apt(state, "update")
    packages = _packages_with(wanted, state / "lists")
    if len(packages) < len(wanted):
        pytest.skip(f"Debian's source archive has only {len(packages)} of {len(wanted)} sources")
    _apt(state, "source", "--download-only", "--tar-only", *(f"{name}={version}" for name, version in packages.values()))
    for path in (state / "files").iterdir():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in wanted:
            path.rename(kept / f"sha256:{digest}")
    shutil.rmtree(state)


def _apt(state: Path, *arguments: str) -> None:
    command = ["apt-get", "-q", "-c", str(state / "apt.conf"), *arguments]
    done = subprocess.run(command, cwd=state / "files", capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        pytest.skip(f"apt-get {arguments[0]} does not work here: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


def _packages_with(wanted: Collection[str], lists: Path) -> dict[str, tuple[str, str]]:
    """The source packages that have files of these digests, each with its version, by digest."""
    found: dict[str, tuple[str, str]] = {}
    digest = re.compile("|".join(sorted(wanted)))
    for path in sorted(lists.glob("*_Sources")):
        for stanza in path.read_text().split("\n\n"):
            for match in digest.finditer(stanza):
                fields = dict(line.split(": ", 1) for line in stanza.splitlines() if line.startswith(("Package: ", "Version: ")))
                found.setdefault(match[0], (fields["Package"], fields["Version"]))
    return found
