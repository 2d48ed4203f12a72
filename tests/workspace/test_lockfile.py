"""The lock: sorted lines that merge, checked when they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.apk.index import IndexEntry
from buildgraph.errors import LockError
from buildgraph.workspace.lockfile import HEADER, Lock, Locked, read_lock, write_lock

WORDS = st.from_regex(r"[a-z][a-z0-9.+-]{0,6}", fullmatch=True)
ENTRIES = st.builds(
    IndexEntry,
    name=WORDS,
    version=st.sampled_from(["1.0-r0", "1.1-r0", "2-r3"]),
    arch=st.sampled_from(["x86_64", "aarch64"]),
    checksum=st.integers(0, 9).map(lambda number: f"Q1{str(number) * 27}="),
    size=st.integers(0, 1 << 40),
    installed_size=st.integers(0, 1 << 40),
    origin=WORDS,
    provider_priority=st.integers(0, 99),
    depends=st.lists(WORDS, max_size=3).map(tuple),
    provides=st.lists(WORDS, max_size=3).map(tuple),
    install_if=st.lists(WORDS, max_size=2).map(tuple),
)
LOCKS = st.lists(st.builds(Locked, ENTRIES, st.sampled_from(["https://a", "https://b"])), max_size=8).map(Lock.of)


@given(LOCKS)
def test_every_lock_is_read_back(tmp_path_factory: pytest.TempPathFactory, lock: Lock) -> None:
    """What is written is what is read."""
    path = tmp_path_factory.getbasetemp() / "some.lock"
    write_lock(path, lock)
    assert read_lock(path) == lock
    assert lock.text().splitlines()[1:] == [line for line in lock.text().splitlines() if line != HEADER]


@given(LOCKS, LOCKS)
def test_locks_merge_line_by_line(tmp_path_factory: pytest.TempPathFactory, one: Lock, other: Lock) -> None:
    """The union of two files' lines, in any order, is a lock that holds the packages of both."""
    path = tmp_path_factory.getbasetemp() / "some.lock"
    path.write_text("\n".join([HEADER, *other.text().splitlines()[1:], *one.text().splitlines()[1:]]) + "\n")
    keys = {package.sort_key for package in (*one.packages, *other.packages)}
    assert {package.sort_key for package in read_lock(path).packages} == keys


GOOD = '{"arch": "x86_64", "name": "a", "version": "1-r0", "checksum": "Q1' + "A" * 27 + '="}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a package line"),
        ("[]", "expected an object"),
        ("<<<<<<< mine", "a merge conflict"),
        (GOOD.replace('"name"', '"nome"'), "unknown field `nome`"),
        (GOOD.replace('"a"', '"../../etc"'), "field `name` is missing or not a plain name"),
        (GOOD.replace("Q1", "Q2"), "field `checksum` is missing or not a Q1 checksum"),
        (GOOD.replace('"1-r0"', "1"), "field `version` has the wrong type"),
        (GOOD.replace('"1-r0"', '"1-r0", "size": true'), "field `size` has the wrong type"),
        (GOOD.replace('"1-r0"', '"1-r0", "depends": [1]'), "field `depends` has the wrong type"),
        ("[" * 100_000, "not a package line"),
    ],
)
def test_a_line_that_is_wrong_is_told(tmp_path: Path, line: str, message: str) -> None:
    """With its number and a hint."""
    path = tmp_path / "buildgraph.lock"
    path.write_text(f"{HEADER}\n{GOOD}\n{line}\n")
    with pytest.raises(LockError) as caught:
        read_lock(path)
    assert message in caught.value.what
    assert caught.value.where is not None
    assert caught.value.where.line == 3


def test_another_format_is_refused(tmp_path: Path) -> None:
    """A lock of a later bg is not guessed at."""
    path = tmp_path / "buildgraph.lock"
    path.write_text('{"buildgraph.lock":2}\n')
    with pytest.raises(LockError, match="format"):
        read_lock(path)
    assert read_lock(tmp_path / "missing") == Lock.of(())
