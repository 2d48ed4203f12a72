"""What reading costs, stage by stage, on a repository of melange recipes; user CPU seconds of one process, the best of three.

    python -m benchmarks.reading [FOLDER]

FOLDER holds the recipes, and their pipelines in ``pipelines/``; without it Wolfi's are taken from ../shared/corpus.
"""

from __future__ import annotations

import gc
import resource
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from buildgraph.recipes import kinds, schema, yamltext
from buildgraph.recipes.melange import boxed_melange, read_melange
from buildgraph.recipes.values import Source
from buildgraph.recipes.yamltext import Mapping

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"
ROUNDS = 3

Tree = tuple[str, Mapping, str]


def main() -> int:
    """Prints one line for each stage."""
    if len(sys.argv) > 1:
        report(Path(sys.argv[1]))
        return 0
    with tempfile.TemporaryDirectory(prefix="bg-bench-") as folder:
        for archive in CORPUS.glob("wolfi-os-*.tar.xz"):
            with tarfile.open(archive) as stream:
                stream.extractall(folder, filter="data")
        report(next(path.parent for path in sorted(Path(folder).rglob("zlib.yaml"))))
    return 0


def report(folder: Path) -> None:
    """Measures on all recipes of a folder."""
    files = [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.yaml")) if not path.name.startswith(".")]
    files = [(name, data) for name, data in files if kinds.may_be_recipe(data)]
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        for stage, seconds in measured(folder, files).items():
            best[stage] = min(seconds, best.get(stage, seconds))
    print(f"{len(files)} recipes, {sum(len(data) for _, data in files) / 1e6:.1f} MB, user CPU seconds, best of {ROUNDS}")
    for stage, seconds in best.items():
        print(f"  {stage:28} {seconds:5.2f}")
    print(f"  {'all':28} {sum(seconds for stage, seconds in best.items() if not stage.startswith('  ')):5.2f}")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


def measured(folder: Path, files: list[tuple[str, bytes]]) -> dict[str, float]:
    """The seconds of each stage; one that begins with a space is part of the next."""
    sources: dict[str, Source | None] = {}

    def find(name: str) -> Source | None:
        if name not in sources:
            path = folder / "pipelines" / f"{name}.yaml"
            sources[name] = source(path) if path.is_file() else None
        return sources[name]

    def check_all() -> None:
        for name, tree, text in trees:
            schema.check(tree, schema.RECIPE, name, text)

    trees: list[Tree] = []
    seconds = {"parse": spent(lambda: trees.extend(parsed(name, data) for name, data in files))}
    seconds["kinds"] = spent(
        lambda: [(kinds.may_be_recipe(data), kinds.recipe_kind(tree[1])) for (_, data), tree in zip(files, trees, strict=True)]
    )
    seconds["  of which fields are checked"] = spent(check_all)
    seconds["read_melange"] = spent(
        lambda: [read_melange(tree, name, text, arch="x86_64", find_pipeline=find) for name, tree, text in trees]
    )
    seconds["boxed_melange and emit"] = spent(lambda: [yamltext.emit(boxed_melange(tree)) for _, tree, _ in trees])
    return seconds


def parsed(name: str, data: bytes) -> Tree:
    """A recipe as discovery reads it."""
    return name, yamltext.parse_mapping(data, name), yamltext.decode(data, name)


def source(path: Path) -> Source:
    """A pipeline."""
    data = path.read_bytes()
    return Source(path.name, yamltext.parse(data, path.name), yamltext.decode(data, path.name))


def spent(work: Callable[[], object]) -> float:
    """The user CPU seconds of some work; garbage of what came before is not its fault."""
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - before


if __name__ == "__main__":
    sys.exit(main())
