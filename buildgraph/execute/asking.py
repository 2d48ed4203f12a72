"""Asking a melange what its own pipelines are, where no table says it; answers are kept per user.

An answer lies under the version of the melange that gave it and the digest of the question, so nothing can make it stale.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from buildgraph.errors import ToolError
from buildgraph.execute import process
from buildgraph.execute.box import HOST_PIPELINES
from buildgraph.execute.tools import Toolbox
from buildgraph.keys.digest import digest_text
from buildgraph.recipes.builtins import Asked, Builtins, CompileError, Table, is_known
from buildgraph.structs import Struct

_SECONDS = 60


def builtins_of(tools: Toolbox, store: Path) -> Builtins:
    """The pipelines of a toolbox's melange; ``store`` is where answers are kept."""
    version = tools.melange_version.partition(" ")[0]
    if is_known(version):
        return Table(version)
    return Asked(version, MelangeCompile(tools, store / digest_text(tools.melange_version)[:16]))


class MelangeCompile(Struct, frozen=True):
    """``melange compile`` as a function that remembers."""

    tools: Toolbox
    folder: Path

    def __call__(self, recipe: str, arch: str) -> Any:
        """What melange compiles a recipe to. Raises CompileError with its words, ToolError where it does not run."""
        kept = self.folder / f"{digest_text(recipe)[:32]}.{arch}.json"
        try:
            answer = json.loads(kept.read_bytes())
        except (OSError, ValueError):
            answer = self._ask(recipe, arch)
            _keep(kept, answer)
        if "refusal" in answer:
            raise CompileError(answer["refusal"])
        return answer["configuration"]

    def _ask(self, recipe: str, arch: str) -> Any:
        with tempfile.TemporaryDirectory(prefix="bg-ask-") as folder:
            (Path(folder) / "recipe.yaml").write_text(recipe, "utf-8")
            command = [
                str(self.tools.melange),
                "compile",
                "recipe.yaml",
                "--arch",
                arch,
                "--git-commit",
                "unknown",
                "--cache-dir=",
            ]
            if HOST_PIPELINES.is_dir():
                # melange prefers those of the host, which no box shows.
                command = [str(self.tools.bwrap), "--dev-bind", "/", "/", "--tmpfs", str(HOST_PIPELINES), "--", *command]
            said = process.run(command, env={"PATH": "/usr/bin:/bin", "HOME": folder}, cwd=Path(folder), timeout=_SECONDS)
        try:
            return {"configuration": json.loads(said.stdout)} if said.returncode == 0 else {"refusal": _reason(said.stderr)}
        except ValueError as error:
            message = f"`melange compile` of version {self.tools.melange_version} prints no JSON"
            raise ToolError(message, details=said.stdout[:2000]) from error


def _reason(log: str) -> str:
    """The last error in melange's log, without its time and level."""
    lines = [line.partition(" ERRO ")[2] for line in log.splitlines() if " ERRO " in line]
    return lines[-1] if lines else log.strip()


def _keep(path: Path, answer: Any) -> None:
    """Writes an answer; a failure costs only time."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(answer), "utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
