"""`python -m benchmarks.restoring`: an image whose result is in the local cache, and whose files were removed, comes back.

The image is one of the example's, built once. ``a process`` is `bg build` from its start to its end; ``nothing to do`` is the
same where nothing was removed. ``in a living process`` leaves out starting Python and loading bg: it is reading the workspace,
the look-up, restoring, and noting what is there. ``restoring`` is the image's files, SBOMs and provenance alone, and ``links``
the bare links.
"""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.__main__ import ROOT, SEED, own_environment, timed, workspace
from buildgraph.cli.main import COLLECT_AFTER
from buildgraph.cli.main import main as bg
from buildgraph.outputs import export

IMAGE = "//images:tools"
RUNS = 15


def main() -> int:
    """Prints JSON: medians in milliseconds, and how many files the image has."""
    with tempfile.TemporaryDirectory(prefix="bg-restoring-") as folder:
        top = Path(folder)
        root = workspace(top, "bg")
        env = {**os.environ, "SEED": str(SEED.resolve()), "HOME": str(top / "home"), **own_environment(os.environ)}
        env["BG_CACHE_DIR"] = str(top / "cache")
        command = [str(ROOT / "bg"), "build", IMAGE]
        timed(command, root, env)
        times: dict[str, list[float]] = {}

        def note(name: str, action: Callable[[], Any]) -> None:
            started = time.perf_counter()
            action()
            times.setdefault(name, []).append(1000 * (time.perf_counter() - started))

        real = export.export_image

        def restoring(*given: Any) -> list[Path]:
            found: list[Path] = []
            note("restoring", lambda: found.extend(real(*given)))
            return found

        gc.set_threshold(COLLECT_AFTER)
        with chdir(root):
            for _ in range(RUNS):
                note("nothing to do", lambda: timed(command, root, env))
                removed(root)
                note("a process", lambda: timed(command, root, env))
                # Here, since links to files change these: a build right after them would look at all of them again.
                files = [path for path in (root / "out/oci").rglob("*") if path.is_file()]
                links = top / "links"
                links.mkdir()
                note("links", partial(linked, files, links))
                shutil.rmtree(links)
                removed(root)
                with (
                    redirect_stdout(io.StringIO()),
                    mock.patch.object(export, "export_image", restoring),
                ):
                    note("in a living process", lambda: sure(bg(command[1:], env) == 0))
    print(json.dumps({name: round(statistics.median(some), 1) for name, some in times.items()} | {"files": len(files)}, indent=2))
    return 0


def linked(files: list[Path], target: Path) -> None:
    """Makes nothing but the links."""
    for number, path in enumerate(files):
        os.link(path, target / str(number))


def removed(root: Path) -> None:
    """Removes what was put in place."""
    shutil.rmtree(root / "out")


def sure(fact: bool) -> None:  # noqa: FBT001 - as an assertion
    """Ends the benchmark where something failed: it would measure nothing."""
    if not fact:
        sys.exit("bg build failed")


if __name__ == "__main__":
    sys.exit(main())
