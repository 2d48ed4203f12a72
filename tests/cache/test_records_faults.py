"""The records when the database is damaged, forged, full, locked or read-only: a miss, never a failure of the build."""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from diskcache import Cache as NaiveCache  # type: ignore[import-untyped]
from diskcache.core import MODE_BINARY, MODE_PICKLE, MODE_RAW, MODE_TEXT  # type: ignore[import-untyped]

from buildgraph.cache import database
from buildgraph.cache import records as module
from buildgraph.cache.files import open_lock
from buildgraph.cache.records import Records
from buildgraph.cache.rows import MAX_BYTES, encode
from buildgraph.errors import CacheError
from tests.cache.damage import Damage, overwrite, put_until_killed

Run = Callable[..., str]


class Exploit:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


# What the row of `action/x` would hold.
SOUND = encode("action/x", {"n": 1})


def plant(root: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(root / "records" / "cache.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


def row(root: Path, *columns: object) -> None:
    """Add a row with these values for key, raw, mode, filename and value."""
    plant(
        root,
        "INSERT INTO Cache (key, raw, mode, filename, value) VALUES (?, ?, ?, ?, ?)",
        *columns,
    )


def test_a_planted_pickle_is_never_run(records: Records, root: Path, tmp_path: Path) -> None:
    """CVE-2025-69872: neither as a value in the database or a file, nor as a key. diskcache itself is the counter-proof."""
    bait = tmp_path / "ran"
    evil = pickle.dumps(Exploit(bait))
    (root / "records" / "evil.val").write_bytes(evil)
    row(root, "action/a", 1, MODE_PICKLE, None, evil)
    row(root, "action/b", 1, MODE_PICKLE, "evil.val", None)
    row(root, evil, 0, MODE_RAW, None, evil)

    assert records.get_many("action", ["a", "b"]) == {}
    assert len(list(records.iter("action"))) == 50
    records.put("action", "a", {"n": 1})
    records.delete("action", "b")
    assert records.get("action", "a") == {"n": 1}
    assert not bait.exists()

    row(root, "action/c", 1, MODE_PICKLE, None, evil)
    with closing(NaiveCache(str(root / "records"))) as naive:
        naive.get("action/c")
    assert bait.exists()


@pytest.mark.parametrize(
    "columns",
    [
        (MODE_BINARY, "../secret", None),
        (MODE_TEXT, "../secret", None),
        (MODE_RAW, "../secret", SOUND),
        (MODE_RAW, None, "text"),
        (MODE_RAW, None, 7),
        (MODE_RAW, None, None),
        (None, None, SOUND),
        (99, None, SOUND),
        ("mode", b"bytes", 1.5),
    ],
)
def test_rows_of_another_form_are_misses(records: Records, root: Path, notices: list[str], columns: tuple[object, ...]) -> None:
    """A row cannot make bg read or remove a file, and can be replaced and deleted."""
    secret = root / "secret"
    secret.write_bytes(encode("action/x", {"stolen": 1}))
    row(root, "action/x", 1, *columns)

    assert records.get("action", "x") is None
    assert len(list(records.iter("action"))) == 50
    records.put("action", "x", {"n": 2})
    assert records.get("action", "x") == {"n": 2}
    records.delete("action", "x")
    assert secret.exists()
    assert notices == []


def test_a_row_too_big_is_a_miss_and_not_loaded(records: Records, root: Path, notices: list[str]) -> None:
    """SQLite itself refuses it, so that it costs no memory."""
    plant(root, "INSERT INTO Cache (key, raw, mode, value) VALUES ('action/x', 1, 1, zeroblob(?))", 4 * MAX_BYTES)
    assert records.get("action", "1") is not None
    tracemalloc.start()

    assert records.get("action", "x") is None
    assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    tracemalloc.stop()
    assert notices == []


def test_text_that_is_not_utf8_is_a_miss(records: Records, root: Path, notices: list[str]) -> None:
    """A row that Python cannot read hides no other."""
    plant(root, "INSERT INTO Cache (key, raw, mode, value) VALUES ('action/x', 1, 1, CAST(x'ff' AS TEXT))")

    assert records.get("action", "x") is None
    assert records.get("action", "1") is not None
    assert notices == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sqlite_journal_mode", "off"),
        ("sqlite_no_such_pragma", "; DROP TABLE Cache"),
        ("disk_fetch", "x"),
        ("disk_evil", 1),
        ("get", 1),
        ("_con", 1),
        ("_disk", "x"),
        ("eviction_policy", "least-recently-used"),
        ("statistics", 1),
        (b"bytes", None),
        (None, None),
    ],
)
def test_planted_settings_do_no_harm(records: Records, root: Path, key: object, value: object) -> None:
    """diskcache turns rows of its settings into attributes and arguments: at worst the database is begun anew."""
    with closing(sqlite3.connect(root / "records" / "cache.db")) as connection:
        connection.execute("ALTER TABLE Settings RENAME TO Old")
        connection.execute("CREATE TABLE Settings (key, value)")
        connection.execute("CREATE UNIQUE INDEX Settings_key ON Settings (key)")
        connection.execute("INSERT INTO Settings SELECT * FROM Old")
        connection.execute("INSERT OR REPLACE INTO Settings VALUES (?, ?)", (key, value))
        connection.commit()

    records.get("action", "1")
    records.put("action", "x", {"n": 1})
    assert records.get("action", "x") == {"n": 1}


