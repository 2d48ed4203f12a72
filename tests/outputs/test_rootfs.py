"""Images as a folder: which of an index is meant, and what unpacking its layers leaves."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from buildgraph.errors import OutputError
from buildgraph.outputs.rootfs import ImageConfig, Launch, read_image, run_command, unpack
from tests.conftest import ROOT


def layer(path: Path, *members: tuple[str, str], mode: int = 0o644) -> Path:
    """A layer of files (text), ``dir``, ``-> link`` and ``== hard link``, all of them root's."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode = mode
            if content == "dir":
                member.type = tarfile.DIRTYPE
            elif content.startswith(("-> ", "== ")):
                member.type = tarfile.SYMTYPE if content.startswith("-> ") else tarfile.LNKTYPE
                member.linkname = content[3:]
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return path


def blob(layout: Path, content: Any) -> dict[str, str]:
    """Puts a JSON document into a layout; its descriptor (the digest is only a name here)."""
    folder = layout / "blobs/sha256"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{len(list(folder.iterdir())):064x}"
    (folder / name).write_text(json.dumps(content))
    return {"digest": f"sha256:{name}"}


def image(layout: Path, architecture: str) -> dict[str, Any]:
    """An image without layers, whose user tells which it is."""
    config = blob(layout, {"architecture": architecture, "config": {"User": architecture}})
    return blob(layout, {"config": config, "layers": []})


def test_of_an_index_the_image_of_the_asked_architecture_is_meant(tmp_path: Path) -> None:
    """Whatever its place, and whether the layout's index names it or another index does."""
    images = [image(tmp_path, "amd64"), image(tmp_path, "arm64")]
    nested = blob(tmp_path, {"manifests": images})
    for manifests in (images, images[::-1], [nested]):
        (tmp_path / "index.json").write_text(json.dumps({"manifests": manifests}))

        assert [read_image(tmp_path, name)[0].user for name in ("amd64", "arm64")] == ["amd64", "arm64"]


def test_an_architecture_that_an_index_lacks_is_an_error(tmp_path: Path) -> None:
    """It names those that are there."""
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [image(tmp_path, "arm64"), image(tmp_path, "s390x")]}))

    with pytest.raises(OutputError, match="no image for x86_64, only for aarch64, s390x"):
        read_image(tmp_path, "amd64")


def test_layers_lie_over_one_another(tmp_path: Path) -> None:
    """A later file replaces an earlier one, a whiteout takes it away, links stay links; whoever unpacks owns everything."""
    one = layer(tmp_path / "1", ("etc", "dir"), ("etc/a", "a"), ("etc/b", "b"), ("etc/l", "-> /etc/a"), ("etc/h", "== etc/a"))
    two = layer(tmp_path / "2", ("etc/a", "new"), ("etc/.wh.b", ""), mode=0o4755)
    root = tmp_path / "root"

    folders = unpack([one, two], root)

    assert sorted(path.name for path in (root / "etc").iterdir()) == ["a", "h", "l"]
    assert (root / "etc/a").read_text() == "new"
    assert (root / "etc/l").readlink() == Path("/etc/a")
    assert (root / "etc/a").stat().st_mode & 0o7777 == 0o4755
    assert folders == {"etc": (0, 0o644)}


LOWER = [("d", "dir"), ("d/a", "a"), ("d/s", "dir"), ("d/s/b", "b"), ("d/l", "-> a"), ("e", "e")]


@pytest.mark.parametrize(
    "upper",
    [
        [("d", "dir"), ("d/.wh..wh..opq", "")],
        [("d", "dir"), ("d/.wh..wh..opq", ""), ("d/new", "n")],
        [("d", "dir"), ("d/new", "n"), ("d/a", "again"), ("d/.wh..wh..opq", "")],
        [("d/s", "dir"), ("d/s/.wh..wh..opq", "")],
        [("d", "dir"), ("d/s", "dir"), ("d/s/c", "c"), ("d/.wh..wh..opq", "")],
        [(".wh..wh..opq", ""), ("f", "f")],
        [("f", "dir"), ("f/.wh..wh..opq", ""), ("f/g", "g")],
        [("d", "dir"), ("d/.wh.a", ""), ("d/.wh.s", ""), (".wh.e", "")],
        [(".wh.d", ""), ("d", "dir"), ("d/new", "n")],
        [("d", "dir"), ("d/.wh.nothing", "")],
    ],
    ids=lambda members: " ".join(name for name, _ in members),
)
@pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not here")
def test_whiteouts_are_those_of_another_tool(tmp_path: Path, upper: list[tuple[str, str]]) -> None:
    """umoci's, by the Open Containers Initiative, which wrote layer.md.

    "Layers may remove all of the children using an opaque whiteout entry", "whiteout files MUST only apply to resources in
    lower/parent layers. Files that are present in the same layer as a whiteout file can only be hidden by whiteout files in
    subsequent layers", and they may come after what is beside them.
    """
    layers = [layer(tmp_path / "1", *LOWER, mode=0o755), layer(tmp_path / "2", *upper, mode=0o755)]
    unpack(layers, tmp_path / "root")
    image = f"{tmp_path}/layout:x"
    run = partial(subprocess.run, check=True, capture_output=True, cwd=tmp_path)
    run(["umoci", "init", "--layout", "layout"])
    run(["umoci", "new", "--image", image])
    for number, path in enumerate(layers):
        with gzip.open(path) as compressed:
            (tmp_path / f"{number}.tar").write_bytes(compressed.read())
        run(["umoci", "raw", "add-layer", "--image", image, f"{number}.tar"])
    run(["umoci", "raw", "unpack", "--rootless", "--image", image, "theirs"])

    assert tree(tmp_path / "root") == tree(tmp_path / "theirs")


