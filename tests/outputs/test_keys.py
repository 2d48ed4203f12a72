"""The user's own signing key."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildgraph.outputs.keys import user_key


def test_builds_that_begin_at_once_sign_with_one_key(tmp_path: Path) -> None:
    """One of them makes it; to the others it is as if it had been there."""
    with ThreadPoolExecutor(3) as threads:
        found = [one.result() for one in [threads.submit(user_key, tmp_path / "bg") for _ in range(3)]]
    assert sorted(made for _, made in found) == [False, False, True]
    assert {key for key, _ in found} == {found[0][0]}
    assert (tmp_path / "bg/buildgraph.rsa").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "bg").iterdir()) == ["buildgraph.rsa", "buildgraph.rsa.pub"]


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is made there too."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    key, made = user_key(tmp_path / "bg")
    assert made
    assert user_key(tmp_path / "bg") == (key, False)
    assert (tmp_path / "bg/buildgraph.rsa").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (tmp_path / "bg").iterdir()) == ["buildgraph.rsa", "buildgraph.rsa.pub"]
