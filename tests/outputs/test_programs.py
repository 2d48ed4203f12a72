"""Programs that an image has or lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.errors import OutputError
from buildgraph.outputs.programs import check_program, inside

PATH = "/usr/bin:/bin:/sbin"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a shell behind links, a script for it and one for python, a file that is no program."""
    for folder in ("usr/bin", "usr/libexec", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("/usr/bin")
    (tmp_path / "usr/libexec/box").touch(mode=0o755)
    (tmp_path / "usr/bin/sh").symlink_to("../libexec/box")
    (tmp_path / "etc/passwd").touch(mode=0o644)
    for name, interpreter in (("greet", "/bin/sh -e"), ("serve", "/usr/bin/python3")):
        (tmp_path / "usr/bin" / name).write_text(f"#!{interpreter}\n")
        (tmp_path / "usr/bin" / name).chmod(0o755)
    return tmp_path


def refusal(root: Path, name: str, folder: str = "/", search: str = PATH) -> tuple[str, str]:
    """What is said of a program, and the hint."""
    with pytest.raises(OutputError) as refused:
        check_program(name, root, folder, search)
    return refused.value.what, refused.value.hint


def test_what_can_be_started(root: Path) -> None:
    """By name, by path, by a path from the working directory, by links that mean the image's own root."""
    for name, folder in (
        ("sh", "/"),
        ("/bin/sh", "/"),
        ("./sh", "/usr/bin"),
        ("../bin/greet", "/etc"),
        ("/usr/libexec/box", "/"),
    ):
        check_program(name, root, folder, PATH)


def test_what_is_not_there(root: Path) -> None:
    """What was meant is guessed: the same name elsewhere, a name like it, else some of what there is."""
    assert refusal(root, "gret") == (f"the image has no program `gret` in its PATH, {PATH}", "did you mean `greet`?")
    assert refusal(root, "/usr/local/bin/sh") == ("the image has no program `/usr/local/bin/sh`", "did you mean `/usr/bin/sh`?")
    assert refusal(root, "/usr/bin/gret")[1] == "did you mean `/usr/bin/greet`?"
    assert refusal(root, "x")[1] == "its PATH has greet, serve, sh"
    assert refusal(root, "box", search="/nowhere")[1] == "there is no program at all in its PATH, /nowhere"


def test_what_cannot_be_started(root: Path) -> None:
    """A file that is no program, a folder, a script whose interpreter is not in the image."""
    assert refusal(root, "/etc/passwd")[0] == "`/etc/passwd` is in the image, and is not executable"
    assert refusal(root, "/etc")[0] == "the image has no program `/etc`"
    assert refusal(root, "serve")[0] == "`serve` is a script for /usr/bin/python3, which the image does not have"


def test_links_stay_in_the_image(root: Path) -> None:
    """Whatever they say; a circle leads nowhere."""
    (root / "out").symlink_to("../../../etc/passwd")
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    assert inside(root, "/out") == root / "etc/passwd"
    assert inside(root, "/one") is None
