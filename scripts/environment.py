"""Makes one of the project's Python environments, once per user, and prints its folder: ``environment.py run|dev``.

The folder is named by the digest of what goes into it, so that a change of the requirements gives another one, and clones that
want the same share it. A virtual environment cannot be moved, so it is made in its place and counts once its marker exists: what
an interrupted run left behind has none and is made again. Only the standard library is used here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"run": "bg's own Python environment", "dev": "the Python environment for tests and checks"}
MARKER = ".complete"
BEAT = 10  # seconds between signs of life
FAILED = 8  # the exit code of a missing tool (buildgraph/errors.py)
# A user's settings that would have pip install elsewhere than into the environment, or not at all.
MISLEADING = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_DRY_RUN", "PIP_PYTHON"}


class Failure(Exception):  # noqa: N818 - it is one of an environment, not of this program
    """Why there is no environment, with the output of what failed and what to try."""

    def __init__(self, what: str, details: str, hint: str) -> None:
        super().__init__(f"error: {what}\n\n{details}\n\nhint: {hint}" if details else f"error: {what}\n\nhint: {hint}")


def main() -> int:
    """Runs the command line; the exit code."""
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:  # noqa: PLR2004 - the program and one argument
        print(f"usage: scripts/environment {'|'.join(KINDS)}", file=sys.stderr)
        return 2
    kind = sys.argv[1]
    try:
        home = cache()
        changed = last_change(requirements(kind))
        folder = ready(kind, home)
        if kind == "run":
            note(folder, home, changed)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted: the next start goes on", file=sys.stderr)
        return 130
    print(folder)
    return 0


def cache() -> Path:
    """Where environments are; as buildgraph/cli/places.py has it."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if os.path.isabs(named) else Path(os.environ.get("HOME") or os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117 - raise nothing
    return base / "buildgraph" / "env"


def requirements(kind: str) -> Path:
    """The locked requirements of an environment."""
    return ROOT / "requirements" / f"{kind}.txt"


def ready(kind: str, home: Path) -> Path:
    """The folder of a whole environment, made if need be."""
    try:
        wanted = requirements(kind).read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {error.strerror}", "", "is this clone whole? `git status` tells") from error
    base = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    python = f"{sys.implementation.cache_tag} {platform.python_version()} {sysconfig.get_platform()} {base}"
    folder = home / f"{kind}-{hashlib.sha256(wanted + python.encode()).hexdigest()[:16]}"
    if whole(folder):
        return folder
    try:
        with alone(folder):
            if not whole(folder):
                make(kind, folder, base)
    except OSError as error:
        hint = "XDG_CACHE_HOME names another place for what bg keeps per user"
        raise Failure(f"cannot write {error.filename or folder}: {error.strerror}", "", hint) from error
    return folder


def whole(folder: Path) -> bool:
    """Whether an environment was made to its end and its Python is still there."""
    return (folder / MARKER).is_file() and os.access(folder / "bin" / "python", os.X_OK)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps all others that want this environment waiting; the kernel lifts the lock of a process that dies."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that sets up the same Python environment")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def make(kind: str, folder: Path, base: Path) -> None:
    """Makes an environment in its place."""
    started = time.monotonic()
    say(f"setting up {KINDS[kind]}, once per user (about {'ten seconds' if kind == 'run' else 'a minute'}) ...")
    if folder.exists():
        shutil.rmtree(folder)
    answer = run([str(base), "-I", "-m", "venv", str(folder)])
    if answer.returncode:
        version = "{}.{}".format(*sys.version_info[:2])
        hint = f"install the distribution's package for that (Debian: apt install python3-venv, or python{version}-venv)"
        shutil.rmtree(folder, ignore_errors=True)
        raise Failure(f"Python {version} here cannot make virtual environments", tail(answer.stdout), hint)
    pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    answer = run([*pip, "--require-hashes", "-r", str(requirements(kind))])
    if answer.returncode:
        hint = "is the network there? pip's own settings hold (PIP_INDEX_URL, PIP_CERT, HTTPS_PROXY, ...)"
        raise Failure(f"pip could not install {requirements(kind)}", tail(answer.stdout), hint)
    (folder / MARKER).touch()
    say(f"ready after {time.monotonic() - started:.0f} s: {folder}")


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, with signs of life; what it said on both streams is in ``stdout``."""
    env = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    started = time.monotonic()
    said, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(argv, env=env, text=True, errors="replace", stdin=null, stdout=said, stderr=subprocess.STDOUT) as child:
        try:
            while True:
                try:
                    output, _ = child.communicate(timeout=BEAT)
                    return subprocess.CompletedProcess(argv, child.returncode, output)
                except subprocess.TimeoutExpired:
                    say(f"still at it, for {time.monotonic() - started:.0f} s")
        except BaseException:
            child.kill()
            raise


def last_change(path: Path) -> int:
    """The time of a file's last change in nanoseconds; 0 where there is no file, which is told later."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def note(folder: Path, home: Path, changed: int) -> None:
    """Tells the launcher of this clone which environment to take, for as long as the requirements have the time ``changed``."""
    noted = Path(f"{home}/clones{ROOT}/run")
    temporary = noted.with_name(f".run.{os.getpid()}")
    try:
        noted.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{folder}\n", "utf-8")
        os.utime(temporary, ns=(changed, changed))
        temporary.replace(noted)
    except OSError:
        temporary.unlink(missing_ok=True)  # the launcher asks again at its next start, which costs time only


def tail(text: str) -> str:
    """The last lines of what a program said."""
    return "\n".join(text.strip().splitlines()[-8:])


def say(text: str) -> None:
    """A line for the person who waits."""
    print(f"bg: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
