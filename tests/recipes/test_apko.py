"""apko recipes are read and merged as apko does it; the boxed form changes where packages come from and nothing else."""

from __future__ import annotations

import json

import pytest

from buildgraph.errors import RecipeError
from buildgraph.recipes import yamltext
from buildgraph.recipes.apko import boxed_apko
from buildgraph.recipes.values import apko_from_primitive, to_primitive
from tests.recipes.reading import apko, merged

BASE = (
    "contents:\n  repositories: [https://example.org/os/]\n  keyring: [k.pub]\n  packages: [base]\n"
    "entrypoint: {command: /base}\nenvironment: {A: base, B: base}\narchs: [amd64]\ncmd: serve\nvcs-url: git\n"
)


def test_lists_of_included_files_come_first() -> None:
    """MergeInto: each package keeps the file and line that it stands in."""
    recipe = apko(
        "include: mid.yaml\ncontents: {packages: [top]}", mid="include: base.yaml\ncontents: {packages: [mid]}", base=BASE
    )

    assert [(need.text, need.path, need.line) for need in recipe.packages] == [
        ("base", "base.yaml", 4), ("mid", "mid.yaml", 2), ("top", "image.yaml", 2),
    ]  # fmt: skip
    assert [include.text for include in recipe.includes] == ["mid.yaml", "base.yaml"]
    assert [line.text for line in recipe.repositories] == ["https://example.org/os"]
    assert recipe.architectures == ("x86_64",)


def test_the_including_file_wins_for_all_else() -> None:
    """Scalars and maps by key; an entrypoint as a whole; an empty one is none; `vcs-url` is not inherited."""
    tree = merged("include: base.yaml\nentrypoint: {type: ''}\nenvironment: {A: top}\ncmd: ''\narchs: []\n", base=BASE)

    assert yamltext.emit(tree) == yamltext.emit(
        yamltext.parse(
            b"contents:\n  repositories: ['https://example.org/os/']\n  keyring: [k.pub]\n  packages: [base]\n"
            b"entrypoint: {command: /base}\n"
            b"environment: {A: top, B: base}\narchs: [amd64]\ncmd: serve\n", "x",
        )
    )  # fmt: skip


def test_a_service_bundle_needs_s6() -> None:
    """image_configuration.go, ValidateServiceBundle."""
    recipe = apko("contents: {packages: [a]}\nentrypoint:\n  type: service-bundle\n  services: {x: y}\n")

    assert [(need.text, need.via) for need in recipe.packages] == [("a", "contents"), ("s6", "entrypoint")]


def test_the_box_takes_packages_from_its_own_repository() -> None:
    """Remote lines stay for the image; local folders and tags do not."""
    tree = merged(
        "contents:\n  repositories: [https://a/os, ./packages, '@local /x']\n  runtime_repositories: [https://b]\n"
        "  packages: [x]\n"
    )

    assert yamltext.emit(boxed_apko(tree, keyring=("keys/k.pub",))) == (
        'contents:\n  build_repositories:\n    - "./repo"\n  keyring:\n    - keys/k.pub\n  packages:\n    - x\n'
        '  runtime_repositories:\n    - "https://a/os"\n    - "https://b"\n'
    )


def test_an_image_without_remote_lines_gets_the_fallback() -> None:
    """apko wants at least one repository line."""
    tree = merged("contents: {packages: [x]}")

    assert "https://fallback" in yamltext.emit(boxed_apko(tree, fallback_repositories=("https://fallback",)))


def test_a_base_image_names_files_that_apko_reads() -> None:
    """They are inputs of the action."""
    recipe = apko("contents: {baseimage: {image: ./base, apkindex: ./installed}, packages: [a]}")

    assert [file.text for file in recipe.files] == ["./base", "./installed"]


def test_a_recipe_survives_the_way_through_json() -> None:
    """The state file keeps recipes as lists."""
    recipe = apko("include: base.yaml\nentrypoint: {type: service-bundle}", base=BASE)

    assert apko_from_primitive(json.loads(json.dumps(to_primitive(recipe)))) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: nope.yaml", "the included file `nope.yaml` does not exist"),
        ("include: loop.yaml", "`loop.yaml` includes itself"),
        ("accounts: {users: [{username: root, uid: 0}]}", "a user must not have the uid 0"),
        ("contents: {package: [a]}", "`contents` has no field `package`"),
        ("contents: {packages: a}", "`packages`: expected a list of texts, found `a`"),
        ("contents: {runtime_keyring: [{name: ../x, content: y}]}", "`../x` cannot be the name of a file"),
    ],
)
def test_what_apko_refuses_is_an_error_with_a_place(text: str, message: str) -> None:
    """Before any box is made."""
    with pytest.raises(RecipeError) as caught:
        apko(text, loop="include: loop.yaml")

    assert message in caught.value.render()
    assert caught.value.where
    assert caught.value.where.line >= 1
