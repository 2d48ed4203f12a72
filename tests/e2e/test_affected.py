"""What `bg affected` names is what a build does not find in the cache, where the commit was built."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def committed(workspace: Workspace) -> None:
    """Puts a workspace under git, without what bg keeps there."""
    (workspace.root / ".gitignore").write_text("/cache\n/out\n")
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "x"),
    ):
        subprocess.run(["git", *words], cwd=workspace.root, env=workspace.env(), check=True)


def affected(workspace: Workspace) -> set[str]:
    """The nodes that are affected since the commit."""
    return {row["node"] for row in workspace.bg("affected", "--since", "HEAD", "--json").answer["targets"]}


def not_cached(workspace: Workspace) -> set[str]:
    """The nodes that a build of everything would look into."""
    return {name for name, node in workspace.bg("plan", "--json").answer["nodes"].items() if node["decision"] != "hit"}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("recipes/packages/libstock/stock.c", "return", "return /* it */"),
        ("recipes/packages/stock-api.yaml", "package:", "# a comment\npackage:"),
        ("recipes/images/api.yaml", "    - stock-api\n", "    - stock-api\n    - busybox\n"),
        ("buildgraph.yaml", "recipes: recipes", "recipes: recipes\ntag: other"),
    ],
)
def test_what_is_affected_is_what_is_not_cached(example: Workspace, path: str, old: str, new: str) -> None:
    """With all that building has shown: the records of a real build are there."""
    committed(example)
    assert affected(example) == not_cached(example) == set()
    example.edit(path, old, new)
    assert affected(example) == not_cached(example)
