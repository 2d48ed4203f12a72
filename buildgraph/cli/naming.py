"""Which nodes the words of a command line name, where that takes the graph."""

from __future__ import annotations

from collections.abc import Sequence

from buildgraph.errors import TargetError
from buildgraph.graph.query import Match, Names
from buildgraph.graph.traverse import Links


def named(words: Sequence[str], links: Links, match: Match) -> list[str]:
    """The vertices that words name, in the order of the command line; ``-//x`` takes away what was named before it."""
    names = Names(links, match)
    found: dict[str, None] = {}
    for word in words:
        if word.startswith("-"):
            for vertex in names(word[1:]):
                found.pop(vertex, None)
        else:
            found |= dict.fromkeys(names(word))
    if not found:
        message = "nothing is left of what was named"
        raise TargetError(message)
    return list(found)
