"""The launcher: works from a fresh copy of the tree, from anywhere, heals what was interrupted, and costs nothing afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildgraph import __version__

ROOT = Path(__file__).resolve().parent.parent
SETTING_UP = "setting up bg's own Python environment"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Clone:
    """A copy of the tree, and the folders of a user who has never started bg."""

    root: Path
    user: Path

    @property
    def environments(self) -> list[Path]:
        """The folders of the environments that this user has."""
        return sorted((self.user / "cache" / "buildgraph" / "env").glob("run-*"))

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of a start; pip keeps to the cache of whoever runs the tests, so that wheels come from there."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("XDG_", "PYTHON", "VIRTUAL_ENV"))}
        wheels = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "pip"
        home = {"HOME": str(self.user), "XDG_CACHE_HOME": str(self.user / "cache")}
        return {"PIP_CACHE_DIR": str(wheels), **kept, **home, **more}

    def popen(self, *command: str | Path, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
        """Starts a command of this user."""
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd or self.user,
            env=self.variables(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, *command: str | Path, cwd: Path | None = None, **more: str) -> tuple[int, str, str]:
        """Runs a command of this user to its end: exit code, output, errors."""
        with self.popen(*command, cwd=cwd, **more) as process:
            output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors


def copy(source: Path, target: Path) -> Path:
    """A copy of what the launcher needs of the tree, as a fresh clone has it."""
    target.mkdir()
    for name in ("buildgraph", "scripts", "requirements"):
        shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(source / "bg", target / "bg")
    return target


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in a folder with a difficult name, whose first two starts were at the same time."""
    base = tmp_path_factory.mktemp("launcher")
    (base / "user").mkdir()
    made = Clone(copy(ROOT, base / "a clone, with 'quotes' & ümlauts"), base / "user")
    both = [made.popen(made.root / "bg", "--version") for _ in range(2)]
    answers = [(process.communicate(timeout=180), process.returncode) for process in both]
    assert [(code, __version__ in output) for (output, _), code in answers] == [(0, True)] * 2, answers
    assert sum(SETTING_UP in errors for (_, errors), _ in answers) == 1, "one sets up, the other waits for it"
    assert len(made.environments) == 1
    return made


def answers_quietly(clone: Clone, *command: str | Path, cwd: Path | None = None, **more: str) -> None:
    """Asserts that a start answers, and that nothing is set up for it."""
    code, output, errors = clone.start(*command, "--version", cwd=cwd, **more)
    assert (code, errors) == (0, "")
    assert __version__ in output


def test_it_starts_from_any_folder(clone: Clone, tmp_path: Path) -> None:
    """By its absolute name, by relative ones, by PATH, and as an argument of sh."""
    answers_quietly(clone, clone.root / "bg", cwd=tmp_path)
    answers_quietly(clone, "./bg", cwd=clone.root)
    answers_quietly(clone, "../bg", cwd=clone.root / "buildgraph")
    answers_quietly(clone, "./../../" + clone.root.name + "/./bg", cwd=clone.root / "scripts")
    answers_quietly(clone, "bg", cwd=tmp_path, PATH=f"{clone.root}:{os.environ['PATH']}")
    answers_quietly(clone, "sh", "bg", cwd=clone.root)


def test_it_starts_through_symbolic_links(clone: Clone, tmp_path: Path) -> None:
    """A relative link to an absolute link to the launcher, and a link to the clone's folder."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(clone.root / "bg")
    (tmp_path / "bin" / "bg").symlink_to("../absolute")
    (tmp_path / "folder").symlink_to(clone.root)
    answers_quietly(clone, tmp_path / "bin" / "bg", cwd=tmp_path)
    answers_quietly(clone, "bin/bg", cwd=tmp_path)
    answers_quietly(clone, tmp_path / "folder" / "bg", cwd=tmp_path)


def test_arguments_and_exit_codes_pass_through(clone: Clone, tmp_path: Path) -> None:
    """Spaces, empty arguments and options reach bg as they were given; the working folder stays the user's."""
    code, _, errors = clone.start(clone.root / "bg", "list", "//no such  target", "", cwd=tmp_path)
    assert code == 4  # no manifest in this folder
    assert str(tmp_path) in errors
    assert clone.start(clone.root / "bg", "no such  command")[0] == 2


def test_a_second_start_runs_no_program_but_python(clone: Clone) -> None:
    """Without any program on PATH it works all the same."""
    answers_quietly(clone, clone.root / "bg", PATH="/nonexistent")


