"""Which nodes the words of a command line name."""

from __future__ import annotations

from collections.abc import Sequence

from buildgraph.cli.session import Session
from buildgraph.errors import TargetError
from buildgraph.graph.traverse import Links, is_external


def wanted(patterns: Sequence[str], session: Session) -> list[str]:
    """The nodes that labels and patterns name; ``@ARCH`` behind one takes those for an architecture."""
    words = [pattern.removeprefix("-") for pattern in patterns]
    if any("@" in word for word in words) and not any(map(is_external, words)):
        return named(patterns, Links(session.graph), session)
    return session.wanted(patterns)  # it refuses external packages, which nothing here makes


def named(words: Sequence[str], links: Links, session: Session) -> list[str]:
    """The vertices that words name, in the order of the command line; ``-//x`` takes away what was named before it."""
    from buildgraph.graph.query import Names

    names = Names(links, lambda word: session.wanted([word]))
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
