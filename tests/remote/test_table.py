"""docs/stores.md says of every store what the contract's tests said."""

from __future__ import annotations

from tests.remote.table import render, rules, stores, written


def test_the_table_has_every_store_and_every_test() -> None:
    """And all of them pass: `python -m tests.remote.table` writes it anew, from a run."""
    classes = stores()
    everything = {(f"{one.__module__}.{one.__name__}", rule): "passes" for one in classes for rule in rules()}
    assert len(everything) >= 81
    assert written() == render(classes, everything)
