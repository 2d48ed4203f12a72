"""Recipes of a few lines, which build in a moment: a package made by a shell script, an image of it."""

from __future__ import annotations

import json
import textwrap

from tests.e2e.workspace import Workspace

WOLFI = "https://packages.wolfi.dev/os"
WOLFI_KEY = f"{WOLFI}/wolfi-signing.rsa.pub"


def package(name: str, script: str, *, needs: tuple[str, ...] = (), runtime: tuple[str, ...] = ()) -> str:
    """A recipe that makes a package by a shell script; ``$OUT`` is its root. ``needs`` are installed besides busybox."""
    body = textwrap.indent(f'OUT="${{{{targets.destdir}}}}"\nmkdir -p "$OUT/usr/share"\n{script.strip()}\n', " " * 6)
    return (
        f"package: {{name: {name}, version: 1.0.0, epoch: 0, copyright: [{{license: MIT}}],"
        f" dependencies: {{runtime: {json.dumps(runtime)}}}}}\n"
        f"environment: {{contents: {{packages: {json.dumps(['busybox', *needs])}}}}}\n"
        f"pipeline:\n  - runs: |\n{body}"
    )


def image(*packages: str) -> str:
    """An image of some packages."""
    return (
        f"contents: {{repositories: [{json.dumps(WOLFI)}], keyring: [{json.dumps(WOLFI_KEY)}],"
        f" packages: {json.dumps(['wolfi-baselayout', *packages])}}}\n"
        "archs: [x86_64]\n"
    )


def chain(workspace: Workspace) -> set[str]:
    """Five packages of which some need others, and an image; the labels. All of it takes a second or two to build."""
    workspace.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    workspace.write("recipes/two.yaml", package("two", 'echo two >"$OUT/usr/share/two"'))
    takes = 'cat /usr/share/one >"$OUT/usr/share/three"'
    workspace.write("recipes/three.yaml", package("three", takes, needs=("one",)))
    takes = 'cat /usr/share/two /usr/share/three >"$OUT/usr/share/four"'
    workspace.write("recipes/four.yaml", package("four", takes, needs=("two", "three")))
    workspace.write("recipes/five.yaml", package("five", 'echo five >"$OUT/usr/share/five"', runtime=("four",)))
    workspace.write("recipes/all.yaml", image("five", "one"))
    return {f"//:{name}" for name in ("one", "two", "three", "four", "five", "all")}
