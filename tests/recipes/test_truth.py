"""The real melange and apko agree with what is read here: on recipes of Wolfi, on their faults, on includes.

In the normal run on a sample; on everything with `BG_TRUTH=all` in the environment (docs/reading.md).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildgraph.execute.asking import MelangeCompile
from buildgraph.execute.tools import Toolbox
from buildgraph.recipes import yamltext
from buildgraph.recipes.builtins import Asked
from buildgraph.recipes.melange import boxed_melange
from tests.recipes.truth import Options, ask, ask_all, differences, read, recipes_of, said_here, sample

EVERYTHING = os.environ.get("BG_TRUTH") == "all"
SAMPLE = 320


@pytest.fixture(scope="session")
def recipes(wolfi: Path) -> list[Path]:
    """The recipes to compare on."""
    found = recipes_of(wolfi)
    return found if EVERYTHING else sample(found, SAMPLE)


def compare(melange: Path, recipes: list[Path], wolfi: Path, options: Options) -> list[str]:
    pipelines = wolfi / "pipelines"
    answers = ask_all(melange, recipes, pipelines, options)
    return [line for recipe, answer in answers for line in differences(recipe, answer, pipelines, options)]


def test_melange_compile_agrees(melange: Path, wolfi: Path, recipes: list[Path]) -> None:
    """Names, versions, declared dependencies, build and test environments with what pipelines need: all are the same."""
    assert len(recipes) >= 300

    found = compare(melange, recipes, wolfi, Options())

    assert not found, "\n".join(found)


def test_melange_compile_agrees_for_another_architecture(melange: Path, wolfi: Path, recipes: list[Path]) -> None:
    """Conditions, triplets and `target-architecture` are those of the architecture asked for."""
    found = compare(melange, recipes if EVERYTHING else recipes[::4], wolfi, Options(arch="aarch64"))

    assert not found, "\n".join(found)


WITH_OPTIONS = """\
package: {name: foo, version: 1.2.3, epoch: 7, target-architecture: [all], dependencies: {provides: ['a=${{vars.a}}']}}
vars: {a: one, b: two}
var-transforms:
  - {from: '${{vars.b}}', match: '^t(.*)$', replace: 'T$1', to: c}
options:
  first:
    vars: {a: uno, d: tre}
    environment: {contents: {packages: {add: [new, 'x-${{vars.a}}'], remove: [p1, nothing]}}}
  second:
    vars: {b: due}
    environment: {contents: {packages: {add: [p1], remove: [new, p2, p2]}}}
environment: {contents: {packages: [p1, p2, 'v-${{vars.a}}', p3, p1, p4, p2]}}
pipeline:
  - {needs: {packages: ['n-${{vars.a}}-${{vars.b}}-${{vars.c}}']}, runs: true}
  - {if: "${{options.first.enabled}} == 'true'", needs: {packages: [first]}, runs: true}
  - {if: "${{options.second.enabled}} == 'true'", uses: strip}
subpackages:
  - {name: 'foo-${{vars.b}}', if: "${{options.first.enabled}} == 'true'", pipeline: [{uses: split/dev}]}
  - {name: 'foo-${{vars.c}}', if: "'${{vars.a}}' == 'one'"}
"""


@pytest.mark.parametrize("options", [(), ("first",), ("second",), ("first", "second"), ("second", "first"), ("first", "first")])
@pytest.mark.parametrize("variables", ["", "{}", "{a: uno}", "{b: tee, c: see, e: eh}", "{a: 3.10, b: 010}"])
def test_build_options_and_vars_files_agree(melange: Path, tmp_path: Path, options: tuple[str, ...], variables: str) -> None:
    """`--build-option` in its order, `--vars-file` before the recipe's own variables."""
    recipe, pipelines = tmp_path / "foo.yaml", tmp_path / "pipelines"
    recipe.write_text(WITH_OPTIONS)
    (tmp_path / "vars.yaml").write_text(variables)
    # An option that the recipe does not have is only known to conditions.
    given = Options(build_options=(*options, "unknown"), vars_file=tmp_path / "vars.yaml" if variables else None)

    found = differences(recipe, ask(melange, recipe, pipelines, given), pipelines, given)

    assert not found, "\n".join(found)


def test_the_boxed_recipe_compiles_to_the_same(melange: Path, wolfi: Path, recipes: list[Path], tmp_path: Path) -> None:
    """The canonical text changes nothing for melange; the box only what it is meant to change."""
    pipelines = wolfi / "pipelines"
    chosen = recipes if EVERYTHING else recipes[::6]
    for recipe in chosen:
        boxed = boxed_melange(yamltext.parse_mapping(recipe.read_bytes(), recipe.name))
        (tmp_path / recipe.name).write_text(yamltext.emit(boxed))
    written = ask_all(melange, chosen, pipelines, Options())
    in_boxes = ask_all(melange, [tmp_path / recipe.name for recipe in chosen], pipelines, Options())
    for (_, answer), (_, boxed_answer) in zip(written, in_boxes, strict=True):
        expected = answer.config
        if expected is not None:
            for part in [expected, *(expected.get("subpackages") or [])]:
                part.pop("test", None)
            expected["update"] = {"enabled": False}
            expected["package"].pop("test-resources", None)
            expected["environment"]["contents"].pop("keyring", None)
            expected["environment"]["contents"]["repositories"] = ["./repo"]

        assert boxed_answer.config == expected


def test_pipelines_of_an_unknown_melange_are_learnt_by_asking(
    toolbox: Toolbox, wolfi: Path, recipes: list[Path], tmp_path: Path
) -> None:
    """What this melange says of its pipelines leads to the same environments as the table of them; nothing is asked twice."""
    answers = MelangeCompile(toolbox, tmp_path)
    asked = Options(builtins=Asked("v9.9.9", answers))
    pipelines = wolfi / "pipelines"
    for recipe in recipes:
        assert said_here(read(recipe, pipelines, asked)) == said_here(read(recipe, pipelines, Options()))

    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert kept
    for recipe in recipes[:20]:
        read(recipe, pipelines, asked)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == kept
