"""Input that is meant to do harm, or looks like it: an error with its place, or what melange itself makes of it; never a hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.errors import RecipeError
from buildgraph.recipes import yamltext
from buildgraph.workspace.discovery import read_recipe
from tests.recipes.reading import melange as read
from tests.recipes.truth import Options, ask, differences

HEAD = "package:\n  name: foo\n  version: 1\n"
DEEP = 60
BOMB = "".join(f"  x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))

# Bytes, and the beginning of what is said of them; empty where the recipe is fine.
INPUTS: dict[str, tuple[bytes, str]] = {
    "duplicate key": (f"{HEAD}  name: bar\n".encode(), "foo.yaml:4: the key `name` is given twice (first on line 2)"),
    "duplicate key, quoted": (f"{HEAD}  'name': bar\n".encode(), "foo.yaml:4: the key `name` is given twice"),
    "duplicate merge key": (
        f"{HEAD}vars:\n  <<: {{a: b}}\n  <<: {{c: d}}\n".encode(),
        "foo.yaml:6: the key `<<` is given twice",
    ),
    "second document": (f"{HEAD}---\n{HEAD}".encode(), "foo.yaml:4: a second document starts here"),
    "content after the end": (f"{HEAD}...\nx: y\n".encode(), "foo.yaml:5: not valid YAML"),
    "tab": (b"package:\n\tname: foo\n", "foo.yaml:2: not valid YAML"),
    "tab inside": (b"package:\n  name:\tfoo\n  version:\t1\n", ""),
    "byte order mark": ("\ufeff".encode() + HEAD.encode(), ""),
    "UTF-16, little endian": (("\ufeff" + HEAD).encode("utf-16-le"), ""),
    "UTF-16, big endian": (("\ufeff" + HEAD).encode("utf-16-be"), ""),
    "UTF-16, cut off": (("\ufeff" + HEAD).encode("utf-16-le")[:-1], "foo.yaml:3: not valid UTF-16 text"),
    "UTF-16 without a mark": (HEAD.encode("utf-16-le"), "foo.yaml:1: not valid YAML: control characters"),
    "UTF-32": (HEAD.encode("utf-32"), "foo.yaml:1: not valid YAML"),
    "not UTF-8": (HEAD.encode() + b"  description: caf\xe9\n", "foo.yaml:4: not valid UTF-8 text"),
    "surrogate": (HEAD.encode() + b"  description: \xed\xa0\x80\n", "foo.yaml:4: not valid UTF-8 text"),
    "NUL": (HEAD.encode() + b"  description: a\0b\n", "foo.yaml:4: not valid YAML: control characters are not allowed (U+0000)"),
    "escape sequence": (HEAD.encode() + b"  description: \x1b[31m\n", "foo.yaml:4: not valid YAML: control characters"),
    "anchors": (f"{HEAD}vars: &v\n  a: &a b\n  c: *a\npipeline:\n  - &s {{runs: make}}\n  - *s\n".encode(), ""),
    "unknown anchor": (f"{HEAD}vars: {{a: *b}}\n".encode(), "foo.yaml:4: the anchor `&b` is not defined before this"),
    "anchor in itself": (f"{HEAD}vars: &a {{b: *a}}\n".encode(), "foo.yaml:4: the anchor `&a` contains itself"),
    "merge keys": (f"{HEAD}vars:\n  <<: [{{a: b}}, {{a: c, d: e}}]\n  d: f\n".encode(), ""),
    "merge of a text": (f"{HEAD}vars:\n  <<: x\n".encode(), "foo.yaml:5: `<<` takes a mapping or a list of mappings, found `x`"),
    "bomb": (f"{HEAD}vars:\n{BOMB}".encode(), "foo.yaml:10: anchors expand to more than 100,000 values"),
    "deep": (f"{HEAD}pipeline: {'[{pipeline: ' * DEEP}[]{'}]' * DEEP}\n".encode(), "foo.yaml:4: nested deeper than 100 levels"),
    "deeper than any stack": (b"a: " + b"[" * 100_000, "foo.yaml:1: nested deeper than 100 levels"),
    "empty": (b"", "foo.yaml: the file is empty"),
    "comments only": (b"# nothing\n", "foo.yaml: the file is empty"),
    "null": (b"~\n", "foo.yaml:1: expected a mapping, found nothing"),
    "list": (b"- package\n", "foo.yaml:1: expected a mapping, found a list"),
    "text": (b"package\n", "foo.yaml:1: expected a mapping, found `package`"),
    "YAML 1.2": (f"%YAML 1.2\n---\n{HEAD}".encode(), "foo.yaml:1: `%YAML` must be 1.1"),
    "YAML 1.1": (f"%YAML 1.1\n---\n{HEAD}".encode(), ""),
    "tag": (f"{HEAD}  description: !!python/object:os.system x\n".encode(), "foo.yaml:4: the tag `!!python/object:os.system`"),
    "list as a key": (f"{HEAD}? [a]\n: b\n".encode(), "foo.yaml:4: a key must be a text, found a list"),
    "null as a key": (f"{HEAD}vars:\n  ~: b\n".encode(), "foo.yaml:5: a key must be a text, found nothing"),
    "numbers as keys": (f"{HEAD}vars: {{1: b, 2.0: c, true: d}}\n".encode(), ""),
    "line breaks of all kinds": ("package:\r\n  name: foo\r  version: 1\u2028  epoch: 1\x85  description: x\n".encode(), ""),
    "a line of a megabyte": (f"{HEAD}  description: {'x ' * 500_000}\n".encode(), ""),
    "endless quote": (f'{HEAD}  description: "x\n'.encode() + b"y\n" * 10_000, "foo.yaml:10005: not valid YAML"),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_hostile_bytes(kind: str) -> None:
    """What is said begins with file and line; nothing but RecipeError comes out."""
    data, expected = INPUTS[kind]
    said = ""
    try:
        read(data)
    except RecipeError as error:
        said = error.render()

    assert said.startswith(expected)
    assert bool(said) is bool(expected)


@pytest.mark.parametrize("kind", [kind for kind in INPUTS if kind != "deep"])
def test_melange_thinks_likewise(melange: Path, tmp_path: Path, kind: str) -> None:
    """Where bg refuses more than melange, docs/reading.md says why: see also `tests/recipes/truth.py`."""
    recipe = tmp_path / "foo.yaml"
    recipe.write_bytes(INPUTS[kind][0])

    assert differences(recipe, ask(melange, recipe, tmp_path, Options()), tmp_path, Options()) == []


def test_a_file_of_100_megabytes(tmp_path: Path) -> None:
    """It is not even read to its end."""
    with (tmp_path / "foo.yaml").open("wb") as stream:
        stream.write(HEAD.encode())
        stream.truncate(100 << 20)

    with pytest.raises(RecipeError, match=r"^the file is larger than 16 MiB$"):
        read_recipe(tmp_path, "foo.yaml")


def test_a_million_values() -> None:
    """A file within the limit of bytes may still hold too many values."""
    with pytest.raises(RecipeError, match=r"more than 1,000,000 values"):
        yamltext.parse(b"[" + b"a," * 1_100_000 + b"a]", "foo.yaml")


EXPANDING = {
    "ranges": (
        f"data: [{{name: r, items: {{{', '.join(f'k{i}: v' for i in range(2000))}}}}}]\nsubpackages:\n"
        + "".join(f"  - {{range: r, name: 's{i}-${{{{range.key}}}}'}}\n" for i in range(100)),
        "more than 10,000 packages",
    ),
    "transforms": (
        "vars: {a: xx}\nvar-transforms:\n"
        + "".join("  - {from: '${{vars.a}}', match: '^.*$', replace: '$0$0', to: a}\n" for _ in range(60)),
        "with `vars.a` filled in, a text is longer than 16 MiB",
    ),
    "replacements": (
        f"vars: {{a: '{'x' * 100_000}'}}\npipeline:\n  - runs: '{'${{vars.a}}' * 10_000}'\n",
        "with `vars.a` filled in, a text is longer than 16 MiB",
    ),
    "steps": ("pipeline:\n" + "  - runs: make\n" * 30_000, "more than 20,000 pipeline steps"),
    "parentheses": (f'pipeline:\n  - if: "{"(" * 10_000}"\n    runs: make\n', "parentheses nest deeper than 50 levels"),
}


@pytest.mark.parametrize("kind", EXPANDING)
def test_few_lines_that_stand_for_much(kind: str) -> None:
    """Limits hold before memory and patience end."""
    text, expected = EXPANDING[kind]
    with pytest.raises(RecipeError) as caught:
        read(HEAD + text)

    assert expected in caught.value.what
    assert caught.value.where
    assert caught.value.where.line


def test_inputs_that_double_from_pipeline_to_pipeline() -> None:
    """80 short definitions would make 2**80 characters."""
    step = "inputs: {a: {default: ''}}\npipeline: [{uses: p%d, with: {a: '${{inputs.a}}${{inputs.a}}'}}]"
    chain = {f"p{i}": step % (i + 1) for i in range(80)}

    with pytest.raises(RecipeError, match=r"with `inputs.a` filled in, a text is longer than 16 MiB"):
        read(HEAD + "pipeline: [{uses: p0, with: {a: x}}]", more=chain, p80="inputs: {a: {}}")


def test_an_excerpt_does_not_steer_the_terminal() -> None:
    """Characters that a terminal would obey are shown as unknown ones, and the caret still fits."""
    with pytest.raises(RecipeError) as caught:
        read(HEAD.encode() + b"  description: \x1b[2J\n")

    assert caught.value.render().splitlines()[1:] == ["      description: \ufffd[2J", "                   ^"]
