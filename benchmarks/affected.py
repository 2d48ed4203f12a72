"""`python -m benchmarks.affected [FOLDER]`: what `bg affected` takes after edits of several kinds, on 3,401 recipes under git.

FOLDER is a workspace of those with its lock, under git and without changes; without it one is made, which takes minutes. Each
number is one command in a new process; beside it what `git diff` takes, and a plan of everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import corpus
from benchmarks.scale import once, settle
from buildgraph.cli.places import user_cache
from buildgraph.workspace.statefile import state_path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 2
LIBRARY, PROGRAM, PIPELINE = "zlib.yaml", "jq.yaml", "pipelines/py/pip-build-install.yaml"

Edit = Callable[[Path], None]


def main() -> int:
    """Prints JSON."""
    if len(sys.argv) > 1:
        print(json.dumps(measured(Path(sys.argv[1])), indent=2))
    elif corpus.is_there():
        with tempfile.TemporaryDirectory(prefix="bg-affected-") as folder:
            root = corpus.make(Path(folder))
            once([str(ROOT / "bg"), "lock"], root, os.environ)
            (root / ".gitignore").write_text("/cache\n/out\n")
            for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "x")):
                subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words], cwd=root, check=True)
            print(json.dumps(measured(root), indent=2))
    else:
        print("the recipes of the corpus are not here: nothing to measure")
    return 0


def measured(root: Path) -> dict[str, dict[str, float]]:
    """Seconds and MiB of the fastest of some runs, each right after its edit, and how many targets were affected."""
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    bg = [str(ROOT / "bg")]
    command = [*bg, "affected", "--since", "HEAD"]
    settle(bg, root, env)
    found = {"git diff, nothing changed": fastest(["git", "diff", "--name-only", "HEAD"], root, env, _nothing)}
    found["bg plan //..., nothing changed"] = fastest([*bg, "plan"], root, env, _nothing)
    for name, edit in EDITS.items():
        found[name] = fastest(command, root, env, edit)
    found["one recipe's version, bg knows nothing"] = fastest(command, root, env, _forgotten(EDITS["one recipe's version"], env))
    return found


def fastest(command: list[str], root: Path, env: Mapping[str, str], edit: Edit) -> dict[str, float]:
    """The fastest of some runs, each right after the same edit."""
    runs = []
    for _ in range(RUNS):
        edit(root)
        runs.append(once(command, root, env))
        count = len(subprocess.run(command, cwd=root, env=dict(env), capture_output=True, check=True).stdout.splitlines())
        for words in (("checkout", "-q", "."), ("clean", "-q", "-f")):
            subprocess.run(["git", *words], cwd=root, check=True)
        once([str(ROOT / "bg"), "plan"], root, env)
    return {**min(runs, key=lambda run: run["wall"]), "lines": count}


def _nothing(_root: Path) -> None:
    pass


def _replace(path: str, old: str, new: str) -> Edit:
    def edit(root: Path) -> None:
        text = (root / path).read_text()
        (root / path).write_text(text.replace(old, new, 1))

    return edit


def _new(root: Path) -> None:
    package = "package:\n  name: new-program\n  version: 1\n  epoch: 0\nenvironment:\n  contents:\n    packages: [jq, zlib-dev]\n"
    (root / "new-program.yaml").write_text(package + "pipeline:\n  - runs: make\n")


def _version(root: Path) -> None:
    lines = (root / PROGRAM).read_text().splitlines()
    (root / PROGRAM).write_text("\n".join("  epoch: 900" if line.startswith("  epoch:") else line for line in lines) + "\n")


def _locked(root: Path) -> None:
    head, first, *others = (root / "buildgraph.lock").read_text().splitlines()
    moved = json.dumps({**json.loads(first), "version": "99-r0"})
    (root / "buildgraph.lock").write_text("\n".join([head, moved, *others, ""]))


def _untracked(root: Path) -> None:
    (root / "new.txt").write_text("x")


def _forgotten(edit: Edit, env: Mapping[str, str]) -> Edit:
    def both(root: Path) -> None:
        Path(state_path(user_cache(env), root)).unlink(missing_ok=True)
        edit(root)

    return both


EDITS: dict[str, Edit] = {
    "nothing": _nothing,
    "a comment in a recipe": _replace(PROGRAM, "package:", "# about it\npackage:"),
    "one recipe's version": _version,
    "a step of a library's recipe": _replace(LIBRARY, "pipeline:", "pipeline:\n  - runs: 'true'\n"),
    "a pipeline": _replace(PIPELINE, "pipeline:", "pipeline:\n  - runs: 'true'\n"),
    "an entry of the lock": _locked,
    "the manifest's salt": _replace("buildgraph.yaml", "repositories:", "salt: x\nrepositories:"),
    "a new recipe": _new,
    "a file of nobody": _untracked,
}


if __name__ == "__main__":
    sys.exit(main())
