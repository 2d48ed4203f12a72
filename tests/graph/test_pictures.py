"""Drawings: the same graph in each language, with every name as it is, and the limits of mermaid told."""

from __future__ import annotations

import html
import io
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.graph.model import Edge, Graph, Node
from buildgraph.graph.traverse import Links, Part
from buildgraph.report import graphs, pictures
from tests.graph.graphs import graph, made

SHOP = graph(
    "API = server", "API = @base", "server > lib", "server > lib", "server . lib", "lib > @make", "lib > tool x", "tool > lib"
)


def whole(of: Graph) -> Part:
    """All of a graph."""
    return Links(of).part(Links(of).reach(of.nodes))


def test_dot() -> None:
    """Packages are boxes, images ellipses, external packages dashed; kinds have styles, cut edges are dotted and red."""
    assert pictures.dot(whole(SHOP), graphs.naming(SHOP)) == [
        "digraph buildgraph {",
        "  rankdir=LR;",
        '  node [shape=box, fontname="sans-serif"];',
        '  "//images:API" [label="//images:API", shape=ellipse, style=filled, fillcolor="#e8f0fe"];',
        '  "//os:lib@x86_64" [label="//os:lib"];',
        '  "//os:server@x86_64" [label="//os:server"];',
        '  "//os:tool@x86_64" [label="//os:tool"];',
        '  "@base" [label="base", style=dashed];',
        '  "@make" [label="make", style=dashed];',
        '  "@tool" [label="tool", style=dashed];',
        '  "//images:API" -> "//os:server@x86_64" [style=bold, tooltip="server  API.yaml:1"];',
        '  "//images:API" -> "@base" [style=bold, tooltip="base  API.yaml:2"];',
        '  "//os:lib@x86_64" -> "//os:tool@x86_64" [style=dotted, color=red, tooltip="tool  lib.yaml:7"];',
        '  "//os:lib@x86_64" -> "@make" [style=solid, tooltip="make  lib.yaml:6"];',
        '  "//os:server@x86_64" -> "//os:lib@x86_64" [style=solid, tooltip="lib  server.yaml:3\\nlib  server.yaml:4"];',
        '  "//os:server@x86_64" -> "//os:lib@x86_64" [style=dashed, tooltip="lib  server.yaml:5"];',
        '  "//os:tool@x86_64" -> "//os:lib@x86_64" [style=solid, tooltip="lib  tool.yaml:8"];',
        "}",
    ]


def test_mermaid() -> None:
    """The same in Mermaid; the numbers of cut edges are those of the arrows above."""
    assert pictures.mermaid(whole(SHOP), graphs.naming(SHOP)) == [
        "flowchart LR",
        '  n0(["//images:API"])',
        '  n1["//os:lib"]',
        '  n2["//os:server"]',
        '  n3["//os:tool"]',
        '  n4["base"]:::external',
        '  n5["make"]:::external',
        '  n6["tool"]:::external',
        "  n0 ==> n2",
        "  n0 ==> n4",
        "  n1 -.-> n3",
        "  n1 --> n5",
        "  n2 --> n1",
        "  n2 -.-> n1",
        "  n3 --> n1",
        "  classDef external stroke-dasharray: 5 5",
        "  linkStyle 2 stroke:red",
    ]


def test_text() -> None:
    """For people: what each node needs, where that is written, and what meets an edge that was cut."""
    assert graphs.part_lines(whole(SHOP), graphs.naming(SHOP)) == [
        "//images:API",
        "  image   //os:server  server  (API.yaml:1)",
        "  external base",
        "//os:lib",
        "  build   //os:tool  tool  (lib.yaml:7)  cut: met by @tool",
        "  external make",
        "//os:server",
        "  build   //os:lib  lib  (server.yaml:3)",
        "  build   //os:lib  lib  (server.yaml:4)",
        "  runtime //os:lib  lib  (server.yaml:5)",
        "//os:tool",
        "  build   //os:lib  lib  (tool.yaml:8)",
    ]


def test_several_architectures_are_told_apart() -> None:
    """Then people see node ids."""
    several = graph("lib > tool", "lib@aarch64 > tool@aarch64")
    assert graphs.part_lines(whole(several), graphs.naming(several))[:2] == [
        "//os:lib@aarch64",
        "  build   //os:tool@aarch64  tool  (lib@aarch64.yaml:2)",
    ]
    assert '[label="//os:tool@aarch64"]' in "".join(pictures.dot(whole(several), graphs.naming(several)))


def named(*names: str) -> Graph:
    """A chain of nodes of any names, each asking for an external package of a name that is no better."""
    labels = [f"//{name}:x" for name in names]
    nodes = [
        Node(label, label, "image" if number % 2 else "package", ("x86_64",), name, f"{name}.yaml")
        for number, (label, name) in enumerate(zip(labels, names, strict=True))
    ]
    edges = [Edge(one, two, "build", two, f"{one}.yaml", 1) for one, two in pairwise(labels)]
    edges += [
        Edge(label, name, "runtime", name, f"{name}.yaml", 2, external=True) for label, name in zip(labels, names, strict=True)
    ]
    return made(nodes, edges)


