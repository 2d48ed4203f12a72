"""Attacks on a shared cache, by people who may write to it: what they put there is never believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.keys.digest import Digest, digest_text
from buildgraph.plan.record import Record
from buildgraph.remote import envelope
from buildgraph.remote import result as results
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.result import Kind
from buildgraph.remote.shared import SharedCache
from buildgraph.remote.trust import Refusal
from buildgraph.structs import replace
from tests.remote.makers import CI, FORK, STRANGER, blob_of, cas_in, give, made, sharing

OTHER, LONGER = "a blob has other bytes than its name says", "a blob is longer than it should be"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """What attacker and victim share."""
    (tmp_path / "share").mkdir()
    return FolderStore(tmp_path / "share")


@pytest.fixture
def victim(store: FolderStore, tmp_path: Path) -> SharedCache:
    """A release build: it believes `trusted` alone, and is no writer."""
    return sharing(store, cas_in(tmp_path / "victim"), tier="trusted", writes=False)


def refused(shared: SharedCache) -> dict[str, int]:
    """What was not believed, by reason."""
    return dict(shared.levels[0].refused)


def test_a_pull_request_cannot_build_for_a_release(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """CREEP (CVE-2025-36852): same sources, a patched tool, and the race to the key is won. Another tier is another key."""
    _, key = give(store, tmp_path / "fork", FORK, tier="pr/7")
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {}  # it was not even looked at


def test_a_pull_request_cannot_sign_as_trusted(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """The same, with the key of pull requests on a result that says it is trusted."""
    _, key = give(store, tmp_path / "fork", FORK, tier="trusted")
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {Refusal.FOREIGN.value: 1}


def test_a_pull_request_sees_trusted_results_and_its_own(store: FolderStore, tmp_path: Path) -> None:
    """But not those of another pull request."""
    _, trusted = give(store, tmp_path / "main", CI, tier="trusted", name="one")
    _, own = give(store, tmp_path / "own", FORK, tier="pr/7", name="two")
    _, other = give(store, tmp_path / "other", FORK, tier="pr/8", name="three")
    reader = sharing(store, cas_in(tmp_path / "reader"), tier="pr/7")
    assert [found.key for found in reader.look_up("deep", [trusted, own, other])] == [trusted, own]


@pytest.mark.parametrize(("keys", "why"), [((), Refusal.UNSIGNED), ((STRANGER,), Refusal.STRANGER)])
def test_who_signs_must_be_known(
    store: FolderStore, victim: SharedCache, tmp_path: Path, keys: tuple[str, ...], why: Refusal
) -> None:
    """Write access to the store is worth nothing without a key (CVE-2026-45321: a token that may write a branch's cache)."""
    _, key = give(store, tmp_path / "writer", *keys, tier="trusted")
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {why.value: 1}


def test_one_good_signature_among_several_is_enough(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """As when keys are exchanged for others."""
    _, key = give(store, tmp_path / "writer", STRANGER, CI, tier="trusted")
    assert len(victim.look_up("deep", [key])) == 1


def test_a_signature_counts_under_the_name_of_its_key_alone(store: FolderStore, tmp_path: Path) -> None:
    """So a junk result costs one look for each key, however many signatures it has: a reader is not kept busy by it."""
    _, key = give(store, tmp_path / "writer", CI, tier="trusted")
    good = json.loads(_raw(store, "deep", key, "trusted"))
    (signature,) = good["signatures"]
    other = {"keyid": "ed25519:another", "sig": signature["sig"]}
    junk = {"keyid": signature["keyid"], "sig": base64.b64encode(bytes(64)).decode()}
    for signatures, found in (([other], 0), ([other] * 15 + [signature], 1), ([junk, signature], 1), ([signature, junk], 0)):
        _put(store, "deep", key, "trusted", json.dumps({**good, "signatures": signatures}).encode())
        reader = sharing(store, cas_in(tmp_path / "reader"), tier="trusted", writes=False)
        assert len(reader.look_up("deep", [key])) == found


def test_a_signature_of_something_else(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """The signature of one result under the payload of another."""
    give(store, tmp_path / "good", CI, tier="trusted", name="one")
    good = json.loads(_raw(store, "deep", digest_text("deep one"), "trusted"))
    _, key = give(store, tmp_path / "bad", STRANGER, tier="trusted", name="two")
    bad = json.loads(_raw(store, "deep", key, "trusted"))
    _put(store, "deep", key, "trusted", json.dumps({**bad, "signatures": good["signatures"]}).encode())
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {Refusal.STRANGER.value: 1}


@pytest.mark.parametrize("kind", ["deep", "action"])
def test_an_old_result_under_a_new_key(store: FolderStore, victim: SharedCache, tmp_path: Path, kind: Kind) -> None:
    """Replay: a vulnerable version that was signed once is put where the fixed one is looked for."""
    record, key = give(store, tmp_path / "old", CI, tier="trusted")
    fixed = digest_text("the key of the fixed version")
    _put(store, kind, fixed, "trusted", _raw(store, kind, key if kind == "deep" else record.action, "trusted"))
    assert victim.look_up(kind, [fixed]) == []
    assert refused(victim) == {Refusal.MALFORMED.value: 1}


def test_a_result_of_another_tier_in_the_place_of_a_trusted_one(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """Its tier is part of what is signed."""
    _, key = give(store, tmp_path / "person", CI, tier="local")
    _put(store, "deep", key, "trusted", _raw(store, "deep", key, "local"))
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {Refusal.MALFORMED.value: 1}


def test_a_record_that_says_a_higher_tier_than_was_signed_for(store: FolderStore, tmp_path: Path) -> None:
    """A pull request may write its own tier; the record inside must not say `trusted`, which the reader's machine would keep."""
    cas = cas_in(tmp_path / "fork")
    record, key, deep = made(cas, tier="trusted")
    shared = sharing(store, cas, FORK, tier="pr/7")
    shared.share(record, key, deep)
    shared.finish(lambda _: None)
    reader = sharing(store, cas_in(tmp_path / "reader"), tier="pr/7", writes=False)
    assert reader.look_up("deep", [key]) == []
    assert reader.look_up("action", [record.action]) == []
    assert refused(reader) == {Refusal.MALFORMED.value: 2}


@pytest.mark.parametrize(
    ("swap", "reason"),
    [
        (lambda data: data[::-1], OTHER),
        (lambda data: data[:-1], OTHER),
        (lambda data: data + b"more", LONGER),
        (lambda _: b"", OTHER),
        (lambda data: data * 1000, LONGER),
    ],
    ids=["other bytes", "cut off", "longer", "empty", "a bomb"],
)
def test_a_blob_with_other_bytes(
    store: FolderStore, victim: SharedCache, tmp_path: Path, swap: Callable[[bytes], bytes], reason: str
) -> None:
    """It is not taken in, of one that is longer no more than there should be, and the result does not count."""
    _, key = give(store, tmp_path / "good", CI, tier="trusted")
    for path in (tmp_path / "share/blobs").rglob("*"):
        if path.is_file():
            path.write_bytes(swap(path.read_bytes()))
    (found,) = victim.look_up("deep", [key])
    assert victim.bring_all([found.record]) == [False]
    assert victim.levels[0].failed == {reason: 2}  # the output and the key document
    assert not cas_in(tmp_path / "victim").has(found.record.outputs[0].digest)


def test_an_output_of_another_size_than_its_blob(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """It could not be had: such a result says two things of one file."""
    record, key = _signed(store, tmp_path, size=1)
    assert victim.look_up("action", [record.action]) == []
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {Refusal.MALFORMED.value: 2}


def test_the_blob_of_another_action(store: FolderStore, victim: SharedCache, tmp_path: Path) -> None:
    """A blob that is good in itself, under the name of another."""
    _, key = give(store, tmp_path / "good", CI, tier="trusted", name="one")
    give(store, tmp_path / "good", CI, tier="trusted", name="two")
    one, two = (blob_of(f"the package {name}".encode()).sha256 for name in ("one", "two"))
    blobs = tmp_path / "share/blobs"
    (blobs / one[:2] / one).write_bytes((blobs / two[:2] / two).read_bytes())
    (found,) = victim.look_up("deep", [key])
    assert victim.bring_all([found.record]) == [False]


@pytest.mark.parametrize(
    "path", ["../../../etc/cron.d/x", "/etc/passwd", "x86_64/../../x", "", "x86_64//x", "a\0b", "x86_64/./x"]
)
def test_outputs_stay_where_they_belong(store: FolderStore, victim: SharedCache, tmp_path: Path, path: str) -> None:
    """Even somebody with a good key cannot have a file written elsewhere."""
    record, key = _signed(store, tmp_path, path=path)
    assert victim.look_up("action", [record.action]) == []
    assert victim.look_up("deep", [key]) == []
    assert refused(victim) == {Refusal.MALFORMED.value: 2}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\x80\x04\x95",
        b"[" * 100_000,
        b'{"payloadType": "application/vnd.buildgraph.result+json", "payload": 1, "signatures": []}',
        b'{"payloadType": "application/vnd.buildgraph.result+json", "payload": "%%%", "signatures": []}',
        b'{"payloadType": "text/plain", "payload": "", "signatures": []}',
        json.dumps(
            {"payloadType": envelope.PAYLOAD_TYPE, "payload": "", "signatures": [{"keyid": "", "sig": ""}] * 1000}
        ).encode(),
    ],
    ids=range(11),
)
def test_what_is_no_result(store: FolderStore, victim: SharedCache, data: bytes) -> None:
    """It is a miss, whatever it is: also a pickle, and JSON that nests too deeply."""
    key = digest_text("any")
    _put(store, "deep", key, "trusted", data)
    assert victim.look_up("deep", [key]) == []
    assert sum(refused(victim).values()) == 1


def test_a_huge_result_is_not_looked_at(store: FolderStore, victim: SharedCache) -> None:
    """A store cannot make bg read without end."""
    key = digest_text("any")
    _put(store, "deep", key, "trusted", b" " * (17 << 20))
    assert victim.look_up("deep", [key]) == []
    assert victim.levels[0].failed == {"a result is too large": 1}


def test_every_change_of_a_signed_result_is_noticed(store: FolderStore, tmp_path: Path) -> None:
    """Flip any bit of what is signed, and it is believed no more."""
    _, key = give(store, tmp_path / "good", CI, tier="trusted")
    good = json.loads(_raw(store, "deep", key, "trusted"))
    payload = bytearray(base64.b64decode(good["payload"]))
    for position in range(0, len(payload), 7):
        payload[position] ^= 1
        _put(store, "deep", key, "trusted", json.dumps({**good, "payload": base64.b64encode(payload).decode()}).encode())
        reader = sharing(store, cas_in(tmp_path / "reader"), tier="trusted", writes=False)
        assert reader.look_up("deep", [key]) == [], position
        payload[position] ^= 1


def _signed(store: FolderStore, folder: Path, **other: object) -> tuple[Record, Digest]:
    """A result whose output has another path or size, signed with a good key."""
    cas = cas_in(folder / "insider")
    record, key, deep = made(cas, tier="trusted")
    bad = replace(record, outputs=(replace(record.outputs[0], **other),))
    shared = sharing(store, cas, CI, tier="trusted")
    shared.share(bad, key, deep)
    shared.finish(lambda _: None)
    return bad, key


def _raw(store: FolderStore, kind: Kind, key: Digest, tier: str) -> bytes:
    data = store.result(results.place(kind, key, tier))
    assert data is not None
    return data


def _put(store: FolderStore, kind: Kind, key: Digest, tier: str, data: bytes) -> None:
    store.put_result(results.place(kind, key, tier), data, [])
