"""Whatever changes and whatever gets lost: each build gives what a clean build gives, and runs no more than it must."""

from __future__ import annotations

from hypothesis import given, settings

from tests.properties.history import History
from tests.properties.model import World
from tests.properties.worlds import Step, histories, play


@settings(max_examples=250)
@given(histories())
def test_every_build_is_the_clean_build(story: tuple[World, list[Step]]) -> None:
    """Every property of ``History.check``, over any edits, losses, jobs and wanted nodes."""
    history = History()
    play(*story, history.build, history.lose)
