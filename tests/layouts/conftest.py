"""A repository to write files into."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.layouts.repository import Repository


@pytest.fixture
def repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Repository]:
    """An empty folder; the handlers of signals that commands install are taken back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    (tmp_path / "repository").mkdir()
    yield Repository(tmp_path / "repository", capsys)
    for number, handler in handlers.items():
        signal.signal(number, handler)
