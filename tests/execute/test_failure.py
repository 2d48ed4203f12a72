"""Which step failed, by melange's log and the recipe."""

from __future__ import annotations

from buildgraph.execute.failure import excerpt, failed_step, hint_for
from buildgraph.plan.materials import Materials
from buildgraph.recipes.steps import logged_steps
from buildgraph.recipes.yamltext import parse_mapping

RECIPE = """\
package: {name: app}
pipeline:
  - runs: first
  - name: twice
    runs: "one"
  - uses: go/build
  - runs: "two"
  - name: twice
    pipeline:
      - runs: inner
  - if: "false"
    name: of ${{package.name}}
    runs: x
subpackages:
  - range: all
    name: app-${{range.key}}
    pipeline:
      - uses: split/dev
      - runs: last
"""
# How melange begins, whatever the steps are.
PREPARED = [
    "2026/01/01 10:00:00 INFO image configuration:",
    "2026/01/01 10:00:00 INFO   packages:     [busybox=1]",
    "2026/01/01 10:00:00 INFO auth configured for: 0x1",
    "2026/01/01 10:00:00 INFO installing libgcc (12.2.0-r1401)",
    "2026/01/01 10:00:00 INFO installing busybox (1.35.0-r40101)",
]
STEPS = logged_steps(parse_mapping(RECIPE.encode(), "app.yaml"), "app.yaml", RECIPE)


def candidates(*names: str, depth: int = 1, package: str = "package app") -> list[int]:
    """The lines of the steps that may have failed, after a log that names these."""
    verdict = f"ERRO failed to build package: unable to run {package} pipeline: {'unable to run pipeline: ' * depth}exit status 7"
    log = [*PREPARED, *(f'2026/01/01 10:00:00 INFO running step "{name}"' for name in names)]
    if package.startswith("subpackage"):
        log.insert(len(PREPARED), f"2026/01/01 10:00:00 INFO running pipeline for {package}")
    found = failed_step([*log, "said", verdict], STEPS)
    assert found is not None
    assert found.how == "exit status 7"
    assert [line for line in found.lines if "go/inner" not in line] == ["said"]
    return [step.place.line for step in found.candidates]


def test_the_last_step_that_the_log_names() -> None:
    """By name or by what it uses, with variables; of two of one name the later one once the first has been."""
    assert candidates("twice") == [4]
    assert candidates("twice", "go/build", depth=2) == [6]
    assert candidates("twice", "go/build", "twice", "of app") == [12]


def test_steps_without_a_name() -> None:
    """They come after one that has a name; the depth of the failure tells some apart."""
    assert candidates() == [3]
    assert candidates("twice", "go/build") == [6, 7]
    assert candidates("twice", "go/build", "twice", depth=2) == [10]


def test_steps_of_what_is_used() -> None:
    """The log names them too; meant is the recipe's own step."""
    assert candidates("twice", "go/build", "go/inner", depth=3) == [6]


def test_subpackages() -> None:
    """Only their own steps count, whatever ran before; one that comes from a range has its place once."""
    assert candidates("split/dev", depth=2, package="subpackage app-doc") == [18]
    assert candidates("split/dev", package="subpackage app-doc") == [18, 19]


def test_the_excerpt_has_nothing_of_melange_s_own() -> None:
    """Its first line and its last ones, without the time and the level that melange puts before each."""
    said = [f"2026/01/01 10:00:00 {level} {text}" for level, text in (("WARN", "a"), ("INFO", "b"), ("INFO", ""), ("WARN", "c"))]
    said[2] = said[2].rstrip()
    assert excerpt([*said, PREPARED[-1]]) == ["a", "b", "", "c"]
    assert excerpt(said, most=3) == ["a", "... 1 lines ...", "", "c"]


def test_hints_by_what_was_said() -> None:
    """What the network, a certificate or a disk would have been needed for is told with what gives it."""
    materials = Materials("package", "app.yaml", {}, network=("a step fetches",))
    said = "urllib3: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
    assert hint_for(["fine", said], materials).startswith("a step trusts the certificates in its packages alone")
    assert hint_for(["fine"], materials) == ""


def test_what_was_no_step() -> None:
    """A log that ends otherwise blames no step."""
    assert failed_step(["ERRO failed to build package: unable to build guest"], STEPS) is None
    assert failed_step([], STEPS) is None