def test_the_users_python_settings_do_not_reach_bg(clone: Clone, tmp_path: Path) -> None:
    """Neither PYTHONPATH nor modules in the working folder are looked at."""
    for name in ("argparse.py", "json.py", "buildgraph.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')\n")
    answers_quietly(clone, clone.root / "bg", cwd=tmp_path, PYTHONPATH=str(tmp_path), PYTHONHOME="/nonexistent")


def test_an_environment_without_its_python_is_made_again(clone: Clone) -> None:
    """As if the Python that it was made with had been removed: in the same place, by the next start, which says so."""
    (environment,) = clone.environments
    (environment / "bin" / "python").unlink()
    code, output, errors = clone.start(clone.root / "bg", "--version")
    assert (code, __version__ in output, SETTING_UP in errors) == (0, True, True)
    assert clone.environments == [environment]
    answers_quietly(clone, clone.root / "bg")


def test_changed_requirements_are_noticed(clone: Clone, tmp_path: Path) -> None:
    """Other content gives another environment, an older file too; the same content with a new time does not; clones share."""
    other = Clone(copy(clone.root, tmp_path / "clone"), clone.user)
    before = clone.environments
    answers_quietly(other, other.root / "bg")
    locked = other.root / "requirements" / "run.txt"
    os.utime(locked)
    answers_quietly(other, other.root / "bg")
    answers_quietly(other, other.root / "bg", PATH="/nonexistent")
    assert clone.environments == before

    locked.write_text(locked.read_text() + "# another version\n")
    os.utime(locked, (1, 1))
    code, output, errors = other.start(other.root / "bg", "--version")
    assert (code, __version__ in output, SETTING_UP in errors) == (0, True, True)
    assert len(clone.environments) == len(before) + 1
    answers_quietly(other, other.root / "bg", PATH="/nonexistent")
    answers_quietly(clone, clone.root / "bg")


def failure(answer: tuple[int, str, str], *said: str) -> None:
    """Asserts an error of a tool, in words and without a traceback."""
    code, output, errors = answer
    assert (code, output) == (8, "")
    assert "Traceback" not in errors
    for words in (*said, "hint: "):
        assert words in errors


def test_without_a_network_it_says_so_and_goes_on_later(clone: Clone, tmp_path: Path) -> None:
    """What was begun does not count as an environment, is not taken for one, and is replaced by a whole one."""
    answer = clone.start(
        *(clone.root / "bg", "--version"),
        XDG_CACHE_HOME=str(tmp_path),
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
        PIP_NO_CACHE_DIR="1",
        PIP_FIND_LINKS="",
    )
    failure(answer, "pip could not install", "is the network there?")
    (half_made,) = (tmp_path / "buildgraph" / "env").glob("run-*")
    assert (half_made / "bin" / "python").exists()

    code, output, errors = clone.start(clone.root / "bg", "--version", XDG_CACHE_HOME=str(tmp_path))
    assert (code, __version__ in output, SETTING_UP in errors) == (0, True, True)
    answers_quietly(clone, clone.root / "bg", XDG_CACHE_HOME=str(tmp_path))


def test_where_nothing_can_be_written_it_names_the_variable(clone: Clone, tmp_path: Path) -> None:
    """A cache folder that cannot be made is an error with a way out."""
    (tmp_path / "file").touch()
    answer = clone.start(clone.root / "bg", "--version", XDG_CACHE_HOME=str(tmp_path / "file"))
    failure(answer, "cannot write", "XDG_CACHE_HOME")


def programs(folder: Path, names: Sequence[str], **scripts: str) -> str:
    """A PATH with only these programs of the machine and these scripts."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_a_python_that_is_too_old_is_an_error(clone: Clone, tmp_path: Path) -> None:
    """The error names its version, or says that there is none."""
    old = 'case "$*" in *print*) echo python3 is 3.9 ;; *) exit 1 ;; esac'
    elsewhere = str(tmp_path)
    path = programs(tmp_path / "old", ["dirname"], python3=old)
    failure(clone.start(clone.root / "bg", "--version", PATH=path, XDG_CACHE_HOME=elsewhere), "3.11 or newer", "python3 is 3.9")
    path = programs(tmp_path / "none", ["dirname"])
    failure(clone.start(clone.root / "bg", "--version", PATH=path, XDG_CACHE_HOME=elsewhere), "there is no python3")
