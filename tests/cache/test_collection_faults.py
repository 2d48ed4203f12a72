"""Collections, archives and checks among processes that are killed, on disks that are full or read-only, and late in coming."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildgraph.cache.cas import MissingBlobError
from buildgraph.plan import checkup
from tests.cache.stored import Filled

Run = Callable[..., str]

PRELUDE = """
import contextlib, random, signal, time
from buildgraph.cache.files import is_full
from buildgraph.cache.locks import UseLock
from buildgraph.plan import archive, checkup, collection
from buildgraph.plan.collection import Limits
from buildgraph.plan.roots import Pin, change_pins, load_pins
from tests.cache.stored import WORKSPACE, Filled
filled = Filled(root)

def collect(size, begun=None):
    inventory, now = filled.inventory(), time.time()
    kept = collection.kept_actions(inventory, load_pins(root), now)
    going = collection.choose(inventory, kept, Limits(max_size=size), now + 2 * collection.GRACE)
    if begun is not None:
        os.write(begun, b"!")
    return collection.remove(going, inventory, filled.cas, filled.records)

def faults():
    inventory = filled.inventory()
    found = checkup.wrong_blobs(inventory.blobs, filled.cas)
    return found + checkup.wrong_records(inventory, filled.records, [], whole=True)

def never(): return False
def silent(): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_kill_at_any_instant_of_a_collection_leaves_all_sound(seed: int, run: Run) -> None:
    """A hundred in all: every blob is right, every record has its files, what is pinned is there; the next one ends the work."""
    lines = """
chance = random.Random(int(sys.argv[2]))
pinned = filled.put("pinned", b"pinned", b"shared")
change_pins(root, lambda pins: pins | {Pin(WORKSPACE, "//:pinned")})

def fill():
    for number in range(25):
        filled.put(f"n{number}", b"shared", chance.randbytes(200), b"%d" % chance.randrange(40))

def start():
    fill()
    filled.records.close()
    begun, tell = os.pipe()
    pid = os.fork()
    if not pid:
        collect(0, tell)
        os._exit(0)
    os.close(tell)
    return pid, begun

collection._BATCH = 8
pid, begun = start()
times = [time.monotonic()]
for wait in (lambda: os.read(begun, 1), lambda: os.waitpid(pid, 0)):
    wait()
    times.append(time.monotonic())
looking, removing = times[1] - times[0], times[2] - times[1]
met = 0
for attempt in range(35):
    pid, begun = start()
    before = len(filled.cas.stats())
    if attempt % 5:  # most while it removes, which takes less time than looking
        os.read(begun, 1)
        time.sleep(chance.uniform(0, removing))
    else:
        time.sleep(chance.uniform(0, looking))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(begun)
    met += 6 < len(filled.cas.stats()) < before
    assert faults() == [], faults()
    assert filled.store.record(pinned.action) == pinned
collect(0)
assert filled.results() == {"pinned"}
assert set(filled.files()) == {blob for held in filled.inventory().held for blob in held.blobs}
print("met" if met >= 3 else f"only {met} kills met a collection at work")
"""
    assert run(PRELUDE + lines, seed) == "met\n"


@pytest.mark.slow
def test_two_hundred_readers_and_writers(run: Run) -> None:
    """While one uses the cache what it saw stays there, whoever collects; nobody fails, and all is sound at the end."""
    lines = """
filled.records.close()

def work(number):
    chance = random.Random(number)
    lock = UseLock(root)
    for step in range(6):
        if chance.random() < 0.15:
            with lock.alone_if_unused() as alone:
                if alone:
                    collect(chance.randrange(3000))
            continue
        with lock.shared(on_wait=silent, cancelled=never):
            name = f"n{chance.randrange(30)}"
            record = filled.put(name, b"shared", name.encode() * 20)
            seen = [held.record for held in filled.inventory().results if chance.random() < 0.3]
            seen = [one for one in seen if filled.store.record(one.action)]
            for one in (*seen, record):
                assert filled.store.record(one.action) == one
                for output in one.outputs:
                    assert filled.cas.verify(output.digest), output

children = []
for number in range(200):
    pid = os.fork()
    if not pid:
        try:
            work(number)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(pid)
failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
assert faults() == [], faults()
collect(0)
print(failed, sorted(filled.results()))
"""
    assert run(PRELUDE + lines) == "0 []\n"


