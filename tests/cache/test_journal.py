"""A database of records that is lost or damaged is made again from the journal, and nothing comes back that was removed."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildgraph.cache import journal as module
from buildgraph.cache.records import Records
from buildgraph.plan import checkup, collection
from buildgraph.plan.recovery import Judge
from buildgraph.plan.store import ACTION, DEEP
from tests.cache.conftest import CONTENT
from tests.cache.damage import Damage, cut, overwrite, put_until_killed
from tests.cache.stored import Filled

Spawn = Callable[..., "subprocess.Popen[str]"]
Everything = dict[str, tuple[float, dict[str, Any] | None]]


def everything(records: Records) -> Everything:
    """All rows, with the times at which they were stored."""
    return {row.name: (row.stored_at, row.value) for row in records.rows()}


def lose(root: Path) -> None:
    """Removes the database."""
    shutil.rmtree(root / "records")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(Path.unlink, id="gone"),
        pytest.param(lambda database: shutil.rmtree(database.parent), id="folder gone"),
        *(pytest.param(cut(share), id=f"cut to {share}") for share in (0, 0.001, 0.02, 0.3, 0.7, 0.999)),
        pytest.param(overwrite(1000, random.Random(2).randbytes(29_000)), id="noise"),
        pytest.param(lambda database: database.write_bytes(pickle.dumps({"action/1": 1})), id="a pickle"),
        pytest.param(lambda database: database.write_bytes(b""), id="empty"),
    ],
)
def test_a_lost_database_is_made_again(records: Records, root: Path, notices: list[str], damage: Damage) -> None:
    """Every record is there again, as of when it was stored, and people are told in one line."""
    before = everything(records)
    records.close()
    damage(root / "records" / "cache.db")

    assert records.get_many("action", CONTENT) == CONTENT
    assert {name: value for name, (_, value) in everything(records).items()} == {
        name: value for name, (_, value) in before.items()
    }
    assert all(abs(at - before[name][0]) < 1 for name, (at, _) in everything(records).items())
    assert len(notices) == 1
    # SQLite does not mind a last page that is cut within a value: there one record is damaged, and the others are not.
    assert notices[0].endswith((": 50 records made again from the journal", ": 1 record made again from the journal"))
    records.close()
    assert Records(root, notice=notices.append).get("action", "7") == CONTENT["7"]
    assert len(notices) == 1


@settings(max_examples=40, deadline=None)
@given(draw=st.integers(0, 2**32))
def test_flipped_bytes_cost_no_record(tmp_path_factory: pytest.TempPathFactory, draw: int) -> None:
    """Whatever single byte of the database changes: a look-up or at the latest a repair brings every record back."""
    root = tmp_path_factory.mktemp("cache")
    chance = random.Random(draw)
    with closing(Records(root)) as records:
        records.put_many("action", CONTENT)
    database = root / "records" / "cache.db"
    data = bytearray(database.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    database.write_bytes(data)

    with closing(Records(root)) as records:
        found = records.get_many("action", CONTENT)
        assert found.items() <= CONTENT.items()
        if found != CONTENT:  # a byte of SQLite's index, which says nothing of it
            records.mend()
        assert records.get_many("action", CONTENT) == CONTENT


def test_a_flipped_byte_in_a_record_is_mended_where_it_is_met(records: Records, root: Path, notices: list[str]) -> None:
    """The record comes from the journal, the others stay as they are, and the row is right from then on."""
    with closing(sqlite3.connect(root / "records" / "cache.db")) as connection:
        (value,) = connection.execute("SELECT value FROM Cache WHERE key = 'action/7'").fetchone()
        connection.execute("UPDATE Cache SET value = ? WHERE key = 'action/7'", (value[:-9] + b"y" + value[-8:],))
        connection.commit()

    assert records.get("action", "7") == CONTENT["7"]
    assert notices == ["records of the cache were damaged: 1 record made again from the journal"]
    records.close()
    other = Records(root, notice=notices.append)
    assert other.get_many("action", CONTENT) == CONTENT
    other.close()
    assert len(notices) == 1


def test_what_was_removed_or_replaced_stays_so(records: Records, root: Path) -> None:
    """The journal has the last word on each key, in the order of the database."""
    records.put("action", "1", {"n": "new"})
    records.delete_many([("action", "2"), ("action", "never there")])
    records.delete("action", "3")
    records.put("action", "3", {"n": "again"})
    records.close()
    lose(root)

    assert records.get_many("action", ["1", "2", "3", "4"]) == {"1": {"n": "new"}, "3": {"n": "again"}, "4": CONTENT["4"]}


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "delete", "lose", "close", "renew"]), st.integers(0, 5), st.integers(0, 3)), max_size=25
    )
)
def test_a_database_made_again_is_the_one_that_was_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """After any puts and deletes, with the database lost at any time in between."""
    root = tmp_path_factory.mktemp("cache")
    model: dict[str, dict[str, int]] = {}
    records = Records(root)
    for what, key, value in steps:
        if what == "put":
            records.put("last", str(key), {"v": value})
            model[str(key)] = {"v": value}
        elif what == "delete":
            records.delete("last", str(key))
            model.pop(str(key), None)
        elif what == "renew":
            records.renew_journal()
        else:
            records.close()
            if what == "lose" and (root / "records").exists():
                lose(root)
        assert dict(records.iter("last")) == model
    assert records.differing() == 0
    records.close()


def test_a_journal_does_not_grow_without_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where most of it is of the past it is written anew, also by two who write by turns."""
    monkeypatch.setattr(module, "_SLACK", 10_000)
    records, other = Records(root), Records(root)
    for number in range(300):
        (records if number % 2 else other).put("wanted", "w", {"n": number, "pad": "x" * 200})
        assert records.journal.stat().st_size < 12_000
    records.close()
    other.close()
    lose(root)

    assert records.get("wanted", "w") == {"n": 299, "pad": "x" * 200}


