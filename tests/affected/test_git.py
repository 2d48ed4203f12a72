"""The other state is what a checkout of the commit would give, whatever git has to do for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.affected.checkout import ALL, MANIFEST, WITH_LIB, Checkout, example
from tests.layouts.repository import melange

PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\n"


def test_ways_to_name_a_commit(checkout: Checkout) -> None:
    """Branches, tags, hashes, expressions; where HEAD is makes no difference."""
    first = checkout.commit()
    checkout.git("tag", "-a", "-m", "x", "v1")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.commit()
    tool = {"//:tool", "//images:tool"}
    for name in ("HEAD", "main", "@", "refs/heads/main", ":/^x"):
        assert checkout.affected("--since", name) == set()
    for name in ("HEAD~", "HEAD^", "main~1", "HEAD~1^0"):
        assert checkout.affected("--since", name) == tool, name
    for name in ("v1", "HEAD~2", first, first[:10], "v1^{}"):
        assert checkout.affected("--since", name) == tool | WITH_LIB, name
    checkout.git("checkout", "-q", "--detach", "v1")
    assert checkout.affected("--since", "main") == tool | WITH_LIB


def test_the_merge_base(checkout: Checkout) -> None:
    """REF is the commit itself, unless its merge base with HEAD is asked for: what happened on REF since then does not count."""
    checkout.git("checkout", "-q", "-b", "work")
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.commit()
    checkout.git("checkout", "-q", "main")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    checkout.git("checkout", "-q", "work")
    assert checkout.affected("--since", "main") == {"//:tool", "//images:tool"} | WITH_LIB
    assert checkout.affected("--since", "main", "--merge-base") == {"//:tool", "//images:tool"}
    checkout.git("checkout", "-q", "--orphan", "other")
    checkout.commit()
    _, said = checkout.bg("affected", "--since", "main", "--merge-base", code=2)
    assert "have no common commit here" in said


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mian", "git knows no revision `mian`\n\nhint: did you mean `main`?"),
        ("develop", "git knows no revision `develop`\n\nhint: did you mean `origin/develop`?"),
        ("v1.0", "git knows no revision `v1.0`\n\nhint: did you mean `v1.0.0`?"),
        ("HEAD~7", "there is no `HEAD~7`: the history ends before it"),
        ("deadbeef", "git knows no revision `deadbeef`"),
        ("--all", "argument --since: expected one argument"),
        ("-x", "argument --since: expected one argument"),
        ("main..v1.0.0", "`main..v1.0.0` is no single revision\n\nhint: --since takes one"),
        ("main...", "`main...` is no single revision"),
        ("HEAD:lib.yaml", "`HEAD:lib.yaml` is no commit"),
        ("", "git knows no revision ``"),
    ],
)
def test_a_name_that_git_does_not_know(checkout: Checkout, name: str, says: str) -> None:
    """Branches, tags and remote branches that are meant are suggested."""
    checkout.git("tag", "v1.0.0")
    checkout.git("update-ref", "refs/remotes/origin/develop", "HEAD")
    _, said = checkout.bg("affected", "--since", name, code=2)
    assert said.startswith(f"error: {says}")


def test_no_repository_no_commit_no_git(empty: Checkout, tmp_path: Path) -> None:
    """Each is told, with a code of its own kind."""
    empty.write(example())
    _, said = empty.bg("affected", "--since", "HEAD", code=2)
    assert said == "error: git knows no revision `HEAD`\n\nhint: this repository has no commit yet\n"
    empty.environment["PATH"] = str(tmp_path)
    _, said = empty.bg("affected", "--since", "HEAD", code=8)
    assert said.startswith("error: cannot run git: No such file or directory\n\nhint: ")
    del empty.environment["PATH"]
    shutil.rmtree(empty.top / ".git")
    empty.environment["GIT_CEILING_DIRECTORIES"] = str(empty.top.parent)
    _, said = empty.bg("affected", "--since", "HEAD", code=2)
    assert said.startswith(f"error: {empty.root} is in no git repository\n")


def test_a_hooks_environment(checkout: Checkout) -> None:
    """git sets variables for its hooks that name a repository and an index: the workspace's folder says which is meant."""
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.environment |= {"GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index", "GIT_WORK_TREE": "/", "GIT_PREFIX": "x/"}
    assert checkout.affected() == {"//:tool", "//images:tool"}


