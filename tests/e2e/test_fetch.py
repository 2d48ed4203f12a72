"""`bg fetch`, `--offline` and source mirrors: what recipes pin is brought before, and built from with no network at all."""

from __future__ import annotations

import json
import os
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
    sha512,
)
from tests.e2e.test_survival import wrong_blobs
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
    given = {"uri": f"{world.http}/plain.txt", "expected-sha512": sha512(b"plain\n"), "extract": "false"}
    world.recipe("plain", "fetch", given, 'echo more >>plain.txt; cp plain.txt "$OUT/usr/share/plain.txt"')


def test_sources_come_before_and_the_build_needs_no_network(world: World) -> None:
    """After `bg fetch` the servers are gone and so is the network; the packages are those that a build with it makes."""
    archive_recipes(world)
    _, commits = upstream_with_history(world.repositories / "up")
    address = f"{world.git}/up"
    world.recipe("tagged", "git-checkout", {"repository": address, "tag": "v1", "expected-commit": commits["first"]}, DESCRIBES)
    given = {"repository": address, "branch": "trunk", "expected-commit": commits["second"]}
    world.recipe("branch", "git-checkout", given, LOOKS)
    world.recipe("head", "git-checkout", {"repository": address, "expected-commit": commits["third"]}, DESCRIBES)
    object_ = {"repository": address, "tag": "v1", "expected-commit": commits["tag object"], "destination": "."}
    world.recipe("object", "git-checkout", object_, DESCRIBES)

    world.recipe(
        "sparse",
        "git-checkout",
        {
            "repository": address,
            "tag": "light",
            "expected-commit": commits["second"],
            "sparse-paths": "lib",
            "destination": "sub",
        },
        'cd sub; ls lib >"$OUT/usr/share/lib"; test -f lib/data',
    )

    ws = world.workspace
    manifest = (ws.root / "buildgraph.yaml").read_text()
    ws.write("buildgraph.yaml", manifest + "network: on\n")
    with_the_network = ws.build("//...").digests()

    ws.write("buildgraph.yaml", manifest)
    assert "network: uses" not in ws.bg("plan", "//...").out
    fetched = ws.bg("fetch", "--json")
    assert fetched.code == 0, fetched.err
    assert len(fetched.answer["sources"]) == 7
    assert fetched.answer["networked"] == {}
    assert ws.bg("fetch").out.endswith(" and 7 sources are at hand, 0 of them fetched now\n")
    world.servers.close()
    (ws.root / "buildgraph.yaml").write_text(manifest.replace("packages.wolfi.dev/os: ", "packages.wolfi.dev/os: /gone"))
    built = world.offline("//...")
    assert len(built.ran) == 7
    assert built.digests() == with_the_network

    assert content(ws, "plain")["usr/share/plain.txt"] == ("plain\nmore\n", 0o644)
    assert content(ws, "tagged")["usr/share/described"][0] == "v1\n"
    assert content(ws, "tagged")["usr/share/url"][0] == f"{address}\n"
    assert content(ws, "branch")["usr/share/log"][0].splitlines() == [
        f"{commits['second']}1600000200",
        f"{commits['first']}1600000000",
    ]


def test_what_a_step_does_to_its_sources_stays_in_its_box(world: World) -> None:
    """It may write to what it was given, as to what it would have downloaded; the cache has what it had."""
    archive_recipes(world)
    ws = world.workspace
    ws.edit("recipes/plain.yaml", "echo more", "echo evil | tee /var/cache/melange/sha512:*; echo more")
    before = ws.build("//:plain").digests()
    assert wrong_blobs(ws.root / "cache") == []
    ws.edit("recipes/plain.yaml", "echo evil |", "echo worse |")
    assert ws.build("//:plain").ran == {"//:plain"}
    assert content(ws, "plain")["usr/share/plain.txt"][0] == "plain\nmore\n"
    assert before


def test_a_source_that_was_damaged_is_brought_again(world: World) -> None:
    """In the cache, by a fault of the disk; with nobody to bring it again the build says so."""
    archive_recipes(world)
    ws = world.workspace
    before = ws.build("//:plain").digests()
    damaged = [path for path in (ws.root / "cache/blobs").rglob("*") if path.is_file() and path.read_bytes() == b"plain\n"]
    assert len(damaged) == 1
    for path in damaged:
        path.chmod(0o644)
        path.write_text("pl4in\n")
    ws.edit("recipes/plain.yaml", "echo more", "true; echo more")
    assert ws.bg("build", "--offline", "//:plain").code == 11
    assert ws.build("//:plain").ran == {"//:plain"}
    ws.edit("recipes/plain.yaml", "true; echo more", "echo more")
    assert ws.build("//:plain").digests() == before


