"""Whoever uses the cache shares it; whoever removes something is alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph.cache.cas import Cas
from buildgraph.cache.locks import UseLock
from buildgraph.errors import Interrupted
from tests.waiting import wait_for

Spawn = Callable[..., "subprocess.Popen[str]"]


def never() -> bool:
    return False


def silent() -> None:
    return None


def test_many_share_and_one_is_alone(cas: Cas, root: Path) -> None:
    """Those who share do not wait for each other; who wants to be alone gets nothing meanwhile, and all of it afterwards."""
    first, second, third = UseLock(root), UseLock(root), UseLock(root)
    with first.shared(on_wait=pytest.fail, cancelled=never), second.shared(on_wait=pytest.fail, cancelled=never):
        with third.alone_if_unused() as alone:
            assert not alone
        waits: list[str] = []
        with pytest.raises(Interrupted), third.alone(on_wait=lambda: waits.append("once"), cancelled=lambda: len(waits) > 0):
            pytest.fail("two at once")
        assert waits == ["once"]
    with third.alone_if_unused() as alone:
        assert alone
        with pytest.raises(Interrupted), first.shared(on_wait=silent, cancelled=lambda: True):
            pytest.fail("two at once")


def test_a_kill_frees_it(cas: Cas, root: Path, spawn: Spawn) -> None:
    """Nobody waits for the dead."""
    lines = """
from buildgraph.cache.locks import UseLock
with UseLock(root).alone(on_wait=lambda: None, cancelled=lambda: False):
    print("alone", flush=True)
    sys.stdin.read()
"""
    child = spawn(lines)
    assert child.stdout is not None
    assert child.stdout.readline() == "alone\n"
    with UseLock(root).alone_if_unused() as alone:
        assert not alone
    child.kill()
    child.communicate()
    wait_for(lambda: is_free(root))


def is_free(root: Path) -> bool:
    with UseLock(root).alone_if_unused() as alone:
        return alone


def test_a_read_only_cache_is_shared(cas: Cas, root: Path, run: Callable[..., str], read_only: tuple[str, ...]) -> None:
    """Whether or not anybody has ever locked it."""
    lines = """
from buildgraph.cache.locks import UseLock
with UseLock(root).shared(on_wait=lambda: None, cancelled=lambda: False):
    print("shared")
"""
    assert run(lines, within=read_only) == "shared\n"
    with UseLock(root).shared(on_wait=silent, cancelled=never):
        assert run(lines, within=read_only) == "shared\n"
    assert os.path.exists(root / "users.lock")
