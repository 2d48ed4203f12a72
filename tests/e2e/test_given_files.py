"""What people hand to melange by flags is a setting of a target: variables, and an environment for its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def test_vars_and_env_files_reach_the_steps_and_the_key(empty: Workspace) -> None:
    """Of two env-files the earlier one wins (config.go, ParseConfiguration); a changed one builds its own target again."""
    empty.write(
        "recipes/one.yaml", package("one", 'echo ${{vars.who}} "$WHAT" "$MORE" >"$OUT/usr/share/one"') + "vars: {who: nobody}\n"
    )
    empty.write("recipes/two.yaml", package("two", 'echo two >"$OUT/usr/share/two"'))
    empty.write("given/vars.yaml", "who: world\n")
    empty.write("given/first.env", "export WHAT='hello there'\n")
    empty.write("given/second.env", "WHAT=bye\nMORE=more # of it\n")
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write("targets:\n  //:one:\n    vars-file: given/vars.yaml\n    env-file: [given/first.env, given/second.env]\n")

    assert empty.build().ran == {"//:one", "//:two"}
    assert content(empty) == "world hello there more\n"
    assert empty.build().ran == set()

    empty.write("given/vars.yaml", "# who is greeted\n'who': world\n")
    assert empty.build().ran == set()

    empty.edit("given/vars.yaml", "world", "all")
    changed = empty.build()
    assert changed.ran == {"//:one"}
    assert changed.reasons("//:one") == "given/vars.yaml: who changed from world to all"

    empty.edit("given/second.env", "more #", "less #")
    changed = empty.build()
    assert changed.ran == {"//:one"}
    assert changed.reasons("//:one") == "given/second.env: its content changed"
    assert content(empty) == "all hello there less\n"


def test_a_file_that_is_not_there(empty: Workspace) -> None:
    """The file is named, and the line that names it."""
    empty.write("recipes/one.yaml", package("one", "true") + "vars: {}\n")
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write("targets:\n  //:one: {vars-file: given/vars.yaml}\n")

    refused = empty.bg("build", "//...")

    assert refused.code == 4
    assert "the file `given/vars.yaml` is not there, which the settings of `//:one` name" in refused.err
    assert "  //:one: {vars-file: given/vars.yaml}\n" in refused.err


def test_a_melange_of_any_version_on_path(empty: Workspace, tmp_path: Path) -> None:
    """With `tools: path` it is taken, asked what its pipelines are, and in the key; one that comes before it is noticed."""
    one, two = tmp_path / "one", tmp_path / "two"
    real = (empty.tools / "melange").read_bytes()
    for folder, version in ((one, b"v0.59.7"), (two, b"v0.59.8")):
        folder.mkdir()
        (folder / "melange").write_bytes(real.replace(b"v0.59.1", version))
        (folder / "melange").chmod(0o755)
    empty.environment["PATH"] = f"{two}:{one}:{empty.env()['PATH']}"
    (two / "melange").rename(two / "later")
    empty.write(
        "recipes/one.yaml", package("one", "true") + "subpackages: [{name: one-doc, pipeline: [{uses: split/manpages}]}]\n"
    )
    with (empty.root / "buildgraph.yaml").open("a") as manifest:
        manifest.write("tools: path\n")

    assert empty.build().ran == {"//:one"}
    assert list((empty.home / ".cache/buildgraph/pipelines").glob("*/*.json"))
    assert empty.build().ran == set()

    (two / "later").rename(two / "melange")
    changed = empty.build()
    assert changed.ran == {"//:one"}
    assert changed.reasons("//:one").startswith("melange: v0.59.7 ")
    assert " -> v0.59.8 " in changed.reasons("//:one")


def content(workspace: Workspace) -> str:
    """What the package holds."""
    import gzip
    import io
    import tarfile

    (path,) = workspace.root.glob("out/packages/x86_64/one-*.apk")
    stream = io.BytesIO(path.read_bytes())
    text = ""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(stream.read())), ignore_zeros=True) as archive:
        for member in archive:
            if member.name == "usr/share/one":
                file = archive.extractfile(member)
                text = file.read().decode() if file else ""
    return text
