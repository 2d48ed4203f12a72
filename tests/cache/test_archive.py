"""Results as a file: what is exported comes back the same, and what somebody made to do harm does none."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildgraph.errors import CacheError
from buildgraph.plan import archive
from buildgraph.plan.record import record_to_json
from buildgraph.structs import replace
from tests.cache.stored import Filled

ROOM = 1 << 30
Member = tuple[str, bytes]


@pytest.fixture
def filled(root: Path) -> Filled:
    """A cache with two results that share a file."""
    made = Filled(root)
    made.put("one", b"shared", b"of one")
    made.put("two", b"shared", b"of two")
    return made


@pytest.fixture
def other(tmp_path: Path) -> Filled:
    """An empty cache."""
    return Filled(tmp_path / "other")


def exported(filled: Filled, path: Path) -> Path:
    inventory = filled.inventory()
    archive.pack(path, inventory.results, inventory, filled.cas)
    return path


def take(other: Filled, path: Path, tier: str = "local", room: int = ROOM) -> archive.Taken:
    return archive.unpack(path, other.cas, other.records, archive.Believed(tier), room)


def members(path: Path) -> list[Member]:
    """What an archive has, by name."""
    with tarfile.open(path) as tar:
        return [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]


def written(path: Path, contents: list[Member], change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> Path:
    """An archive of these members."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in contents:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            change(member)
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return path


def index(contents: list[Member]) -> list[Any]:
    return [json.loads(line) for line in contents[0][1].splitlines()]


def with_index(contents: list[Member], lines: list[Any]) -> list[Member]:
    return [(archive.INDEX, "".join(json.dumps(line) + "\n" for line in lines).encode()), *contents[1:]]


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder but those of the database."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "records" not in str(path.relative_to(folder))
    }


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz", "all.tgz"])
def test_what_is_exported_comes_back_the_same(filled: Filled, other: Filled, tmp_path: Path, name: str) -> None:
    """Results, deep keys, documents, logs and texts; a second import adds nothing."""
    path = exported(filled, tmp_path / name)
    taken = take(other, path)

    assert other.files() == filled.files()
    assert other.results() == {"one", "two"}
    held = {one.action: one for one in filled.inventory().results}
    for one in other.inventory().results:
        original = held[one.action].record
        assert original is not None
        assert (one.record, one.deep) == (replace(original, fetched=True), held[one.action].deep)
    assert (taken.results, taken.blobs, taken.left_out) == (2, len(filled.files()), {})
    assert take(other, path).blobs == 0


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz"])
def test_the_same_results_give_the_same_bytes(filled: Filled, other: Filled, tmp_path: Path, name: str) -> None:
    """Whenever and wherever they are written; and from what came out of an archive too."""
    first = exported(filled, tmp_path / name)
    take(other, first)
    (tmp_path / "elsewhere").mkdir()
    time.sleep(1.1)  # a time in a gzip head counts seconds

    assert exported(other, tmp_path / "elsewhere" / name).read_bytes() == first.read_bytes()


def test_only_what_is_new_goes_into_the_next(filled: Filled, other: Filled, tmp_path: Path) -> None:
    """After an import what it brought is not new; what is stored later is."""
    take(other, exported(filled, tmp_path / "all.tar"))
    archive.mark_run(other.root)
    other.put("three", b"of three")
    began = archive.run_began(other.root)

    assert [one.name for one in other.inventory().results if one.stored_at > began] == ["//:three@x86_64"]


def test_a_damaged_blob_is_not_exported(filled: Filled, tmp_path: Path) -> None:
    """No archive is written then, and one that was there stays."""
    path = exported(filled, tmp_path / "all.tar")
    before = path.read_bytes()
    digest = next(digest for digest, data in filled.files().items() if data == b"of one")
    filled.cas.path(digest).unlink()
    filled.cas.path(digest).write_bytes(b"of eno")

    with pytest.raises(CacheError, match="is damaged") as told:
        exported(filled, path)
    assert told.value.hint == "`bg cache repair` drops what is wrong"
    assert path.read_bytes() == before
    assert set(os.listdir(tmp_path)) == {"all.tar", "cache"}


