"""Exactly what has to run runs, and says why: build, change one thing, see what ran."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.workspace import ROOT, Workspace

pytestmark = pytest.mark.e2e

LIBRARY = "//packages:libstock"
API = "//packages:stock-api"
USERS_OF_THE_LIBRARY = {API, "//images:api", "//images:debug"}


def test_nothing_changed_runs_nothing(example: Workspace) -> None:
    """A second build has nothing to do, and neither has one after every file was touched."""
    assert example.build("//...").ran == set()
    for path in example.root.joinpath("recipes").rglob("*"):
        os.utime(path)
    assert example.build("//...").ran == set()


def test_what_says_nothing_about_a_package_rebuilds_nothing(example: Workspace) -> None:
    """Comments, the order of keys, `test:` and `update:` are no inputs."""
    recipe = example.root / "recipes/packages/libstock.yaml"
    recipe.write_text("# a comment\n" + recipe.read_text() + "\n# another\n")
    assert example.build("//...").ran == set()

    config = example.root / "recipes/packages/stock-config.yaml"
    text = config.read_text()
    head, separator, tail = text.partition("\nenvironment:")
    assert separator
    config.write_text(f"environment:{tail.rstrip()}\n\n{head.lstrip()}\n")
    assert example.build("//...").ran == set()

    config.write_text(text + "\ntest:\n  pipeline:\n    - runs: echo one more test\n" if "\ntest:" not in text else text)
    assert example.build("//...").ran == set()
    assert "update:" in text
    example.edit("recipes/packages/stock-config.yaml", "update:", "update:\n  # often\n  shared: false")
    assert example.build("//...").ran == set()


def test_git_history_is_no_input(example: Workspace) -> None:
    """Commits, branches and checkouts that bring the same files back run nothing."""

    def git(*arguments: str) -> None:
        identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        subprocess.run(
            ["git", "-c", "init.defaultBranch=main", *arguments], cwd=example.root, env=example.env(identity), check=True
        )

    git("init", "--quiet")
    git("add", "recipes", "buildgraph.yaml")
    git("commit", "--quiet", "-m", "one")
    git("commit", "--quiet", "--allow-empty", "-m", "two")
    assert example.build("//...").ran == set()
    git("checkout", "--quiet", "-b", "other")
    example.edit("recipes/packages/libstock/stock.c", "#include", "/* another branch */\n#include")
    git("commit", "--quiet", "-a", "-m", "three")
    assert example.build("//...").ran == {LIBRARY}
    for branch in ("main", "other", "main"):
        git("checkout", "--quiet", branch)
        assert example.build("//...").ran == set()


def test_what_nothing_changed_since_is_answered_from_stat_alone(example: Workspace) -> None:
    """No recipe is read, no database opened, whatever other command ran meanwhile; a change is looked at in earnest, once."""

    def looks(*arguments: str) -> bool:
        done = example.bg("build", *(arguments or ("//images/...",)), env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert done.code == 0, done.err
        return "buildgraph.cli.session" in done.err

    assert looks()
    for arguments in (["list"], ["plan"], ["graph"], ["explain", "//images:api"], ["run", "//images:tools", "--", "a", "1"]):
        assert not looks(), arguments
        assert example.bg(*arguments).code == 0
    assert not looks()
    assert looks("//images:api"), "another question"

    for change in (
        lambda: os.utime(example.root / "recipes/images/api.yaml"),
        lambda: example.write("recipes/packages/new.txt", ""),
        (example.root / "out/oci/images/api/index.json").unlink,
        lambda: os.utime(example.root / "buildgraph.lock"),
        lambda: os.utime(example.root / "buildgraph.yaml"),
    ):
        change()
        time.sleep(0.1)  # what changed this very moment is never trusted
        assert looks()
        assert not looks()


def test_a_changed_library_rebuilds_what_depends_on_it(example: Workspace) -> None:
    """One C source of the library: exactly the library and what its content reaches."""
    source = example.root / "recipes/packages/libstock/stock.c"
    source.write_text(source.read_text() + "\nint stock_answer(void);\nint stock_answer(void) { return 42; }\n")
    built = example.build("//...")
    assert built.ran == {LIBRARY, *USERS_OF_THE_LIBRARY}
    assert "recipes/packages/libstock/stock.c changed" in built.reasons(LIBRARY)
    assert "the content of libstock-" in built.reasons(API)
    assert example.build("//...").ran == set()


def test_equal_content_spares_the_dependents(example: Workspace) -> None:
    """A comment in C that leaves the object equal: the library alone runs, and the output says who was spared."""
    source = example.root / "recipes/packages/libstock/stock.c"
    source.write_text(source.read_text() + "\n/* says nothing to the compiler */\n")
    built = example.build("//...")
    assert built.ran == {LIBRARY}
    assert built.outcome("spared") == USERS_OF_THE_LIBRARY
    assert "the content is the same as before" in built.err
    assert f"spared {API}@x86_64  what it depends on came out the same" in built.err
    assert example.build("//...").ran == set()


def test_each_change_rebuilds_the_right_nodes_and_says_why(example: Workspace) -> None:
    """New files, modes, pipelines, includes, tags, build options: the nodes that they concern, each with its reason."""
    folder = "recipes/packages/stock-config"
    example.write(f"{folder}/new.txt", "new\n")
    built = example.build("//...")
    assert built.ran == {"//packages:stock-config"}
    assert built.reasons("//packages:stock-config") == f"{folder}/new.txt is new"

    (example.root / folder / "new.txt").chmod(0o755)
    built = example.build("//...")
    assert built.ran == {"//packages:stock-config"}
    assert built.reasons("//packages:stock-config") == f"the mode of {folder}/new.txt changed"

    (example.root / folder / "new.txt").unlink()
    assert example.build("//...").ran == set()

    example.edit("recipes/pipelines/shop/c-program.yaml", "-O2", "-O1")
    built = example.build("//...")
    assert built.ran == {"//packages:shelf-label", "//images:tools"}
    assert "recipes/pipelines/shop/c-program.yaml" in built.reasons("//packages:shelf-label")

    example.edit("recipes/images/api.yaml", 'PORT: "8080"', 'PORT: "8090"')
    built = example.build("//...")
    assert built.ran == {"//images:api", "//images:debug"}
    assert "recipes/images/api.yaml:" in built.reasons("//images:api")
    assert "environment.PORT changed from 8080 to 8090 (it includes recipes/images/api.yaml)" in built.reasons("//images:debug")

    manifest = example.root / "buildgraph.yaml"
    before = manifest.read_text()
    manifest.write_text(before + "tag: v2\n")
    built = example.build("//...")
    assert built.ran == {"//images:api", "//images:debug", "//images:tools", "//images:worker"}
    assert built.reasons("//images:api") == "tag: api:latest -> api:v2"


PACKAGES = {f"//packages:{name}" for name in ("libstock", "shelf-label", "stock-api", "stock-config", "stock-messages")}
PACKAGES |= {"//worker:stock-worker"}
IMAGES = {f"//images:{name}" for name in ("api", "debug", "tools", "worker")}
CONFIG = "//packages:stock-config"


MANIFEST_VALUES: tuple[tuple[str, set[str], str], ...] = (
    ("salt: x", PACKAGES | IMAGES, "salt: (none) -> x"),
    ("source-date-epoch: 1700000000", PACKAGES | IMAGES, "source-date-epoch: 315532800 -> 1700000000"),
    ("network: on", PACKAGES, "network: (none) -> on"),
    (f"targets: {{{CONFIG}: {{network: on}}}}", {CONFIG}, "network: (none) -> on"),
    (f"targets: {{{CONFIG}: {{root: true}}}}", {CONFIG}, "root: (none) -> true"),
    (f"targets: {{{CONFIG}: {{sources: [recipes/worker/tests]}}}}", {CONFIG}, "recipes/worker/tests/test_worker.py is new"),
    ("targets: {//images:api: {tag: v3}}", {"//images:api"}, "tag: api:latest -> api:v3"),
    ("jobs: 1", set(), ""),
    ("memory: 1G", set(), ""),
    ("out: elsewhere", set(), ""),
    ("pipelines: [recipes/pipelines]", set(), ""),
)


def test_a_manifest_value_counts_for_whom_it_concerns(example: Workspace) -> None:
    """What can change a result is in the keys of those nodes, and named; what cannot is in none."""
    manifest = example.root / "buildgraph.yaml"
    before = manifest.read_text()
    for line, expected, reason in MANIFEST_VALUES:
        manifest.write_text(f"{before}{line}\n")
        nodes = example.bg("plan", "--json").answer["nodes"]
        run = {name.split("@")[0]: node["reasons"] for name, node in nodes.items() if node["decision"] == "run"}
        assert run.keys() == expected, line
        assert all(reason in reasons for reasons in run.values()), line


def test_a_lock_entry_rebuilds_what_reaches_it(example: Workspace) -> None:
    """What the lock says of a package counts for those alone whose environment or image can reach it."""
    lock = example.root / "buildgraph.lock"
    lines = lock.read_text().splitlines()
    (line,) = [line for line in lines if '"name": "jq"' in line]
    version = line.split('"version": "')[1].split('"')[0]
    example.edit("buildgraph.lock", line, line.replace(f'"version": "{version}"', '"version": "9.9-r9"'))
    nodes = example.bg("plan", "--json").answer["nodes"]
    changed = {name: node["reasons"] for name, node in nodes.items() if node["decision"] != "hit"}
    assert changed == {"//images:debug": [f"external package jq: {version} -> 9.9-r9"]}

    without = [line for line in lines if '"name": "jq"' not in line]
    lock.write_text("\n".join(without) + "\n")
    missing = example.bg("build", "--locked", "//images:debug")
    assert missing.code == 7
    assert "jq" in missing.err
    assert example.build("//images:api", "//images:tools").ran == set()
    assert example.build("//images:debug").ran == set()
    assert lock.read_text() == "\n".join(lines) + "\n", "the lock was completed to what it was"


def test_a_tool_version_counts(example: Workspace, tmp_path: Path) -> None:
    """Another apko rebuilds the images alone, another melange the packages and what their content reaches."""
    before, after = "v1.2.37", "v1.2.38"
    built = example.build("//...", env=with_another_tool(example, tmp_path / "apko", "apko", before, after))
    assert built.ran == {"//images:api", "//images:debug", "//images:tools", "//images:worker"}
    assert built.reasons("//images:api") == f"apko: {before} -> {after}"
    assert example.build("//...").ran == set()

    env = with_another_tool(example, tmp_path / "melange", "melange", "v0.59.1", "v0.59.2")
    built = example.build("//packages:stock-config", "//worker:stock-worker", env=env)
    assert built.ran == {"//packages:stock-config", "//worker:stock-worker"}
    assert built.reasons("//packages:stock-config") == "melange: v0.59.1 with apko v1.2.37 -> v0.59.2 with apko v1.2.37"


def with_another_tool(workspace: Workspace, folder: Path, tool: str, before: str, after: str) -> dict[str, str]:
    """The environment of a bg that is pinned to another version of a tool and finds that on PATH: the same, renumbered."""
    shutil.copytree(ROOT / "buildgraph", folder / "buildgraph", ignore=shutil.ignore_patterns("__pycache__"))
    pins = (ROOT / "tools/go.mod").read_text()
    line = f"chainguard.dev/{tool} {before}"
    assert line in pins
    (folder / "tools").mkdir()
    (folder / "tools/go.mod").write_text(pins.replace(line, f"chainguard.dev/{tool} {after}"))
    program = folder / "bin" / tool
    program.parent.mkdir()
    program.write_bytes((workspace.tools / tool).read_bytes().replace(before.encode(), after.encode()))
    program.chmod(0o755)
    return {"PYTHONPATH": str(folder), "PATH": f"{program.parent}:{workspace.env()['PATH']}"}


def test_deleted_outputs_come_back_without_running(example: Workspace) -> None:
    """Outputs are restored from the cache."""
    layout = example.root / "out/oci/images/api"
    before = sorted(path.name for path in layout.rglob("*"))
    subprocess.run(["rm", "-r", str(example.root / "out")], check=True)
    assert example.build("//...").ran == set()
    assert sorted(path.name for path in layout.rglob("*")) == before
    (layout / "index.json").unlink()
    assert example.build("//...").ran == set()
    assert (layout / "index.json").is_file()


def test_a_failure_is_not_cached_and_the_rest_goes_on(example: Workspace) -> None:
    """--keep-going builds what does not depend on a failure; the failure runs again next time."""
    example.edit("recipes/packages/libstock.yaml", "\npipeline:\n", "\npipeline:\n  - name: Break\n    runs: exit 3\n")
    example.edit("recipes/images/worker.yaml", "STOCK_LANGUAGE: de", "STOCK_LANGUAGE: nl")
    for _ in range(2):
        done = example.bg("build", "--json", "-k", "//...")
        assert done.code == 1
        assert done.outcome("failed") == {LIBRARY}
        assert done.outcome("skipped") == USERS_OF_THE_LIBRARY
        assert "recipes/packages/libstock.yaml:" in done.err
        assert "exit status 3" in done.err
    assert done.outcome("hit") >= {"//images:worker"}
