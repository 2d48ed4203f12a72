"""Exactly what has to run runs, and says why: build, change one thing, see what ran."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.e2e.workspace import Workspace

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
    git("checkout", "--quiet", "main")
    assert example.build("//...").ran == set()


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
    assert "environment.PORT changed (it includes recipes/images/api.yaml)" in built.reasons("//images:debug")

    manifest = example.root / "buildgraph.yaml"
    before = manifest.read_text()
    manifest.write_text(before + "tag: v2\n")
    built = example.build("//...")
    assert built.ran == {"//images:api", "//images:debug", "//images:tools", "//images:worker"}
    assert built.reasons("//images:api") == "tag: api:latest -> api:v2"

    manifest.write_text(before + "source-date-epoch: 1700000000\n")
    assert len(example.build("//...").ran) == 10
    manifest.write_text(before + "jobs: 1\n")
    assert example.build("//...").ran == set()


def test_a_lock_entry_rebuilds_what_reaches_it(example: Workspace) -> None:
    """What the lock says of a package counts for those alone whose environment or image can reach it."""
    lock = example.root / "buildgraph.lock"
    lines = lock.read_text().splitlines()
    without = [line for line in lines if '"name": "jq"' not in line]
    lock.write_text("\n".join(without) + "\n")
    missing = example.bg("build", "--locked", "//images:debug")
    assert missing.code == 7
    assert "jq" in missing.err
    assert example.build("//images:api", "//images:tools").ran == set()
    assert example.build("//images:debug").ran == set()
    assert lock.read_text() == "\n".join(lines) + "\n", "the lock was completed to what it was"


def test_a_tool_version_counts(example: Workspace) -> None:
    """The tools' versions are in every key."""
    document = example.bg("explain", "--json", "//packages:libstock").answer[0]["key_document"]
    assert ["tool", "melange"] in [entry[:2] for entry in document]
    document = example.bg("explain", "--json", "//images:api").answer[0]["key_document"]
    assert ["tool", "apko"] in [entry[:2] for entry in document]


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
