"""The store among processes that are killed, that race, and on disks that are full or read-only."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from buildgraph.cache.cas import Cas, MissingBlobError

Spawn = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., str]

KILLS = 30


def assert_sound(cas: Cas) -> int:
    """Every blob has the content that its name says; the number of blobs."""
    digests = list(cas.iter_blobs())
    assert [digest for digest in digests if blake3(cas.path(digest).read_bytes()).hexdigest() != digest] == []
    return len(digests)


def test_a_kill_at_any_instant_leaves_no_wrong_blob(cas: Cas, root: Path, spawn: Spawn, tmp_path: Path) -> None:
    """Blobs are whole or absent, the next sweep removes the rest, and a source to be moved is not lost."""
    big = tmp_path / "big"
    big.write_bytes(random.Random(1).randbytes(24 << 20))
    lines = """
cas = Cas(root, blake3)
big = Path(sys.argv[2]).read_bytes()
mine = Path(sys.argv[3])
print("ready", flush=True)
for number in range(1_000_000):
    mine.write_bytes(big[number:])
    cas.put_file(mine, move=bool(number % 2))
    with cas.scratch() as folder:
        (folder / "file").write_bytes(big[:1 << 20])
        (folder / "file").chmod(0o400)
        folder.chmod(0o500)
        cas.path(cas.put_file(folder / "file")).unlink()
    for digest in cas.iter_blobs():
        cas.path(digest).unlink()
"""
    left = 0
    chance = random.Random(2)
    for attempt in range(KILLS):
        with spawn(lines, big, tmp_path / f"source{attempt % 2}") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
        rubbish = [path.name for path in (root / "tmp").iterdir() if path.name != "gate"] if (root / "tmp").exists() else []
        left += bool(rubbish)

        assert_sound(cas)
        assert bool(cas.sweep()) == any("." not in name or name.endswith(".part") for name in rubbish)
        assert not (root / "tmp").exists() or [path.name for path in (root / "tmp").iterdir()] == ["gate"]

    assert left > KILLS // 10, "hardly a kill met a write: the test shows nothing"


def test_many_processes_put_the_same_and_other_blobs_at_once(cas: Cas, spawn: Spawn) -> None:
    """Who comes first does not matter, and sweeping meanwhile takes nothing from the living."""
    lines = """
cas = Cas(root, blake3)
sys.stdin.readline()
for number in range(40):
    same = cas.put_bytes(b"same %d" % number * 1000)
    other = cas.put_bytes(b"other %d of %s" % (number, sys.argv[2].encode()))
    with cas.scratch() as folder:
        (folder / "file").write_bytes(b"file %d" % (number % 7))
        cas.sweep()
        moved = cas.put_file(folder / "file", move=True)
        for digest in (same, other, moved):
            cas.link(digest, folder / "linked")
            assert blake3((folder / "linked").read_bytes()).hexdigest() == digest
"""
    processes = [spawn(lines, name) for name in range(16)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [process.communicate(timeout=120)[1] for process in processes] == [""] * 16
    assert assert_sound(cas) == 40 + 16 * 40 + 7
    assert [path.name for path in (cas.path("0" * 64).parents[2] / "tmp").iterdir()] == ["gate"]


def test_a_full_disk_is_an_error_with_a_hint_and_loses_nothing(run: Run, small_disk: tuple[tuple[str, ...], Path]) -> None:
    """What was there stays, what did not fit leaves no trace, and space that is freed is used."""
    within, disk = small_disk
    output = run(
        """
cache = root / "cache"
cas = Cas(cache, blake3)
small = cas.put_bytes(bytes(50_000))
(root / "source").write_bytes(os.urandom(500_000))

def fill():
    with cas.scratch() as folder, (folder / "file").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            cas.copy(small, root / "copy", 0o644)

for use in (lambda: cas.put_bytes(os.urandom(2_000_000)), lambda: cas.put_file(root / "source"), fill):
    try:
        use()
    except CacheError as error:
        print(error.what.split(": ")[-1], "|", error.hint.split(",")[0])
    assert list(cas.iter_blobs()) == [small] and cas.verify(small)
    assert os.listdir(cache / "tmp") == ["gate"]
    assert sorted(os.listdir(root)) == ["cache", "source"]
moved = cas.put_file(root / "source", move=True)
assert cas.verify(moved)
""",
        within=within,
        folder=disk,
    )

    assert output.splitlines() == ["no space left on device | free some space there"] * 3


def test_a_limit_on_file_sizes_is_an_error_with_a_hint(run: Run) -> None:
    """EFBIG is told as a full disk is, and the source is not lost."""
    output = run(
        """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cas = Cas(root, blake3)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    cas.put_bytes(bytes(5000))
except CacheError as error:
    print(error.what.split(": ")[-1], "|", error.hint)
assert os.listdir(root / "tmp") == ["gate"]
"""
    )

    assert output.startswith("file too large | raise the limit on file sizes (ulimit -f)")


def test_a_read_only_cache_is_read(cas: Cas, run: Run, read_only: tuple[str, ...], tmp_path: Path) -> None:
    """Reading, linking out and checking work; writing is an error with a hint; a wrong blob is still missing."""
    digest = cas.put_bytes(b"hello")
    wrong = cas.put_bytes(b"other")
    cas.path(wrong).chmod(0o644)
    cas.path(wrong).write_bytes(b"wrong")

    output = run(
        """
cas = Cas(root, blake3)
digest, wrong, out = sys.argv[2:]
cas.link(digest, Path(out))
print(cas.read(digest), cas.verify(digest), cas.verify(wrong), cas.has(digest), cas.sweep(), len(list(cas.iter_blobs())))
print(cas.put_bytes(b"hello") == digest)
for use in (lambda: cas.put_bytes(b"new"), lambda: cas.put_file(Path(out)), lambda: cas.scratch().__enter__()):
    try:
        use()
    except CacheError as error:
        print(error.what.split(": ")[-1], "|", error.hint.split(",")[0])
""",
        digest,
        wrong,
        tmp_path / "out",
        within=read_only,
    )

    assert output.splitlines() == [
        "b'hello' True False True 0 2",
        "True",
        *["read-only file system | make the folder writable"] * 3,
    ]
    assert (tmp_path / "out").read_bytes() == b"hello"


class Late:
    """A hasher that ends after something else has happened."""

    def __init__(self, before: Callable[[], object]) -> None:
        self._before, self._hasher = before, blake3()
        self.update = self._hasher.update

    def hexdigest(self) -> str:
        """The digest."""
        self._before()
        return self._hasher.hexdigest()


@pytest.mark.parametrize("look", ["verify", "read"])
def test_a_blob_that_was_mended_meanwhile_stays(root: Path, look: str) -> None:
    """What is set aside is what was read and found wrong, not what another process has put in its place since."""
    other = Cas(root, blake3)
    digest = other.put_bytes(b"good")

    def mend() -> None:
        if other.path(digest).read_bytes() == b"evil":
            with other.arrivals() as begin:
                arrival = begin()
                arrival.write(b"good")
                assert arrival.keep(digest)

    cas = Cas(root, lambda: Late(mend))
    other.path(digest).unlink()
    other.path(digest).write_bytes(b"evil")
    if look == "verify":
        assert not cas.verify(digest)
    else:
        with pytest.raises(MissingBlobError):
            cas.read(digest)
    assert other.read(digest) == b"good"
