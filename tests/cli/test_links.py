"""A repository may have a link to any file of the machine."""

from __future__ import annotations

import pytest

from tests.e2e.workspace import Workspace

SECRET = "machine example.org login me password secret\n"


@pytest.mark.parametrize("place", ["base.yaml", "pipelines/step.yaml"])
def test_nothing_is_shown_of_a_file_outside(bare: Workspace, place: str) -> None:
    """It is named, with its line, and the exit code is the same; of a file of the repository the line is shown as ever."""
    bare.write("image.yaml", "include: base.yaml\ncontents: {packages: [x]}\n" if place == "base.yaml" else "")
    bare.write("one.yaml", "package: {name: one, version: 1, epoch: 0}\npipeline: [{uses: step}]\n" if "step" in place else "")
    outside = bare.root.parent / "netrc"
    outside.write_text(SECRET)
    link = bare.root / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    hidden = bare.bg("deps", "//...")
    assert hidden.err == f"{place}:1: this file is a link to one outside of the repository, which cannot be used\n"
    (bare.root.parent / ".git").mkdir()
    shown = bare.bg("deps", "//...")
    assert SECRET in shown.err
    assert shown.code == hidden.code == 5