def test_kills_at_random_lose_no_record_that_was_put(root: Path, spawn: Spawn) -> None:
    """What a killed process said to have put is in the journal, whatever it was doing, and what others put after it too."""
    chance = random.Random(8)
    records = Records(root)
    for attempt in range(12):
        last = put_until_killed(spawn, attempt, chance, pad=20_000)
        if chance.random() < 0.5:
            lose(root)
        records.put("after", str(attempt), {"n": attempt})
        records.close()
        lose(root)

        keys = [f"{attempt}-{number}" for number in range(last + 1)]
        assert len(records.get_many("killed", keys)) == last + 1
        assert len(list(records.iter("after"))) == attempt + 1


def test_a_kill_while_it_is_made_again_is_made_up_for(records: Records, root: Path, spawn: Spawn) -> None:
    """Either all records came back or the next one begins again."""
    records.put_many("action", {f"more-{number}": {"n": number, "pad": "x" * 2000} for number in range(3000)})
    records.close()
    for wait in range(8):
        lose(root)
        with spawn('print("go", flush=True)\nRecords(root).get("action", "1")') as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait * 0.012)
            process.kill()
        assert len(list(records.iter("action"))) == 3050
        records.close()


def test_many_processes_make_it_again_once(records: Records, root: Path, spawn: Spawn) -> None:
    """All see all records; one of them tells."""
    lose(root)
    lines = """
records = Records(root, notice=lambda text: print("notice"))
sys.stdin.readline()
print("has", len(list(records.iter("action"))))
"""
    processes = [spawn(lines) for _ in range(6)]
    told = [process.communicate("go\n", timeout=60) for process in processes]

    assert [errors for _, errors in told] == [""] * 6
    assert [output.count("has 50") for output, _ in told] == [1] * 6
    assert sum(output.count("notice") for output, _ in told) == 1
    records.close()


def flip_journal(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.index(b"action/7 ") + 30
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "left", "told"),
    [
        (
            lambda path: os.truncate(path, path.stat().st_size - 5),
            49,
            "49 records made again from the journal; left out: 1 damaged",
        ),
        (flip_journal, 49, "49 records made again from the journal; left out: 1 damaged"),
        (lambda path: path.write_bytes(pickle.dumps(1)), 0, ""),
        (lambda path: path.write_bytes(b"buildgraph-records 2 0000000000000000\nwhatever comes then"), 0, ""),
        (lambda path: os.truncate(path, 0), 0, ""),
        (Path.unlink, 0, ""),
    ],
    ids=["cut", "flipped", "a pickle", "of a later bg", "empty", "gone"],
)
def test_a_damaged_journal_costs_what_is_damaged(
    records: Records, root: Path, notices: list[str], damage: Damage, left: int, told: str
) -> None:
    """Lines with a wrong check are left out and counted; without any journal the records begin anew, and with a new one."""
    damage(records.journal)
    lose(root)

    assert len(records.get_many("action", CONTENT)) == left
    assert [notice.partition(": ")[2] for notice in notices] == ([told] if told else [])
    records.put("action", "new", {"n": 1})
    records.close()
    lose(root)
    assert len(list(records.iter("action"))) == left + 1


