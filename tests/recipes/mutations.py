"""Recipes with something changed at random: a value dropped, retyped, put elsewhere, or the text itself garbled."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any, TypeAlias

from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence

Path: TypeAlias = tuple[str | int, ...]

_TYPED = [Scalar(text, plain=True) for text in ("", "~", "1", "1.5", "08", "1e3", "-1", "0x1f", "true", "2024-01-01", "9" * 20)]
_RETYPED: list[Node] = [
    *_TYPED, Scalar("true"), Scalar("yes"), Scalar("1"), Scalar(""), Mapping(), Sequence(), Mapping({"a": Scalar("b")}),
    Sequence([Scalar("a")]), Sequence([Scalar("~", plain=True)]), Mapping({"uses": Scalar("strip")}),
    Mapping({"runs": Scalar("make")}), Sequence([Mapping({"name": Scalar("z")})]),
]  # fmt: skip
_TEXTS = [
    "x", " ", "/", "..", "${{package.epoch}}", "${{package.full-version}}", "${{ package.name }}", "${{vars.nope}}", "${{",
    "${{range.key}}", "${{range.value}}", "${{build.arch}}", "${{targets.contextdir}}", "${{subpkg.name}}", "${{context.name}}",
    "${{host.triplet.gnu}}", "${{inputs.package}}", "${{options.a.enabled}}", "'a' == 'a'", "${{build.arch}} == 'x86_64'",
    "'a' == 'b' || ('c' != 'd')", ">=1.0", "=${{package.version}}", "@local", "!foo", "10", "90m", "strip", "fetch", "split/dev",
    "go/build", "test/tw/ldd-check", "python/import", "aarch64", "x86_64", "all", "cap_net_raw", "a", "*",
]  # fmt: skip
# A byte order mark in the middle is left out: on a line of its own yaml.v3 takes it for a text, and libyaml for nothing.
_TOKENS = [
    " ", "  ", "\t", "\n", "\n  ", ":", ": ", "-", "- ", '"', "'", "#", " #", "{", "}", "[", "]", ",", "&a ", "*a", "!!str ",
    "!x ", "! ", "|\n", ">-\n", "%", "@", "`", "? ", "<<: ", "~", "\r", "\r\n", "\x85", "\u2028", "\x07", "\x7f", "é",
    "---\n", "...\n",
    "\\", "\\x41", "&b ", "*b ", "1:", "? a\n: b\n", "\xa0", "😀", "%YAML 1.2\n", "\0",
]  # fmt: skip


def mutated(tree: Mapping, others: list[Mapping], random: Random) -> Mapping:
    """A copy with one to three changes; values are also taken from the same keys of other recipes."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if places:
            _change(tree, random.choice(places), others, random)
    return tree


def garbled(text: str, random: Random) -> str:
    """The text with one to three characters or lines put in, taken out or repeated."""
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(text) + 1)
        lines = text.split("\n")
        kind = random.random()
        if kind < 0.25:
            text = text[:at] + text[at + random.choice((1, 1, 2, 5, 40)) :]
        elif kind < 0.35:
            lines.insert(random.randrange(len(lines)), random.choice(lines))
            text = "\n".join(lines)
        elif kind < 0.65:
            number = random.randrange(len(lines))
            line = lines[number]
            indent = len(line) - len(line.lstrip())
            lines[number] = line[:indent] + random.choice(_TOKENS) + line[indent:]
            text = "\n".join(lines)
        else:
            text = text[:at] + random.choice(_TOKENS) + text[at:]
    return text


def _places(node: Node, path: Path = ()) -> Iterator[Path]:
    if isinstance(node, Scalar):
        return
    for key, value in node.items.items() if isinstance(node, Mapping) else enumerate(node.items):
        yield (*path, key)
        yield from _places(value, (*path, key))


def _at(node: Any, path: Path) -> Any:
    for key in path:
        node = node.items[key]
    return node


def _change(tree: Mapping, path: Path, others: list[Mapping], random: Random) -> None:
    key, parent = path[-1], _at(tree, path[:-1])
    current = _at(tree, path)
    items = parent.items
    kind = random.random()
    if kind < 0.3 and isinstance(key, str):
        items[key] = _grafted(key, others, random) or current
    elif kind < 0.55 and isinstance(current, Scalar):
        text = random.choice(_TEXTS)
        items[key] = Scalar(random.choice((text, current.text + text, text + current.text, current.text[:-1])))
    elif kind < 0.7:
        del items[key]
    elif kind < 0.8 and isinstance(parent, Mapping):
        other = random.choice(others)
        place = random.choice([place for place in _places(other) if isinstance(place[-1], str)])
        items[place[-1]] = copy.deepcopy(_at(other, place))
    elif kind < 0.9:
        items[key] = copy.deepcopy(random.choice(_RETYPED))
    elif isinstance(current, Sequence) and current.items:
        current.items.append(copy.deepcopy(random.choice(current.items)))
    else:
        items[key] = random.choice((Sequence([current]), Mapping({"a": current})))


def _grafted(key: str, others: list[Mapping], random: Random) -> Any:
    other = random.choice(others)
    places = [place for place in _places(other) if place[-1] == key]
    return copy.deepcopy(_at(other, random.choice(places))) if places else None
