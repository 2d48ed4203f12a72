"""`bg list`, `deps`, `rdeps`, `path`, `query` and `graph` on the example, as people and as programs read them."""

from __future__ import annotations

import io
import json
import textwrap

import networkx as nx
import pytest

from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

API = {"//images:api", "//packages:stock-api", "//packages:libstock", "//packages:stock-config"}


def targets(answer: dict[str, list[dict[str, str]]]) -> set[str]:
    """The targets in a JSON answer."""
    return {node["target"] for node in answer["nodes"]}


def test_list_by_pattern_and_kind(unbuilt: Workspace) -> None:
    """Patterns, exclusions, kinds; as text and as JSON."""
    assert unbuilt.bg("list", "//images/...", "-//images:api").out == textwrap.dedent("""\
        //images:debug   image    recipes/images/debug.yaml
        //images:tools   image    recipes/images/tools.yaml
        //images:worker  image    recipes/images/worker.yaml
    """)
    listed = unbuilt.bg("list", "--kind", "package", "--json").answer
    assert {node["kind"] for node in listed} == {"package"}
    assert next(node for node in listed if node["target"] == "//packages:libstock")["packages"] == [
        {"name": "libstock", "version": "1.2.0-r0"},
        {"name": "libstock-dev", "version": "1.2.0-r0"},
        {"name": "libstock-doc", "version": "1.2.0-r0"},
    ]


def test_what_is_left_out_has_a_reason(bare: Workspace) -> None:
    """A recipe for another architecture is listed with why it has no node, as text and as JSON, and by kind."""
    bare.write("buildgraph.yaml", "architectures: [x86_64]\n")
    bare.write("far.yaml", package("far", "true").replace("epoch: 0", "epoch: 0, target-architecture: [s390x]"))
    reason = "its recipe is not for x86_64"
    assert bare.bg("list").out == f"//:far  left out: {reason}\n"
    assert bare.bg("list", "--kind", "image").out == ""
    assert bare.bg("list", "--json").answer == [{"target": "//:far", "kind": "package", "file": "far.yaml", "left_out": reason}]
    said = bare.bg("query", "deps(//:far)")
    assert said.code == 3
    assert said.err.startswith(f"query: //:far cannot be built here: {reason}\n    deps(//:far)\n         ^^^^^^\n")


def test_deps(unbuilt: Workspace) -> None:
    """Direct ones, ones up to a depth, external ones, ones by some kinds of edges; several targets at once."""

    def shown(*arguments: str) -> list[str]:
        return [line.split()[0] for line in unbuilt.bg("deps", *arguments).out.splitlines()[:-1]]

    assert set(shown("//images:api")) == API
    assert shown("//images:api", "--direct") == shown("//images:api", "--depth", "1") == ["//images:api", "//packages:stock-api"]
    assert shown("//images:api", "--depth", "0") == ["//images:api"]
    assert set(shown("//images:api", "--edges", "image,build")) == API - {"//packages:stock-config"}
    assert set(shown("//images:debug", "--external", "--direct")) == {
        *("//images:debug", "//packages:stock-api", "@busybox", "@jq", "@wolfi-baselayout")
    }
    assert shown("//images/...", "-//images:worker", "--depth", "0") == ["//images:api", "//images:debug", "//images:tools"]
    answer = unbuilt.bg("deps", "--json", "//images:api").answer
    assert {node["target"]: node["depth"] for node in answer["nodes"]} == {
        "//images:api": 0,
        "//packages:stock-api": 1,
        "//packages:libstock": 2,
        "//packages:stock-config": 2,
    }
    assert {(edge["from"], edge["to"], edge["kind"]) for edge in answer["edges"]} == {
        ("//images:api", "//packages:stock-api@x86_64", "image"),
        ("//packages:stock-api@x86_64", "//packages:libstock@x86_64", "build"),
        ("//packages:stock-api@x86_64", "//packages:stock-config@x86_64", "runtime"),
    }


def test_rdeps(unbuilt: Workspace) -> None:
    """Who needs a target, or an external package."""
    answer = unbuilt.bg("rdeps", "--json", "//packages:stock-config").answer
    assert targets(answer) == API - {"//packages:libstock"} | {"//images:debug", "//images:worker", "//worker:stock-worker"}
    assert unbuilt.bg("rdeps", "@jq").out.splitlines()[1].split() == [
        "//images:debug",
        "jq",
        "image",
        "recipes/images/debug.yaml:8",
    ]