@pytest.mark.parametrize("damage", [Path.unlink, flip_journal], ids=["gone", "flipped"])
def test_a_journal_is_made_again_from_the_database(records: Records, root: Path, damage: Damage) -> None:
    """`bg cache verify` finds that one is lost or damaged, a repair writes it anew."""
    damage(records.journal)
    assert records.differing() == (50 if damage is Path.unlink else 1)

    records.mend()
    assert records.differing() == 0
    records.close()
    lose(root)
    assert records.get_many("action", CONTENT) == CONTENT


def test_a_journal_of_another_user_is_replaced(spawn: Spawn) -> None:
    """Whoever may write the folder goes on after root wrote the journal once; it takes root to test that."""
    if os.geteuid():
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        root = Path(folder, "cache")
        with closing(Records(root)) as records:
            records.put_many("action", CONTENT)
        for path in (Path(folder), root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
        os.chown(root / "records.journal", 0, 0)
        lines = """
Records(root).get("action", "1")  # loads what this user may not
os.setuid(65534)
records = Records(root)
records.put("action", "theirs", {"n": 1})
records.close()
"""
        with spawn(lines.replace("root", f"Path({str(root)!r})")) as process:
            assert process.communicate(timeout=60) == ("", "")
        assert (root / "records.journal").stat().st_uid == 65534
        lose(root)
        with closing(Records(root)) as records:
            assert len(list(records.iter("action"))) == 51


@pytest.mark.parametrize("obstacle", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_journal_is_replaced(records: Records, root: Path, obstacle: Damage) -> None:
    """A folder, a pipe or a link in its place hinders nobody, and is not written through."""
    records.journal.unlink()
    obstacle(records.journal)

    records.put("action", "new", {"n": 1})
    records.close()
    assert records.journal.is_file()
    assert not records.journal.is_symlink()
    lose(root)
    assert len(list(records.iter("action"))) == 51


def test_an_earlier_bg_knows_no_journal(root: Path, notices: list[str]) -> None:
    """Its database gets one. Where it began anew beside a journal, both count, and its own records where both have one."""
    with closing(Records(root)) as records:
        records.put_many("action", CONTENT)
    plant(root, "PRAGMA user_version = 0")
    (root / "records.journal").unlink()
    with closing(Records(root, notice=notices.append)) as records:
        assert records.get("action", "1") == CONTENT["1"]
        assert notices == []
        assert records.differing() == 0
    plant(root, "DELETE FROM Cache WHERE key != 'action/7'")
    plant(root, "UPDATE Cache SET store_time = 7 WHERE key = 'action/7'")
    plant(root, "PRAGMA user_version = 0")

    with closing(Records(root, notice=notices.append)) as records:
        assert records.get_many("action", CONTENT) == CONTENT
        assert everything(records)["action/7"][0] == 7
    assert notices == ["records of the cache were missing: 49 records made again from the journal"]


def plant(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / "records" / "cache.db")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.fixture
def filled(root: Path) -> Filled:
    """Three results and a fetched package, in a cache that judges its journal."""
    made = Filled(root)
    made.records = Records(root, judge=Judge(root))
    for name in ("one", "two", "three"):
        made.put(name, f"content of {name}".encode())
    made.records.put("external", "Q1abc", {"digest": made.cas.put_bytes(b"package"), "package": "x86_64/p-1.apk"})
    made.records.put("later", "x", {"format": 9, "of": "a later bg"})
    return made


def again(filled: Filled) -> list[str]:
    """Loses the database and has it made again; what was told."""
    filled.records.close()
    lose(filled.root)
    told: list[str] = []
    filled.records = Records(filled.root, notice=told.append, judge=Judge(filled.root))
    filled.__dict__["store"].records = filled.records
    list(filled.records.rows())
    return told


def test_whole_results_come_back(filled: Filled) -> None:
    """With their deep keys, what is noted of the last ones, what was fetched, and rows of kinds that only a later bg knows."""
    before = {name: value for name, (_, value) in everything(filled.records).items()}

    assert again(filled) == ["records of the cache were missing: 11 records made again from the journal"]
    assert {name: value for name, (_, value) in everything(filled.records).items()} == before
    assert filled.results() == {"one", "two", "three"}


def test_records_without_their_files_are_left_out(filled: Filled) -> None:
    """An output, a document or a fetched file that is gone or has another size; and what led to such a result."""
    found = {held.name: held.record for held in filled.inventory().results if held.record}
    one, two = found["//:one@x86_64"], found["//:two@x86_64"]
    filled.cas.remove(one.outputs[0].digest)
    filled.cas.remove(two.document)
    fetched = filled.records.get("external", "Q1abc")
    assert fetched is not None
    filled.cas.remove(fetched["digest"])

    (told,) = again(filled)
    assert told.endswith("6 records made again from the journal; left out: 2 leading to no result, 3 without their files")
    assert filled.results() == {"three"}


def test_rows_that_are_no_records_are_left_out(filled: Filled) -> None:
    """A journal with sound checks can still hold what no bg writes."""
    filled.records.put(ACTION, "0" * 64, {"format": 1, "action": "1" * 64})
    filled.records.put(DEEP, "no digest", {"format": 1})
    filled.records.put("last", "w:n", {"action": 7})
    filled.records.put("external", "Q1x", {"package": "without a digest"})

    (told,) = again(filled)
    assert "left out: 3 of another form than records of their kind, 1 without their files" in told
    assert filled.results() == {"one", "two", "three"}


def test_tiers_stay(root: Path) -> None:
    """Who is answerable for a record is what it was, and whether another machine made it."""
    filled = Filled(root)
    tiers = {filled.put(tier, tier.encode(), tier=tier).action: tier for tier in ("trusted", "pr/7", "local")}
    (fetched,) = (action for action, tier in tiers.items() if tier == "pr/7")
    filled.records.put(ACTION, fetched, {**(filled.records.get(ACTION, fetched) or {}), "fetched": True})

    again(filled)
    found = dict(filled.records.iter(ACTION))
    assert {action: record["tier"] for action, record in found.items()} == tiers
    assert {action for action, record in found.items() if record["fetched"]} == {fetched}
    assert dict(filled.records.iter(DEEP)).keys() == {key for held in filled.inventory().results for key in held.deep}


@pytest.mark.parametrize("tidied", [True, False])
def test_nothing_that_was_collected_comes_back(filled: Filled, monkeypatch: pytest.MonkeyPatch, tidied: bool) -> None:
    """Also where whoever removed it was killed before the journal was written anew, and its files are still there."""
    if not tidied:
        monkeypatch.setattr(Records, "renew_journal", lambda _: None)
    inventory = filled.inventory()
    going = [held for held in inventory.results if held.name.startswith("//:two")]
    kept_files = {digest: filled.cas.path(digest).read_bytes() for digest in going[0].blobs}
    collection.remove(going, inventory, filled.cas, filled.records)
    for content in kept_files.values():
        filled.cas.put_bytes(content)

    again(filled)
    assert filled.results() == {"one", "three"}
    assert going[0].action not in dict(filled.records.iter(ACTION))
    size = filled.records.journal.stat().st_size
    filled.records.renew_journal()
    assert filled.records.journal.stat().st_size == size


def test_verify_finds_what_a_database_hides(filled: Filled) -> None:
    """A row that its index does not lead to is a miss, which SQLite does not tell by itself."""
    filled.records.close()
    with closing(sqlite3.connect(filled.root / "records" / "cache.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Cache_key_raw'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    path = filled.root / "records" / "cache.db"
    data = bytearray(path.read_bytes())
    place = data.index(b"external/Q1abc", (page - 1) * size)
    data[place + 9 : place + 11] = b"Q0"
    path.write_bytes(data)

    inventory = filled.inventory()
    found = checkup.wrong_records(inventory, filled.records, [], whole=True)
    assert ("the database", "SQLite finds it damaged") in [(finding.what, finding.why) for finding in found]
    filled.records.mend()
    assert checkup.wrong_records(filled.inventory(), filled.records, [], whole=True) == []
    assert filled.records.get("external", "Q1abc") is not None
