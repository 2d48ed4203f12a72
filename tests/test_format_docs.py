"""docs/format.md says how a key is computed: its example, its program and bg agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from buildgraph.apk.index import IndexEntry
from buildgraph.execute import checkouts
from buildgraph.execute.actions import Surroundings
from buildgraph.graph.model import Edge, Node
from buildgraph.keys.digest import Digest
from buildgraph.keys.document import SECTIONS, Entry, KeyDocument
from buildgraph.outputs.compare import Difference
from buildgraph.outputs.inspection import File, Image, Installed, Layer, Package, Source
from buildgraph.plan import record, store
from buildgraph.report import graphs, inspection
from buildgraph.report.verification import Finding
from buildgraph.workspace import lockfile
from buildgraph.workspace.statefile import MAGIC

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "format.md").read_text("utf-8")


def example(name: str) -> str:
    """The fenced block that follows ``<!-- example: name -->``."""
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```\n", PAGE, re.DOTALL)
    assert found, f"docs/format.md has no example `{name}`"
    return found[1]


def published_program() -> Any:
    """The function that the page prints, as another program would have it."""
    namespace: dict[str, Any] = {}
    exec(compile(example("program"), "docs/format.md", "exec"), namespace)
    return namespace["key_of"]


def test_the_example_is_a_document_as_bg_writes_it() -> None:
    """Reading the example and writing it again gives the same bytes: order, spaces and escapes are as the page says."""
    document = example("document").encode()
    assert KeyDocument.from_bytes(document).to_bytes() == document


def test_the_printed_key_is_that_of_the_example() -> None:
    """The printed program, fed with the printed document, gives the printed key, and so does bg."""
    document, key = example("document").encode(), example("key").strip()
    assert published_program()(document) == key
    assert KeyDocument.from_bytes(document).key() == key


@pytest.mark.parametrize("field", [0, 1, 2])
def test_section_name_and_value_are_in_the_key(field: int) -> None:
    """Changing one of the first three fields of a line changes the key."""
    first, *rest = map(json.loads, example("document").splitlines())
    first[field] += "x"
    assert KeyDocument.of(Entry(*line) for line in (first, *rest)).key() != example("key").strip()


@pytest.mark.parametrize("field", [3, 4])
def test_explanations_are_not_in_the_key(field: int) -> None:
    """Changing why a line is there, or where it comes from, leaves the key."""
    first, *rest = map(json.loads, example("document").splitlines())
    first[field] += "x"
    assert KeyDocument.of(Entry(*line) for line in (first, *rest)).key() == example("key").strip()


@pytest.mark.parametrize("name", ["caf\u00e9", "\udcff", "\U0001f600", "\x7f", '"\\\n'])
def test_the_program_computes_any_key(name: str) -> None:
    """Names beyond ASCII, names that are not UTF-8 and control characters come out alike."""
    document = KeyDocument.of([Entry("source", f"src/{name}", "0" * 64, "", name), Entry("tool", "melange", "v1")])
    assert published_program()(document.to_bytes()) == document.key()


def documented(heading: str) -> set[str]:
    """The words in the first column of the table below a heading."""
    section = PAGE.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_every_section_is_listed() -> None:
    """The table of sections has those of keys/document.py."""
    assert documented("### Sections") == set(SECTIONS)


def test_every_field_of_a_record_is_listed() -> None:
    """The tables of records have the fields that are written, no more and no fewer."""
    digest = Digest("0" * 64)
    action = record.record_to_json(record.Record(digest, "//a:b", digest, (), envelope=digest))
    assert documented(f"### `{store.ACTION}`: what an action gave") == set(action)
    deep = record.deep_to_json(record.DeepRecord(digest, digest, {}, {}, envelope=digest))
    assert documented(f"### `{store.DEEP}`: where a deep key leads") == set(deep)


def test_every_field_of_a_source_is_listed() -> None:
    """The table has the fields of archives and of checkouts."""
    digest = Digest("0" * 64)
    checkout = checkouts.Checkout("", digest, digest, {}, ())
    assert documented("### `source`: a source that was fetched") == {"address", "digest", *checkout.to_json()}


def test_every_field_of_the_lock_is_listed() -> None:
    """The table of the lock has the fields of workspace/lockfile.py, and the page shows its first line."""
    assert documented("## buildgraph.lock") == set(lockfile._FIELDS)
    assert f"    {lockfile.HEADER}\n" in PAGE


def test_every_field_of_the_graph_is_listed() -> None:
    """The tables of nodes and edges have the fields that are printed."""
    node = graphs.node_json(Node("//a:b", "//a:b", "image", ("x86_64",), "a", "a/b.yaml"))
    edge = graphs.edge_json(Edge("//a:b", "c", "image", "c", "a/b.yaml", 1))
    assert documented("## The graph as JSON") == {*node, *edge}


def test_every_field_of_a_second_build_is_listed() -> None:
    """The table has the fields of a finding, and the text the fields of a difference and of surroundings."""
    assert documented("## What a second build gave, as JSON") == set(Finding.__struct_fields__)
    section = PAGE.split("## What a second build gave, as JSON\n", 1)[1].split("\n#", 1)[0]
    inner = {name for kind in (Difference, Surroundings) for name in kind.__struct_fields__}
    assert inner <= set(re.findall(r"`(\w+)`", section))


def test_every_field_of_a_built_target_is_listed() -> None:
    """The text names all that is printed of a package and of an image."""
    section = PAGE.split("## What a target is, as JSON\n", 1)[1].split("\n#", 1)[0]
    package = inspection.package_json(Package("f", "d", IndexEntry("n", "1"), (File("p", "file", "0644"),)))
    image = inspection.image_json(Image("p", "d", (Layer("d", 1, "m"),), {}, (Installed(IndexEntry("n", "1"), Source()),)))
    printed = {*package, *package["files"][0], *image, *image["layers"][0], *image["packages"][0], *image["packages"][0]["from"]}
    assert printed <= set(re.findall(r"`(\w+)`", section))


def test_every_field_of_an_index_entry_is_listed() -> None:
    """The fields of an object in ``packages`` are named."""
    sentence = PAGE.split("An object in `packages` has ", 1)[1].split("All are always there", 1)[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == set(record._ENTRY_FIELDS)


def test_the_number_of_the_state_file_is_that_of_the_page() -> None:
    """What another program looks for first."""
    assert f"begins with the line `{MAGIC.decode().rstrip()}`" in PAGE
