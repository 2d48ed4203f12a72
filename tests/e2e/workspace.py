"""A workspace in which tests run bg as a process, and what it answered."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFEST = "recipes: recipes\nmirrors:\n  https://packages.wolfi.dev/os: {seed}\n"


@dataclass(frozen=True)
class Ran:
    """How bg ended. ``nodes`` and ``reasons`` are there after ``build`` (which is asked for JSON)."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """What a command with --json printed."""
        return json.loads(self.out)

    @property
    def ran(self) -> set[str]:
        """The targets whose actions ran, without the architecture."""
        return self.outcome("ran")

    def outcome(self, *outcomes: str) -> set[str]:
        """The targets that ended so."""
        return {name.split("@")[0] for name, node in self.answer["nodes"].items() if node["outcome"] in outcomes}

    def reasons(self, target: str) -> str:
        """Why a target ran."""
        return "; ".join(next(node for name, node in self.answer["nodes"].items() if name.split("@")[0] == target)["reasons"])

    def digest(self, target: str) -> str:
        """The digest of an image that was built."""
        return str(next(row for row in self.answer["targets"] if row["target"] == target)["digest"])

    def digests(self) -> dict[str, str]:
        """The digest of every package and image that was built, by file name or label."""
        found = {row["target"]: row["digest"] for row in self.answer["targets"] if "digest" in row}
        packages = [package for row in self.answer["targets"] for package in row.get("packages", ())]
        return found | {Path(package["path"]).name: package["digest"] for package in packages}


@dataclass
class Workspace:
    """A folder with a manifest and recipes, and bg to build it with."""

    root: Path
    home: Path
    tools: Path
    environment: dict[str, str] = field(default_factory=dict)
    within: list[str] = field(default_factory=list)  # a command prefix, for another user

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment that bg runs in."""
        base = {
            "PATH": f"{self.tools}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
        }
        return {**base, **self.environment, **(extra or {})}

    def command(self, *arguments: str) -> list[str]:
        """The command line of bg."""
        return [*self.within, sys.executable, "-m", "buildgraph", *arguments]

    def bg(self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, umask: int = 0o022) -> Ran:
        """Runs bg to its end."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.root,
            env=self.env(env),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            umask=umask,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def build(self, *arguments: str, env: Mapping[str, str] | None = None, umask: int = 0o022) -> Ran:
        """``bg build`` with JSON, which must succeed, and say on the screen why each action runs."""
        done = self.bg("build", "--json", *(arguments or ("//...",)), env=env, umask=umask)
        assert done.code == 0, done.err + done.out
        for name, node in done.answer["nodes"].items():
            if node["outcome"] == "ran":
                assert node["reasons"], f"{name} ran without a reason"
                assert f"build  {name}  {'; '.join(node['reasons'][:3])}" in done.err, done.err
        return done

    def write(self, path: str, content: str) -> Path:
        """Writes a file of the workspace."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return target

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces a text that must be there."""
        target = self.root / path
        text = target.read_text()
        assert old in text, f"{path} does not say {old!r}"
        target.write_text(text.replace(old, new))


def make_workspace(root: Path, home: Path, tools: Path, seed: Path) -> Workspace:
    """A copy of the example repository, built from the seed."""
    shutil.copytree(ROOT / "recipes", root / "recipes")
    (root / "buildgraph.yaml").write_text(MANIFEST.format(seed=seed))
    home.mkdir(parents=True, exist_ok=True)
    return Workspace(root, home, tools)


def example_to_look_at(folder: Path) -> Workspace:
    """A copy of the example for what needs neither the tools nor the seed, planned for the same architecture everywhere."""
    workspace = make_workspace(folder / "ws", folder / "home", folder / "no-tools", folder / "no-seed")
    manifest = workspace.root / "buildgraph.yaml"
    manifest.write_text(manifest.read_text() + "architectures: [x86_64]\ntargets: {//images:api: {}}\n")
    return workspace
