"""A recipe is known by its content."""

from __future__ import annotations

import pytest

from buildgraph.recipes import yamltext
from buildgraph.recipes.kinds import may_be_recipe, recipe_kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("package: {name: x, version: 1}", "melange"),
        ("package: {version: 1}\npipeline: []", "melange"),
        ("# c\n---\n'package':\n  name: x\n", "melange"),
        ("{package: {name: x}}", "melange"),
        ("contents: {packages: [a]}", "apko"),
        ("include: base.yaml\nentrypoint: {command: /x}", "apko"),
        ("include: base.yaml\nstages: [a]", None),
        ("package: foo", None),
        ("package: {ecosystem: npm}", None),
        ("contents: a text", None),
        ("name: x\nservices: {}", None),
        ("- package: {name: x}", None),
        ("x", None),
    ],
)
def test_kinds(text: str, kind: str | None) -> None:
    """Names of files say nothing; other formats share a word or two."""
    assert recipe_kind(yamltext.parse(text.encode(), "x")) == kind
    if kind:
        assert may_be_recipe(text.encode())
        assert may_be_recipe(b"\xef\xbb\xbf" + text.encode())
        assert may_be_recipe(text.encode("utf-16"))


@pytest.mark.parametrize("text", ["", "name: ci\non: push\njobs: {}\n", "packages:\n  - a\n", "my-package: x", "# package: x"])
def test_other_files_are_passed_over_without_parsing(text: str) -> None:
    """Most YAML files of a repository are not recipes."""
    assert not may_be_recipe(text.encode())