def truncate_to(size: int) -> Damage:
    return lambda database: os.truncate(database, size)


def become_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def become_pipe(database: Path) -> None:
    database.unlink()
    os.mkfifo(database)


def become_file(database: Path) -> None:
    shutil.rmtree(database.parent)
    database.parent.write_text("?")


def foreign(database: Path) -> None:
    database.unlink()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE Cache (a, b)")
        connection.commit()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(truncate_to(10), id="cut in the header"),
        pytest.param(truncate_to(4096 * 3 + 100), id="cut in a page"),
        pytest.param(overwrite(0, random.Random(5).randbytes(4096)), id="noise in the header"),
        pytest.param(overwrite(100, bytes(4000)), id="no schema"),
        pytest.param(overwrite(4096, random.Random(6).randbytes(1 << 16)), id="noise in the pages"),
        pytest.param(lambda database: database.write_text("not a database"), id="text"),
        pytest.param(become_folder, id="a folder"),
        pytest.param(become_pipe, id="a named pipe"),
        pytest.param(become_file, id="a file for the folder"),
        pytest.param(foreign, id="another program's"),
    ],
)
def test_a_damaged_database_is_moved_aside_and_begun_anew(
    records: Records, root: Path, notices: list[str], damage: Damage
) -> None:
    """Reading misses, writing works at once and for good, people are told once, and the old one is kept."""
    damage(root / "records" / "cache.db")

    found = records.get_many("action", map(str, range(50)))
    assert all(record == {"n": int(key), "pad": "x" * 500} for key, record in found.items())
    list(records.iter("action"))
    records.put_many("action", {str(number): {"n": -number} for number in range(60)})
    records.close()

    assert len(records.get_many("action", map(str, range(60)))) == 60
    assert len(list(records.iter("action"))) == 60
    assert len(notices) == 1
    assert str(root / "records.corrupt-1") in notices[0]
    assert [path.name for path in root.glob("records.corrupt-*")] == ["records.corrupt-1"]


def test_an_empty_or_missing_database_is_a_new_one(records: Records, root: Path, notices: list[str]) -> None:
    """Nothing is damaged where nothing is, also without a journal."""
    records.journal.unlink()
    os.truncate(root / "records" / "cache.db", 0)
    assert records.get("action", "1") is None
    records.close()
    shutil.rmtree(root / "records")
    records.journal.unlink()

    records.put("action", "1", {"n": 1})
    assert records.get("action", "1") == {"n": 1}
    assert notices == []


def test_any_noise_is_survived(root: Path, notices: list[str]) -> None:
    """Random bytes in random places, with the database open and closed, at most cost records."""
    chance = random.Random(3)
    for _ in range(40):
        records = Records(root, notice=notices.append)
        records.put_many("action", {str(number): {"n": number, "pad": "x" * 500} for number in range(30)})
        if chance.random() < 0.5:
            records.close()
        files = sorted(path for path in (root / "records").iterdir() if path.suffix != ".db-shm" and path.stat().st_size)
        for _ in range(chance.randint(1, 5)):
            path = chance.choice(files)
            if path.exists() and path.stat().st_size:
                overwrite(chance.randrange(path.stat().st_size), chance.randbytes(chance.choice([1, 16, 5000])))(path)
        for key, record in records.get_many("action", map(str, range(30))).items():
            assert record == {"n": int(key), "pad": "x" * 500}
        list(records.iter("action"))
        records.put("action", "new", {"n": 1})
        records.close()


def test_processes_heal_a_damaged_database_once(
    records: Records, root: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """Who finds that another one has replaced it uses the new one."""
    lines = """
records = Records(root, notice=lambda text: print("notice"))
sys.stdin.readline()
for number in range(20):
    records.put("action", f"{sys.argv[2]}-{number}", {"n": number})
records.close()
"""
    processes = [spawn(lines, name) for name in range(6)]
    (root / "records" / "cache.db").write_bytes(os.urandom(50_000))
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]

    assert [errors for _, errors in results] == [""] * 6
    assert sum(output.count("notice") for output, _ in results) == 1
    assert len(list(records.iter("action"))) == 50 + 120


def test_a_new_database_is_not_moved_aside_for_the_faults_of_the_old(records: Records, root: Path, notices: list[str]) -> None:
    """Between a fault and its repair another process may have repaired it."""
    records.get("action", "1")
    failed = records._store
    assert failed is not None
    (root / "records").rename(root / "records.corrupt-1")
    with closing(Records(root)) as other:
        other.put("action", "1", {"by": "other"})

    records._set_aside(failed)

    assert records.get("action", "1") == {"by": "other"}
    assert notices == []


