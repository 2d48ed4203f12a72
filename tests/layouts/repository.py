"""Small repositories of the shapes that people have, and what bg makes of them without any tool."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buildgraph.cli.main import main
from buildgraph.workspace.labels import Label
from buildgraph.workspace.manifest import load_manifest
from buildgraph.workspace.workspace import load_workspace, walk

WOLFI = "https://packages.wolfi.dev/os"


def melange(name: str, *, needs: str = "", runtime: str = "", more: str = "") -> str:
    """A melange recipe that lists no repositories, as most do; lists are written with commas."""
    return (
        f"package:\n  name: {name}\n  version: 1.0.0\n  epoch: 0\n"
        f"  dependencies:\n    runtime: [{runtime}]\n"
        f"environment:\n  contents:\n    packages: [{needs}]\n"
        f"pipeline:\n  - runs: make\n{more}"
    )


def apko(packages: str, *, repositories: str = WOLFI, more: str = "") -> str:
    """An apko recipe."""
    return f"contents:\n  repositories: [{repositories}]\n  packages: [{packages}]\n{more}"


@dataclass
class Repository:
    """A folder with files, and bg run in it."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, files: dict[str, str]) -> None:
        """Writes files; the manifest is empty unless it is among them."""
        for path, text in {"buildgraph.yaml": "architectures: [x86_64]\n", **files}.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text)

    def bg(self, *arguments: str, folder: str = "", code: int = 0) -> str:
        """What a command prints that ends with ``code``, errors after output."""
        self.capsys.readouterr()
        ended = main(["-C", str(self.root / folder), *arguments], {"HOME": str(self.root.parent / "home")})
        said = self.capsys.readouterr()
        assert ended == code, said.err
        return said.out + said.err

    def targets(self, *patterns: str, folder: str = "") -> list[str]:
        """The targets that patterns name: kind and label."""
        listed = json.loads(self.bg("list", "--json", *patterns, folder=folder))
        return [f"{node['kind']} {node['target']}" for node in listed]

    def graph(self) -> Any:
        """The graph as JSON."""
        return json.loads(self.bg("graph", "--json"))

    def edges(self) -> set[str]:
        """The local edges: ``kind from -> to``, without architectures."""
        return {
            f"{edge['kind']} {edge['from'].split('@')[0]} -> {edge['to'].split('@')[0]}"
            for edge in self.graph()["edges"]
            if not edge["external"]
        }

    def places(self) -> set[str]:
        """Where the local edges are written: ``file:line requirement``."""
        return {f"{e['file']}:{e['line']} {e['requirement']}" for e in self.graph()["edges"] if not e["external"]}

    def external(self) -> set[str]:
        """The names of external packages that something asks for."""
        return {edge["to"] for edge in self.graph()["edges"] if edge["external"]}

    def sources(self, label: str) -> dict[str, str]:
        """The sources of a package target: the path that its build sees, by the path in the repository."""
        manifest = load_manifest(self.root)
        workspace = load_workspace(manifest, walk(manifest))
        folder, _, name = label[2:].partition(":")
        target = next(one for one in workspace.targets[Label(folder, name)] if one.kind == "package")
        return dict(workspace.sources.sources(target.recipe, name, manifest.settings(label)).files)
