"""`python -m benchmarks.scale`: 3,401 recipes, and these for six architectures, looked at first, again, and after an edit.

Each number is one command in a new process, as a user would start it; beside it what git and bare Python take. The builds of
what is in the cache need packages for all recipes: they are stand-ins, each a whole apk with nothing in it, that real records
name, so that looking them up, signing and linking is what it would be.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import corpus
from buildgraph.apk.index import IndexEntry
from buildgraph.apk.writer import write_package
from buildgraph.cli import building, commands
from buildgraph.cli.places import user_cache
from buildgraph.cli.session import Session
from buildgraph.execute.collect import LAYOUT
from buildgraph.execute.runner import LocalRunner
from buildgraph.keys.digest import Digest
from buildgraph.plan.rebuild import Action
from buildgraph.plan.record import Output, Record
from buildgraph.report.console import Console

ROOT = Path(__file__).resolve().parent.parent
RUNS = 15


def main() -> int:
    """Runs what is asked for and prints JSON; with ``--write`` also to benchmarks/scale.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--architectures", type=int, default=6, help="of the large workspace; 0: without it")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if not corpus.is_there():
        print("the recipes of the corpus are not here: nothing to measure")
        return 0
    with tempfile.TemporaryDirectory(prefix="bg-scale-") as folder:
        results = {"3,401 recipes": measured(corpus.make(Path(folder)), built=True)}
    if options.architectures:
        with tempfile.TemporaryDirectory(prefix="bg-scale-") as folder:
            root = corpus.many(Path(folder), options.architectures)
            results[f"3,401 recipes for {options.architectures} architectures"] = measured(root, built=False)
    results["any"] = {
        "bg --help": fastest([str(ROOT / "bg"), "--help"], ROOT, os.environ),
        "bg --version": fastest([str(ROOT / "bg"), "--version"], ROOT, os.environ),
        "python -I -S -c pass": fastest([sys.executable, "-I", "-S", "-c", "pass"], ROOT, os.environ),
    }
    print(json.dumps(results, indent=2))
    if options.write:
        (ROOT / "benchmarks" / "scale.json").write_text(json.dumps(results, indent=2) + "\n")
    return 0


def measured(root: Path, *, built: bool) -> dict[str, object]:
    """Seconds and, where it is of interest, MiB at most."""
    env = {**os.environ, "BG_CACHE_DIR": str(root.parent / "cache")}
    env.pop("CI", None)
    bg = [str(ROOT / "bg")]
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    (root / ".gitignore").write_text("/out\n")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    state = Path(user_cache(env)) / "state"
    found: dict[str, object] = {}
    found["bg lock, nothing known"] = once([*bg, "lock"], root, env)
    for path in state.glob("*.state"):
        if str(root) in path.read_bytes().decode("utf-8", "replace"):
            path.unlink()
    found["bg plan //..., first look"] = once([*bg, "plan", "//..."], root, env)
    settle(bg, root, env)
    found["bg plan //..., nothing changed"] = fastest([*bg, "plan", "//..."], root, env)
    found["bg plan //..., one recipe edited"] = fastest([*bg, "plan", "//..."], root, env, before=lambda: edit(root))
    found["bg query, one target's deps"] = fastest([*bg, "query", "deps(//:curl)"], root, env)
    if built:
        fill(root, env)
        once([*bg, "build", "-q", "//..."], root, env)
        settle([*bg], root, env, "build", "-q")
        found["bg build //..., nothing changed"] = fastest([*bg, "build", "-q", "//..."], root, env)
        found["bg plan //..., everything cached, nothing changed"] = fastest([*bg, "plan", "//..."], root, env)
        found["bg plan //..., one recipe edited, the others cached"] = fastest(
            [*bg, "plan", "//..."], root, env, before=lambda: edit(root)
        )
    found["git status"] = fastest(["git", "status", "--short"], root, env)
    return found


def edit(root: Path) -> None:
    """A line more in a step of a recipe, and its next epoch."""
    path = next(iter(sorted(root.rglob("7zip.yaml"))))
    lines = path.read_text().splitlines()
    epoch = next(number for number, line in enumerate(lines) if line.strip().startswith("epoch:"))
    lines[epoch] = f"  epoch: {int(lines[epoch].split()[1]) + 1}"
    path.write_text("\n".join([*lines, "  # edited", ""]))


def settle(bg: list[str], root: Path, env: Mapping[str, str], *command: str) -> None:
    """Waits until no file is new enough to be looked at twice, and lets bg see it."""
    time.sleep(0.2)
    for _ in range(2):
        once([*bg, *(command or ("plan",)), "//..."], root, env)


def once(command: list[str], root: Path, env: Mapping[str, str]) -> dict[str, float]:
    """Wall and processor seconds of one run, and the MiB that its largest process took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        ["/usr/bin/time", "-f", "%M", *command], cwd=root, env=dict(env), capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 3), "cpu": round(cpu, 3), "MiB": round(int(done.stderr.split()[-1]) / 1024)}


def fastest(
    command: list[str], root: Path, env: Mapping[str, str], before: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The median and the least of some runs."""
    runs = []
    for _ in range(RUNS):
        before()
        runs.append(once(command, root, env))
    walls = [run["wall"] for run in runs]
    return {
        "median": statistics.median(walls),
        "least": min(walls),
        "cpu": min(run["cpu"] for run in runs),
        "MiB": runs[-1]["MiB"],
    }


def fill(root: Path, env: Mapping[str, str]) -> None:
    """Puts a stand-in for every package into the cache, by a build whose actions make nothing."""
    from buildgraph.cli.arguments import parse

    options = parse(["-C", str(root), "build", "-q", "//..."])
    session = Session(commands.settings(options, env), Console(coloured=False, quiet=True))

    def runner(of: Session) -> LocalRunner:
        return LocalRunner(StandIn(of), of.store, of.rebuilder, of.explainer, of.locker.extend)  # type: ignore[arg-type]

    building.build(options, session, runner)
    session.save_state()


class StandIn:
    """In the place of the executor: gives each action empty packages of the right names and versions, at once."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, action: Action, waiting: Callable[[str], None]) -> tuple[Record, str]:
        """The record of an action that nothing was done for."""
        del waiting
        cas, node = self.session.cas, action.node
        architecture = node.architectures[0]
        outputs, packages = [], []
        if node.kind == "image":
            index = json.dumps({"manifests": [{"digest": "sha256:" + action.key}]}).encode()
            outputs.append(Output(f"{LAYOUT}/index.json", Digest(cas.put_bytes(index)), len(index)))
        with cas.scratch() as scratch:
            for package in node.packages:
                info = IndexEntry(
                    package.name,
                    package.version,
                    arch=architecture,
                    origin=node.packages[0].name,
                    depends=tuple(need.text for need in package.depends),
                    provides=package.provides,
                )
                path = scratch / f"{package.name}.apk"
                entry = write_package(path, info, {})
                digest = Digest(cas.put_file(path))
                outputs.append(Output(f"{architecture}/{entry.filename}", digest, path.stat().st_size))
                packages.append(entry)
        document = Digest(cas.put_bytes(action.document.to_bytes()))
        record = Record(action.key, node.id, document, tuple(sorted(outputs, key=lambda one: one.path)), tuple(packages))
        self.session.store.put(record)
        return record, "ran"


if __name__ == "__main__":
    sys.exit(main())