def test_any_cut_adds_no_record(filled: Filled, other: Filled, tmp_path: Path) -> None:
    """Wherever it ends too early, in a gzip too; what blobs came are right."""
    for name in ("all.tar", "all.tgz"):
        whole = exported(filled, tmp_path / name).read_bytes()
        last = len(whole) - (10240 - 1024 if name == "all.tar" else 64)  # the padding of a tar, which nobody needs
        for length in range(0, last - 1, max(1, last // 40)):
            (tmp_path / "cut").write_bytes(whole[:length])
            with pytest.raises(CacheError, match=r"no sound archive|cannot read"):
                take(other, tmp_path / "cut")
    assert other.inventory().results == []
    assert all(other.cas.verify(digest) for digest in other.files())
    assert os.listdir(other.root / "tmp") == ["gate"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4))
def test_noise_adds_nothing_wrong(filled: Filled, other: Filled, tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Bytes that changed on the way are an error or do not matter; every blob is right, every record was exported."""
    data = bytearray(exported(filled, tmp_path / "all.tar").read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    (tmp_path / "noise").write_bytes(data)
    with suppress(CacheError):
        take(other, tmp_path / "noise")
    assert all(other.cas.is_sound(digest) for digest in other.files())
    outside = set(os.listdir(tmp_path)) - {"cache", "other", "all.tar", "noise"}
    assert not outside


@pytest.mark.parametrize(
    "name",
    ["../../evil", "/etc/evil", "blobs/../../../evil", "blobs/" + "0" * 63 + "/", "records/cache.db", "pins"],
)
def test_no_name_leads_outside(filled: Filled, other: Filled, tmp_path: Path, name: str) -> None:
    """Names are not paths here: what is not the next blob of the index ends it."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    before = everything(other.root)
    contents[1] = (name, contents[1][1])

    with pytest.raises(CacheError, match="stands where"):
        take(other, written(tmp_path / "bad.tar", contents))
    assert other.inventory().results == []
    assert {name for name in everything(other.root) if name not in before} <= {"tmp/gate", "users.lock"}
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_only_plain_files_are_taken(filled: Filled, other: Filled, tmp_path: Path, kind: bytes, place: int) -> None:
    """No link, device, folder or file with holes, neither as the index nor as a blob."""
    contents = members(exported(filled, tmp_path / "all.tar"))

    def change(member: tarfile.TarInfo) -> None:
        if member.name == contents[place][0]:
            member.type, member.linkname, member.size = kind, "/etc/passwd", 0

    with pytest.raises(CacheError, match="no sound archive"):
        take(other, written(tmp_path / "bad.tar", contents, change))
    assert other.files() == {}


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_that_change_what_follows_are_refused(filled: Filled, other: Filled, tmp_path: Path, kind: bytes) -> None:
    """They would be read into memory whole, and could give other names."""
    head = tarfile.TarInfo("long")
    head.type, head.size = kind, 1 << 40
    (tmp_path / "bad.tar").write_bytes(head.tobuf(tarfile.GNU_FORMAT) + exported(filled, tmp_path / "all.tar").read_bytes())

    with pytest.raises(CacheError, match="stands where"):
        take(other, tmp_path / "bad.tar")


def test_another_blob_under_a_name_is_refused(filled: Filled, other: Filled, tmp_path: Path) -> None:
    """Of the same size; nothing of it stays."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    contents[-1] = (contents[-1][0], contents[-1][1][::-1])

    with pytest.raises(CacheError, match="other content than its name says"):
        take(other, written(tmp_path / "bad.tar", contents))
    assert other.inventory().results == []
    assert contents[-1][1] not in other.files().values()


def test_bombs_are_refused_before_they_burst(filled: Filled, other: Filled, tmp_path: Path) -> None:
    """More than there is room for, a size that the index does not say, too many blobs, an index that does not end."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    with pytest.raises(CacheError, match="there is room for 10") as told:
        take(other, tmp_path / "all.tar", room=10)
    assert "--max-size" in told.value.hint

    lines = index(contents)
    lines[1][1] += 1
    with pytest.raises(CacheError, match="another size than the index says"):
        take(other, written(tmp_path / "bad.tar", with_index(contents, lines)))

    lines[0]["blobs"] = 1 << 40
    with pytest.raises(CacheError, match="too many blobs"):
        take(other, written(tmp_path / "bad.tar", with_index(contents, lines)))

    head = tarfile.TarInfo(archive.INDEX)
    head.size = 1 << 40
    (tmp_path / "bad.tar").write_bytes(head.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(CacheError, match="its index is too large"):
        take(other, tmp_path / "bad.tar")

    head.size = 200 << 20
    with gzip.open(tmp_path / "bad.tgz", "wb", 9) as stream:  # a line of 200 MiB, in 200 KB
        stream.write(head.tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            stream.write(bytes(1 << 20))
    with pytest.raises(CacheError, match="line that is too long"):
        take(other, tmp_path / "bad.tgz")
    assert other.files() == {}


def test_records_without_end_are_refused(filled: Filled, other: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million is the most; here it is what there is."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    lines = index(contents)
    monkeypatch.setattr(archive, "_MOST_ROWS", len(lines) - 1 - lines[0]["blobs"])
    take(other, tmp_path / "all.tar")
    before = other.results()
    with pytest.raises(CacheError, match="too many records"):
        take(other, written(tmp_path / "bad.tar", with_index(contents, [*lines, lines[-1]])))
    assert other.results() == before == filled.results()


def test_more_members_than_the_index_says_are_refused(filled: Filled, other: Filled, tmp_path: Path) -> None:
    """What follows could be anything."""
    contents = members(exported(filled, tmp_path / "all.tar"))

    with pytest.raises(CacheError, match="more members"):
        take(other, written(tmp_path / "bad.tar", [*contents, ("blobs/" + "0" * 64, b"more")]))
    assert other.inventory().results == []


def test_a_record_without_its_blobs_is_left_out(filled: Filled, other: Filled, tmp_path: Path) -> None:
    """The others are taken."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    lines = index(contents)
    lost = next(name for name, data in contents if data == b"of one")
    kept = [lines[0], *(line for line in lines[1:] if line[0] != lost.removeprefix("blobs/"))]
    kept[0]["blobs"] -= 1

    taken = take(other, written(tmp_path / "bad.tar", with_index([one for one in contents if one[0] != lost], kept)))
    assert other.results() == {"two"}
    assert taken.left_out == {"without all its files": 1}
    assert other.inventory().counts["deep"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": [["../../evil", "0" * 64, 1]]},
        {"outputs": [["/etc/evil", "0" * 64, 1]]},
        {"outputs": [["x", "not a digest", 1]]},
        {"outputs": [["x", "0" * 64, -1]]},
        {"format": 2},
        {"action": "0" * 64},
        {"document": "../../x"},
        {"packages": [{"name": "evil"}]},
        {"built_at": 253_402_300_800},
        {"processors": 1 << 64},
    ],
)
def test_what_is_no_record_is_left_out(filled: Filled, other: Filled, tmp_path: Path, change: dict[str, Any]) -> None:
    """A path that leads outside, a record of another action: each counts as no record, and the rest is taken."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    lines = index(contents)
    for line in lines[1:]:
        if line[0] == "action" and line[2]["node"] == "//:one@x86_64":
            line[2] |= change

    taken = take(other, written(tmp_path / "bad.tar", with_index(contents, lines)))
    assert other.results() == {"two"}
    assert taken.left_out == {"no record of a kind that is taken": 1}
    assert not any(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", ["external", "source", "last", "wanted", "novel"])
def test_only_results_are_taken(filled: Filled, other: Filled, tmp_path: Path, kind: str) -> None:
    """An archive cannot say what a package from outside is, nor what is kept."""
    contents = members(exported(filled, tmp_path / "all.tar"))
    lines = [*index(contents), [kind, "f" * 64, {"digest": "0" * 64}]]

    taken = take(other, written(tmp_path / "bad.tar", with_index(contents, lines)))
    assert (taken.results, taken.left_out) == (2, {"no record of a kind that is taken": 1})
    assert other.records.get(kind, "f" * 64) is None


def test_tiers_do_not_rise(tmp_path: Path, other: Filled) -> None:
    """Of another's pull request nothing is taken; a trusted result counts as one's own, and stays in one's own tier."""
    source = Filled(tmp_path / "source")
    kept = {
        tier: source.put(f"of-{tier.replace('/', '-')}", tier.encode(), tier=tier)
        for tier in ("trusted", "pr/1", "pr/2", "local")
    }
    path = exported(source, tmp_path / "all.tar")
    taken = take(other, path, tier="pr/1")

    assert taken.results == 2
    assert taken.left_out == {"of the tier `pr/2`": 2, "of the tier `local`": 2}
    for tier in ("trusted", "pr/1"):
        raw = other.records.get("action", kept[tier].action)
        assert raw is not None
        assert raw == record_to_json(kept[tier]) | {"tier": "pr/1", "fetched": True}
    assert take(Filled(tmp_path / "third"), path, tier="trusted").results == 1


@pytest.mark.parametrize("data", [b"", b"PK\3\4zip", b"\x1f\x8b", b"\x1f\x8b\x08\0garbage", b"x" * 2000, b"\0" * 4096])
def test_what_is_no_archive_is_told(other: Filled, tmp_path: Path, data: bytes) -> None:
    """In one message, whatever it is."""
    (tmp_path / "bad").write_bytes(data)

    with pytest.raises(CacheError, match=r"no sound archive|cannot read"):
        take(other, tmp_path / "bad")


def test_memory_stays_small(tmp_path: Path, run: Callable[..., str]) -> None:
    """A blob of 200 MiB goes out and in with a few MiB of memory."""
    lines = """
from tests.cache.stored import Filled
source = Filled(root)
source.put("big", bytes(200 << 20))
"""
    measure = """
from tests.cache.stored import Filled
from tests.memory import peak
from buildgraph.plan import archive
source, target = Filled(root), Filled(root.with_name("target"))
inventory = source.inventory()
before = peak()
archive.pack(root.with_name("all.tgz"), inventory.results, inventory, source.cas)
archive.unpack(root.with_name("all.tgz"), target.cas, target.records, archive.Believed("local"), 1 << 30)
print(peak() - before, sorted(target.results()))
"""
    run(lines)
    grown, names = run(measure).split(maxsplit=1)
    assert names == "['big']\n"
    assert int(grown) < 40
