"""Waiting for what another process does, however slow the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60  # seconds after which it will not come any more


def wait_for(condition: Callable[[], object]) -> None:
    """Returns once the condition holds; AssertionError where it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
