"""Blobs that come piece by piece: whole under their name, or not there at all."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.cache.cas import Cas
from buildgraph.errors import CacheError


def left_over(root: Path) -> list[Path]:
    return [path for path in (root / "tmp").rglob("*") if path.name != "gate"]


@given(pieces=st.lists(st.binary(max_size=700_000), max_size=6))
def test_the_pieces_are_the_blob(pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However they are cut, empty ones and none at all included; it is a blob as any other."""
    root = tmp_path_factory.mktemp("cache")
    cas = Cas(root, blake3)
    whole = b"".join(pieces)
    digest = blake3(whole).hexdigest()
    with cas.arrivals() as begin:
        arrival = begin()
        for piece in pieces:
            arrival.write(piece)
        assert not cas.has(digest)
        assert arrival.keep(digest)
    assert cas.read(digest) == whole
    assert stat.S_IMODE(cas.path(digest).stat().st_mode) == 0o444
    assert left_over(root) == []


@pytest.mark.parametrize("size", [0, 5, 3 << 20])
def test_other_bytes_than_asked_for_are_not_kept(cas: Cas, root: Path, size: int) -> None:
    """Under no name."""
    with cas.arrivals() as begin:
        arrival = begin()
        arrival.write(b"x" * size)
        assert not arrival.keep(blake3(b"others").hexdigest())
        assert list(cas.iter_blobs()) == []
    assert left_over(root) == []


@pytest.mark.parametrize("size", [5, 3 << 20])
def test_what_is_not_kept_goes_with_the_block(cas: Cas, root: Path, size: int) -> None:
    """Be it that somebody gave up in the middle."""
    with suppress(KeyboardInterrupt), cas.arrivals() as begin:
        begin().write(b"x" * size)
        raise KeyboardInterrupt
    assert list(cas.iter_blobs()) == []
    assert left_over(root) == []


@pytest.mark.parametrize("size", [5, 3 << 20])
def test_what_comes_after_the_block_is_not_taken(cas: Cas, root: Path, size: int) -> None:
    """A thread that nobody waits for any more may still have some."""
    with cas.arrivals() as begin:
        arrival = begin()
        arrival.write(b"x" * size)
    with pytest.raises(CacheError, match="nobody waited"):
        arrival.write(b"x" * size)
    assert left_over(root) == []


def test_a_blob_that_is_there_stays_right(cas: Cas) -> None:
    """Also where it comes twice."""
    digest = cas.put_bytes(b"hello")
    with cas.arrivals() as begin:
        for arrival in (begin(), begin()):
            arrival.write(b"hello")
            assert arrival.keep(digest)
    assert cas.read(digest) == b"hello"
    assert list(cas.iter_blobs()) == [digest]


def test_a_cache_that_cannot_be_written(cas: Cas, root: Path) -> None:
    """It is told, and nothing is left."""
    digest = blake3(b"hello").hexdigest()
    (root / "blobs").mkdir(exist_ok=True)
    (root / "blobs" / digest[:2]).write_bytes(b"in the way")
    with cas.arrivals() as begin:
        arrival = begin()
        arrival.write(b"hello")
        with pytest.raises(CacheError, match="cannot write to the cache"):
            arrival.keep(digest)
    assert left_over(root) == []