def test_a_workspace_in_a_subfolder(empty: Checkout) -> None:
    """Only what is in the workspace counts, except where a link leads out of it."""
    empty.inner = "deploy/ws"
    empty.write({**example(), "../../shared/extra.yaml": melange("extra"), "../../shared/other.txt": "x"})
    (empty.root / "extra.yaml").symlink_to("../../shared/extra.yaml")
    empty.commit()
    assert empty.affected() == set()
    empty.write({"../../shared/other.txt": "y", "../new.txt": ""})
    assert empty.affected() == set()
    empty.edit("lib/lib.c", "1;", "2;")
    assert empty.affected() == WITH_LIB
    empty.edit("../../shared/extra.yaml", "runs: make", "runs: make all")
    assert empty.affected() == WITH_LIB | {"//:extra"}
    empty.git("mv", "deploy", "elsewhere")
    empty.inner = "elsewhere/ws"
    assert empty.changes() == dict.fromkeys([*ALL, "//:extra"], "new")


def test_staged_and_unstaged(checkout: Checkout) -> None:
    """The files as they are count, wherever git has them."""
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.git("add", "-A")
    assert checkout.affected() == WITH_LIB
    checkout.edit("lib/lib.c", "2;", "1;")
    assert checkout.affected() == set()
    checkout.git("reset", "-q", "--hard")
    checkout.git("update-index", "--assume-unchanged", "lib/lib.c")
    checkout.git("update-index", "--skip-worktree", "tool.yaml")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.affected() == WITH_LIB | {"//:tool", "//images:tool"}


def test_a_conflict_in_the_index(checkout: Checkout) -> None:
    """In the midst of a merge the file is as it is."""
    checkout.git("checkout", "-q", "-b", "work")
    checkout.commit({"lib/lib.c": "theirs\n"})
    checkout.git("checkout", "-q", "main")
    checkout.commit({"lib/lib.c": "ours\n"})
    with pytest.raises(AssertionError):
        checkout.git("merge", "-q", "work")
    assert checkout.affected() == WITH_LIB
    checkout.write({"lib/lib.c": "ours\n"})
    assert checkout.affected() == set()


def test_files_whose_times_are_all_new(checkout: Checkout) -> None:
    """As in a copy of the repository: git compares contents then, and so nothing is affected."""
    copy = checkout.top.parent / "copy"
    shutil.copytree(checkout.top, copy, copy_function=shutil.copyfile)
    there = Checkout(copy, checkout.capsys)
    assert there.affected() == set()
    there.edit("lib/lib.c", "1;", "2;")
    assert there.affected() == WITH_LIB


def test_symbolic_links(checkout: Checkout) -> None:
    """A recipe may be a link; where it leads counts. One that leads nowhere, out, or in circles is what it is now too."""
    (checkout.root / "kept").mkdir()
    checkout.write({"kept/extra.txt": melange("extra")})
    (checkout.root / "extra.yaml").symlink_to("kept/extra.txt")
    (checkout.root / "gone.yaml").symlink_to("nowhere.yaml")
    (checkout.root / "round.yaml").symlink_to("round.yaml")
    (checkout.root / "folder").symlink_to("kept")
    (checkout.top.parent / "outside.yaml").write_text(melange("outside"))
    (checkout.root / "outside.yaml").symlink_to("../outside.yaml")
    (checkout.root / "absolute.yaml").symlink_to(checkout.top.parent / "outside.yaml")
    (checkout.root / "absolute.yaml").unlink()
    checkout.commit()
    assert checkout.affected() == set()
    checkout.write({"kept/other.txt": melange("extra", needs="busybox")})
    (checkout.root / "extra.yaml").unlink()
    (checkout.root / "extra.yaml").symlink_to("folder/other.txt")
    assert checkout.affected() == {"//:extra"}
    (checkout.root / "extra.yaml").unlink()
    checkout.write({"extra.yaml": melange("extra")})
    assert checkout.affected() == set()


