"""What goes when room is made, and that all else stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.cache.cas import BlobStat
from buildgraph.plan import archive, collection
from buildgraph.plan.collection import GRACE, Limits
from buildgraph.plan.inventory import Held, Inventory
from buildgraph.plan.roots import Pin, change_pins, load_pins, note_wanted
from tests.cache.stored import WORKSPACE, Filled

NOW = 1_000_000.0


@pytest.fixture
def filled(root: Path) -> Filled:
    return Filled(root)


def collect(filled: Filled, limits: Limits, *, now: float | None = None) -> collection.Removed:
    """A collection as the command makes it."""
    inventory, now = filled.inventory(), time.time() if now is None else now
    kept = collection.kept_actions(inventory, load_pins(filled.root), now)
    going = collection.choose(inventory, kept, limits, now)
    return collection.remove(going, inventory, filled.cas, filled.records)


def things() -> st.SearchStrategy[Inventory]:
    """Inventories of a few things that share blobs."""

    def made(sizes: list[int], spread: list[tuple[str, float, frozenset[int]]]) -> Inventory:
        blobs = {f"{number:064x}": BlobStat(size, 0) for number, size in enumerate(sizes)}
        held = [
            Held(
                "result" if kind == "result" else "fetched",
                f"{number}",
                NOW + used_at,
                blobs=frozenset(f"{blob % len(sizes):064x}" for blob in wanted),
                action=f"{number}" if kind == "result" else "",
            )
            for number, (kind, used_at, wanted) in enumerate(spread)
        ]
        named = set().union(*(one.blobs for one in held))
        held += [Held("stray", blob, NOW - 2 * GRACE, blobs=frozenset({blob})) for blob in blobs if blob not in named]
        return Inventory(blobs, held)

    thing = st.tuples(
        st.sampled_from(["result", "fetched"]), st.floats(-1e6, 1e6), st.frozensets(st.integers(0, 9), min_size=1, max_size=4)
    )
    return st.builds(made, st.lists(st.integers(1, 100), min_size=1, max_size=10), st.lists(thing, max_size=8))


def size_without(inventory: Inventory, going: list[Held]) -> int:
    gone = {id(one) for one in going}
    named = {blob for one in inventory.held if id(one) not in gone for blob in one.blobs}
    return sum(inventory.blobs[blob].size for blob in named)


@given(things(), st.integers(0, 500), st.sets(st.integers(0, 7).map(str)))
def test_by_size_the_least_recently_used_go_and_no_more(inventory: Inventory, budget: int, kept: set[str]) -> None:
    """What is kept stays; the rest fits or is all that is kept; who goes was used before who stays; the last to go had to."""
    going = collection.choose(inventory, kept, Limits(max_size=budget), NOW)

    gone = {id(one) for one in going}
    stays = [one for one in inventory.held if id(one) not in gone and one.action not in kept]
    assert not any(one.action in kept for one in going)
    assert size_without(inventory, going) <= budget or not stays
    assert all(min(one.used_at, NOW) <= min(other.used_at, NOW) for one in going for other in stays)
    assert not going or size_without(inventory, going[:-1]) > budget
    assert collection.weigh(going, inventory).size == inventory.size() - size_without(inventory, going)


@given(things(), st.floats(0, 2e6))
def test_by_age_all_that_is_older_goes(inventory: Inventory, age: float) -> None:
    """And nothing else; what is from the future counts as used now."""
    going = {id(one) for one in collection.choose(inventory, (), Limits(older_than=age), NOW)}

    assert going == {id(one) for one in inventory.held if NOW - min(one.used_at, NOW) > age}


def test_blobs_that_others_name_stay(filled: Filled) -> None:
    """A result goes with its rows, its own files and the texts of its document, and leaves what it shares."""
    filled.put("one", b"shared", b"of one")
    other = filled.put("two", b"shared", b"of two")
    before = filled.files()
    (held,) = (held for held in filled.inventory().results if held.name == "//:one@x86_64")
    inventory = filled.inventory()
    removed = collection.remove([held], inventory, filled.cas, filled.records)

    assert filled.results() == {"two"}
    assert removed.results == ["//:one@x86_64"]
    gone = {content for digest, content in before.items() if digest not in filled.files()}
    assert {b"of one", b"recipe of one"} < gone
    assert not {b"shared", b"of two", b"recipe of two"} & gone
    assert removed.size == sum(map(len, gone))
    assert filled.store.record(other.action) == other
    assert filled.records.get("action", held.action) is None


def test_blobs_that_nothing_names_have_an_hour(filled: Filled) -> None:
    """A bg of an earlier version may be about to name them."""
    digest = filled.cas.put_bytes(b"nobody's")

    collect(filled, Limits(max_size=0))
    assert filled.cas.has(digest)
    collect(filled, Limits(max_size=0), now=time.time() + 2 * GRACE)
    assert not filled.cas.has(digest)


def test_a_row_of_a_later_version_keeps_its_blobs(filled: Filled) -> None:
    """This bg does not know what it means, and neither removes it nor what it names."""
    digest = filled.cas.put_bytes(b"of tomorrow")
    filled.records.put("novel", "key", {"in": [{"a": digest}]})
    filled.records.put("action", "f" * 64, {"format": 2, "result": digest})

    collect(filled, Limits(max_size=0), now=time.time() + 2 * GRACE)
    assert filled.cas.has(digest)
    assert filled.records.get("novel", "key")
    assert filled.records.get("action", "f" * 64)


def test_the_last_two_builds_of_a_target_stay(filled: Filled, tmp_path: Path) -> None:
    """A third one pushes the first out; the same result again does not count twice."""
    records = [filled.put("one", content) for content in (b"first", b"second", b"third")]
    for record in (*records, records[-1]):
        note_wanted(filled.records, WORKSPACE, tmp_path, {record.node: record.action})

    collect(filled, Limits(max_size=0))
    assert [filled.store.record(record.action) is not None for record in records] == [False, True, True]


def test_a_workspace_that_is_gone_keeps_nothing(filled: Filled, tmp_path: Path) -> None:
    """Once its folder is gone for a week; its notes go too."""
    record = filled.put("one", b"content")
    note_wanted(filled.records, WORKSPACE, tmp_path / "gone", {record.node: record.action})

    collect(filled, Limits(max_size=0))
    assert filled.results() == {"one"}
    week = time.time() + 8 * 86400
    collect(filled, Limits(max_size=0), now=week)
    assert filled.results() == set()
    inventory = filled.inventory()
    collection.remove(collection.forgotten(inventory, week), inventory, filled.cas, filled.records)
    assert not filled.inventory().counts.keys() & {"wanted", "last"}


def test_a_pin_keeps_the_latest_result(filled: Filled) -> None:
    """With its document, its log and the texts: it is a hit and can be explained."""
    filled.put("one", b"first")
    record = filled.put("one", b"second")
    filled.put("two", b"other")
    change_pins(filled.root, lambda pins: pins | {Pin(WORKSPACE, "//:one", "/ws")})

    before = filled.files()
    collect(filled, Limits(max_size=0), now=time.time() + 2 * GRACE)
    assert filled.results() == {"one"}
    assert filled.store.record(record.action) == record
    contents = set(filled.files().values())
    assert {b"second", b"recipe of one", filled.cas.read(record.document)} < contents
    assert b"first" in before.values()
    assert b"first" not in contents
    assert load_pins(filled.root) == [Pin(WORKSPACE, "//:one", "/ws")]


def test_looking_is_no_use(filled: Filled, tmp_path: Path) -> None:
    """Counting, collecting, checking and exporting leave the times that tell what was used: else nothing would ever get old."""
    record = filled.put("one", b"content")
    paths = [filled.cas.path(digest) for digest in filled.cas.stats()]
    for path in paths:
        os.utime(path, (time.time() - 40 * 86400, time.time() - 50 * 86400))  # a read would change this on any usual mount
    before = [path.stat().st_atime_ns for path in paths]
    inventory = filled.inventory()
    collect(filled, Limits(older_than=365 * 86400.0))
    assert all(filled.cas.is_sound(digest) for digest in inventory.blobs)
    archive.pack(tmp_path / "all.tar", inventory.results, inventory, filled.cas)

    assert [path.stat().st_atime_ns for path in paths] == before
    filled.cas.touch(record.document)
    assert time.time() - filled.cas.path(record.document).stat().st_atime < 60


def test_times_from_the_future_count_as_now(filled: Filled) -> None:
    """A clock that was wrong once neither saves a result from a size nor loses one to an age."""
    record = filled.put("one", b"content")
    far = time.time() + 10 * 365 * 86400
    os.utime(filled.cas.path(record.document), (far, far))

    collect(filled, Limits(older_than=86400))
    assert filled.results() == {"one"}
    collect(filled, Limits(max_size=0))
    assert filled.results() == set()


def test_a_clock_that_was_set_back_loses_nothing_to_an_age(filled: Filled) -> None:
    """All is from the future then."""
    filled.put("one", b"content")

    collect(filled, Limits(older_than=86400), now=time.time() - 10 * 365 * 86400)
    assert filled.results() == {"one"}