def test_a_key_is_the_same_whether_or_not_a_source_is_at_hand(world: World) -> None:
    """So is what comes of it: nothing that bg brings before is asked of the network by the action."""
    archive_recipes(world)
    ws = world.workspace
    assert ws.bg("lock").code == 0
    before = ws.bg("plan", "--json").answer
    assert ws.bg("fetch").code == 0
    assert ws.bg("plan", "--json").answer == before
    assert all(node["network"] == [] for node in before["nodes"].values())
    built = ws.build("--offline", "//...").digests()
    fresh = ws.build(env={"BG_CACHE_DIR": str(world.files.parent / "another")})
    assert fresh.ran == {"//:plain", "//:tool"}
    assert fresh.digests() == built

    (world.files / "plain.txt").write_text("plainer\n")
    ws.edit("recipes/plain.yaml", sha512(b"plain\n"), sha512(b"plainer\n"))
    again = ws.build()
    assert again.ran == {"//:plain"}
    assert f"the source {world.http}/plain.txt: sha512:{sha512(b'plain' + bytes([10]))} -> sha512:" in again.reasons("//:plain")


def test_what_is_not_pinned_stays_with_the_network(world: World) -> None:
    """The plan says which recipes and why, `bg fetch` too; offline they are errors, unless they are in the cache."""
    ws = world.workspace
    (world.files / "plain.txt").write_text("plain\n")
    given = {"uri": f"{world.http}/plain.txt", "expected-none": "true", "extract": "false"}
    world.recipe("loose", "fetch", given, 'cp plain.txt "$OUT/usr/share/"')
    _, commits = upstream_with_history(world.repositories / "up")
    world.recipe("moving", "git-checkout", {"repository": f"{world.git}/up"}, "true")
    pinned = {"repository": f"{world.git}/up", "tag": "v1", "expected-commit": commits["first"]}
    world.recipe("picked", "git-checkout", {**pinned, "cherry-picks": f"trunk/{commits['second']}: why\n"}, "true")
    world.recipe("nested", "git-checkout", {**pinned, "recurse-submodules": "true"}, "true")
    ws.write("recipes/curls.yaml", package("curls", f"curl -sf {world.http}/plain.txt || true"))
    why = {
        "//:loose@x86_64": "uses: fetch without a checksum (recipes/loose.yaml:4)",
        "//:moving@x86_64": "uses: git-checkout without expected-commit (recipes/moving.yaml:4)",
        "//:picked@x86_64": "uses: git-checkout with cherry-picks (recipes/picked.yaml:4)",
        "//:nested@x86_64": "uses: git-checkout with submodules (recipes/nested.yaml:4)",
        "//:curls@x86_64": "curl (recipes/curls.yaml:7)",
    }
    nodes = ws.bg("plan", "--json").answer["nodes"]
    assert {name: node["network"] for name, node in nodes.items()} == {name: [reason] for name, reason in why.items()}
    assert ws.bg("fetch", "--json").answer["networked"] == {name: [reason] for name, reason in why.items()}
    told = ws.bg("fetch", "//:loose")
    assert "1 target cannot be built with --offline" in told.out
    assert f"//:loose@x86_64 is built with the network: {why['//:loose@x86_64']}" in told.err

    refused = ws.bg("build", "--offline", "//:loose")
    assert refused.code == 11
    assert "//:loose needs the network, which --offline rules out" in refused.err
    assert why["//:loose@x86_64"] in refused.err
    assert ws.build("//:loose", "//:moving").ran == {"//:loose", "//:moving"}
    assert world.offline("//:loose", "//:moving").ran == set()


def test_offline_says_what_is_missing(world: World, seed_with_git: Path) -> None:
    """An index, a package, a source: each is named, with the command that brings it."""
    archive_recipes(world)
    ws = world.workspace
    with archives_served(seed_with_git) as mirror:
        ws.write("buildgraph.yaml", MANIFEST.format(seed=mirror) + WOLFI)

        def refused(what: str) -> None:
            done = ws.bg("build", "--offline", "//:tool")
            assert done.code == 11, done.err
            assert what in done.err
            assert "hint: `bg fetch` brings it" in done.err

        refused(f"{mirror}/x86_64/APKINDEX.tar.gz is not at hand, and may not be fetched now")
        assert ws.bg("lock").code == 0
        refused(f"cannot bring the source {world.http}/tool-1.tar.gz with sha256:")
        ws.write("buildgraph.yaml", f"{MANIFEST.format(seed=mirror)}{WOLFI}source-mirrors: ['{world.files}']\n")
        refused(".apk is not at hand, and may not be fetched now")
        assert ws.bg("fetch", "//:tool").code == 0
    assert world.offline("//:tool").ran == {"//:tool"}


NAMES = ("sha256:{0}", "sha256/{0}", "{0}", "tool-1.tar.gz")


