"""`make bench`: null build and cold build of the example repository, beside make over melange and apko."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from buildgraph.cli.places import user_cache
from buildgraph.cli.settings import tools_folder
from buildgraph.execute.tools import find_tools

ROOT = Path(__file__).resolve().parent.parent
SEED = ROOT / ".seed"
NULL_RUNS, COLD_RUNS = 31, 3

Env = Mapping[str, str]


def main() -> int:
    """Runs all benchmarks and writes benchmarks/latest.json."""
    tools = find_tools(os.environ, tools_folder(), Path(user_cache(os.environ)), print)
    with tempfile.TemporaryDirectory(prefix="bg-bench-") as folder:
        top = Path(folder)
        programs = top / "tools"
        programs.mkdir()
        for name in ("melange", "apko", "bwrap"):
            (programs / name).symlink_to(getattr(tools, name))
        env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "SEED": str(SEED.resolve())}
        env.pop("CI", None)
        results = {"cold": cold(top, env), "null": null(top, env)}
    for title, row in zip(
        (f"everything from nothing, median of {COLD_RUNS}", f"nothing to do, median of {NULL_RUNS}"),
        results.values(),
        strict=True,
    ):
        print(f"\n{title}")
        for name, value in row.items():
            print(f"  {name:22} {value:8.3f}{'' if '/' in name else ' s'}")
    (ROOT / "benchmarks" / "latest.json").write_text(json.dumps(results, indent=2) + "\n")
    return 0


def workspace(top: Path, name: str) -> Path:
    """A copy of the example repository to build with bg."""
    root = top / name
    shutil.copytree(ROOT / "recipes", root / "recipes")
    (root / "buildgraph.yaml").write_text(f"recipes: recipes\nmirrors:\n  https://packages.wolfi.dev/os: {SEED.resolve()}\n")
    return root


def by_hand(top: Path, name: str) -> Path:
    """The same recipes for the hand-written Makefile; without the repository that the machine may not reach."""
    root = top / name
    shutil.copytree(ROOT / "recipes", root / "recipes")
    shutil.copy(ROOT / "benchmarks" / "by_hand" / "Makefile", root)
    remote = ("- https://packages.wolfi.dev", "repositories:", "keyring:")
    for path in root.rglob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.strip().startswith(remote)]
        path.write_text("\n".join(lines) + "\n")
    return root


def cold(top: Path, env: Env) -> dict[str, float]:
    """Everything from nothing but the tools and the seed, alternating between bg and make."""
    times: dict[str, list[float]] = {"bg": [], "make -j2": []}
    for attempt in range(COLD_RUNS):
        root = workspace(top, f"bg{attempt}")
        home = {**env, "HOME": str(top / f"home{attempt}"), "XDG_CACHE_HOME": str(top / f"xdg{attempt}")}
        times["bg"].append(timed([str(ROOT / "bg"), "build", "//images/..."], root, {**home, **own_environment(env)}))
        hand = by_hand(top, f"make{attempt}")
        flags = ["PIPELINES=recipes/pipelines", f"SEED={env['SEED']}"]
        own = {**home, "HOME": str(top / f"hand{attempt}"), "XDG_CACHE_HOME": str(top / f"hand-xdg{attempt}")}
        times["make -j2"].append(timed(["make", "-s", "-j2", *flags], hand, own))
    return compared(times, "bg", "make -j2")


def own_environment(env: Env) -> dict[str, str]:
    """Where the launcher keeps its environment: setting that up is not what is measured."""
    return {"XDG_CACHE_HOME": str(Path(user_cache(env)).parent)}


def null(top: Path, env: Env) -> dict[str, float]:
    """Nothing to do: a cold process each time, beside make on the same work, git on the same tree, and bare Python."""
    root, hand = top / "bg0", top / "make0"
    subprocess.run(["git", "init", "-q", "."], cwd=root, check=True)
    (root / ".gitignore").write_text("/cache\n/out\n")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    home = {**env, "HOME": str(top / "home0"), **own_environment(env)}
    flags = ["PIPELINES=recipes/pipelines", f"SEED={env['SEED']}"]
    commands: dict[str, Callable[[], float]] = {
        "bg": lambda: timed([str(ROOT / "bg"), "build", "//images/..."], root, home),
        "make": lambda: timed(["make", "-s", *flags], hand, home),
        "git status": lambda: timed(["git", "status", "--short"], root, home),
        "python -I -S -c pass": lambda: timed([sys.executable, "-I", "-S", "-c", "pass"], root, home),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for attempt in range(NULL_RUNS + 2):
        for name, command in commands.items():
            seconds = command()
            if attempt >= 2:  # the first runs warm the file cache and settle bg's state
                times[name].append(seconds)
    return compared(times, "bg", "make")


def timed(command: list[str], cwd: Path, env: Env) -> float:
    """Wall seconds of a command that must succeed."""
    Path(env["HOME"]).mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return seconds


def compared(times: Mapping[str, list[float]], one: str, other: str) -> dict[str, float]:
    """Medians in seconds, and the ratio of two of them."""
    medians = {name: round(statistics.median(values), 4) for name, values in times.items()}
    return {**medians, f"{one} / {other}": round(medians[one] / medians[other], 2)}


if __name__ == "__main__":
    sys.exit(main())
