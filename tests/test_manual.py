"""Every ``console`` block of the manual, run in a copy of the example: it prints what the manual says.

``python -m tests.test_manual`` writes into the manual what is printed now.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.e2e.workspace import ROOT, Workspace, example_to_look_at

MANUAL = ROOT / "docs" / "manual.md"
CHANGED = "recipes/packages/libstock/stock.c"
BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)


def printed(block: str, workspace: Workspace) -> str:
    """The block with what its commands print now."""
    lines = []
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        program, *arguments = shlex.split(command)
        assert program == "bg", command
        done = workspace.bg(*arguments)
        lines += [f"$ {command}\n", done.out, done.err]
    return "".join(lines)


def released_example(folder: Path) -> Workspace:
    """The example under version control: since the tag v1.0 a source file of libstock has changed."""
    workspace = example_to_look_at(folder)
    now = (workspace.root / CHANGED).read_text()
    workspace.write(CHANGED, f"{now}/* v1.0 */\n")
    workspace.write(".gitignore", "/cache/\n")
    _git(workspace, "init", "-q")
    _git(workspace, "add", "-A")
    _git(workspace, "commit", "-q", "-m", "v1.0")
    _git(workspace, "tag", "v1.0")
    workspace.write(CHANGED, now)
    _git(workspace, "commit", "-q", "-a", "-m", "later")
    return workspace


def _git(workspace: Workspace, *words: str) -> None:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *settings, *words], cwd=workspace.root, env=workspace.env(), check=True)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return released_example(tmp_path_factory.mktemp("manual"))


@pytest.mark.parametrize("block", BLOCK.findall(MANUAL.read_text("utf-8")))
def test_a_block_is_what_bg_prints(block: str, workspace: Workspace) -> None:
    """Command by command, to the letter."""
    assert block.startswith("$ bg ")
    assert printed(block, workspace) == block


def test_every_function_of_queries_is_in_the_table() -> None:
    """As `bg query --help` has it, no more and no fewer."""
    from buildgraph.graph.query import ATTRIBUTES, SIGNATURES

    text = MANUAL.read_text("utf-8")
    rows = re.findall(r"^\| `(\w+\(.*?\))` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(signature.usage(name) for name, signature in SIGNATURES.items())
    sentence = text.split("The attributes are", 1)[1].split(".", 1)[0]
    assert re.findall(r"`(\w+)`", sentence) == list(ATTRIBUTES)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        here = released_example(Path(folder))
        text = BLOCK.sub(lambda block: printed(block[0], here), MANUAL.read_text("utf-8"))
    MANUAL.write_text(text, "utf-8")