def test_a_recipes_folder_that_is_a_link(empty: Checkout) -> None:
    """Into another part of the repository."""
    empty.inner = "ws"
    empty.write({f"../shared/{path}": text for path, text in example().items() if not path.startswith("buildgraph")})
    empty.write({"buildgraph.yaml": f"{MANIFEST}recipes: recipes\n"})
    (empty.root / "recipes").symlink_to("../shared")
    empty.commit()
    assert empty.affected() == set()
    empty.edit("../shared/lib/lib.c", "1;", "2;")
    assert empty.affected() == WITH_LIB
    empty.write({"../shared/extra.yaml": melange("extra")})
    empty.commit()
    assert empty.changes("--since", "HEAD~") == {**dict.fromkeys(WITH_LIB, "changed"), "//:extra": "new"}


@pytest.mark.parametrize(
    ("attributes", "setting"),
    [
        ("* text=auto", "x.y=z"),
        ("*.c text", "core.eol=crlf"),
        ("*.c eol=crlf", "x.y=z"),
        ("", "core.autocrlf=true"),
        ("", "core.autocrlf=input"),
    ],
)
def test_line_ends(checkout: Checkout, attributes: str, setting: str) -> None:
    """What counts are the bytes that a checkout writes, not those that git keeps: each of these writes the same files again."""
    checkout.git("config", *setting.split("="))
    checkout.commit({".gitattributes": attributes, "lib/lib.c": "one\ntwo\n"})
    checkout.git("rm", "-q", "-r", ".")
    checkout.git("reset", "-q", "--hard")
    assert checkout.affected() == set()
    other = (checkout.root / "lib/lib.c").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    other = other.replace(b"\r\n", b"\n") if other == (checkout.root / "lib/lib.c").read_bytes() else other
    (checkout.root / "lib/lib.c").write_bytes(other)
    checkout.git("add", "-A")
    assert checkout.affected() == WITH_LIB


def test_attributes_that_change(checkout: Checkout) -> None:
    """A commit is checked out with its own attributes: other line ends are other bytes, though git keeps the same."""
    checkout.commit({".gitattributes": "*.c text eol=crlf\n"})
    assert checkout.affected() == WITH_LIB  # the work tree still has what was checked out before
    (checkout.root / "lib/lib.c").unlink()
    checkout.git("checkout", "-q", "--", "lib/lib.c")
    assert checkout.affected() == set()
    assert checkout.affected("--since", "HEAD~") == WITH_LIB


def test_a_filter(checkout: Checkout) -> None:
    """What differs goes through its program; what is the same does not, so that no large file is fetched for nothing."""
    counted = checkout.top.parent / "smudged"
    checkout.git("config", "filter.upper.clean", "tr a-z A-Z")
    checkout.git("config", "filter.upper.smudge", f"sh -c 'echo x >>{counted}; tr A-Z a-z'")
    checkout.commit({".gitattributes": "*.big filter=upper -text\n", "lib/one.big": "one\n", "lib/two.big": "two\n"})
    counted.unlink(missing_ok=True)
    assert checkout.affected() == set()
    assert not counted.exists()
    checkout.commit({"lib/one.big": "three\n"})
    counted.unlink(missing_ok=True)
    rows = checkout.rows("--since", "HEAD~")
    assert rows["//:lib"]["reasons"] == ["lib/one.big changed"]
    assert counted.read_text() == "x\n"
    checkout.write({"lib/one.big": "one\n"})
    assert checkout.affected("--since", "HEAD~") == set()


