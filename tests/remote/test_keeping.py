"""What a machine keeps of what others give, and as whose: nothing gets more trust by being fetched."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from buildgraph.cache.cas import Arrival, Cas
from buildgraph.cache.records import Records
from buildgraph.errors import CacheError
from buildgraph.plan.record import record_from_json
from buildgraph.plan.store import ACTION, RecordStore
from buildgraph.remote.folder import FolderStore
from buildgraph.remote.level import Level
from buildgraph.remote.shared import Author, SharedCache
from buildgraph.remote.trust import Trust
from buildgraph.structs import replace
from tests.remote.makers import CI, WRITERS, cas_in, give, made, sharing


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """What machines share."""
    (tmp_path / "share").mkdir()
    return FolderStore(tmp_path / "share")


def machine(folder: Path, tier: str, elsewhere: SharedCache | None, cas: Cas) -> RecordStore:
    """The cache of a machine in a run of some tier."""
    return RecordStore(cas, Records(folder), "ws", tier, elsewhere=elsewhere)


def test_what_a_pull_request_fetched_is_no_release_s(store: FolderStore, tmp_path: Path) -> None:
    """It was the pull request's manifest that said whom to believe; on the same machine a release takes nothing of it."""
    record, key = give(store, tmp_path / "main", CI, tier="trusted")
    cas = cas_in(tmp_path / "runner")
    pull = machine(tmp_path / "runner", "pr/7", sharing(store, cas, tier="pr/7", writes=False), cas)
    assert pull.deep(key) is not None
    found = pull.record(record.action)
    assert found is not None
    assert (found.tier, found.fetched) == ("pr/7", True)
    release = machine(tmp_path / "runner", "trusted", None, cas)
    assert release.deep(key) is None
    assert release.record(record.action) is None


def test_nobody_signs_what_another_machine_made(store: FolderStore, tmp_path: Path) -> None:
    """A result that was fetched is not given on as one's own, wherever it would go."""
    record, key = give(store, tmp_path / "main", CI, tier="trusted")
    cas = cas_in(tmp_path / "here")
    (tmp_path / "second").mkdir()
    second = Level("second", FolderStore(tmp_path / "second"), reads=False, writes=True)
    shared = SharedCache([Level("share", store), second], Trust("trusted", WRITERS), Author((CI,), "trusted"), cas)
    here = machine(tmp_path / "here", "trusted", shared, cas)
    found, led = here.record(record.action), here.deep(key)
    assert found is not None
    here.share(found, key, led)
    shared.finish(lambda _: None)
    assert second.results_sent == 0