def test_path(unbuilt: Workspace) -> None:
    """One, all up to a limit, none; each step with the line that asks."""
    answer = unbuilt.bg("path", "--json", "//images:api", "//packages:libstock").answer
    (found,) = answer["paths"]
    assert found["nodes"] == ["//images:api", "//packages:stock-api@x86_64", "//packages:libstock@x86_64"]
    for step in found["edges"]:
        line = (unbuilt.root / step["file"]).read_text().splitlines()[step["line"] - 1]
        assert step["requirement"] in line
    every = unbuilt.bg("path", "--all", "--json", "//images/...", "@busybox").answer
    lengths = [len(one["nodes"]) for one in every["paths"]]
    assert lengths == sorted(lengths)
    assert (len(lengths), every["more"]) == (13, False)
    some = unbuilt.bg("path", "--all", "--limit", "2", "//images/...", "@busybox").out
    assert some.endswith("\n\nand more: only the 2 shortest are shown (--limit)\n")
    assert unbuilt.bg("path", "//packages:libstock", "//images:api").out == (
        "there is no path from //packages:libstock to //images:api; there is one the other way\n"
    )
    assert unbuilt.bg("path", "--json", "//packages:libstock", "//images:api").answer == {"paths": [], "more": False}
    assert unbuilt.bg("path", "--edges", "build", "//images:api", "//packages:libstock").out.endswith(
        "; there is one with all kinds of edges and --cut\n"
    )
    assert unbuilt.bg("path", "//images:api", "//images/...").out == "//images:api is both ends\n"


def test_the_forms_of_a_querys_answer(unbuilt: Workspace) -> None:
    """Labels, ids, recipes, JSON, DOT; an empty answer is told beside it."""
    expression = "deps(//images:api, 1) + @jq"

    def lines(*arguments: str) -> list[str]:
        return unbuilt.bg("query", expression, *arguments).out.splitlines()

    assert lines() == lines("--output", "label") == ["//images:api", "//packages:stock-api", "@jq"]
    assert lines("--output", "node") == ["//images:api", "//packages:stock-api@x86_64", "@jq"]
    assert lines("--output", "file") == ["recipes/images/api.yaml", "recipes/packages/stock-api.yaml"]
    assert lines("--json") == lines("--output", "json")
    answer = json.loads("\n".join(lines("--json")))
    assert (targets(answer), answer["external"]) == ({"//images:api", "//packages:stock-api"}, ["jq"])
    drawn = lines("--output", "graph")
    assert drawn[0] == "digraph buildgraph {"
    assert sum("->" in line for line in drawn) == 1
    nothing = unbuilt.bg("query", "set()")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "the query names nothing\n")


def test_a_query_from_where_one_stands(unbuilt: Workspace) -> None:
    """Relative labels and patterns, as in other commands."""
    images = unbuilt.root / "recipes/images"
    assert unbuilt.bg("query", "deps(:api, 1) - ./...", cwd=images).out == "//packages:stock-api\n"
    assert unbuilt.bg("path", ":api", "../packages:libstock", cwd=images).out.count("\n") == 2


def test_several_architectures(unbuilt: Workspace) -> None:
    """Then node ids are shown, and one architecture can be picked."""
    unbuilt = Workspace(unbuilt.root.parent / "two", unbuilt.home, unbuilt.tools)
    unbuilt.write("buildgraph.yaml", "architectures: [x86_64, aarch64]\n")
    unbuilt.write("one.yaml", package("one", "true"))
    unbuilt.write("two.yaml", package("two", "true", needs=("one",)))
    assert unbuilt.bg("query", "//:two").out == "//:two@aarch64\n//:two@x86_64\n"
    assert unbuilt.bg("query", "deps(//:two@aarch64)").out == "//:one@aarch64\n//:two@aarch64\n"
    assert unbuilt.bg("query", "//...", "--output", "label").out == "//:one\n//:two\n"
    assert unbuilt.bg("deps", "//:two@aarch64", "--direct").out.splitlines()[1].split()[0] == "//:one@aarch64"
    assert unbuilt.bg("deps", "//...", "-//...@aarch64", "--depth", "0").out == "//:one@x86_64\n//:two@x86_64\n0 targets\n"