def test_export_ignore_means_nothing(checkout: Checkout) -> None:
    """It is about archives, not checkouts."""
    checkout.commit({".gitattributes": "lib/* export-ignore\n*.yaml export-subst\n"})
    assert checkout.affected() == set()


def test_what_git_ignores_is_the_same_in_both_states(checkout: Checkout) -> None:
    """By any of its rules, though bg counts some of these files: a key, a lock, sources that the manifest names."""
    checkout.write(
        {
            ".gitignore": "/cache/\n/generated/\n/buildgraph.lock\n*.pub\n",
            "buildgraph.yaml": MANIFEST + "targets: {//:tool: {sources: [generated]}}\n",
            "generated/x.c": "x",
            "images/tool.yaml": "include: base.yaml\ncontents: {keyring: [own.rsa.pub], packages: [tool]}\n",
            "own.rsa.pub": PUBLIC_KEY,
            "lib/excluded.txt": "x",
        }
    )
    (checkout.top / ".git/info/exclude").write_text("excluded.txt\n")
    checkout.git("rm", "-q", "--cached", "buildgraph.lock")
    checkout.commit()
    assert checkout.affected() == set()
    checkout.write({"own.rsa.pub": PUBLIC_KEY + "another", "generated/x.c": "y"})
    assert checkout.affected() == set()


def test_a_key_under_version_control(checkout: Checkout) -> None:
    """Counts for the images that show it."""
    checkout.commit(
        {
            "own.rsa.pub": PUBLIC_KEY,
            "images/tool.yaml": "include: base.yaml\ncontents: {keyring: [own.rsa.pub], packages: [tool]}\n",
        }
    )
    checkout.write({"own.rsa.pub": PUBLIC_KEY + "another"})
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == {"//images:tool"}
    assert rows["//images:tool"]["files"] == ["own.rsa.pub"]


def test_an_empty_folder(checkout: Checkout) -> None:
    """git has none: one that is there now is there at all commits, although the folder of a recipe's name decides its sources."""
    checkout.commit({"app/app.yaml": melange("app"), "app/app.c": "x"})
    (checkout.root / "app/app").mkdir()
    assert checkout.affected() == set()
    checkout.write({"app/app/new.c": "x"})
    assert checkout.affected() == {"//app:app"}


def test_names_of_all_kinds(checkout: Checkout) -> None:
    """Spaces, quotes, line breaks, what is not UTF-8, what looks like an option or a pattern."""
    names = ["a b.c", 'quo"te.c', "new\nline.c", "-x.c", "[a]*.c", ":(glob)x.c", "tab\t.c", os.fsdecode(b"\xff.c")]
    checkout.commit({f"lib/{name}": "x\n" for name in names})
    assert checkout.affected() == set()
    for name in names:
        checkout.write({f"lib/{name}": "y\n"})
    rows = checkout.rows("--since", "HEAD")
    shown = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in sorted(names)]
    assert rows["//:lib"]["reasons"] == [f"lib/{name} changed" for name in shown]
    checkout.commit({".gitattributes": "* text\n"})
    assert checkout.affected() == set()
    (checkout.top / ".git/info/exclude").write_text("*.txt\n")
    checkout.write({f"lib/{name}.txt": "" for name in names})
    checkout.write({":(top)z.txt": melange("extra"), "nested/x.txt": ""})
    checkout.git("init", "-q", "nested")
    assert checkout.affected() == set()


def clone(checkout: Checkout, name: str, *options: str) -> Checkout:
    """A clone over git's own protocol for files, as a machine of a CI service has one."""
    checkout.git("clone", "-q", *options, f"file://{checkout.top}", str(checkout.top.parent / name), folder="..")
    return Checkout(checkout.top.parent / name, checkout.capsys)