def test_a_result_that_is_whole_here_stays(store: FolderStore, tmp_path: Path) -> None:
    """Another machine's bytes for the same action may not come; then there would be none."""
    record, key = give(store, tmp_path / "other", CI)
    cas = cas_in(tmp_path / "here")
    own, _, _ = made(cas, "one", content=b"the same, built here")
    here = machine(tmp_path / "here", "local", sharing(store, cas), cas)
    here.put(own)
    for path in (tmp_path / "share/blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    here.prepare([key])
    assert record.action == own.action
    assert here.record(own.action) == own
    assert record_from_json(here.records.get(ACTION, own.action), own.action) == own


def test_the_key_document_comes_along(store: FolderStore, tmp_path: Path) -> None:
    """Without it the result could not be explained, nor its provenance be written; one that lacks it does not count."""
    record, key = give(store, tmp_path / "other", CI)
    cas = cas_in(tmp_path / "here")
    shared = sharing(store, cas)
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    assert cas.has(record.document)
    document = next(blob for digest, blob in found.blobs.items() if digest == record.document)
    (tmp_path / "share/blobs" / document.sha256[:2] / document.sha256).unlink()
    later = sharing(store, cas_in(tmp_path / "later"))
    (found,) = later.look_up("deep", [key])
    assert later.bring_all([found.record]) == [False]


def test_nothing_is_brought_of_what_will_not_be_taken(store: FolderStore, tmp_path: Path) -> None:
    """A result whose discovered dependencies are others by now; it may be a whole image."""
    given = [give(store, tmp_path / name, CI, name=name) for name in ("one", "two")]
    cas = cas_in(tmp_path / "here")
    here = machine(tmp_path / "here", "local", sharing(store, cas), cas)
    here.prepare([key for _, key in given], lambda led: led.action == given[1][0].action)
    assert [cas.has(record.outputs[0].digest) for record, _ in given] == [False, True]
    assert here.deep(given[0][1]) is not None  # for whoever asks why


def test_a_full_disk_here_is_a_miss(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the build itself then writes will tell."""
    _, key = give(store, tmp_path / "other", CI)
    cas = cas_in(tmp_path / "here")
    shared = sharing(store, cas)
    (found,) = shared.look_up("deep", [key])

    def full(_: Cas, __: bytes) -> str:
        message = "no space left"
        raise CacheError(message)

    monkeypatch.setattr(Arrival, "write", full)
    assert shared.bring_all([found.record]) == [False]
    assert shared.levels[0].failed["cannot keep a blob here: no space left"] > 0


def test_unsigned_results_stay_out_of_stores_that_want_signatures(store: FolderStore, tmp_path: Path) -> None:
    """The near store is read by others, who would count them as not signed."""
    _, key = give(store, tmp_path / "other")
    near = tmp_path / "near"
    near.mkdir()
    levels = [Level("near", FolderStore(near), writes=True), Level("far", store, unsigned=True)]
    shared = SharedCache(levels, Trust("local", WRITERS), Author((CI,), "local"), cas_in(tmp_path / "here"))
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    shared.finish(lambda _: None)
    assert list(near.rglob("*")) == []


def test_looking_up_does_not_wait_for_uploads(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them there are, and however long they take."""
    _, key = give(store, tmp_path / "other", CI)
    cas = cas_in(tmp_path / "here")
    shared = sharing(store, cas, CI)
    end = threading.Event()
    monkeypatch.setattr(FolderStore, "missing", lambda *_: end.wait() and [])
    for number in range(40):
        record, own, deep = made(cas, f"own{number}")
        shared.share(record, own, deep)
    assert [found.key for found in shared.look_up("deep", [key])] == [key]
    end.set()
    shared.finish(lambda _: None)


def test_uploads_end_before_a_run_does(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are waited for, and told of while that lasts."""
    cas, said = cas_in(tmp_path / "here"), list[str]()
    shared = sharing(store, cas, CI)
    end, missing = threading.Event(), FolderStore.missing
    monkeypatch.setattr(FolderStore, "missing", lambda *asked: end.wait() and missing(*asked))
    record, key, deep = made(cas)
    shared.share(record, key, deep)

    def say(line: str) -> None:
        said.append(line)
        end.set()

    shared.finish(say)
    assert said == ["cache  sending 1 result"]
    assert shared.lost == {}
    assert [found.key for found in sharing(store, cas_in(tmp_path / "other")).look_up("deep", [key])] == [key]


def test_uploads_that_do_not_end_are_given_up(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten minutes, and it is told; here at once."""
    cas = cas_in(tmp_path / "here")
    shared = sharing(store, cas, CI)
    end = threading.Event()
    monkeypatch.setattr(FolderStore, "missing", lambda *_: end.wait() and [])
    monkeypatch.setattr("buildgraph.remote.shared._PATIENCE", 0.0)
    for number in range(6):
        record, key, deep = made(cas, f"own{number}")
        shared.share(record, key, deep)
    shared.finish(lambda _: None)
    assert shared.lost == {"that took longer than 0 minutes": 6}
    assert not end.is_set()
    end.set()


def test_who_gives_up_waits_for_no_store(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for its answers nor for uploads."""
    _, key = give(store, tmp_path / "other", CI)
    asked, end = threading.Event(), threading.Event()

    def silent(*_: object) -> None:
        asked.set()
        end.wait()

    monkeypatch.setattr(FolderStore, "result", silent)
    levels = [Level("share", store)]
    shared = SharedCache(levels, Trust("local", WRITERS), Author(), cas_in(tmp_path / "here"), asked.is_set)
    assert shared.look_up("deep", [key]) == []
    shared.finish(lambda _: None)
    assert not end.is_set()
    end.set()


def test_a_record_of_nonsense_seconds_is_none(tmp_path: Path) -> None:
    """They are added up and shown."""
    record, _, _ = made(cas_in(tmp_path / "here"))
    from buildgraph.plan.record import record_to_json

    for seconds in (float("nan"), float("inf"), -1, 10**400, True, "7"):
        raw = record_to_json(replace(record)) | {"seconds": seconds}
        assert record_from_json(raw, record.action) is None