def test_graph_in_every_form(unbuilt: Workspace) -> None:
    """All forms draw the same nodes; depth and external packages as asked."""
    answer = unbuilt.bg("graph", "--json", "//images:api").answer
    assert targets(answer) == API
    assert {edge["to"] for edge in answer["edges"] if edge["external"]} >= {"busybox", "make", "wolfi-baselayout"}
    assert answer == unbuilt.bg("graph", "--format", "json", "//images:api").answer
    inside = unbuilt.bg("graph", "--json", "--no-external", "//images:api").answer
    assert inside["edges"] == [edge for edge in answer["edges"] if not edge["external"]]
    assert targets(unbuilt.bg("graph", "--json", "--depth", "1", "//images:api").answer) == {
        "//images:api",
        "//packages:stock-api",
    }
    assert targets(unbuilt.bg("graph", "--json", "--edges", "runtime").answer) == targets(unbuilt.bg("graph", "--json").answer)
    read = nx.read_graphml(
        io.BytesIO(unbuilt.bg("graph", "--format", "graphml", "//images:api").out.encode()), force_multigraph=True
    )
    assert {data["target"] for _, data in read.nodes(data=True) if data["kind"] != "external"} == API
    assert read.number_of_edges() == len(answer["edges"])
    for form in ("dot", "mermaid", "text"):
        drawn = unbuilt.bg("graph", "--format", form, "--no-external", "//images:api").out
        assert all(target in drawn for target in API)
        assert "busybox" not in drawn


def test_a_flowchart_too_big_for_mermaid_is_told(bare: Workspace) -> None:
    """It is printed all the same, the warning beside it."""
    bare.write("hub.yaml", package("hub", "true", needs=tuple(f"need{number}" for number in range(501))))
    done = bare.bg("graph", "--format", "mermaid")
    assert done.code == 0
    assert done.out.count("-->") == 502
    assert done.err.startswith("mermaid draws at most 500 edges and 50,000 characters, and this has 502 and ")


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["query", "deps("], 2, "query: expected a label, a pattern, a function or `(`, not the end", ""),
        (["query", "dps(//...)"], 2, "query: there is no function `dps`", "did you mean `deps`"),
        (["query", "deps(//images:apo)"], 3, "query: no target `//images:apo`", "did you mean `//images:api`"),
        (["query", "//...", "--json", "--output", "file"], 2, "--json and --output file contradict each other", ""),
        (["query", "//...", "--output", "lable"], 2, "argument --output: invalid choice: 'lable'", "did you mean `label`?"),
        (["query"], 2, "the following arguments are required: EXPR", "`bg query --help`"),
        (["deps", "//images:apo"], 3, "no target `//images:apo`", "did you mean `//images:api`"),
        (["deps", "//...", "-//..."], 3, "nothing is left of what was named", ""),
        (["rdeps", "@busibox"], 3, "no target asks for an external package `busibox`", "did you mean `@busybox`?"),
        (["deps", "//...", "--edges", "built"], 2, "`built` is not one of build, runtime, image", ""),
        (["deps", "//...", "--depth", "-1"], 2, "argument --depth: `-1` is not a whole number", "--help"),
        (["deps", "//...", "--direct", "--depth", "2"], 2, "not allowed with argument --direct", "--help"),
        (["path", "//images:api", "--all"], 2, "the following arguments are required: TO", "--help"),
        (["path", "//...", "//...", "--all", "--limit", "0"], 2, "it must be at least 1", "--help"),
        (["path", "-//images:api", "//..."], 2, "`-//images:api` leaves something out, and nothing is there", ""),
        (["query", "-//images:api"], 2, "expected a label, a pattern, a function or `(`, not `-`", ""),
        (["query", "'-//images:api'"], 2, "query: `-//images:api` leaves something out", ""),
        (["graph", "--format", "grapml"], 2, "argument --format: invalid choice: 'grapml'", "did you mean `graphml`"),
    ],
)
def test_mistakes(unbuilt: Workspace, arguments: list[str], code: int, message: str, hint: str) -> None:
    """A message, a suggestion and the exit code of the class."""
    done = unbuilt.bg(*arguments)
    assert done.code == code, done.err
    assert message in done.err
    assert hint in done.err


@pytest.mark.parametrize("command", ["list", "deps", "rdeps", "path", "query", "graph"])
def test_help_needs_no_workspace(bare: Workspace, command: str) -> None:
    """And fits a terminal."""
    done = bare.bg(command, "--help", env={"COLUMNS": "80"}, cwd=bare.home)
    assert done.out.startswith(f"usage: bg {command}")
    assert all(len(line) <= 80 for line in done.out.splitlines())
