"""What `bg explain` and plans say of the past."""

from __future__ import annotations

import re

import pytest

from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def test_explain_after_a_build(empty: Workspace) -> None:
    """Why and when what is cached was built, as it was recorded then; since when a result of an older build is taken again."""
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    cached = r"//:app@x86_64 is cached: nothing that it depends on changed\n"
    recipe = package("app", "true")
    empty.write("recipes/app.yaml", recipe)
    empty.build("//...")
    told = empty.bg("explain", "//:app").out
    assert re.fullmatch(rf"{cached}  built {moment}, in \d+\.\d s, because\n    never built here\n", told)

    empty.write("recipes/app.yaml", recipe.replace("1.0.0", "1.0.1"))
    change = "recipes/app.yaml:1: package.version changed from 1.0.0 to 1.0.1"
    assert empty.bg("explain", "//:app").out == f"//:app@x86_64 has to be built:\n  {change}\n"
    assert empty.build("//...").ran == {"//:app"}
    assert empty.build("//...").ran == set()
    told = empty.bg("explain", "//:app").out
    assert re.fullmatch(rf"{cached}  built {moment}, in \d+\.\d s, because\n    {change}\n", told)
    assert empty.bg("explain", "--json", "//:app").answer[0]["last_build"]["reasons"] == [change]

    empty.write("recipes/app.yaml", recipe)
    assert empty.build("//...").ran == set()
    told = empty.bg("explain", "//:app").out
    assert re.fullmatch(rf"{cached}  built {moment}, in \d+\.\d s\n  taken from the cache since {moment}\n", told)


def test_why_a_result_that_is_there_is_not_taken(empty: Workspace) -> None:
    """It is of another tier, or files of it are gone, or all of it is: each is said as what it is."""
    empty.write("recipes/app.yaml", package("app", "true"))
    empty.build("//...", env={"BG_CACHE_TIER": "pr/7"})
    reason = "the cache has its result of tier `pr/7`, which a run of tier `local` does not take"
    assert empty.bg("plan").out == f"build   //:app@x86_64\n          {reason}\n1 to build, 0 cached\n"

    digest = empty.build("//...").digests()["app-1.0.0-r0.apk"].removeprefix("blake3:")
    (empty.root / "cache/blobs" / digest[:2] / digest).unlink()
    assert "files of its result are not in the cache any more\n" in empty.bg("plan").out

    empty.bg("cache", "rm", "//:app")
    assert "its result is not in the cache any more\n" in empty.bg("plan").out