def test_a_cache_removed_under_way_is_begun_anew(records: Records, root: Path) -> None:
    """`rm -rf` during a build costs the records and not the build."""
    assert records.get("action", "1") is not None
    shutil.rmtree(root)

    assert records.get("action", "1") is None
    records.put("action", "1", {"n": 1})
    assert records.get("action", "1") == {"n": 1}


def test_a_kill_loses_no_record_that_was_put(records: Records, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    """Whatever the killed process leaves beside the database, all that it said to have put is there."""
    chance = random.Random(4)
    for attempt in range(8):
        last = put_until_killed(spawn, attempt, chance)
        keys = [f"{attempt}-{number}" for number in range(last + 1)]
        assert len(records.get_many("killed", keys)) == last + 1


def test_a_kill_may_leave_a_journal_without_its_database(records: Records, root: Path) -> None:
    """The rest of a database that is gone is not taken for one."""
    assert records.get("action", "1") is not None
    records.put("action", "1", {"n": 1})
    (root / "records" / "cache.db").unlink()

    records.put("action", "2", {"n": 2})
    assert records.get("action", "2") == {"n": 2}


def test_a_read_only_cache_is_read(records: Records, run: Run, read_only: tuple[str, ...]) -> None:
    """What is there is served, what is not is a miss, and writing says why it cannot be."""
    assert records.get("action", "0") is not None
    records.close()
    output = run(
        """
records = Records(root)
print(records.get("action", "7")["n"], records.get("action", "none"), len(list(records.iter("action"))))
for use in (lambda: records.put("action", "x", {}), lambda: records.delete("action", "7")):
    try:
        use()
    except CacheError as error:
        print(error.what.split(": ")[-1], "|", error.hint.split(",")[0])
records.close()
""",
        within=read_only,
    )

    assert output.splitlines() == ["7 None 50", *["read-only file system | make the folder writable"] * 2]


def test_a_full_disk_is_an_error_with_a_hint_and_the_rest_is_read(run: Run, small_disk: tuple[tuple[str, ...], Path]) -> None:
    """Also where the database is opened only after the disk got full."""
    within, disk = small_disk
    output = run(
        """
(root / "filler").write_bytes(bytes(500_000))
records = Records(root / "cache")
number = 0
for turn in (1, 2):
    try:
        while True:
            records.put("action", str(number), {"pad": "x" * 5000})
            number += 1
    except CacheError as error:
        print(error.what.split(": ")[-1], "|", error.hint.split(",")[0])
    assert len(records.get_many("action", map(str, range(number)))) == number > 5
    records.close()
(root / "filler").unlink()
records.put("action", "after", {})
assert len(list(records.iter("action"))) == number + 1
records.close()
""",
        within=within,
        folder=disk,
    )

    assert len(output.splitlines()) == 2
    assert set(output.splitlines()) <= {
        "no space left on device | free some space there",
        "input/output error | the disk has a fault: see the system log (dmesg)",
    }


def test_another_writer_that_hangs_is_told(records: Records, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on beside it; writing gives up after a while."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(root / "records" / "cache.db", isolation_level=None)) as other:
        assert records.get("action", "1") is not None
        other.execute("BEGIN IMMEDIATE")

        assert records.get("action", "2") is not None
        with pytest.raises(CacheError, match="another process keeps them locked"):
            records.put("action", "1", {})
        other.execute("ROLLBACK")
    records.put("action", "1", {})


def test_a_look_sees_all_and_may_become_more(records: Records, root: Path, run: Callable[..., str]) -> None:
    """What a run opens for reading shows what others write, is opened again to write, and is made good where it is damaged."""
    records.put("action", "before", {"n": 0})
    records.close()
    run(
        """
import sys
records = Records(root)
records.looks_first = True
assert records.get("action", "before") == {"n": 0}
assert "diskcache" not in sys.modules
others = Records(root)
others.put("action", "theirs", {"n": 1})
assert records.get("action", "theirs") == {"n": 1}
records.put("action", "mine", {"n": 2})
others.close()
records.close()
assert records.get("action", "mine") == {"n": 2}
records.close()
(root / "records" / "cache.db").write_bytes(b"no database" * 1000)
assert [records.get("action", key)["n"] for key in ("before", "theirs", "mine")] == [0, 1, 2]
"""
    )


def test_another_opener_that_hangs_is_waited_for_once(records: Records, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand look-ups do not take a thousand waits."""
    waits = 0

    def counted(path: Path) -> int:
        nonlocal waits
        waits += 1
        return open_lock(path)

    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.2)
    monkeypatch.setattr(module, "open_lock", counted)
    with (root / "records.lock").open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        assert records.get_many("action", map(str, range(1000))) == {}
        assert waits == 1
        with pytest.raises(CacheError, match="another process"):
            records.put("action", "1", {})
    records.close()
    assert records.get("action", "1") is not None


def test_a_cache_of_another_format_has_no_records(records: Records, root: Path) -> None:
    """They are not read, and not written over."""
    (root / "FORMAT").write_text("2\n")

    assert records.get("action", "1") is None
    with pytest.raises(CacheError, match="format 2"):
        records.put("action", "1", {})
