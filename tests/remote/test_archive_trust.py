"""Attacks on archives of results, by people who may write the file that a release imports: nothing of theirs is believed."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildgraph.keys.digest import Digest, digest_text
from buildgraph.plan import archive
from buildgraph.plan.inventory import take_inventory
from buildgraph.plan.record import record_to_json
from buildgraph.plan.store import ACTION, DEEP
from buildgraph.remote.sealing import believed, sealer
from buildgraph.remote.shared import Author
from buildgraph.remote.trust import Refusal, Trust
from buildgraph.structs import replace
from tests.cache.stored import Filled
from tests.remote.makers import CI, FORK, STRANGER, WRITERS

ROOM = 1 << 30
Lines = list[Any]


def machine(folder: Path, *names: str, tier: str = "trusted") -> Filled:
    """A cache with results of some nodes, built there in a run of some tier."""
    filled = Filled(folder)
    for name in names:
        record = filled.put(name, f"package {name}".encode(), tier=tier)
        for key, deep in list(filled.records.iter(DEEP)):
            if deep["action"] == record.action:
                filled.records.put(DEEP, key, {**deep, "tier": tier})
    return filled


def export(filled: Filled, path: Path, *keys: str, tier: str = "trusted") -> archive.Packed:
    """Writes all results of a machine, as a run of some tier that has these keys."""
    inventory = filled.inventory()
    return archive.pack(path, inventory.results, inventory, filled.cas, sealer(Author(keys, tier, {"bg": "test"}), filled.cas))


def take(filled: Filled, path: Path, tier: str = "trusted") -> archive.Taken:
    """Takes an archive in, as a run of some tier whose manifest names WRITERS."""
    return archive.unpack(path, filled.cas, filled.records, believed(Trust(tier, WRITERS)), ROOM)


def changed(path: Path, change: Callable[[Lines], Lines]) -> Path:
    """The archive with other lines in its index, and the blobs as they are."""
    with tarfile.open(path) as tar:
        contents = [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]
    lines = change([json.loads(line) for line in contents[0][1].splitlines()])
    contents[0] = (contents[0][0], "".join(json.dumps(line) + "\n" for line in lines).encode())
    made = path.with_name("changed.tar")
    with tarfile.open(made, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in contents:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made


def in_rows(change: Callable[[str, str, Any], Any]) -> Callable[[Lines], Lines]:
    """Changes the value of each record in the index."""

    def lines(found: Lines) -> Lines:
        return [
            [line[0], line[1], change(*line)] if isinstance(line, list) and line[0] in {ACTION, DEEP} else line for line in found
        ]

    return lines


@pytest.fixture
def victim(tmp_path: Path) -> Filled:
    """A release build with an empty cache."""
    return Filled(tmp_path / "victim")


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz"])
def test_what_a_trusted_key_signed_is_taken(victim: Filled, tmp_path: Path, name: str) -> None:
    """Results with their deep keys and files; and the same results give the same bytes."""
    builder = machine(tmp_path / "ci", "one", "two")
    packed = export(builder, tmp_path / name, CI)
    taken = take(victim, tmp_path / name)

    assert (packed.results, packed.unsigned) == (2, 0)
    assert (taken.results, taken.left_out) == (2, {})
    for held in victim.inventory().results:
        assert held.record is not None
        assert (held.record.tier, held.record.fetched, len(held.deep)) == ("trusted", True, 1)
    assert dict(victim.records.iter(DEEP)).keys() == dict(builder.records.iter(DEEP)).keys()
    (tmp_path / "again").mkdir()
    export(builder, tmp_path / "again" / name, CI)
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("keys", "why"),
    [((), "not signed"), ((STRANGER,), Refusal.STRANGER.value), ((FORK,), Refusal.FOREIGN.value)],
    ids=["unsigned", "a stranger", "the key of pull requests"],
)
def test_who_signs_must_be_known_for_the_tier(victim: Filled, tmp_path: Path, keys: tuple[str, ...], why: str) -> None:
    """Write access to the file is worth nothing without a key that may write the tier (CVE-2026-45321)."""
    export(machine(tmp_path / "writer", "one"), tmp_path / "all.tar", *keys)
    taken = take(victim, tmp_path / "all.tar")

    assert (taken.results, taken.left_out) == (0, {why: 2})
    assert victim.inventory().results == []
    assert victim.inventory().counts == {}


def test_a_pull_request_cannot_hand_on_to_a_release(victim: Filled, tmp_path: Path) -> None:
    """What its key may sign is of its own tier, which a release does not take (CREEP, CVE-2025-36852); its own runs do."""
    export(machine(tmp_path / "fork", "one", tier="pr/7"), tmp_path / "all.tar", FORK, tier="pr/7")

    assert take(victim, tmp_path / "all.tar").left_out == {"of the tier `pr/7`": 2}
    assert take(Filled(tmp_path / "other"), tmp_path / "all.tar", tier="pr/8").left_out == {"of the tier `pr/7`": 2}
    assert take(Filled(tmp_path / "own"), tmp_path / "all.tar", tier="pr/7").results == 1


def test_a_run_signs_only_what_it_may_answer_for(victim: Filled, tmp_path: Path) -> None:
    """A runner that built for a pull request before does not sign that as a release, nor what it fetched."""
    runner = machine(tmp_path / "runner", "of-a-pull-request", tier="pr/7")
    machine(tmp_path / "runner", "own")
    fetched = machine(tmp_path / "runner", "fetched").put("fetched", b"package fetched", tier="trusted")
    runner.records.put(ACTION, fetched.action, record_to_json(replace(fetched, fetched=True)))
    packed = export(runner, tmp_path / "all.tar", CI)
    taken = take(victim, tmp_path / "all.tar")

    assert (packed.results, packed.unsigned) == (3, 2)
    assert victim.results() == {"own"}
    assert taken.left_out == {"not signed": 2, "of the tier `pr/7`": 2}


def test_what_another_machine_signed_stays_signed(victim: Filled, tmp_path: Path) -> None:
    """From run to run, also through one without a key; and what is no longer kept goes with the result."""
    export(machine(tmp_path / "ci", "one"), tmp_path / "first.tar", CI)
    between = Filled(tmp_path / "between")
    take(between, tmp_path / "first.tar")
    between.put("two", b"of two")
    assert export(between, tmp_path / "second.tar", tier="local").unsigned == 1
    taken = take(victim, tmp_path / "second.tar")

    assert victim.results() == {"one"}
    assert taken.left_out == {"of the tier `local`": 2}
    inventory = victim.inventory()
    envelopes = {digest for digest, data in victim.files().items() if b"payloadType" in data}
    assert len(envelopes) == 2
    assert envelopes <= set().union(*(held.blobs for held in inventory.results))


def test_a_record_in_place_of_an_envelope(victim: Filled, tmp_path: Path) -> None:
    """Taking the signatures off makes no difference to what is asked for."""
    builder = machine(tmp_path / "ci", "one")
    export(builder, tmp_path / "all.tar", CI)
    bare = in_rows(lambda kind, key, _: builder.records.get(kind, key))

    assert take(victim, changed(tmp_path / "all.tar", bare)).left_out == {"not signed": 2}


def test_a_signature_of_something_else(victim: Filled, tmp_path: Path) -> None:
    """The signatures of one result under the payload of another."""
    export(machine(tmp_path / "ci", "one"), tmp_path / "good.tar", CI)
    signatures: list[Any] = []
    changed(tmp_path / "good.tar", in_rows(lambda _kind, _key, value: signatures.append(value["signatures"])))
    export(machine(tmp_path / "bad", "two"), tmp_path / "all.tar", STRANGER)
    swap = in_rows(lambda _kind, _key, value: {**value, "signatures": signatures[0]})

    assert take(victim, changed(tmp_path / "all.tar", swap)).left_out == {Refusal.STRANGER.value: 2}


def test_an_old_result_under_a_new_key(victim: Filled, tmp_path: Path) -> None:
    """Replay: a vulnerable version that was signed once is put under the keys of the fixed one."""
    export(machine(tmp_path / "ci", "old"), tmp_path / "all.tar", CI)

    def moved(lines: Lines) -> Lines:
        return [
            [line[0], digest_text(f"fixed {line[0]}"), line[2]] if isinstance(line, list) and line[0] in {ACTION, DEEP} else line
            for line in lines
        ]

    assert take(victim, changed(tmp_path / "all.tar", moved)).left_out == {Refusal.MALFORMED.value: 2}
    assert victim.inventory().counts == {}


def test_an_action_in_place_of_a_deep_key(victim: Filled, tmp_path: Path) -> None:
    """The kind is signed too."""
    export(machine(tmp_path / "ci", "one"), tmp_path / "all.tar", CI)

    def swapped(lines: Lines) -> Lines:
        kinds = {ACTION: DEEP, DEEP: ACTION}
        return [[kinds.get(line[0], line[0]), *line[1:]] if isinstance(line, list) else line for line in lines]

    assert take(victim, changed(tmp_path / "all.tar", swapped)).left_out == {Refusal.MALFORMED.value: 2}


def test_another_tier_than_was_signed(victim: Filled, tmp_path: Path) -> None:
    """Neither the payload nor the record in it can be raised, and a key of the tier cannot say a higher one inside."""
    export(machine(tmp_path / "fork", "one", tier="pr/7"), tmp_path / "all.tar", FORK, tier="pr/7")

    def raised(_kind: str, _key: str, value: Any) -> Any:
        payload = base64.b64decode(value["payload"]).replace(b"pr/7", b"trusted")
        return {**value, "payload": base64.b64encode(payload).decode()}

    assert take(victim, changed(tmp_path / "all.tar", in_rows(raised))).left_out == {Refusal.STRANGER.value: 2}
    assert victim.inventory().counts == {}


def test_every_change_of_a_signed_result_is_noticed(tmp_path: Path) -> None:
    """Flip any bit of what is signed, and it is believed no more."""
    export(machine(tmp_path / "ci", "one"), tmp_path / "all.tar", CI)
    judge = believed(Trust("trusted", WRITERS))
    rows: list[tuple[str, str, Any]] = []
    changed(tmp_path / "all.tar", in_rows(lambda *row: rows.append(row)))
    for kind, key, value in rows:
        payload = bytearray(base64.b64decode(value["payload"]))
        for position in range(0, len(payload), 11):
            payload[position] ^= 1
            data = json.dumps({**value, "payload": base64.b64encode(payload).decode()}).encode()
            assert isinstance(judge.unseal(kind, Digest(key), data), str), position
            payload[position] ^= 1


@pytest.mark.parametrize(
    "value",
    [
        {"payloadType": 1},
        {"payloadType": "text/plain", "payload": "", "signatures": []},
        {"payloadType": "application/vnd.buildgraph.result+json", "payload": 7, "signatures": []},
        {"payloadType": "application/vnd.buildgraph.result+json", "payload": "%%", "signatures": []},
        {"payloadType": "application/vnd.buildgraph.result+json", "payload": "W10=", "signatures": []},
        {"payloadType": "application/vnd.buildgraph.result+json", "payload": "", "signatures": [{"keyid": "", "sig": ""}] * 99},
        {"payloadType": "application/vnd.buildgraph.result+json", "payload": "W1tb" * 9999, "signatures": []},
    ],
    ids=range(7),
)  # fmt: skip
def test_what_is_no_envelope(victim: Filled, tmp_path: Path, value: Any) -> None:
    """It is left out, whatever it is, and the good one beside it counts."""
    export(machine(tmp_path / "ci", "one"), tmp_path / "all.tar", CI)
    taken = take(victim, changed(tmp_path / "all.tar", lambda lines: [*lines, [ACTION, "0" * 64, value]]))

    assert (taken.results, taken.left_out) == (1, {Refusal.MALFORMED.value: 1})


def test_an_envelope_that_a_record_names_is_not_followed(victim: Filled, tmp_path: Path) -> None:
    """Where this machine keeps one is its own to say: a name in what came is dropped."""
    builder = machine(tmp_path / "ci", "one")
    (action,) = dict(builder.records.iter(ACTION))
    record = builder.records.get(ACTION, action) or {}
    builder.records.put(ACTION, action, {**record, "envelope": digest_text("anything")})
    export(builder, tmp_path / "all.tar", CI)
    take(victim, tmp_path / "all.tar")
    kept = (victim.records.get(ACTION, action) or {})["envelope"]

    assert kept != digest_text("anything")
    assert b"payloadType" in victim.cas.read(kept)


@pytest.mark.parametrize("keys", [(), (CI,)], ids=["unsigned", "signed"])
def test_without_keys_in_the_manifest_whoever_writes_the_file_is_believed(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """As ever: results of the own tier and trusted ones, signed or not; of other tiers nothing."""
    builder = machine(tmp_path / "ci", "one")
    machine(tmp_path / "ci", "two", tier="pr/7")
    export(builder, tmp_path / "all.tar", *keys)
    reader = Filled(tmp_path / "reader")
    taken = archive.unpack(tmp_path / "all.tar", reader.cas, reader.records, believed(Trust("local")), ROOM)

    assert (taken.results, taken.left_out) == (1, {"of the tier `pr/7`": 2})
    assert reader.results() == {"one"}


def test_an_envelope_that_is_lost_makes_the_result_unsigned(victim: Filled, tmp_path: Path) -> None:
    """It is handed on as what it is here, and a reader with keys leaves it out."""
    export(machine(tmp_path / "ci", "one"), tmp_path / "first.tar", CI)
    between = Filled(tmp_path / "between")
    take(between, tmp_path / "first.tar")
    for digest, data in between.files().items():
        if b"payloadType" in data:
            between.cas.remove(digest)
    inventory = take_inventory(between.root, between.cas, between.records)
    packed = archive.pack(tmp_path / "second.tar", inventory.results, inventory, between.cas)

    assert (packed.results, packed.unsigned) == (1, 1)
    assert take(victim, tmp_path / "second.tar").left_out == {"not signed": 2}
