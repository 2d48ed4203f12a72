"""Parts of the graph for programs that draw: DOT for Graphviz, Mermaid for Markdown, GraphML for yEd, Gephi and networkx.

Packages are boxes, images rounded, external packages dashed. Edges of kind build are solid, runtime dashed, image bold; those
that cycles were cut at are red and dotted.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Final

from buildgraph.graph.model import Edge
from buildgraph.graph.traverse import EXTERNAL, Part
from buildgraph.report.graphs import Naming

# What GitHub and mermaid.live draw at most: mermaid's `maxEdges` and `maxTextSize`, which a diagram cannot raise
# (mermaid 11, packages/mermaid/src/schemas/config.schema.yaml).
MERMAID_EDGES: Final = 500
MERMAID_CHARACTERS: Final = 50_000

_DOT_STYLES: Final = {"build": "style=solid", "runtime": "style=dashed", "image": "style=bold"}
_ARROWS: Final = {"build": "-->", "runtime": "-.->", "image": "==>"}
_PLAIN: Final = re.compile(r"[^A-Za-z0-9 /:._@+-]")
# What XML 1.0 has no way to write: section 2.2 of its definition.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GRAPHML_KEYS: Final = (
    ("node", "kind", "string"),
    ("node", "target", "string"),
    ("node", "architectures", "string"),
    ("node", "file", "string"),
    ("node", "packages", "string"),
    ("edge", "kind", "string"),
    ("edge", "requirement", "string"),
    ("edge", "file", "string"),
    ("edge", "line", "int"),
    ("edge", "cut", "boolean"),
)


def dot(part: Part, name: Naming) -> list[str]:
    """In the DOT language of Graphviz. An arrow's tooltip says which requirement it stands for."""
    lines = ["digraph buildgraph {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for node in part.nodes:
        style = ', shape=ellipse, style=filled, fillcolor="#e8f0fe"' if node.kind == "image" else ""
        lines.append(f"  {_quoted(node.id)} [label={_shown(name(node.id))}{style}];")
    lines += [f"  {_quoted(vertex)} [label={_shown(vertex[1:])}, style=dashed];" for vertex in part.external]
    for (source, vertex, kind, cut), edges in _arrows(part).items():
        style = "style=dotted, color=red" if cut else _DOT_STYLES[kind]
        told = "\n".join(f"{edge.requirement}  {edge.place}" for edge in edges)
        lines.append(f"  {_quoted(source)} -> {_quoted(vertex)} [{style}, tooltip={_shown(told)}];")
    return [*lines, "}"]


def mermaid(part: Part, name: Naming) -> list[str]:
    """As a Mermaid flowchart, which GitHub and GitLab draw in Markdown."""
    ids = {vertex: f"n{number}" for number, vertex in enumerate([*(node.id for node in part.nodes), *part.external])}
    lines = ["flowchart LR"]
    for node in part.nodes:
        left, right = ("([", "])") if node.kind == "image" else ("[", "]")
        lines.append(f'  {ids[node.id]}{left}"{_entities(name(node.id))}"{right}')
    lines += [f'  {ids[vertex]}["{_entities(vertex[1:])}"]:::external' for vertex in part.external]
    cuts = []
    for number, (source, vertex, kind, cut) in enumerate(_arrows(part)):
        lines.append(f"  {ids[source]} {'-.->' if cut else _ARROWS[kind]} {ids[vertex]}")
        cuts += [str(number)] if cut else []
    if part.external:
        lines.append("  classDef external stroke-dasharray: 5 5")
    if cuts:
        lines.append(f"  linkStyle {','.join(cuts)} stroke:red")
    return lines


def too_big_for_mermaid(part: Part, lines: Iterable[str]) -> str:
    """Which of mermaid's limits a flowchart exceeds, for people; empty where it is small enough."""
    edges, characters = len(_arrows(part)), sum(len(line) + 1 for line in lines)
    if edges <= MERMAID_EDGES and characters <= MERMAID_CHARACTERS:
        return ""
    return (
        f"mermaid draws at most {MERMAID_EDGES:,} edges and {MERMAID_CHARACTERS:,} characters, and this has {edges:,} and "
        f"{characters:,}: name fewer targets, use --depth or --no-external, or draw it with --format dot"
    )


def graphml(part: Part) -> list[str]:
    """As GraphML (graphml.graphdrawing.org); ids are node ids and ``@name``, lists are separated by spaces."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']
    for owner, key, kind in _GRAPHML_KEYS:
        lines.append(f'  <key id="{owner}-{key}" for="{owner}" attr.name="{key}" attr.type="{kind}"/>')
    lines.append('  <graph id="buildgraph" edgedefault="directed">')
    for node in part.nodes:
        packages = " ".join(f"{package.name}={package.version}" for package in node.packages)
        data = _data("node", node.kind, node.label, " ".join(node.architectures), node.path, packages)
        lines += [f'    <node id="{_xml(node.id)}">', *data, "    </node>"]
    for vertex in part.external:
        lines += [f'    <node id="{_xml(vertex)}">', *_data("node", "external", vertex.removeprefix(EXTERNAL)), "    </node>"]
    for number, (edge, vertex) in enumerate(part.edges):
        data = _data("edge", edge.kind, edge.requirement, edge.path, str(edge.line), str(edge.cut).lower())
        ends = f'source="{_xml(edge.source)}" target="{_xml(vertex)}"'
        lines += [f'    <edge id="e{number}" {ends}>', *data, "    </edge>"]
    return [*lines, "  </graph>", "</graphml>"]


def _data(owner: str, *values: str) -> Iterator[str]:
    """The values of the first keys of a node or an edge."""
    keys = [key for of, key, _ in _GRAPHML_KEYS if of == owner]
    return (f'      <data key="{owner}-{key}">{_xml(value)}</data>' for key, value in zip(keys, values, strict=False))


def _arrows(part: Part) -> dict[tuple[str, str, str, bool], list[Edge]]:
    """What is drawn as one arrow: source, end, kind and whether it was cut, with the edges that it stands for; sorted."""
    found: dict[tuple[str, str, str, bool], list[Edge]] = {}
    for edge, vertex in part.edges:
        found.setdefault((edge.source, vertex, edge.kind, edge.cut), []).append(edge)
    return dict(sorted(found.items(), key=lambda item: item[0]))


def _quoted(text: str) -> str:
    """A quoted string of DOT: https://graphviz.org/doc/info/lang.html."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _shown(text: str) -> str:
    """A quoted string of DOT that is shown: Graphviz reads character entities of HTML there."""
    return _quoted(text.replace("&", "&amp;"))


def _entities(text: str) -> str:
    """A text within quotes in Mermaid, where ``#`` and a code point stand for a character."""
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", text)


def _xml(text: str) -> str:
    """A text of XML, in an attribute too: line breaks are written as references there, or they would be read as spaces."""
    escaped = html.escape(_NOT_XML.sub("\ufffd", text))
    return re.sub(r"[\t\n\r]", lambda found: f"&#{ord(found[0])};", escaped)
