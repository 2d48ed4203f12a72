"""What an interrupt leaves behind in the process that it ends."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path

import pytest

from buildgraph.cli import commands


def test_a_file_that_an_interrupt_left_open_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can close what `open` did not come to return; one that bg leaves open otherwise is a defect, and told."""
    cancelled = threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", commands._telling_unless(cancelled))
    (tmp_path / "file").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / "file").open("rb")
        assert "unclosed file" in capsys.readouterr().err
        cancelled.set()
        (tmp_path / "file").open("rb")
        assert capsys.readouterr().err == ""
