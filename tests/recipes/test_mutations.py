"""What melange refuses is refused here, with a place; what it takes is taken, and means the same: on recipes changed at random.

In the normal run some hundred of them; many more with `BG_TRUTH=all` in the environment (docs/reading.md, which also lists the
few kinds of recipes about which the two disagree on purpose).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildgraph.recipes import yamltext
from buildgraph.recipes.yamltext import Mapping
from tests.recipes.mutations import garbled, mutated
from tests.recipes.truth import Options, ask, ask_all, differences, recipes_of

BATCHES = 60 if os.environ.get("BG_TRUTH") == "all" else 3
BATCH = 80
SMALL = 6000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def small(wolfi: Path) -> list[Path]:
    """Recipes small enough that a random change often hits something that matters."""
    return [path for path in recipes_of(wolfi) if path.stat().st_size < SMALL][::4]


@pytest.fixture(scope="session")
def trees(small: list[Path]) -> list[Mapping]:
    return [yamltext.parse_mapping(path.read_bytes(), path.name) for path in small]


def check(melange: Path, folder: Path, texts: dict[str, str], wolfi: Path) -> None:
    pipelines = wolfi / "pipelines"
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8", newline="")
    found = [
        f"{line}\n{texts[recipe.name]}"
        for recipe, answer in ask_all(melange, [folder / name for name in texts], pipelines, Options())
        for line in differences(recipe, answer, pipelines, Options())
    ]
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_changed_values(melange: Path, wolfi: Path, trees: list[Mapping], tmp_path: Path, batch: int) -> None:
    """Something dropped, retyped, misspelt, moved from another recipe."""
    random = Random(batch)
    texts = {f"{batch}-{number}.yaml": yamltext.emit(mutated(random.choice(trees), trees, random)) for number in range(BATCH)}

    check(melange, tmp_path, texts, wolfi)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_garbled_texts(melange: Path, wolfi: Path, small: list[Path], tmp_path: Path, batch: int) -> None:
    """Something typed in the wrong place."""
    random = Random(batch)
    texts = {f"{batch}-{number}.yaml": garbled(random.choice(small).read_text(), random) for number in range(BATCH)}

    check(melange, tmp_path, texts, wolfi)


# What yaml.v3 makes of a scalar where a number, a bool or a duration is wanted.
SCALARS = st.one_of(
    st.sampled_from(["0", "00", "08", "0x_1f", "0b12", "0o8", "1_000", "1e3", ".5", "1.", "-0", "+1", "~", "yes", "Y", "nO"]),
    st.sampled_from(["90m", "1h2m", "1.5s", "0s", ".inf", ".nan", "18446744073709551615", "4294967296"]),
    st.from_regex(r"[-+]?(0[xXbBoO]?)?[0-9a-f_]{0,4}(\.[0-9_]{0,2})?(e[-+]?[0-9])?(ns|us|ms|s|m|h)?", fullmatch=True),
    # Go converts a negative fraction to an unsigned number as the processor likes.
).filter(lambda text: not re.match(r"-.*[.e89]", text))
FIELDS = {
    "package: {name: a, version: '1', epoch: %s}": "epoch",
    "package: {name: a, version: '1', timeout: %s}": "timeout",
    "package: {name: a, version: '1', options: {no-depends: %s}}": "options",
    "package: {name: a, version: '1'}\npipeline: [{assertions: {required-steps: %s}}]": "steps",
    "package: {name: a, version: '1'}\nenvironment: {accounts: {users: [{username: u, uid: %s}]}}": "uid",
}


@given(st.sampled_from(sorted(FIELDS)), SCALARS, st.sampled_from(["%s", '"%s"']))
@settings(max_examples=150 if BATCHES < 10 else 3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_scalars_are_typed_as_yaml_v3_types_them(melange: Path, tmp_path: Path, field: str, text: str, quotes: str) -> None:
    """resolve.go and decode.go: octals, underscores, floats that become numbers, quoted texts that do not."""
    recipe = tmp_path / "a.yaml"
    recipe.write_text(field % (quotes % text))

    found = differences(recipe, ask(melange, recipe, tmp_path, Options()), tmp_path, Options())

    assert not found, "\n".join(found)
