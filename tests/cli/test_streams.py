"""bg without the streams that a process usually has: closed ones, and one that takes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "contents:\n  packages: [a]\n"
ENTRY = "import sys; sys.path.insert(0, sys.argv.pop(1)); from buildgraph.cli.main import entry; entry()"


def bg(folder: Path, arguments: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """bg in a workspace of one image, started by a shell with a redirection."""
    (folder / "buildgraph.yaml").write_text("")
    (folder / "image.yaml").write_text(RECIPE)
    script = f'exec "$0" -c "$1" "$2" {arguments} {redirection}'
    command = ["sh", "-c", script, sys.executable, ENTRY, str(ROOT)]
    env = {"HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("redirection", [">&-", "<&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_swallows_what_is_said(tmp_path: Path, redirection: str) -> None:
    """The exit codes are those of any other run, and there is no traceback."""
    done = bg(tmp_path, "list", redirection)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("" if ">&-" in redirection.replace("2>&-", "") else "//:image  image    image.yaml\n")
    failed = bg(tmp_path, "list //nowhere", redirection)
    assert failed.returncode == 3
    assert failed.stderr.startswith("" if "2>&-" in redirection else "error: no target `//nowhere`\n")
    assert (tmp_path / "image.yaml").read_text() == RECIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments", ["list", "--help", "graph --format json"])
def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path, arguments: str) -> None:
    """A full disk below `bg ... >file` is told, and is a failure."""
    done = bg(tmp_path, arguments, ">/dev/full")
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"
    assert done.returncode == 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "redirection", "code", "said"),
    [
        ("list //nowhere", ">/dev/full", 3, "error: no target `//nowhere`\n\nhint: `bg list` shows every target\n"),
        ("list //nowhere", "2>/dev/full", 3, ""),
        ("list", ">/dev/full 2>/dev/full", 12, ""),
    ],
)
def test_an_error_keeps_its_exit_code_where_a_disk_is_full(
    tmp_path: Path, arguments: str, redirection: str, code: int, said: str
) -> None:
    """What went wrong first is what is told, as far as it can be."""
    done = bg(tmp_path, arguments, redirection)
    assert (done.returncode, done.stderr) == (code, said)


def test_what_was_printed_arrives_whatever_the_exit_code(tmp_path: Path) -> None:
    """A command that ends with a code of its own ends after its output."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "nothing yet"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    done = bg(tmp_path, "affected --since HEAD --exit-code", "")
    assert (done.returncode, done.stdout) == (1, "//:image\n"), done.stderr
