"""`bg log` shows what was said when a target was built, wherever that was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from buildgraph.keys import ed25519
from tests.e2e.tiny import image, package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e

KEY = ed25519.generate()
SAYS = 'printf "it says one\\033[2J\\n"; head -c 1000000 /dev/zero >"$OUT/usr/share/one"'


@pytest.fixture
def built(empty: Workspace) -> Workspace:
    """A package that says something, and an image of it."""
    empty.write("recipes/one.yaml", package("one", SAYS))
    empty.write("recipes/all.yaml", image("one"))
    empty.build()
    return empty


def test_what_melange_said(built: Workspace) -> None:
    """What could steer the terminal is replaced; with a line before each where there are several."""
    found = built.bg("log", "//:one")
    assert found.code == 0, found.err
    assert "it says one" in found.out
    assert "\033" not in found.out
    several = built.bg("log", "//...").out.splitlines()
    assert [line for line in several if line.startswith("== ")] == ["== //:all", "== //:one@x86_64"]
    assert several[several.index("== //:one@x86_64") + 1 :] == found.out.splitlines()


def test_what_has_changed_has_the_log_of_its_last_build(built: Workspace) -> None:
    """And a note says so."""
    before = built.bg("log", "//:one")
    built.edit("recipes/one.yaml", "it says one", "it says two")
    after = built.bg("log", "//:one")
    assert (after.code, after.out) == (0, before.out)
    assert "//:one@x86_64 has changed since it was built; this is the log of its last build" in after.err


def test_what_is_not_built_has_none(built: Workspace) -> None:
    """The error says what to do."""
    built.write("recipes/two.yaml", package("two", "true"))
    found = built.bg("log", "//:two")
    assert (found.code, found.out) == (3, "")
    assert "//:two@x86_64 is not built" in found.err
    assert "hint: `bg build //:two`" in found.err


def test_it_comes_from_the_machine_that_built(built: Workspace, tmp_path: Path) -> None:
    """Without the package; where the store has lost it too, the error says so."""
    share = tmp_path / "share"
    share.mkdir()
    with (built.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write(
            f"remotes: [{{url: {share}, mode: read-write}}]\ntrust:\n  me: {{key: {ed25519.public(KEY)!r}, tiers: [local]}}\n"
        )
    built.environment["BG_CACHE_KEY"] = KEY
    built.bg("cache", "push")
    base = tmp_path / "second"
    shutil.copytree(built.root, base / "ws", ignore=shutil.ignore_patterns("cache", "out"))
    shutil.copytree(built.home / ".config", base / "home/.config")
    second = Workspace(base / "ws", base / "home", built.tools)
    said = built.bg("log", "//:one").out
    found = second.bg("log", "//:one")
    assert (found.code, found.out) == (0, said)
    assert sum(path.stat().st_size for path in (second.root / "cache/blobs").rglob("*") if path.is_file()) < 500_000

    [log] = [path for path in (share).rglob("*") if path.is_file() and b"INFO melange version" in path.read_bytes()]
    log.unlink()
    shutil.rmtree(second.root / "cache/blobs")
    lost = second.bg("log", "//:one")
    assert (lost.code, lost.out) == (9, "")
    assert lost.err.endswith(
        "the log of //:one@x86_64 is in no cache any more\n\n"
        "hint: `bg cache rm //:one` and `bg build --no-remote-read //:one` make another\n"
    )
    assert second.bg("cache", "rm", "//:one").code == 0
    assert second.bg("build", "--no-remote-read", "//:one").code == 0
    assert "it says one" in second.bg("log", "//:one").out
