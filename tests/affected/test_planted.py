"""Files of a commit that git would take for a repository: no program runs that they name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.affected.checkout import Checkout, example
from tests.affected.test_submodules import with_submodule
from tests.layouts.repository import melange


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
