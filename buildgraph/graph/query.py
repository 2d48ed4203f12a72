"""What queries mean: the functions of the language, over the links of a graph.

A value is a set of vertices: node ids, and ``@name`` for external packages. Functions that Bazel has mean what they mean there;
what is not as in Bazel is said at the function.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Final, Literal

from buildgraph.errors import BgError, TargetError, UsageError, did_you_mean
from buildgraph.graph.expression import (
    Call,
    Combination,
    Expression,
    Let,
    Signature,
    Span,
    Variable,
    Word,
    Words,
    parse,
    place,
)
from buildgraph.graph.model import EDGE_KINDS, Node
from buildgraph.graph.traverse import EXTERNAL, Links, architectures, externals, is_external
from buildgraph.structs import Struct

Value = frozenset[str]

# The node ids that a label or pattern names; raises UsageError and TargetError.
Match = Callable[[str], Iterable[str]]

ATTRIBUTES: Final[Mapping[str, Callable[[Node], Iterable[str]]]] = {
    "name": lambda node: [node.label.rpartition(":")[2]],
    "folder": lambda node: [node.folder],
    "file": lambda node: [node.path],
    "kind": lambda node: [node.kind],
    "arch": lambda node: node.architectures,
    "package": lambda node: (package.name for package in node.packages),
    "version": lambda node: (package.version for package in node.packages),
    "provides": lambda node: (text for package in node.packages for text in package.provides),
    "depends": lambda node: (need.text for package in node.packages for need in package.depends),
    "needs": lambda node: (need.text for need in node.world),
}


def query(text: str, links: Links, match: Match) -> list[str]:
    """The vertices that a query names: sorted, those of a ``somepath`` in the order of the path.

    Raises UsageError for what the language does not allow and TargetError for a name that names nothing, with the place.
    """
    parsed = parse(text, SIGNATURES)
    evaluation = _Evaluation(text, links, match)
    if isinstance(parsed, Call) and parsed.name == "somepath":
        return list(FUNCTIONS[parsed.name].run(evaluation, *parsed.arguments))
    return sorted(evaluation.value(parsed), key=lambda vertex: (is_external(vertex), vertex))


class Names:
    """What a word names: a label or pattern as ``match`` has it, the same with ``@architecture`` behind it, or ``@package``."""

    def __init__(self, links: Links, match: Match) -> None:
        self._links = links
        self._match = match
        self._known: dict[str, Value] = {}

    @cached_property
    def _externals(self) -> set[str]:
        return externals(self._links.graph)

    @cached_property
    def _architectures(self) -> set[str]:
        return architectures(self._links.graph)

    @cached_property
    def _labels(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for node in self._links.graph.nodes.values():
            found.setdefault(node.label, set()).add(node.id)
        return found

    def __call__(self, word: str) -> Value:
        """The vertices. Raises UsageError, TargetError."""
        if word not in self._known:
            self._known[word] = self._found(word)
        return self._known[word]

    def _found(self, word: str) -> Value:
        if word in self._labels:  # as ``match`` would find, but thousands of them in no time
            return frozenset(self._labels[word])
        if word.startswith("-"):
            message = f"`{word}` leaves something out, and nothing is there to leave it out of"
            raise UsageError(message)
        if word.startswith(EXTERNAL):
            return self._external(word)
        pattern, _, architecture = word.rpartition("@")
        if not (pattern and architecture in self._architectures):
            return frozenset(self._match(word))
        nodes = self._links.graph.nodes
        found = frozenset(name for name in self._match(pattern) if architecture in nodes[name].architectures)
        if not found:
            message = f"no target matches `{pattern}` on {architecture}"
            raise TargetError(message)
        return found

    def _external(self, word: str) -> Value:
        if word not in self._externals:
            message = f"no target asks for an external package `{word.removeprefix(EXTERNAL)}`"
            raise TargetError(message, hint=did_you_mean(word, self._externals) or "`bg query 'external(//...)'` lists them")
        return frozenset({word})


class _Evaluation:
    """One query being answered. A method for each function; its parameters are those that people see."""

    def __init__(self, text: str, links: Links, match: Match) -> None:
        self.text = text
        self.links = links
        self.names = Names(links, match)
        self.variables: dict[str, Value] = {}

    def value(self, expression: Expression) -> Value:
        """The vertices that an expression means."""
        match expression:
            case Word(text, span):
                return self._named(text, span)
            case Words(words):
                return frozenset().union(*map(self.value, words))
            case Variable(name):
                return self.variables[name]
            case Let(name, value, body):
                return self._let(name, value, body)
            case Combination(first, others):
                found = self.value(first)
                for operator, other in others:
                    found = _COMBINE[operator](found, self.value(other))
                return found
            case Call(name, arguments, span):
                function = FUNCTIONS[name].run
                try:
                    return frozenset(function(self, *arguments))
                except BgError as error:
                    error.where = error.where or place(self.text, span)
                    raise

    def _named(self, text: str, span: Span) -> Value:
        try:
            return self.names(text)
        except (TargetError, UsageError) as error:
            error.where = place(self.text, span)
            if self.text[span.end : span.end + 1] == "+" or self.text[: span.start].endswith("+"):
                error.hint = "if the `+` belongs to the name, put the name into quotes"
            raise

    def _let(self, name: str, value: Expression, body: Expression) -> Value:
        outer = self.variables
        self.variables = {**outer, name: self.value(value)}
        found = self.value(body)
        self.variables = outer
        return found

    def _nodes(self, x: Expression) -> list[Node]:
        return [self.links.graph.nodes[name] for name in self.value(x) if not is_external(name)]

    def deps(self, x: Expression, depth: int | None = None) -> Iterable[str]:
        starts = self.value(x)
        return (vertex for vertex in self.links.reach(starts, depth=depth) if vertex in starts or not is_external(vertex))

    def rdeps(self, universe: Expression, x: Expression, depth: int | None = None) -> Iterable[str]:
        return self.links.reach(self.value(x), up=True, depth=depth, within=self.links.reach(self.value(universe)))

    def allrdeps(self, x: Expression, depth: int | None = None) -> Iterable[str]:
        return self.links.reach(self.value(x), up=True, depth=depth)

    def allpaths(self, start: Expression, end: Expression) -> Iterable[str]:
        return self.links.between(self.value(start), self.value(end))

    def somepath(self, start: Expression, end: Expression) -> Iterable[str]:
        return self.links.path(self.value(start), self.value(end))

    def kind(self, pattern: Word, x: Expression) -> Iterable[str]:
        return self._matching(pattern, x, lambda vertex: [self._kind(vertex)])

    def _kind(self, vertex: str) -> str:
        return "external" if is_external(vertex) else self.links.graph.nodes[vertex].kind

    def filter(self, pattern: Word, x: Expression) -> Iterable[str]:
        nodes = self.links.graph.nodes
        return self._matching(pattern, x, lambda vertex: [vertex if is_external(vertex) else nodes[vertex].label])

    def attr(self, name: Word, pattern: Word, x: Expression) -> Iterable[str]:
        """An attribute with several values matches where one of them does; Bazel matches the list written as one text."""
        read = ATTRIBUTES.get(name.text)
        if read is None:
            message = f"there is no attribute `{name.text}`"
            hint = did_you_mean(name.text, ATTRIBUTES) or f"the attributes are {', '.join(ATTRIBUTES)}"
            raise UsageError(message, where=place(self.text, name.span), hint=hint)
        nodes = self.links.graph.nodes
        return self._matching(pattern, x, lambda vertex: () if is_external(vertex) else read(nodes[vertex]))

    def _matching(self, pattern: Word, x: Expression, texts: Callable[[str], Iterable[str]]) -> Iterable[str]:
        """As in Bazel a regular expression need only match a part."""
        try:
            with warnings.catch_warnings(action="ignore"):  # of what may mean something else in a later Python
                wanted = re.compile(pattern.text)
        except (re.error, OverflowError, RecursionError) as error:
            message = f"`{pattern.text}` is not a regular expression: {error}"
            raise UsageError(message, where=place(self.text, pattern.span)) from None
        return [vertex for vertex in self.value(x) if any(wanted.search(text) for text in texts(vertex))]

    def labels(self, kind: Word, x: Expression) -> Iterable[str]:
        """In Bazel the targets that an attribute holds; here the attributes that hold targets are the kinds of edges."""
        if kind.text not in EDGE_KINDS:
            message = f"`{kind.text}` is no kind of edge"
            hint = did_you_mean(kind.text, EDGE_KINDS) or f"the kinds are {', '.join(EDGE_KINDS)}"
            raise UsageError(message, where=place(self.text, kind.span), hint=hint)
        found = self.value(x)
        return (
            vertex
            for edge, vertex in self.links.followed
            if edge.kind == kind.text and edge.source in found and not is_external(vertex)
        )

    def some(self, x: Expression, count: int = 1) -> Iterable[str]:
        found = sorted(self.value(x))
        if not found:
            message = "there is nothing here to take some of"
            raise TargetError(message)
        return found[:count]

    def siblings(self, x: Expression) -> Iterable[str]:
        folders = {node.folder for node in self._nodes(x)}
        return (node.id for node in self.links.graph.nodes.values() if node.folder in folders)

    def cycles(self, x: Expression) -> Iterable[str]:
        found = self.value(x)
        return (name for cycle in self.links.graph.cycles if not found.isdisjoint(cycle) for name in cycle)

    def external(self, x: Expression) -> Iterable[str]:
        below = self.links.below
        return (vertex for name in self.value(x) for vertex in below.get(name, ()) if is_external(vertex))


class Function(Struct, frozen=True):
    """A function of the language: what it takes, what answers it, and what it names, for ``--help``."""

    signature: Signature
    run: Callable[..., Iterable[str]]
    meaning: str


_COMBINE: Final[Mapping[str, Callable[[Value, Value], Value]]] = {
    "union": frozenset.union,
    "intersect": frozenset.intersection,
    "except": frozenset.difference,
}


def _takes(*parameters: str, required: int | None = None) -> Signature:
    kinds: dict[str, Literal["word", "number"]] = {
        "depth": "number",
        "count": "number",
        "regex": "word",
        "attribute": "word",
        "edges": "word",
    }
    return Signature(
        tuple((name, kinds.get(name, "expression")) for name in parameters), len(parameters) if required is None else required
    )


FUNCTIONS: Final[Mapping[str, Function]] = {
    "deps": Function(_takes("x", "depth", required=1), _Evaluation.deps, "x and what it needs"),
    "rdeps": Function(
        _takes("universe", "x", "depth", required=2), _Evaluation.rdeps, "x and what needs it, within what universe needs"
    ),
    "allrdeps": Function(_takes("x", "depth", required=1), _Evaluation.allrdeps, "x and what needs it"),
    "allpaths": Function(_takes("start", "end"), _Evaluation.allpaths, "all that lies on a path from start to end"),
    "somepath": Function(_takes("start", "end"), _Evaluation.somepath, "a shortest path"),
    "kind": Function(_takes("regex", "x"), _Evaluation.kind, "those of x whose kind matches"),
    "filter": Function(_takes("regex", "x"), _Evaluation.filter, "those of x whose label matches"),
    "attr": Function(_takes("attribute", "regex", "x"), _Evaluation.attr, "those of x whose attribute matches"),
    "labels": Function(_takes("edges", "x"), _Evaluation.labels, "what x needs directly by edges of one kind"),
    "some": Function(_takes("x", "count", required=1), _Evaluation.some, "one of x, or so many"),
    "siblings": Function(_takes("x"), _Evaluation.siblings, "all targets in the folders of x"),
    "cycles": Function(_takes("x"), _Evaluation.cycles, "the cycles that x lies on, whole"),
    "external": Function(_takes("x"), _Evaluation.external, "the external packages that x asks for"),
}
SIGNATURES: Final[Mapping[str, Signature]] = {name: function.signature for name, function in FUNCTIONS.items()}
