"""The steps of a melange recipe as its log shows them: one by its name or by what it uses, one that has neither not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from buildgraph.errors import Place
from buildgraph.recipes import yamltext
from buildgraph.recipes.pipelines import child, mappings_of, text_of
from buildgraph.recipes.yamltext import Mapping
from buildgraph.structs import Struct

_VARIABLE = re.compile(r"\$\{\{.*?\}\}")


class Step(Struct, frozen=True):
    """A step as it is written.

    ``subpackage`` is the name of the one that it belongs to, empty for the package itself; ``name`` is what melange logs
    (build/compile.go, identity), empty where that is nothing; ``depth`` counts the ``pipeline:`` that it stands in.
    """

    subpackage: str
    name: str
    uses: bool
    runs: bool
    depth: int
    place: Place


def logged_steps(tree: Mapping, path: str, text: str) -> tuple[Step, ...]:
    """The steps of a recipe in the order of its file, each before those within it."""
    found = list(_walk(tree, "", 1, path, text))
    for subpackage in mappings_of(tree.items.get("subpackages")):
        found += _walk(subpackage, text_of(subpackage.items.get("name")), 1, path, text)
    return tuple(found)


def _walk(owner: Mapping, subpackage: str, depth: int, path: str, text: str) -> Iterator[Step]:
    for node in mappings_of(child(owner, "pipeline")):
        has = {key for key in ("name", "uses", "runs") if text_of(node.items.get(key))}
        shown = next((key for key in ("name", "uses") if key in has), "")
        name = text_of(node.items.get(shown))
        place = yamltext.place(node.items[shown], path, text) if shown else yamltext.key_place(node, "runs", path, text)
        yield Step(subpackage, name, "uses" in has, "runs" in has, depth, place)
        yield from _walk(node, subpackage, depth + 1, path, text)


def is_meant(written: str, logged: str) -> bool:
    """Whether a text of a recipe may be what a log shows, its variables being replaced."""
    parts = [re.escape(part) for part in _VARIABLE.split(written)]
    return re.fullmatch(".*".join(parts), logged) is not None
