"""Whatever changes and whatever gets lost: each build gives what a clean build gives, and runs no more than it must."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import example, given, settings

from tests.properties import stories
from tests.properties.history import History
from tests.properties.model import World
from tests.properties.worlds import Step, histories, play


def examples(values: Iterable[Any]) -> Callable[[Any], Any]:
    """``example`` for each of some values."""

    def decorate(test: Any) -> Any:
        for value in values:
            test = example(value)(test)
        return test

    return decorate


@settings(max_examples=250)
@given(histories())
@examples(stories.ALL)
def test_every_build_is_the_clean_build(story: tuple[World, list[Step]]) -> None:
    """Every property of ``History.check``, over any edits, losses, jobs and wanted nodes."""
    history = History()
    play(*story, history.build, history.lose)
