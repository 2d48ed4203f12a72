"""The rules of the records."""

from __future__ import annotations

import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.cache.records import Records
from buildgraph.cache.rows import MAX_BYTES, decode, encode, row_key, row_name
from buildgraph.errors import CacheError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORD = {"outputs": [{"name": "libfoo-1.0-r0.apk", "digest": "ab" * 32}], "seconds": 1.5}


@pytest.fixture
def records(root: Path) -> Iterator[Records]:
    """Records in an empty cache."""
    made = Records(root)
    yield made
    made.close()


def test_a_record_comes_back_as_it_was(records: Records, root: Path) -> None:
    """Also in another process later, and only under its own kind and key."""
    records.put("action", "k", RECORD)
    records.close()
    other = Records(root)

    assert other.get("action", "k") == RECORD
    assert (other.get("deep", "k"), other.get("action", "K")) == (None, None)
    other.close()


def test_a_record_is_replaced_and_deleted(records: Records) -> None:
    """The last one counts; deleting what is not there is fine."""
    records.put("action", "k", {"a": 1})
    records.put("action", "k", {"a": 2})
    assert records.get("action", "k") == {"a": 2}

    records.delete("action", "k")
    records.delete("action", "k")
    assert records.get("action", "k") is None


def test_many_at_once(records: Records) -> None:
    """What is missing is left out; an empty set is no transaction."""
    records.put_many("stat", {"a": {"n": 1}, "b": {"n": 2}})
    records.put_many("stat", {})

    assert records.get_many("stat", ["b", "missing", "a"]) == {"a": {"n": 1}, "b": {"n": 2}}


def test_records_of_a_kind_are_listed(records: Records) -> None:
    """Other kinds are left out, those whose name only begins alike too; records may be deleted on the way."""
    records.put("action", "b", {"n": 1})
    records.put("action-log", "x", {"n": 2})
    records.put("action", "a", {"n": 3})

    listed = []
    for key, record in records.iter("action"):
        listed.append((key, record))
        records.delete("action", "a")
    assert listed == [("b", {"n": 1})]


@given(
    key=st.text(st.characters()) | st.text('ab\\"/\x00\udc80\ud800', max_size=5),
    record=st.dictionaries(st.text(), JSON, max_size=4),
)
def test_any_key_and_any_json_have_a_row(key: str, record: dict[str, Any]) -> None:
    """Names of files may hold anything; rows are plain ASCII and turn back into the same."""
    name = row_name("stat", key)

    assert name.isascii()
    assert "\x00" not in name
    assert row_key(name, "stat/") == key
    assert decode(name, encode(name, record)) == record


@given(record=st.dictionaries(st.text(), JSON, max_size=4), data=st.data())
def test_a_changed_byte_is_a_miss(record: dict[str, Any], data: st.DataObject) -> None:
    """No flipped bit in a value gives another record, and no row serves under another name."""
    value = bytearray(encode("stat/x", record))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert decode("stat/x", bytes(value)) is None
    assert decode("stat/y", encode("stat/x", record)) is None


@given(value=st.binary() | st.none() | st.text() | st.integers())
def test_anything_else_is_a_miss(value: object) -> None:
    """Whatever a row holds, reading it does not fail."""
    assert decode("stat/x", value) is None


def test_deep_nesting_and_other_json_are_misses() -> None:
    """With the right check too."""
    for text in (b"[" * 100_000, b"[1]", b"1", b'{"a":' + b"1" * 5000 + b"}", b"\xff"):
        assert decode("k/x", b"%08x " % zlib.crc32(text, zlib.crc32(b"k/x")) + text) is None


def test_what_is_no_json_or_too_big_is_refused(records: Records) -> None:
    """None of it comes near the database."""
    with pytest.raises(TypeError):
        records.put("action", "k", {"a": b"bytes"})
    with pytest.raises(ValueError, match="JSON"):
        records.put("action", "k", {"a": float("nan")})
    with pytest.raises(ValueError, match="kind"):
        records.get("no/kind", "k")
    with pytest.raises(CacheError, match="too big"):
        records.put("action", "k", {"a": "x" * MAX_BYTES})
    assert records.get("action", "k") is None


def test_a_big_record_fits(records: Records) -> None:
    """Up to 16 MiB."""
    record = {"a": "x" * (MAX_BYTES - 100)}
    records.put("action", "k", record)

    assert records.get("action", "k") == record


def test_nothing_is_opened_or_imported_before_the_first_use(run: Callable[..., str]) -> None:
    """A command that needs no record does not pay for them."""
    output = run(
        """
records = Records(root)
print({"sqlite3", "diskcache"} & sys.modules.keys(), root.exists())
records.get("action", "k")
print(sorted({"sqlite3", "diskcache"} & sys.modules.keys()))
records.close()
records.close()
"""
    )

    assert output.splitlines() == ["set() False", "['diskcache', 'sqlite3']"]


def test_threads_share_the_records(records: Records) -> None:
    """Every thread sees what the others wrote."""

    def work(number: int) -> None:
        for turn in range(25):
            records.put("action", f"{number}-{turn}", {"n": number})
            assert records.get("action", f"{number}-{turn}") == {"n": number}
        records.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(list(records.iter("action"))) == 200


def test_processes_share_the_records(records: Records, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    """Eight processes make the database and write at once; nothing is lost."""
    lines = """
records = Records(root, notice=print)
sys.stdin.readline()
for number in range(50):
    records.put("action", f"{sys.argv[2]}-{number}", {"n": number})
    records.put("action", "shared", {"by": sys.argv[2]})
    assert records.get("action", "shared") is not None
records.close()
"""
    processes = [spawn(lines, name) for name in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [process.communicate(timeout=120) for process in processes] == [("", "")] * 8
    assert len(list(records.iter("action"))) == 401


def test_a_fork_may_go_on_using_the_records(run: Callable[..., str]) -> None:
    """A connection is never shared between processes."""
    output = run(
        """
records = Records(root)
records.put("action", "before", {})
if child := os.fork():
    os.waitpid(child, 0)
    print(records.get("action", "before"), records.get("action", "child"))
    records.close()
else:
    records.put("action", "child", {"n": 1})
    os._exit(0)
"""
    )

    assert output == "{} {'n': 1}\n"
