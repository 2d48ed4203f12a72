"""Repositories of git with a workspace in them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.affected.checkout import Checkout, example


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Checkout]:
    """A repository without a commit; the handlers of signals that commands install are taken back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    (tmp_path / "repository").mkdir()
    checkout = Checkout(tmp_path / "repository", capsys)
    checkout.git("init", "-q")
    yield checkout
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def checkout(empty: Checkout) -> Checkout:
    """A repository with the example in one commit."""
    empty.commit({**example(), ".gitignore": "/cache/\n/out/\n*.o\n"})
    return empty
