"""What `bg affected` says is what comparing the keys of two plain copies says, whatever was edited and however git has it.

The copies are made of the files themselves, without git, and read by sessions that know nothing of each other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from buildgraph.cli.main import main
from buildgraph.cli.session import Session
from buildgraph.cli.settings import Settings
from buildgraph.errors import BgError
from buildgraph.report.console import Console
from tests.affected.checkout import GIT, MANIFEST, locked

Files = Mapping[str, tuple[str, bool]]  # by path: content, whether it may be executed

NAMES = ("lib", "program", "tool", "busybox")
FOLDERS = ("", "one/", "one/two/")
PATHS = [f"{folder}{name}.yaml" for folder in FOLDERS for name in NAMES]
SOURCES = [f"{folder}{name}/{file}" for folder in FOLDERS for name in NAMES[:2] for file in ("x.c", "y.c")]
IMAGES = ("images/one.yaml", "one/images/two.yaml")
OTHERS = (
    "pipelines/install.yaml",
    "one/pipelines/install.yaml",
    "images/base.yaml",
    "buildgraph.yaml",
    "buildgraph.lock",
    "README",
)


COMMENTS = st.sampled_from(["", "", "# c\n"])


@st.composite
def packages(draw: st.DrawFn, name: str) -> str:
    asked = st.sampled_from([*NAMES, "lib=1.0.0-r0", "lib>2", "make", "!tool"])
    needs = ", ".join(draw(st.lists(asked, max_size=3, unique=True)))
    runtime = ", ".join(draw(st.lists(st.sampled_from([*NAMES, "cmd:x"]), max_size=1)))
    return (
        f"{draw(COMMENTS)}package:\n  name: {name}\n"
        f"  version: {draw(st.sampled_from(['1.0.0', '1.0.0', '2.0.0']))}\n  epoch: 0\n"
        f"  dependencies:\n    runtime: [{runtime}]\n    provides: [{draw(st.sampled_from(['', '', 'cmd:x=1']))}]\n"
        f"environment:\n  contents:\n    packages: [{needs}]\n"
        f"pipeline:\n  - runs: make{draw(st.sampled_from(['', ' all']))}\n"
        f"{draw(st.sampled_from(['', '  - uses: install' + chr(10)]))}"
    )


@st.composite
def images(draw: st.DrawFn) -> str:
    include = draw(st.sampled_from(["", "include: images/base.yaml\n"]))
    names = ", ".join(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True)))
    return f"{include}contents:\n  packages: [{names}]\n"


PIPELINES = st.builds(str.__add__, COMMENTS, st.sampled_from(["pipeline:\n  - runs: make install\n", "pipeline: []\n"]))
CONTENTS = {
    **{path: packages(Path(path).stem) for path in PATHS},
    **dict.fromkeys(IMAGES, images()),
    "pipelines/install.yaml": PIPELINES,
    "one/pipelines/install.yaml": PIPELINES,
    "images/base.yaml": st.sampled_from(["contents:\n  packages: [busybox]\n", "contents:\n  packages: [make]\n"]),
    "buildgraph.yaml": st.sampled_from(
        [MANIFEST + more for more in ("", "# c\n", "salt: x\n", "jobs: 2\n", "exclude: [one/]\n", "network: on\n")]
    ),
    "buildgraph.lock": st.sampled_from(
        [locked(busybox="1-r0", make="1-r0"), locked(busybox="1-r0", make="2-r0"), locked(make="1-r0")]
    ),
}


@st.composite
def edits(draw: st.DrawFn, most: int) -> dict[str, tuple[str, bool] | None]:
    """Files to be written, with None those to be deleted."""
    paths = draw(st.lists(st.sampled_from([*PATHS, *PATHS, *SOURCES, *IMAGES, *OTHERS]), max_size=most, unique=True))
    made: dict[str, tuple[str, bool] | None] = {}
    for path in paths:
        gone = path != "buildgraph.yaml" and draw(st.integers(0, 3)) == 0
        made[path] = None if gone else (draw(CONTENTS.get(path, st.sampled_from("01"))), draw(st.booleans()))
    return made


@dataclass(frozen=True)
class History:
    """The files of a commit; edits that came after it, of which some are commits, the next staged, the last not even that."""

    first: dict[str, tuple[str, bool] | None]
    later: list[dict[str, tuple[str, bool] | None]]
    committed: int
    staged: bool


def histories() -> st.SearchStrategy[History]:
    return st.builds(History, edits(14), st.lists(edits(3), min_size=1, max_size=3), st.integers(0, 2), st.booleans())


BASE: dict[str, tuple[str, bool]] = {"buildgraph.yaml": (MANIFEST, False), ".gitignore": ("/cache/\n/out/\n", False)}


def after(files: Files, made: Mapping[str, tuple[str, bool] | None]) -> Files:
    """Files after edits."""
    return {path: found for path, found in {**files, **made}.items() if found is not None}


def put(root: Path, files: Files) -> None:
    """Makes a folder hold exactly these files, but for what git and bg keep there."""
    for path in sorted(root.rglob("*"), reverse=True):
        inner = path.relative_to(root)
        if inner.parts[0] not in {".git", "cache"} and str(inner) not in files and (path.is_file() or not any(path.iterdir())):
            path.unlink() if path.is_file() else path.rmdir()
    for name, (text, executable) in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists() or place.read_text() != text:
            place.write_text(text)
        place.chmod(0o755 if executable else 0o644)


def keys(files: Files, folder: Path) -> dict[str, str] | None:
    """The key of each node of a plain copy; None where it cannot be read."""
    (folder / "ws").mkdir(parents=True)
    put(folder / "ws", files)
    session = Session(
        Settings(folder / "ws", folder / "ws", {}, folder / "cache", folder / "config", offline=True, stand_ins=True), Console()
    )
    try:
        return {name: session.rebuilder.deep(name).key for name in session.graph.order}
    except BgError:
        return None


def expected(before: dict[str, str] | None, now: dict[str, str]) -> dict[str, str]:
    """What has become of each node that is not the same."""
    if before is None:
        return dict.fromkeys(now, "changed")
    found = {name: "changed" if name in before else "new" for name, key in now.items() if before.get(name) != key}
    return found | {name: "removed" for name in before if name not in now}


@settings(max_examples=60)
@given(histories())
def test_it_is_what_two_plain_copies_say(history: History) -> None:
    """Asked twice, since the second time bg knows much from the first; and after the commits alone, from where they are."""
    top = Path(tempfile.mkdtemp())
    env = {"PATH": os.environ["PATH"], "HOME": str(top / "home"), **GIT}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=top / "ws", env=env, check=True, capture_output=True)

    def asked() -> dict[str, str] | None:
        out = StringIO()
        with redirect_stdout(out), redirect_stderr(StringIO()) as said:
            code = main(["-C", str(top / "ws"), "affected", "--since", "v1", "--json"], env)
        if code == 3:
            assert "this workspace holds no recipes" in said.getvalue()
            return {}
        assert code in {0, 5, 6}, said.getvalue()
        return {row["node"]: row["change"] for row in json.loads(out.getvalue())["targets"]} if code == 0 else None

    try:
        (top / "ws").mkdir()
        git("init", "-q")
        files = after(BASE, history.first)
        put(top / "ws", files)
        git("add", "-A")
        git("commit", "-q", "-m", "x")
        git("tag", "v1")
        before = keys(files, top / "before")
        for number, made in enumerate(history.later):
            files = after(files, made)
            put(top / "ws", files)
            now = keys(files, top / f"now{number}")
            answer = None if now is None else expected(before, now)
            assert asked() == answer
            if number < history.committed or history.staged:
                git("add", "-A")
            if number < history.committed:
                git("commit", "-q", "--allow-empty", "-m", "x")
            assert asked() == answer
    finally:
        shutil.rmtree(top)
