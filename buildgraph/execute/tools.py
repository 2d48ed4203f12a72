"""Finding the tools: melange and apko of the pinned versions, and bubblewrap.

From PATH where the version is exactly the pinned one, else built once per user from ``tools/go.mod`` and ``go.sum``, which pin
their sources by checksum; bubblewrap from PATH, else from PyPI. Who says ``tools: path`` gets what is on PATH, of any version;
keys then name these programs by their content too. What was found is remembered by its stat: a warm start runs no program.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from buildgraph.errors import SandboxError, ToolError
from buildgraph.execute import process, provision
from buildgraph.keys.digest import digest_file
from buildgraph.structs import Struct

MODULES = {"melange": "chainguard.dev/melange", "apko": "chainguard.dev/apko"}
_VERSION = re.compile(r"^GitVersion:\s*(\S+)", re.MULTILINE)
_SECONDS = 60


class Toolbox(Struct, frozen=True):
    """The tools, and their versions as keys name them (``v0.59.1 with apko v1.2.37``, ``v1.2.37``)."""

    melange: Path
    apko: Path
    bwrap: Path
    melange_version: str
    apko_version: str


def pinned_versions(tools_dir: Path) -> dict[str, str]:
    """The versions that go.mod requires, by tool. Raises ToolError."""
    try:
        text = (tools_dir / "go.mod").read_text("utf-8")
    except OSError as error:
        message = f"cannot read {tools_dir / 'go.mod'}: {error.strerror}"
        raise ToolError(message) from error
    versions = {}
    for tool, module in MODULES.items():
        found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", text, re.MULTILINE)
        if not found:
            message = f"{tools_dir / 'go.mod'} requires no {module}"
            raise ToolError(message)
        versions[tool] = found[1]
    return versions


def find_tools(
    env: Mapping[str, str],
    tools_dir: Path,
    cache_home: Path,
    progress: Callable[[str], None],
    *,
    offline: bool = False,
    any_version: bool = False,
) -> Toolbox:
    """The tools, provisioned where they are missing; ``progress`` is told what takes long.

    With ``any_version`` melange and apko are those on PATH. Raises ToolError where a tool is missing and cannot be had.
    """
    memory = _Memory(cache_home / "tools" / "seen.json")
    if any_version:
        paths = {tool: _required(tool, env) for tool in MODULES}
        versions = {tool: f"{_said(path, memory) or 'unknown'} {memory.digest(path)}" for tool, path in paths.items()}
    else:
        versions = pinned_versions(tools_dir)
        found = {tool: _on_path(tool, version, env, memory) for tool, version in versions.items()}
        missing = any(path is None for path in found.values())
        built = provision.go_tools(tools_dir, cache_home / "tools", env, progress, offline=offline) if missing else Path()
        paths = {tool: path or built / tool for tool, path in found.items()}
    bwrap = _which("bwrap", env) or provision.bubblewrap(tools_dir, cache_home / "tools", env, progress, offline=offline)
    # melange does apko's part of a package build with the apko that it was linked with, which may be another one than ours.
    linked = memory.linked(paths["melange"], MODULES["apko"])
    memory.save()
    melange_version = f"{versions['melange']}{f' with apko {linked}' if linked else ''}"
    return Toolbox(paths["melange"], paths["apko"], bwrap, melange_version, versions["apko"])


def candidates(env: Mapping[str, str]) -> list[Path]:
    """Where melange and apko would be found on PATH, were they there: the places to watch for ``tools: path``."""
    return [Path(folder) / tool for folder in env.get("PATH", os.defpath).split(os.pathsep) for tool in MODULES]


def probe_sandbox(bwrap: Path) -> None:
    """Raises SandboxError where this machine cannot make a box."""
    command = [str(bwrap), "--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-net", "--ro-bind", "/", "/", "true"]
    answer = process.run(command, env={"PATH": "/usr/bin:/bin"}, timeout=_SECONDS)
    if answer.returncode:
        message = "this machine does not let bubblewrap make a sandbox"
        raise SandboxError(
            message,
            details=answer.stderr.strip(),
            hint="user namespaces may be switched off (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns); `--sandbox=off` builds without the box",
        )


def _which(name: str, env: Mapping[str, str]) -> Path | None:
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    return Path(found).resolve() if found else None


def _on_path(tool: str, version: str, env: Mapping[str, str], memory: _Memory) -> Path | None:
    """The tool on PATH, if it is of exactly this version."""
    path = _which(tool, env)
    # What it says is what it writes into SBOMs, so one of the pinned version that says "devel" is another tool.
    return path if path is not None and _said(path, memory) == version else None


def _required(tool: str, env: Mapping[str, str]) -> Path:
    path = _which(tool, env)
    if path is None:
        message = f"{tool} is not on PATH, where the manifest's `tools: path` wants it"
        raise ToolError(message, hint="without that line bg makes its own")
    return path


def _said(path: Path, memory: _Memory) -> str:
    """The version that a program calls itself; empty where it does not say."""
    known = memory.version(path)
    if known is None:
        try:
            answer = process.run([str(path), "version"], env={"PATH": "/usr/bin:/bin", "HOME": "/"}, timeout=_SECONDS)
        except ToolError:
            return ""
        said = _VERSION.search(answer.stdout + answer.stderr)
        known = said[1] if said else ""
        memory.learn(path, known)
    return known


def _module_version(path: Path, module: str) -> str:
    """The version of a module that Go's linker wrote into a binary (debug/buildinfo: ``dep<TAB>module<TAB>version``)."""
    pattern = re.compile(rb"(?:dep|mod)\t" + re.escape(module.encode()) + rb"\t(v[0-9A-Za-z.+-]+)")
    try:
        found = pattern.search(path.read_bytes())
    except OSError:
        return ""
    return found[1].decode() if found else ""


class _Memory:
    """Versions of programs seen before, by path and stat. Losing it costs running them once more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dirty = False
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            content = {}
        self._seen: dict[str, list[object]] = content if isinstance(content, dict) else {}

    def version(self, path: Path) -> str | None:
        """The version that a program had when it was asked, if it is still that file."""
        known = self._seen.get(str(path))
        return str(known[-1]) if isinstance(known, list) and known[:-1] == _stat(path) else None

    def linked(self, path: Path, module: str) -> str:
        """The version of a module that a program was linked with; empty where it does not say."""
        return self._derived(path, module, lambda: _module_version(path, module))

    def digest(self, path: Path) -> str:
        """The first digits of the digest of a program."""
        return self._derived(path, "digest", lambda: digest_file(path)[:16])

    def _derived(self, path: Path, what: str, derive: Callable[[], str]) -> str:
        name = f"{path} {what}"
        known = self._seen.get(name)
        if not (isinstance(known, list) and known[:-1] == _stat(path)):
            known = self._seen[name] = [*_stat(path), derive()]
            self._dirty = True
        return str(known[-1])

    def learn(self, path: Path, version: str) -> None:
        """Remembers a program's version."""
        self._seen[str(path)] = [*_stat(path), version]
        self._dirty = True

    def save(self) -> None:
        """Writes what was learnt; a failure costs time only."""
        if not self._dirty:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._seen), "utf-8")
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)


def _stat(path: Path) -> list[object]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]