def test_a_collection_makes_room_on_a_full_disk(run: Run, small_disk: tuple[tuple[str, ...], Path]) -> None:
    """Also where the database cannot be written before there is some."""
    lines = """
for number in range(4):
    filled.put(f"n{number}", os.urandom(60_000))
try:
    while True:
        filled.put(f"more{time.monotonic_ns()}", os.urandom(9_000))
except CacheError as error:
    print(error.hint.split(",")[0].split(";")[0])
with contextlib.suppress(OSError), open(root.with_name("fill"), "wb", buffering=0) as stream:
    while True:
        stream.write(bytes(512))
print(collect(0).counts["result"] >= 4, filled.results(), faults())
filled.put("again", os.urandom(60_000))
print(filled.results())
"""
    within, disk = small_disk
    told = run(PRELUDE + lines, within=within, folder=disk / "cache")
    assert told == "free some space there\nTrue set() []\n{'again'}\n"


def test_a_full_disk_stops_an_import_and_an_export(run: Run, small_disk: tuple[tuple[str, ...], Path], tmp_path: Path) -> None:
    """A clear error each; no record came, nothing is left half-done."""
    source = Filled(tmp_path / "source")
    for number in range(40):
        source.put(f"n{number}", os.urandom(50_000))
    inventory = source.inventory()
    from buildgraph.plan import archive

    archive.pack(tmp_path / "all.tar", inventory.results, inventory, source.cas)
    lines = """
filled.put("first", b"content")
for act in (
    lambda: archive.unpack(Path(sys.argv[2]), filled.cas, filled.records, archive.Believed("local"), archive.free_room(root)),
    lambda: archive.unpack(Path(sys.argv[2]), filled.cas, filled.records, archive.Believed("local"), 1 << 40),
):
    try:
        act()
    except CacheError as error:
        print(error.hint.split(",")[0].split(";")[0])
print(filled.results(), faults(), os.listdir(root / "tmp"))
other = Filled(Path(sys.argv[3]))
try:
    inventory = other.inventory()
    archive.pack(root.with_name("all.tar"), inventory.results, inventory, other.cas)
except CacheError as error:
    print(error.what.split(": ")[-1], sorted(os.listdir(root.parent)))
"""
    within, disk = small_disk
    told = run(PRELUDE + lines, tmp_path / "all.tar", tmp_path / "source", within=within, folder=disk / "cache")
    hints = "`bg cache gc` makes room\nfree some space there\n"
    assert told == f"{hints}{{'first'}} [] ['gate']\nno space left on device ['cache']\n"