@pytest.mark.parametrize("remote", [False, True])
def test_source_mirrors(world: World, remote: bool) -> None:
    """Folders and addresses where sources lie by digest or by file name; whatever else lies there is passed over."""
    data = make_archive(world.files / "source", {"main.c": "int main;\n"})
    (world.files / "source").unlink()
    ws, digest = world.workspace, sha256(data)
    upstream_with_history(world.repositories / "up")
    commit = Upstream(world.repositories / "up").git("rev-parse", "v1^{commit}")
    given = {"uri": "http://127.0.0.1:9/x/tool-1.tar.gz?raw=1", "expected-sha256": digest}
    world.recipe("tool", "fetch", given, 'cp main.c "$OUT/usr/share/main.c"')
    given = {"repository": "http://127.0.0.1:9/x/up.git", "tag": "v1", "expected-commit": commit}
    world.recipe("checkout", "git-checkout", given, DESCRIBES)
    mirrors = [world.http, world.git] if remote else ["../files", str(world.repositories)]
    manifest = f"{(ws.root / 'buildgraph.yaml').read_text()}source-mirrors: {json.dumps(mirrors)}\n"
    ws.write("buildgraph.yaml", manifest)

    (world.files / "tool-1.tar.gz").write_bytes(b"another file of that name")
    refused = ws.bg("fetch", "//:tool")
    assert refused.code == 11
    assert f"tool-1.tar.gz: it has sha256:{sha256(b'another file of that name')}" in refused.err
    assert f"with sha256:{digest} (recipes/tool.yaml:4)" in refused.err
    for name in NAMES:
        place = world.files / name.format(digest)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        env = {"BG_CACHE_DIR": str(world.files.parent / f"cache-{NAMES.index(name)}")}
        done = ws.bg("fetch", "--json", "//...", env=env)
        assert done.code == 0, done.err
        assert len(done.answer["sources"]) == 2
        place.unlink()
    ws.environment["BG_CACHE_DIR"] = env["BG_CACHE_DIR"]
    assert world.offline("//...").ran == {"//:tool", "//:checkout"}
    assert content(ws, "checkout")["usr/share/url"][0] == "http://127.0.0.1:9/x/up.git\n"


def test_by_an_ordinary_user(ordinary: Workspace, tmp_path: Path) -> None:
    """What is brought is his, and he builds from it with no network."""
    (tmp_path / "files").mkdir()
    with archives_served(tmp_path / "files") as address:
        world = World(ordinary, tmp_path / "files", tmp_path, http=address)
        archive_recipes(world)
        fetched = ordinary.bg("fetch")
        assert fetched.code == 0, fetched.err
    assert world.offline("//...").ran == {"//:plain", "//:tool"}


def test_without_the_sandbox(world: World) -> None:
    """Sources come the same way; what they make is kept apart, as all that is made there."""
    if os.geteuid() != 0:
        pytest.skip("only root builds without user namespaces")
    archive_recipes(world)
    _, commits = upstream_with_history(world.repositories / "up")
    given = {"repository": f"{world.git}/up", "tag": "v1", "expected-commit": commits["first"]}
    world.recipe("tagged", "git-checkout", given, DESCRIBES)
    sealed = world.workspace.build().digests()
    world.servers.close()
    opened = world.workspace.build("--offline", "--sandbox=off", "//...")
    assert opened.ran == {"//:plain", "//:tool", "//:tagged"}
    assert opened.digests() == sealed


def test_network_off_is_for_the_steps(world: World) -> None:
    """What a recipe pins is brought all the same, and the rest it has to do without."""
    archive_recipes(world)
    ws = world.workspace
    ws.write("buildgraph.yaml", (ws.root / "buildgraph.yaml").read_text() + "network: off\n")
    assert ws.build().ran == {"//:plain", "//:tool"}


def test_a_checkout_without_tags_gets_that_hint(world: World) -> None:
    """The history of a branch comes with no tag: which there are changes from day to day."""
    _, commits = upstream_with_history(world.repositories / "up")
    given = {"repository": f"{world.git}/up", "branch": "trunk", "expected-commit": commits["second"]}
    world.recipe("described", "git-checkout", given, "git describe --tags")
    done = world.workspace.bg("build", "//:described")
    assert done.code == 1
    assert "hint: bg gives a checkout no tag but the one that the recipe names" in done.err


def test_what_scans_ask_for_is_among_what_comes(fresh: Workspace, seed: Path) -> None:
    """Nothing was ever built: the packages of one image's boxes, and what only melange's scan adds, come from one fetch."""
    with archives_served(seed) as mirror:
        fresh.write("buildgraph.yaml", MANIFEST.format(seed=mirror))
        fetched = fresh.bg("fetch", "--json", "//images:api")
        assert fetched.code == 0, fetched.err
        names = {package["name"] for package in fetched.answer["packages"]}
        assert "glibc" in names
        assert "jq" not in names, "which another image holds"
    offline = replace(fresh, within=no_network())
    assert "//images:api" in offline.build("--offline", "//images:api").ran
    refused = offline.bg("build", "--offline", "//images:debug")
    assert refused.code == 11
    assert "hint: `bg fetch` brings it" in refused.err
