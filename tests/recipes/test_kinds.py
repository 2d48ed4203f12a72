"""A recipe is known by its content."""

from __future__ import annotations

import pytest

from buildgraph.recipes import yamltext
from buildgraph.recipes.kinds import is_meant_as_recipe, may_be_recipe, recipe_kind


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
        ("package: {name: x, epoch: 0}\npipelin: []", "melange"),
        ("package: {name: x, version: 1}\nsource: {url: u}\nbuild: {number: 0}\ntest: {}", None),
        ("service: x\npackage: {name: x, patterns: [a]}", None),
        ("contents: {title: A book, chapters: [a, b]}", None),
        ("contents: {pakages: [a]}\narchs: [x86_64]", "apko"),
        ("contents:\ninclude: base.yaml", "apko"),
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


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("package: [\n", True),
        ("package:\n  name: x\npipeline:\n\t- runs: x\n", True),
        ("---\n'package':\n  name: {{ name }}\n", True),
        ("package:\n  name: x\nenviroment: {}\npipeline: [\n", True),
        ("contents:\n  packages: [\n", True),
        ("include: [\n", True),
        ("package: {}\nresources: !Ref x\nservice: x\n", False),
        ("include: [a]\nbuild:\n  - !reference [x]\n", False),
        ("kind: Secret\nspec:\n  contents: x\n---\nkind: Secret\n", False),
        ("data:\n  package: {{ .Values.package }}\n", False),
        ("{{ if x }}\n  package: x\n", False),
    ],
)
def test_a_file_that_is_no_yaml_is_a_mistake_only_where_it_is_meant_as_a_recipe(text: str, meant: bool) -> None:
    """Templates, tags of other programs and streams of documents lie in every repository."""
    assert is_meant_as_recipe(text.encode()) is meant
    assert is_meant_as_recipe(b"\xef\xbb\xbf" + text.encode()) is meant
    assert is_meant_as_recipe(text.encode("utf-16")) is meant
