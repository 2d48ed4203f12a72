"""A melange is asked what its pipelines are: once for each question, about its own ones, and its refusals are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph import structs
from buildgraph.errors import RecipeError, ToolError
from buildgraph.execute.asking import MelangeCompile, builtins_of
from buildgraph.execute.tools import Toolbox
from buildgraph.recipes import yamltext
from buildgraph.recipes.builtins import Asked, Builtins, CompileError, Table, question
from buildgraph.recipes.melange import read_melange

HEAD = "package: {name: foo, version: 1.2.3}\n"


@pytest.fixture
def unknown(toolbox: Toolbox, tmp_path: Path) -> Builtins:
    """The real melange, under a version that no table has."""
    return builtins_of(structs.replace(toolbox, melange_version="v9.9.9 with apko v1.2.3"), tmp_path)


def environment(builtins: Builtins, steps: str) -> list[str]:
    """What a recipe of these steps installs."""
    text = f"{HEAD}pipeline: {steps}\n"
    tree = yamltext.parse(text.encode(), "foo.yaml")
    recipe = read_melange(tree, "foo.yaml", text, arch="x86_64", find_pipeline=lambda _: None, builtins=builtins)
    return [need.text for need in recipe.environment]


def test_a_known_version_is_not_asked(toolbox: Toolbox, tmp_path: Path) -> None:
    """The table has it."""
    assert builtins_of(toolbox, tmp_path) == Table("v0.59.1")


@pytest.mark.parametrize(
    "steps",
    [
        "[{uses: go/build, with: {packages: ., output: x, go-package: go-1.22}}]",
        "[{uses: go/build, with: {packages: ., output: x, go-package: ''}}]",
        "[{uses: go/build/v2}]",
        "[{uses: fetch, with: {uri: 'https://x/${{package.name}}', expected-sha256: '" + "0" * 64 + "'}}]",
        "[{if: \"${{build.arch}} == 'aarch64'\", uses: strip}, {uses: split/debug}]",
        "[{uses: python/build-wheel}, {uses: cmake/configure}, {uses: R/build, with: {package: a, version: b}}]",
    ],
)
def test_an_asked_melange_leads_to_the_same_environment(unknown: Builtins, steps: str) -> None:
    """Needs that hold an input, conditions, nested pipelines, defaults for inputs that are given empty."""
    assert isinstance(unknown, Asked)
    assert environment(unknown, steps) == environment(Table(), steps) != []


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[{uses: no/such}]", "there is no pipeline `no/such`, neither in the pipeline folders nor in melange v9.9.9"),
        ("[{uses: fetch}]", 'melange refuses this use of its pipeline `fetch`: .*required input "uri"'),
        ("[{uses: strip, with: {x: y}}]", 'melange refuses this use of its pipeline `strip`: .*undefined input "x"'),
        ("[{uses: fetch, with: {uri: x, expected-sha256: y}}]", "`expected-sha256` must be 64 hexadecimal digits"),
    ],
)
def test_what_it_refuses_is_an_error_at_the_step(unknown: Builtins, steps: str, message: str) -> None:
    """In melange's words where bg knows none."""
    with pytest.raises(RecipeError, match=message) as caught:
        environment(unknown, steps)
    assert caught.value.where
    assert caught.value.where.line == 2


def test_an_answer_is_kept(toolbox: Toolbox, tmp_path: Path) -> None:
    """Whoever has asked once needs no melange the second time; a damaged answer is asked for again."""
    asked = question("strip", {})
    answer = MelangeCompile(toolbox, tmp_path)(asked, "x86_64")
    gone = structs.replace(toolbox, melange=tmp_path / "gone")

    assert MelangeCompile(gone, tmp_path)(asked, "x86_64") == answer
    (kept,) = tmp_path.iterdir()
    kept.write_text("{")
    with pytest.raises(ToolError):
        MelangeCompile(gone, tmp_path)(asked, "x86_64")
    assert MelangeCompile(toolbox, tmp_path)(asked, "x86_64") == answer


def test_a_refusal_is_kept_too(toolbox: Toolbox, tmp_path: Path) -> None:
    """It is an answer like any other."""
    gone = structs.replace(toolbox, melange=tmp_path / "gone")
    for tools in (toolbox, gone):
        with pytest.raises(CompileError, match="undefined input"):
            MelangeCompile(tools, tmp_path)(question("strip", {"x": "y"}), "x86_64")


def test_a_program_that_answers_with_something_else(toolbox: Toolbox, tmp_path: Path) -> None:
    """It is no melange, and nothing is remembered of it."""
    other = tmp_path / "melange"
    other.write_text("#!/bin/sh\necho hello\n")
    other.chmod(0o755)
    with pytest.raises(ToolError, match="prints no JSON"):
        MelangeCompile(structs.replace(toolbox, melange=other), tmp_path / "store")(question("strip", {}), "x86_64")
    assert not list(tmp_path.glob("store/*"))