def test_a_shallow_clone(checkout: Checkout) -> None:
    """What it has works; of what it lacks it is said how to bring it."""
    first = checkout.commit()
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.commit()
    shallow = clone(checkout, "shallow", "--depth=1")
    assert shallow.affected() == set()
    assert shallow.affected("--since", "origin/main") == set()
    _, said = shallow.bg("affected", "--since", "HEAD~2", code=2)
    assert "this clone is shallow: `git fetch --deepen=100` brings more" in said
    _, said = shallow.bg("affected", "--since", first, code=2)
    assert f"`git fetch --depth=1 origin {first}` brings" in said
    _, said = shallow.bg("affected", "--since", "origin/release", code=2)
    assert "`git fetch --depth=1 origin release` brings" in said
    _, said = shallow.bg("affected", "--since", "main~", "--merge-base", code=2)
    assert "shallow" in said
    shallow.git("fetch", "-q", "--deepen=1")
    assert shallow.affected("--since", "HEAD^") == {"//:tool", "//images:tool"}
    shallow.git("fetch", "-q", "--depth=1", "origin", first)
    assert shallow.affected("--since", first) == {"//:tool", "//images:tool"} | WITH_LIB


def test_a_partial_clone(checkout: Checkout) -> None:
    """git fetches what it lacks of a commit by itself."""
    checkout.git("config", "uploadpack.allowFilter", "true")
    checkout.git("config", "uploadpack.allowAnySHA1InWant", "true")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.commit()
    partial = clone(checkout, "partial", "--filter=blob:none")
    assert partial.affected("--since", "HEAD~") == WITH_LIB


def test_a_linked_worktree(checkout: Checkout) -> None:
    """Has a HEAD and an index of its own."""
    checkout.git("worktree", "add", "-q", "-b", "work", str(checkout.top.parent / "linked"))
    linked = Checkout(checkout.top.parent / "linked", checkout.capsys)
    linked.edit("lib/lib.c", "1;", "2;")
    assert linked.affected() == WITH_LIB
    assert checkout.affected() == set()


def test_a_sparse_checkout(checkout: Checkout) -> None:
    """Targets that are not checked out are in neither state; the rest is compared as it is."""
    checkout.commit({"far/far.yaml": melange("far"), "far/old.yaml": melange("old")})
    checkout.git("rm", "-q", "far/old.yaml")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.edit("far/far.yaml", "runs: make", "runs: make all")
    checkout.commit()
    assert checkout.changes("--since", "HEAD~") == {**dict.fromkeys([*WITH_LIB, "//far:far"], "changed"), "//far:old": "removed"}
    checkout.git("sparse-checkout", "set", "--cone", "lib", "pipelines", "images")
    assert not (checkout.root / "far").exists()
    assert checkout.affected() == set()
    assert checkout.affected("--since", "HEAD~") == WITH_LIB


def with_submodule(checkout: Checkout, path: str, files: dict[str, str]) -> Checkout:
    """Adds a submodule, which has files; the repository that it comes from."""
    origin = Checkout(checkout.top.parent / f"origin-of-{Path(path).name}", checkout.capsys)
    origin.top.mkdir()
    origin.git("init", "-q")
    origin.commit(files)
    checkout.git("submodule", "--quiet", "add", f"file://{origin.top}", path)
    checkout.commit()
    return origin


def test_submodules_with_sources_and_with_recipes(checkout: Checkout) -> None:
    """They count as they are checked out, and at the commit as it has recorded them."""
    sources = with_submodule(checkout, "tool", {"tool.c": "1\n"})
    recipes = with_submodule(checkout, "vendored", {"extra.yaml": melange("extra"), "other.yaml": melange("other")})
    assert checkout.affected() == set()
    tool = {"//:tool", "//images:tool"}
    checkout.write({"tool/tool.c": "2\n"})
    assert checkout.affected() == tool
    checkout.git("checkout", "-q", ".", folder="tool")
    sources.commit({"tool.c": "3\n"})
    recipes.edit("extra.yaml", "runs: make", "runs: make all")
    recipes.git("rm", "-q", "other.yaml")
    recipes.commit()
    checkout.git("submodule", "--quiet", "update", "--remote")
    changes = {**dict.fromkeys([*tool, "//vendored:extra"], "changed"), "//vendored:other": "removed"}
    assert checkout.changes() == changes
    checkout.commit()
    assert checkout.affected() == set()
    assert checkout.changes("--since", "HEAD~") == changes
    checkout.write({"tool/ignored.o": ""})
    assert checkout.affected() == set()


