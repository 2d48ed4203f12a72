"""A cache in a fresh folder, other processes that use it, and disks that are small or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

import buildgraph.errors
from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records

Spawn = Callable[..., "subprocess.Popen[str]"]

PRELUDE = """
import os, sys
from pathlib import Path
from blake3 import blake3
from buildgraph.cache.cas import Cas
from buildgraph.cache.locks import ActionLocks
from buildgraph.cache.records import Records
from buildgraph.errors import BgError, CacheError
root = Path(sys.argv[1])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the cache, not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def cas(root: Path) -> Cas:
    """An empty store."""
    return Cas(root, blake3)


CONTENT = {str(number): {"n": number, "pad": "x" * 500} for number in range(50)}


@pytest.fixture
def notices() -> list[str]:
    """What people were told."""
    return []


@pytest.fixture
def records(root: Path, notices: list[str]) -> Iterator[Records]:
    """Fifty records, CONTENT, written and closed; the next use opens them anew."""
    made = Records(root, notice=notices.append)
    made.put_many("action", CONTENT)
    made.close()
    yield made
    made.close()


@pytest.fixture
def spawn(root: Path) -> Spawn:
    """Start another Python that runs some lines with the names of PRELUDE; ``within`` is a command to run it under."""

    def start(lines: str, *arguments: object, within: tuple[str, ...] = (), folder: Path = root) -> subprocess.Popen[str]:
        search = [str(Path(buildgraph.errors.__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return subprocess.Popen(
            [*within, sys.executable, "-W", "error", "-c", PRELUDE + lines, str(folder), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def run(spawn: Spawn) -> Callable[..., str]:
    """Run some lines in another Python to the end and return what it printed; it must not fail."""

    def to_end(lines: str, *arguments: object, **options: object) -> str:
        process = spawn(lines, *arguments, **options)
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        return output

    return to_end


@pytest.fixture
def mounts() -> Callable[[str], tuple[str, ...]]:
    """A command prefix that runs a shell line, which may mount, and then the rest, in namespaces of its own; no root needed."""
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"this machine lets nobody mount in a user namespace: {probe.stderr.strip()}")

    def prefix(line: str) -> tuple[str, ...]:
        return ("unshare", "-rm", "sh", "-ec", f'{line}\nexec "$@"', "sh")

    return prefix


@pytest.fixture
def small_disk(tmp_path: Path, mounts: Callable[[str], tuple[str, ...]]) -> tuple[tuple[str, ...], Path]:
    """A command prefix within which a folder is a disk of 1 MiB, and that folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    return mounts(f"mount -t tmpfs -o size=1m tmpfs '{disk}'"), disk


@pytest.fixture
def read_only(root: Path, mounts: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
    """A command prefix within which the cache cannot be written, by root neither."""
    return mounts(f"mount --bind '{root}' '{root}'\nmount -o remount,bind,ro '{root}'")
