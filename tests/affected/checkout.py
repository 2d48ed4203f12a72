"""A workspace under version control, git, and bg run in it without any tool."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from buildgraph.cli.main import main
from buildgraph.workspace.lockfile import HEADER
from tests.layouts.repository import WOLFI, apko, melange

MANIFEST = f"architectures: [x86_64]\nrepositories: [{WOLFI}]\n"
# Made of what decides nothing: who commits, and no settings of whoever runs the tests.
GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_ALLOW_PROTOCOL": "file",
}


def locked(**versions: str) -> str:
    """A lock of external packages."""
    rows = [
        {
            "arch": "x86_64",
            "name": name,
            "version": version,
            "repository": WOLFI,
            "checksum": f"Q1{name}{version}".replace(".", "x").replace("-", "y").ljust(29, "A") + "=",
        }
        for name, version in sorted(versions.items())
    ]
    return "".join(f"{line}\n" for line in (HEADER, *map(json.dumps, rows)))


def example() -> dict[str, str]:
    """A library with sources, a program that needs it and uses a pipeline, a tool by itself, two images on a common base."""
    return {
        "buildgraph.yaml": MANIFEST,
        "buildgraph.lock": locked(busybox="1.36-r0", make="4.4-r0"),
        "lib.yaml": melange("lib", needs="busybox, make"),
        "lib/lib.c": "int one(void) { return 1; }\n",
        "lib/test.sh": "#!/bin/sh\n",
        "program.yaml": melange("program", needs="busybox, lib", more="  - uses: install\n"),
        "tool.yaml": melange("tool", needs="busybox"),
        "pipelines/install.yaml": "pipeline:\n  - runs: make install\n",
        "images/base.yaml": apko("busybox"),
        "images/program.yaml": "include: base.yaml\n" + apko("program"),
        "images/tool.yaml": "include: base.yaml\n" + apko("tool"),
    }


ALL = {"//:lib", "//:program", "//:tool", "//images:program", "//images:tool"}
WITH_LIB = {"//:lib", "//:program", "//images:program"}


@dataclass
class Checkout:
    """A work tree of git, the workspace in it, and bg run there."""

    top: Path
    capsys: pytest.CaptureFixture[str]
    inner: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The workspace."""
        return self.top / self.inner

    def git(self, *arguments: str, folder: str = "") -> str:
        """What a git command prints that must succeed."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.top.parent), **GIT}
        done = subprocess.run(
            ["git", "-c", "init.defaultBranch=main", *arguments],
            cwd=self.top / folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: dict[str, str]) -> None:
        """Writes files of the workspace."""
        for path, text in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces a text that must be there."""
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new))

    def commit(self, files: dict[str, str] | None = None) -> str:
        """Writes files, and commits all that there is; the commit."""
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")

    def clone(self, name: str, *options: str) -> Checkout:
        """A clone over git's own protocol for files, as a machine of a CI service has one."""
        self.git("clone", "-q", *options, f"file://{self.top}", str(self.top.parent / name), folder="..")
        return Checkout(self.top.parent / name, self.capsys)

    def bg(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What a command prints and what it says beside that; it must end with ``code``."""
        self.capsys.readouterr()
        env = {"HOME": str(self.top.parent / "home"), "PATH": os.environ["PATH"], **GIT, **self.environment}
        ended = main(["-C", str(self.root), *arguments], env)
        said = self.capsys.readouterr()
        assert ended == code, said.err
        return said.out, said.err

    def rows(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """What `bg affected --json` says of each target."""
        return {row["target"]: row for row in json.loads(self.bg("affected", "--json", *arguments)[0])["targets"]}

    def affected(self, *arguments: str) -> set[str]:
        """The targets that are affected since HEAD, or as said; all of them are changed, not new or gone."""
        rows = self.rows(*(arguments or ("--since", "HEAD")))
        assert {row["change"] for row in rows.values()} <= {"changed"}
        return set(rows)

    def changes(self, *arguments: str) -> dict[str, str]:
        """What has become of each affected target."""
        return {target: row["change"] for target, row in self.rows(*(arguments or ("--since", "HEAD"))).items()}