def test_a_submodule_that_is_not_checked_out(checkout: Checkout) -> None:
    """Is an empty folder in both states."""
    origin = with_submodule(checkout, "vendored", {"extra.yaml": melange("extra")})
    origin.commit({"extra.yaml": melange("extra", needs="busybox")})
    checkout.git("submodule", "--quiet", "update", "--remote")
    checkout.commit()
    there = clone(checkout, "there")
    assert not (there.root / "vendored/extra.yaml").exists()
    assert there.affected("--since", "HEAD~") == set()
    there.git("submodule", "--quiet", "update", "--init", "--depth=1")
    _, said = there.bg("affected", "--since", "HEAD~", code=8)
    assert said.startswith("error: the submodule vendored is not here as it was at ")
    assert f"hint: `git -C {there.root}/vendored fetch origin " in said
    there.git("fetch", "-q", "--unshallow", folder="vendored")
    assert there.affected("--since", "HEAD~") == {"//vendored:extra"}


def test_a_submodule_that_comes_or_goes(checkout: Checkout) -> None:
    """With its targets. Of one that is gone git keeps the repository, if it ever was checked out."""
    with_submodule(checkout, "vendored", {"extra.yaml": melange("extra"), ".gitignore": "*.o\n", "x.o": ""})
    assert checkout.changes("--since", "HEAD~") == {"//vendored:extra": "new"}
    checkout.git("rm", "-q", "vendored")
    checkout.commit()
    assert checkout.changes("--since", "HEAD~") == {"//vendored:extra": "removed"}
    there = clone(checkout, "there")
    _, said = there.bg("affected", "--since", "HEAD~", code=8)
    assert "hint: it is no longer checked out here" in said


def test_a_submodule_in_a_submodule(checkout: Checkout) -> None:
    """To any depth."""
    inner = Checkout(checkout.top.parent / "inner", checkout.capsys)
    inner.top.mkdir()
    inner.git("init", "-q")
    inner.commit({"tool.c": "1\n"})
    outer = Checkout(checkout.top.parent / "outer", checkout.capsys)
    outer.top.mkdir()
    outer.git("init", "-q")
    outer.commit({"x": ""})
    outer.git("submodule", "--quiet", "add", f"file://{inner.top}", "deep")
    outer.commit()
    checkout.git("submodule", "--quiet", "add", f"file://{outer.top}", "tool")
    checkout.git("submodule", "--quiet", "update", "--init", "--recursive")
    checkout.commit()
    assert checkout.affected() == set()
    checkout.write({"tool/deep/tool.c": "2\n"})
    assert checkout.rows("--since", "HEAD")["//:tool"]["reasons"] == ["tool/deep/tool.c changed"]


def test_links_into_a_submodule(empty: Checkout) -> None:
    """Out of the workspace, to what another repository has."""
    empty.inner = "ws"
    empty.write(example())
    (empty.root / "extra.yaml").symlink_to("../vendored/extra.txt")
    origin = with_submodule(empty, "vendored", {"extra.txt": melange("extra")})
    assert empty.affected() == set()
    origin.commit({"extra.txt": melange("extra", needs="busybox")})
    empty.git("submodule", "--quiet", "update", "--remote")
    assert empty.affected() == {"//:extra"}


