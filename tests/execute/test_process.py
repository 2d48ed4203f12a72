"""Programs are run with what they are given, and everything that they started can be stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildgraph.errors import ToolError
from buildgraph.execute import process
from tests.waiting import wait_for

ENV = {"PATH": "/usr/bin:/bin"}


def test_a_program_gets_exactly_the_environment_given(tmp_path: Path) -> None:
    """Nothing of bg's own environment reaches a child."""
    done = process.run(["env"], env={"ONE": "1", **ENV}, cwd=tmp_path)
    assert (done.returncode, sorted(done.stdout.split())) == (0, ["ONE=1", "PATH=/usr/bin:/bin"])


def test_a_program_reads_what_it_is_given() -> None:
    """All of it, whatever it is, whether the program wants it or not; nothing where nothing is given."""
    data = b"\0\xff\n" * 100_000
    assert process.run(["cat"], env=ENV, given=data).output == data
    assert process.run(["true"], env=ENV, given=data).returncode == 0
    assert process.run(["cat"], env=ENV).output == b""


def test_what_cannot_run_is_a_tool_error(tmp_path: Path) -> None:
    """A missing program, one that may not be executed, one that takes too long."""
    with pytest.raises(ToolError, match="No such file"):
        process.run([str(tmp_path / "missing")], env=ENV)
    (tmp_path / "plain").write_text("")
    with pytest.raises(ToolError, match="Permission denied"):
        process.run([str(tmp_path / "plain")], env=ENV)
    with pytest.raises(ToolError, match="did not end within"):
        process.run(["sleep", "30"], env=ENV, timeout=0.05)


def test_a_log_holds_both_streams_and_the_umask_counts(tmp_path: Path) -> None:
    """stdout and stderr in the order in which they were written; files with the modes that were asked for."""
    script = "umask; echo out; echo err >&2; touch made; exit 3"
    code = process.run_logged(["sh", "-c", script], env=ENV, cwd=tmp_path, log=tmp_path / "log", umask=0o027)
    assert code == 3
    assert (tmp_path / "log").read_text() == "0027\nout\nerr\n"
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o640


def test_kill_all_stops_whole_families(tmp_path: Path) -> None:
    """Children that ignore SIGTERM and grandchildren in the background end too, and nothing starts afterwards."""
    program = f"""
import threading, time, sys
from pathlib import Path
from buildgraph.errors import Interrupted
from buildgraph.execute import process
from tests.waiting import wait_for
def work(script):
    process.run_logged(["sh", "-c", script], env={ENV}, cwd=Path({str(tmp_path)!r}), log=Path({str(tmp_path)!r}) / script[:6])
threads = [threading.Thread(target=work, args=(script,)) for script in
           ("echo 1; trap '' TERM; sleep 600 & sleep 600; sleep 600", "echo 2; exec sleep 600")]
for thread in threads: thread.start()
wait_for(lambda: [log.read_text() for log in sorted(Path({str(tmp_path)!r}).glob("echo *"))] == ["1\\n", "2\\n"])
process.kill_all()
for thread in threads: thread.join()
try:
    process.run(["true"], env={ENV})
except Interrupted:
    print("nothing starts any more")
"""
    env = {**ENV, "PYTHONPATH": os.pathsep.join(sys.path), "MARK": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "nothing starts any more\n", done.stderr
    wait_for(lambda: not [folder for folder in Path("/proc").glob("[0-9]*/cwd") if stands_in(folder, tmp_path)])


def stands_in(link: Path, folder: Path) -> bool:
    """Whether a process (its ``cwd`` in /proc) has this working folder."""
    try:
        return link.readlink() == folder
    except OSError:
        return False


def test_the_foreground_program_has_bg_s_own_streams() -> None:
    """It writes where bg does, and its exit code is bg's."""
    program = (
        f"from buildgraph.execute import process; print(process.run_foreground(['sh', '-c', 'echo hello; exit 7'], env={ENV}))"
    )
    env = {**ENV, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-u", "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n7\n"
