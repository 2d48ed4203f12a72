"""`bg fetch`, `--offline` and source mirrors: what recipes pin is brought before, and built from with no network at all."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.e2e.sources import (
    Upstream,
    archives_served,
    make_archive,
    make_upstream,
    no_network,
    repositories_served,
    sha256,
)
from tests.e2e.tiny import package
from tests.e2e.workspace import MANIFEST, Ran, Workspace

pytestmark = pytest.mark.e2e

WOLFI = "repositories: [https://packages.wolfi.dev/os]\nkeyring: [https://packages.wolfi.dev/os/wolfi-signing.rsa.pub]\n"


@dataclass
class World:
    """A workspace, and the servers that its recipes' sources lie on."""

    workspace: Workspace
    files: Path
    repositories: Path
    servers: ExitStack = field(default_factory=ExitStack)
    http: str = ""
    git: str = ""

    def serve(self) -> None:
        self.http = self.servers.enter_context(archives_served(self.files))
        self.git = self.servers.enter_context(repositories_served(self.repositories))

    def recipe(self, name: str, uses: str, given: dict[str, str], script: str) -> None:
        """A recipe of one step with a source, and a script; what the script writes to ``$OUT/usr/share`` is the package."""
        step = json.dumps({"uses": uses, "with": given})
        text = package(name, script)
        self.workspace.write(f"recipes/{name}.yaml", text.replace("pipeline:\n", f"pipeline:\n  - {step}\n"))

    def offline(self, *arguments: str) -> Ran:
        """``bg build --offline`` without a network."""
        return replace(self.workspace, within=[*no_network(), *self.workspace.within]).build("--offline", *arguments)


@pytest.fixture
def world(empty: Workspace, seed_with_git: Path, tmp_path: Path) -> Iterator[World]:
    empty.write("buildgraph.yaml", MANIFEST.format(seed=seed_with_git) + WOLFI)
    for name in ("files", "repositories"):
        (tmp_path / name).mkdir()
    found = World(empty, tmp_path / "files", tmp_path / "repositories")
    with found.servers:
        found.serve()
        yield found


def content(workspace: Workspace, name: str) -> dict[str, tuple[str, int]]:
    """The files of a package in the outputs, with their modes."""
    (path,) = (workspace.root / "out/packages/x86_64").glob(f"{name}-1.0.0-r0.apk")
    with tarfile.open(path) as archive:
        return {
            member.name: (archive.extractfile(member).read().decode(), member.mode)  # type: ignore[union-attr]
            for member in archive
            if member.isreg() and member.name.startswith("usr/")
        }


def upstream_with_history(folder: Path) -> tuple[Upstream, dict[str, str]]:
    """A repository with two releases, tagged in git's two ways, and what came after; the commits by name."""
    upstream = make_upstream(folder)
    commits = {"first": upstream.commit({"program": "one\n", "lib/data": "a\n"}, when=1_600_000_000)}
    upstream.git("tag", "-a", "-m", "the first release", "v1", when=1_600_000_100)
    commits["second"] = upstream.commit({"program": "two\n"}, when=1_600_000_200)
    upstream.git("tag", "light")
    commits["third"] = upstream.commit({"program": "three\n"}, when=1_600_000_300)
    commits["tag object"] = upstream.git("rev-parse", "v1")
    return upstream, commits


LOOKS = (
    'mkdir -p "$OUT/usr/share"; cp program "$OUT/usr/share/"; git log --format=%H%ct >"$OUT/usr/share/log";'
    ' git config remote.origin.url >"$OUT/usr/share/url";'
    ' git status --porcelain --untracked-files=no >"$OUT/usr/share/status"'
)
DESCRIBES = f'{LOOKS}; git describe --tags --always >"$OUT/usr/share/described"'


def archive_recipes(world: World) -> None:
    """One that unpacks what it fetches, one that packages the file as it is."""
    data = make_archive(world.files / "tool-1.tar.gz", {"main.c": "int main;\n"})
    given = {"uri": f"{world.http}/tool-${{{{vars.one}}}}.tar.gz", "expected-sha256": sha256(data)}
    world.recipe("tool", "fetch", given, 'cp main.c "$OUT/usr/share/main.c"')
    world.workspace.edit("recipes/tool.yaml", "package:", "vars: {one: '1'}\npackage:")
    (world.files / "plain.txt").write_text("plain\n")
    given = {"uri": f"{world.http}/plain.txt", "expected-sha512": hashlib.sha512(b"plain\n").hexdigest(), "extract": "false"}
    world.recipe("plain", "fetch", given, 'echo more >>plain.txt; cp plain.txt "$OUT/usr/share/plain.txt"')


def test_sources_come_before_and_the_build_needs_no_network(world: World) -> None:
    """After `bg fetch` the servers are gone and so is the network; the packages are those that a build with it makes."""
    archive_recipes(world)
    upstream, commits = upstream_with_history(world.repositories / "up")
    address = f"{world.git}/up"
    world.recipe("tagged", "git-checkout", {"repository": address, "tag": "v1", "expected-commit": commits["first"]}, DESCRIBES)
    given = {"repository": address, "branch": "trunk", "expected-commit": commits["second"]}
    world.recipe("branch", "git-checkout", given, LOOKS)
    world.recipe("head", "git-checkout", {"repository": address, "expected-commit": commits["third"]}, DESCRIBES)
    object_ = {"repository": address, "tag": "v1", "expected-commit": commits["tag object"], "destination": "."}
    world.recipe("object", "git-checkout", object_, DESCRIBES)

    ws = world.workspace
    manifest = (ws.root / "buildgraph.yaml").read_text()
    ws.write("buildgraph.yaml", manifest + "network: on\n")
    with_the_network = ws.build("//...").digests()
    assert "trunk" in upstream.git("branch", "--list")

    ws.write("buildgraph.yaml", manifest)
    assert "network: uses" not in ws.bg("plan", "//...").out
    fetched = ws.bg("fetch", "--json")
    assert fetched.code == 0, fetched.err
    assert len(fetched.answer["sources"]) == 6
    assert fetched.answer["networked"] == {}
    assert ws.bg("fetch").out.endswith(" and 6 sources are at hand, 0 of them fetched now\n")
    world.servers.close()
    (ws.root / "buildgraph.yaml").write_text(manifest.replace("packages.wolfi.dev/os: ", "packages.wolfi.dev/os: /gone"))
    built = world.offline("//...")
    assert len(built.ran) == 6
    assert built.digests() == with_the_network

    assert content(ws, "plain")["usr/share/plain.txt"] == ("plain\nmore\n", 0o644)
    assert content(ws, "tagged")["usr/share/described"][0] == "v1\n"
    assert content(ws, "tagged")["usr/share/url"][0] == f"{address}\n"
    assert content(ws, "branch")["usr/share/log"][0].splitlines() == [
        f"{commits['second']}1600000200",
        f"{commits['first']}1600000000",
    ]