def tree(root: Path) -> dict[str, str]:
    """What is in a folder: files' text, where links lead, folders."""
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}"
        if path.is_symlink()
        else "dir"
        if path.is_dir()
        else path.read_text()
        for path in root.rglob("*")
    }


@pytest.mark.parametrize(
    "members",
    [
        [("../out", "x")],
        [("a/../../out", "x")],
        [("away", "-> .."), ("away/out", "x")],
        [("away", "-> /tmp"), ("away/out", "x")],
        [("in", "== ../out")],
    ],
)
def test_what_would_leave_the_root_is_refused(tmp_path: Path, members: list[tuple[str, str]]) -> None:
    """By its name, through a link that came before, or as a hard link."""
    (tmp_path / "out").write_text("mine")

    with pytest.raises(OutputError, match="would lie outside of the root"):
        unpack([layer(tmp_path / "1", *members)], tmp_path / "root")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_it_works_with_the_python_of_the_distribution(tmp_path: Path, python: str) -> None:
    """Debian 12 has 3.11.2, whose tarfile is older than the newest 3.11's."""
    asked = subprocess.run([python, "-c", f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"], check=False)
    if asked.returncode:
        pytest.skip(f"{python} is another version than that of the tests, whose libraries it is to use")
    layer(tmp_path / "1", ("a", "a"))
    script = "from pathlib import Path; from buildgraph.outputs.rootfs import unpack; unpack([Path('1')], Path('r'))"
    environment = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('platlib')}", "PYTHONWARNINGS": "error"}
    subprocess.run([python, "-c", script], cwd=tmp_path, env=environment, check=True)

    assert (tmp_path / "r/a").read_text() == "a"


def test_a_layer_hides_nothing_outside_of_the_root(tmp_path: Path) -> None:
    """A whiteout below a link removes nothing on the host; one below a folder removes what an earlier layer had."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("kept")
    first = layer(tmp_path / "1.tar.gz", ("a", f"-> {victim}"), ("b", "dir"), ("b/old", "x"), mode=0o755)
    second = layer(tmp_path / "2.tar.gz", ("a/.wh.precious", ""), ("b/.wh.old", ""))
    unpack([first, second], tmp_path / "root")
    assert (victim / "precious").read_text() == "kept"
    assert not (tmp_path / "root/b/old").exists()


def test_a_folder_that_became_a_link_is_not_given_from_the_host(tmp_path: Path) -> None:
    """bubblewrap follows links where it binds from, which is on the host."""
    (tmp_path / "host").mkdir()
    first = layer(tmp_path / "1.tar.gz", ("data", "dir"), ("own", "dir"), mode=0o777)
    second = layer(tmp_path / "2.tar.gz", ("data", f"-> {tmp_path / 'host'}"))
    folders = unpack([first], tmp_path / "root")
    (tmp_path / "root/data").rmdir()
    folders |= unpack([second], tmp_path / "root")
    (tmp_path / "root/x").touch(mode=0o755)
    config = ImageConfig("1000:1000", ("/x",), (), (), "/")
    line = run_command(config, tmp_path / "root", folders, Path("bwrap"), Launch())
    assert str(tmp_path / "root/own") in line
    assert str(tmp_path / "root/data") not in line


def running(tmp_path: Path, user: str) -> list[str]:
    """The command line for an image with an account, a group, and what its configuration says of who runs it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nada:x:1000:1001:Ada:/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
    (tmp_path / "x").touch(mode=0o755)
    return run_command(ImageConfig(user, ("/x",), (), (), "/"), tmp_path, {}, Path("bwrap"), Launch())


@pytest.mark.parametrize(
    ("user", "uid", "gid"),
    [("", "0", "0"), ("ada", "1000", "1001"), ("1000", "1000", "1001"), ("ada:staff", "1000", "50"), ("7:8", "7", "8")],
)
def test_an_image_runs_as_its_user_and_group(tmp_path: Path, user: str, uid: str, gid: str) -> None:
    """By name or by number, which need not be that of an account."""
    line = running(tmp_path, user)
    assert (line[line.index("--uid") + 1], line[line.index("--gid") + 1]) == (uid, gid)


@pytest.mark.parametrize(
    ("user", "told", "hint"),
    [
        ("adda", "the image runs as `adda`, and its /etc/passwd has no such user", "did you mean `ada`?"),
        ("ada:stuff", "the image runs with the group `stuff`, and its /etc/group has no such group", "did you mean `staff`?"),
    ],
)
def test_a_name_that_an_image_lacks_is_not_root(tmp_path: Path, user: str, told: str, hint: str) -> None:
    """It is refused, as container runtimes do."""
    with pytest.raises(OutputError) as caught:
        running(tmp_path, user)
    assert (caught.value.what, caught.value.hint) == (told, hint)