def test_a_workspace_in_a_submodule(checkout: Checkout) -> None:
    """Belongs to the submodule's repository."""
    origin = with_submodule(checkout, "vendored", example())
    there = Checkout(checkout.top / "vendored", checkout.capsys)
    assert there.affected() == set()
    there.edit("lib/lib.c", "1;", "2;")
    assert there.affected() == WITH_LIB
    assert origin.affected() == set()


def test_another_owner(checkout: Checkout) -> None:
    """git refuses a repository that belongs to somebody else; what it says is passed on."""
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    subprocess.run(["chown", "-R", "12345", checkout.top], check=True)
    _, said = checkout.bg("affected", "--since", "HEAD", code=8)
    assert "detected dubious ownership" in said


def test_nothing_of_the_repository_is_written(checkout: Checkout) -> None:
    """But the times of files in git's index, as `git diff` does: no refs, objects, hooks run, worktrees."""
    (checkout.top / ".git/hooks").mkdir(exist_ok=True)
    for name in ("post-index-change", "post-checkout", "reference-transaction"):
        hook = checkout.top / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {checkout.top.parent}/ran-{name}\n")
        hook.chmod(0o755)
    checkout.git("config", "core.splitIndex", "true")
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    checkout.git("status")
    for ran in checkout.top.parent.glob("ran-*"):
        ran.unlink()

    def files() -> set[str]:
        return {str(path) for path in (checkout.top / ".git").rglob("*") if not path.name.startswith("sharedindex")}

    before = files()
    assert checkout.affected() == WITH_LIB | {"//:tool", "//images:tool"}
    assert files() == before
    assert not list(checkout.top.parent.glob("ran-post-checkout"))
    assert not [path for path in (checkout.root / "cache/tmp").iterdir() if path.name != "gate"]


def planted(checkout: Checkout, folder: Path) -> Path:
    """Makes files that git takes for a repository, whose settings run a program; what that program makes."""
    ran = checkout.top.parent / "ran"
    folder.mkdir(exist_ok=True)
    checkout.git("init", "-q", "--bare", ".", folder=str(folder))
    (folder / "config").write_text(
        f'[core]\n\tbare = false\n\tworktree = {checkout.root}\n\tfsmonitor = "touch {ran}; false"\n'
        f'[filter "x"]\n\tsmudge = touch {ran}; cat\n'
    )
    return ran


def test_files_that_look_like_a_repository_run_nothing(empty: Checkout) -> None:
    """A pull request can add some where a workspace begins below the top of its repository; git takes them for one there."""
    empty.inner = "workspace"
    empty.commit(example())
    ran = planted(empty, empty.root)
    empty.git("add", "-A")
    empty.git("commit", "-q", "-m", "x", folder=".")
    _, said = empty.bg("affected", "--since", "HEAD", code=8)
    assert "cannot use bare repository" in said
    assert not ran.exists()


@pytest.mark.parametrize("name", ["../../planted", "{top}/planted"])
def test_the_name_of_a_submodule_is_no_path(checkout: Checkout, name: str) -> None:
    """As for git: what a commit calls a submodule leads to none of its own files, whose settings would run a program."""
    with_submodule(checkout, "vendored", {"extra.yaml": melange("extra"), ".gitattributes": "* filter=x\n"})
    called = name.format(top=checkout.top)
    since = checkout.commit({".gitmodules": f'[submodule "{called}"]\n\tpath = vendored\n\turl = file:///nowhere\n'})
    ran = planted(checkout, checkout.root / "planted")
    shutil.copytree(checkout.top / ".git/modules/vendored/objects", checkout.root / "planted/objects", dirs_exist_ok=True)
    checkout.git("rm", "-q", "--cached", "vendored")
    shutil.rmtree(checkout.root / "vendored")
    checkout.git("commit", "-q", "-m", "x")
    _, said = checkout.bg("affected", "--since", since, code=8)
    assert "the submodule vendored is not here as it was" in said
    assert not ran.exists()
