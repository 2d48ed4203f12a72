"""Which downloads of a recipe are pinned, so that they can be brought before, and why the others are not."""

from __future__ import annotations

import json

import pytest

from buildgraph.errors import RecipeError
from tests.recipes.reading import melange

HEAD = 'package:\n  name: foo\n  version: "1"\n'
A, B, C = "a" * 64, "b" * 128, "c" * 40
ARCHIVE = {"uri": "https://x/y-${{package.version}}.tar.gz"}
CHECKOUT = {"repository": "https://x/y", "expected-commit": C}


def step(uses: str, **given: str) -> str:
    return f"  - {json.dumps({'uses': uses, 'with': {key.replace('_', '-'): value for key, value in given.items()}})}\n"


def fetch(**given: str) -> str:
    return step("fetch", **ARCHIVE, **given)


def checkout(**given: str) -> str:
    return step("git-checkout", **{**CHECKOUT, **given})


@pytest.mark.parametrize(
    ("written", "content"),
    [
        (fetch(expected_sha256=A), f"sha256:{A}"),
        (fetch(expected_sha512=B), f"sha512:{B}"),
        (fetch(expected_sha256=A, expected_sha512=B), f"sha256:{A}"),
        (checkout(), f"commit:{C} HEAD depth 1"),
        (checkout(tag="v${{package.version}}"), f"commit:{C} refs/tags/v1 depth 1"),
        (checkout(branch="main"), f"commit:{C} refs/heads/main depth all"),
        (checkout(branch="main", expected_commit_is_branch_tip="true"), f"commit:{C} refs/heads/main depth 1 tip"),
        (checkout(tag="v1", depth="-1"), f"commit:{C} refs/tags/v1 depth all"),
        (checkout(branch="a/b", depth="12"), f"commit:{C} refs/heads/a/b depth 12"),
        (checkout(cherry_picks="# none\n\n"), f"commit:{C} HEAD depth 1"),
    ],
)
def test_pinned(written: str, content: str) -> None:
    """What a digest or a commit in the recipe says what it is; variables are replaced."""
    recipe = melange(f"{HEAD}pipeline:\n{written}")
    assert [(source.content, source.path, source.line) for source in recipe.sources] == [(content, "foo.yaml", 5)]
    assert recipe.sources[0].address in {"https://x/y-1.tar.gz", "https://x/y"}
    assert recipe.network == ()


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (fetch(expected_none="true"), "fetch without a checksum"),
        (step("fetch", uri="ftp://x/y", expected_sha256=A), "fetch of an address that only its own programs know: ftp://x/y"),
        (step("git-checkout", repository="https://x/y", tag="v1"), "git-checkout without expected-commit"),
        (checkout(recurse_submodules="true"), "git-checkout with submodules"),
        (checkout(cherry_picks=f"main/{C}: why"), "git-checkout with cherry-picks"),
        (checkout(repository="git@x:y"), "git-checkout of an address that only git itself knows: git@x:y"),
        (checkout(repository="--upload-pack=x"), "git-checkout of an address that only git itself knows: --upload-pack=x"),
        (checkout(branch="-x"), "git-checkout of an address that only git itself knows: https://x/y"),
        (checkout(depth="some"), "git-checkout with the depth `some`"),
    ],
)
def test_not_pinned(written: str, why: str) -> None:
    """The recipe is built with the network, and the plan says why."""
    recipe = melange(f"{HEAD}pipeline:\n{written}")
    assert [(reason.what, reason.line) for reason in recipe.network] == [(f"uses: {why}", 5)]
    assert recipe.sources == ()


def test_one_repository_in_two_states() -> None:
    """git can be told only once where an address lies; the same state twice is one source."""
    twice = melange(f"{HEAD}pipeline:\n{checkout()}{checkout(destination='other')}{fetch(expected_sha256=A)}")
    assert [source.line for source in twice.sources] == [6, 7]
    several = melange(f"{HEAD}pipeline:\n{checkout()}{checkout(depth='2')}{fetch(expected_sha256=A)}")
    assert [source.line for source in several.sources] == [7]
    why = "uses: git-checkout of one repository in several states"
    assert [(reason.what, reason.line) for reason in several.network] == [(why, 5), (why, 6)]


def test_a_home_of_the_recipe_s_own() -> None:
    """git would not find its settings there."""
    recipe = melange(f"{HEAD}environment: {{environment: {{HOME: /root}}}}\npipeline:\n{checkout()}")
    assert [reason.what for reason in recipe.network] == ["uses: git-checkout where the recipe sets HOME"]


def test_a_step_that_does_not_run_needs_nothing() -> None:
    """Neither a source nor the network."""
    for condition in ("'a' == 'b'", "${{build.arch}} == 'aarch64'"):
        inner = fetch(expected_none="true").replace('{"uses"', f'{{"if": {json.dumps(condition)}, "uses"')
        recipe = melange(f"{HEAD}pipeline:\n{inner}", arch="x86_64")
        assert (recipe.network, recipe.sources) == ((), ())


@pytest.mark.parametrize(
    "written",
    [
        step("fetch", uri="https://me:s3cret@x/y.tar.gz", expected_sha256=A),
        step("git-checkout", repository="https://me:s3cret@x/y", expected_commit=C),
        step("git-checkout", repository="https://token@x/y"),
    ],
)
def test_passwords_have_no_place_in_a_source_s_address(written: str) -> None:
    """They would be in keys, in provenance and on the screen; the error does not show them either."""
    with pytest.raises(RecipeError) as caught:
        melange(HEAD + "pipeline:\n" + written)
    assert "a user or password" in caught.value.what
    assert "s3cret" not in caught.value.render()