# Whatever a folder can be called, not only what people call it.
ANY = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)
HARD = st.sampled_from(
    ['a"b', "a\\", '\\"', "a\nb", "<i>&amp;", "#35;", "end", "`md`", "a--b", "%%x", "]", "e\u0301\U0001f600", "\udcff"]
)
CHAINS = st.lists(ANY | HARD, min_size=1, max_size=4, unique=True)


@given(CHAINS)
def test_dot_quotes_every_name(names: list[str]) -> None:
    """By the grammar of DOT each line is tokens and quoted strings, and the strings are the names again."""
    of = named(*names)
    quoted = r'"(?:[^"\\\n]|\\.)*"'
    style = rf'(?:\w+=\w+|fillcolor="#e8f0fe"|tooltip={quoted})'
    ids, labels = [], []
    for line in "\n".join(pictures.dot(whole(of), graphs.naming(of))).split("\n")[3:-1]:
        found = re.fullmatch(
            rf"  ({quoted})(?: -> {quoted} \[{style}(?:, {style})*\]| \[label=({quoted})(?:, {style})*\]);", line
        )
        assert found, line
        ids.append(unquoted(found[1]))
        labels += [html.unescape(unquoted(found[2]))] if found[2] else []
    assert set(ids) == {text for name in names for text in (f"//{name}:x", f"@{name}")}
    assert sorted(labels) == sorted([f"//{name}:x" for name in names] + names)


def unquoted(text: str) -> str:
    """What a quoted string of DOT says."""
    return re.sub(r"\\(.)", lambda part: "\n" if part[1] == "n" else part[1], text[1:-1])


@given(CHAINS)
def test_mermaid_escapes_every_name(names: list[str]) -> None:
    """Within quotes stands nothing that mermaid reads as more than a character, and it is the name again."""
    of = named(*names)
    lines = pictures.mermaid(whole(of), graphs.naming(of))
    labels = []
    for line in "\n".join(lines).split("\n")[1:-1]:
        found = re.fullmatch(r'  n\d+(?:\["(.*)"\](?::::external)?|\(\["(.*)"\]\)| (?:-->|-\.->|==>) n\d+)', line)
        assert found, line
        labels += [text for text in found.groups() if text is not None]
    assert all(re.fullmatch(r"([A-Za-z0-9 /:._@+-]|#\d+;)*", label) for label in labels)
    meant = [re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label) for label in labels]
    assert sorted(meant) == sorted([f"//{name}:x" for name in names] + names)


def xml_of(name: str) -> str:
    """A name as XML can have it."""
    return "".join(
        char if char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000" else "\ufffd"
        for char in name
    )


@given(CHAINS)
def test_graphml_is_read_by_others(names: list[str]) -> None:
    """networkx reads back the nodes, the edges and what is said of them."""
    of = named(*names)
    text = "\n".join(pictures.graphml(whole(of)))
    if len({xml_of(name) for name in names}) < len(names):
        ET.fromstring(text.encode("utf-8", "replace"))
        return
    read = nx.read_graphml(io.BytesIO(text.encode()), force_multigraph=True)
    assert {data["target"] for _, data in read.nodes(data=True)} == {
        xml_of(text) for name in names for text in (f"//{name}:x", name)
    }
    assert dict(read.nodes(data="kind")).keys() == {xml_of(text) for name in names for text in (f"//{name}:x", f"@{name}")}
    told = [(one, two, data["kind"], data["file"], data["line"], data["cut"]) for one, two, data in read.edges(data=True)]
    expected = [(edge.source, end, edge.kind, edge.path, edge.line, edge.cut) for edge, end in whole(of).edges]
    assert sorted(told) == sorted(tuple(xml_of(part) if isinstance(part, str) else part for part in row) for row in expected)


@pytest.mark.parametrize(("edges", "told"), [(500, False), (501, True)])
def test_mermaids_limits_are_told(edges: int, told: bool) -> None:
    """It draws no more than 500 edges; parallel requirements are one."""
    of = graph(*(f"a > b{number}" for number in range(edges)), *(f"a > b{number}" for number in range(edges)))
    said = pictures.too_big_for_mermaid(whole(of), pictures.mermaid(whole(of), graphs.naming(of)))
    assert bool(said) == told
    assert not told or "501" in said


def test_long_names_exceed_mermaid_too() -> None:
    """Its other limit is 50,000 characters."""
    of = named(*(f"{number:0200}" for number in range(130)))
    assert "50,000 characters" in pictures.too_big_for_mermaid(whole(of), pictures.mermaid(whole(of), graphs.naming(of)))