def bg(workspace: Path, cache: Path, *arguments: str, within: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`bg` in a workspace that has nothing but a manifest."""
    workspace.mkdir(exist_ok=True)
    (workspace / "buildgraph.yaml").touch()
    environment = {"PATH": os.environ["PATH"], "HOME": str(workspace), "BG_CACHE_DIR": str(cache), "PYTHONPATH": os.getcwd()}
    command = [*within, sys.executable, "-m", "buildgraph", "cache", *arguments]
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_read_only_cache_can_be_looked_at(root: Path, tmp_path: Path, read_only: tuple[str, ...]) -> None:
    """What is to change it says why it cannot."""
    filled = Filled(root)
    filled.put("one", b"content")
    filled.records.close()
    for command in (["stats"], ["ls"], ["verify"], ["export", str(tmp_path / "all.tar")]):
        done = bg(tmp_path / "ws", root, *command, within=read_only)
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
    for command in (["gc", "--max-size", "0"], ["rm", "//:one"], ["repair"]):
        done = bg(tmp_path / "ws", root, *command, within=read_only)
        assert done.returncode == 9, (command, done)
        assert "read-only file system" in done.stderr
        assert "hint: make the folder writable" in done.stderr
    assert filled.results() == {"one"}


@pytest.mark.parametrize("number", ["0", "2", "99"])
@pytest.mark.parametrize("command", [["stats"], ["gc", "--max-size", "0"], ["repair"], ["rm", "//:one"], ["import", "x.tar"]])
def test_a_cache_of_another_format_is_left_alone(root: Path, tmp_path: Path, number: str, command: list[str]) -> None:
    """By every command: nothing is read, nothing goes."""
    filled = Filled(root)
    filled.put("one", b"content")
    filled.records.close()
    (root / "FORMAT").write_text(f"{number}\n")
    before = sorted(path for path in root.rglob("*"))

    done = bg(tmp_path / "ws", root, *command)
    assert done.returncode == 9, done
    assert f"has format {number}" in done.stderr
    assert sorted(path for path in root.rglob("*")) == before
    (root / "FORMAT").write_text("1\n")
    assert filled.results() == {"one"}


@contextmanager
def hidden(path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a network file system shows a file that another machine has written, or removed, just now: not yet, or no more."""
    lstat, open_file = os.lstat, os.open

    def refuse(asked: object) -> None:
        if str(asked) == str(path):
            raise OSError(number, os.strerror(number), str(path))

    def late_lstat(asked: str, **how: object) -> os.stat_result:
        refuse(asked)
        return lstat(asked, **how)  # type: ignore[arg-type]

    def late_open(asked: str, *how: object, **more: object) -> int:
        refuse(asked)
        return open_file(asked, *how, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as late:
        late.setattr(os, "lstat", late_lstat)
        late.setattr(
            os, "stat", lambda asked, **how: late_lstat(asked) if how.get("follow_symlinks") is False else os.lstat(asked)
        )
        late.setattr(os, "open", late_open)
        yield


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_a_record_that_is_seen_before_its_blob_is_a_miss(root: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a hit once the blob is seen; nothing was dropped meanwhile."""
    filled = Filled(root)
    record = filled.put("one", b"content", b"more")
    blob = record.outputs[0].digest
    with hidden(filled.cas.path(blob), number, monkeypatch):
        assert filled.store.previous(record.action) == record
        assert filled.store.record(record.action) is None
        assert not filled.cas.has(blob)
        with pytest.raises(MissingBlobError):
            filled.cas.read(blob)
        with pytest.raises(MissingBlobError):
            filled.cas.link(blob, root / "link")
    assert filled.store.record(record.action) == record
    assert filled.cas.read(blob) == b"content"


def test_repair_drops_what_is_wrong_and_nothing_else(root: Path) -> None:
    """Of each kind of fault one; where caches elsewhere may have the files, records without them are no fault."""
    filled = Filled(root)
    for name in ("sound", "flipped", "short", "lost", "log"):
        filled.put(name, f"content of {name}".encode(), b"shared")
    digests = {data: digest for digest, data in filled.files().items()}

    def spoil(data: bytes, by: bytes | None) -> str:
        path = filled.cas.path(digests[data])
        path.unlink()
        if by is not None:
            path.write_bytes(by)
        return digests[data]

    bad = {spoil(b"content of flipped", b"content_of flipped"), spoil(b"content of short", b"")}
    spoil(b"content of lost", None)
    log = next(data for data in digests if data.startswith(b"log of log"))
    bad.add(spoil(log, b"forged"))
    filled.records.put("action", "f" * 64, {"format": 1, "garbage": True})
    filled.records.put("external", "Q1gone", {"digest": "e" * 64, "package": "x86_64/gone-1.apk"})
    inventory = filled.inventory()
    wrong = checkup.wrong_blobs(sorted(inventory.blobs), filled.cas)
    assert {finding.what for finding in wrong} == bad
    elsewhere = checkup.wrong_records(inventory, filled.records, bad, whole=False)
    assert {finding.what for finding in elsewhere if finding.fault == "result"} == {"//:flipped@x86_64", "//:short@x86_64"}
    found = wrong + checkup.wrong_records(inventory, filled.records, bad, whole=True)
    assert {(finding.fault, finding.what) for finding in found if finding.fault != "blob"} == {
        ("record", f"action/{'f' * 64}"),
        ("fetched", "x86_64/gone-1.apk"),
        *(("result", f"//:{name}@x86_64") for name in ("flipped", "short", "lost")),
    }

    before = filled.files()
    checkup.mend(found, inventory, filled.cas, filled.records)
    after = filled.inventory()
    assert filled.results() == {"sound", "log"}
    assert filled.files() == {digest: data for digest, data in before.items() if digest not in bad}
    assert len(os.listdir(root / "quarantine")) == 3
    assert not checkup.wrong_blobs(after.blobs, filled.cas)
    assert not checkup.wrong_records(after, filled.records, [], whole=True)
