"""Running an image without a container runtime: its layers unpacked, and bubblewrap with what its configuration says.

Layers are OCI image-spec layer archives (media types ending in tar+gzip). Members that would leave the root are refused; apko
writes no whiteouts, but they are honoured.
"""

from __future__ import annotations

import copy
import json
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from buildgraph.errors import OutputError, did_you_mean
from buildgraph.outputs.programs import check_program
from buildgraph.recipes.architecture import to_apk
from buildgraph.structs import Struct, field

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class ImageConfig(Struct, frozen=True):
    """The part of an image's configuration that running it needs."""

    user: str
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    folder: str


def read_image(layout: Path, architecture: str) -> tuple[ImageConfig, list[Path]]:
    """The configuration and the layer files of the image for an architecture (as OCI names it). Raises OutputError."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        images = [(manifest, _blob(layout, manifest["config"]["digest"])) for manifest in _manifests(layout, index)]
        found = {image["architecture"]: (manifest, image.get("config", {})) for manifest, image in images}
        manifest, config = found.get(architecture, ({"layers": []}, {}))
        layers = [_blob_path(layout, layer["digest"]) for layer in manifest["layers"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{layout} is no OCI layout that can be run: {error!r}"
        raise OutputError(message) from error
    if architecture not in found:
        message = f"there is no image for {to_apk(architecture)}, only for {', '.join(map(to_apk, sorted(found)))}"
        raise OutputError(message, hint="`bg run --arch` takes another, where the machine can run its programs")
    return (
        ImageConfig(
            user=config.get("User", ""),
            command=tuple(config.get("Entrypoint") or ()),
            arguments=tuple(config.get("Cmd") or ()),
            environment=tuple(config.get("Env") or ()),
            folder=config.get("WorkingDir") or "/",
        ),
        layers,
    )


def _manifests(layout: Path, index: Mapping[str, Any]) -> Iterator[Any]:
    """The manifests of an index and of the indexes in it."""
    for entry in index["manifests"]:
        content = _blob(layout, entry["digest"])
        if "manifests" in content:
            yield from _manifests(layout, content)
        else:
            yield content


def _blob_path(layout: Path, digest: str) -> Path:
    algorithm, _, value = digest.partition(":")
    if not (algorithm.isalnum() and value.isalnum()):
        message = f"bad digest {digest}"
        raise ValueError(message)
    return layout / "blobs" / algorithm / value


def _blob(layout: Path, digest: str) -> Any:
    return json.loads(_blob_path(layout, digest).read_bytes())


def unpack(layers: Sequence[Path], root: Path) -> dict[str, tuple[int, int]]:
    """Unpacks layers over one another; owner and mode of each folder by its path, as the image has them.

    On disk everything belongs to whoever runs this. Raises OutputError.
    """
    root.mkdir(parents=True, exist_ok=True)
    folders: dict[str, tuple[int, int]] = {}
    try:
        for layer in layers:
            with tarfile.open(layer) as archive:
                _remove_whiteouts(archive, root)
                archive.extraction_filter = lambda member, _: member
                archive.extractall(root, _members(archive, root))  # noqa: S202 - what leaves the root is refused there
                folders.update((member.name.strip("/"), (member.uid, member.mode)) for member in archive if member.isdir())
    except (OSError, tarfile.TarError) as error:
        message = f"cannot unpack a layer of the image: {error}"
        raise OutputError(message) from error
    return folders


def _members(archive: tarfile.TarFile, root: Path) -> Iterator[tarfile.TarInfo]:
    """What is to be unpacked, owned by whoever runs this; TarError for what would lie outside the root, be it by a link.

    tarfile's own filters would do, but Debian 12's Python is older than they are.
    """
    inside = os.path.realpath(root)
    for member in archive:
        if posixpath.basename(member.name).startswith(_WHITEOUT) or member.isdev():
            continue
        kept = copy.copy(member)
        kept.name = member.name.lstrip("/")
        for name in (kept.name, *([member.linkname] if member.islnk() else ())):
            if os.path.commonpath([inside, os.path.realpath(os.path.join(inside, name))]) != inside:  # noqa: PTH118 - as text
                message = f"{member.name} would lie outside of the root"
                raise tarfile.ReadError(message)
        kept.mode = member.mode | 0o700 if member.isdir() else member.mode
        kept.uid, kept.gid, kept.uname, kept.gname = os.getuid(), os.getgid(), "", ""
        yield kept


def _remove_whiteouts(archive: tarfile.TarFile, root: Path) -> None:
    """Takes away what a layer hides of those below it: one entry, or with an opaque whiteout all that its folder has.

    To be called before the layer is unpacked, since whiteouts hide nothing of their own layer (OCI image-spec v1.1.0, layer.md,
    "Whiteouts").
    """
    for member in archive:
        path = Path(member.name.lstrip("/"))
        if not path.name.startswith(_WHITEOUT):
            continue
        folder = (root / path.parent).resolve()
        if not folder.is_relative_to(root.resolve()) or not folder.is_dir():  # a link may lead elsewhere
            continue
        hidden = folder.iterdir() if path.name == _OPAQUE else (folder / path.name.removeprefix(_WHITEOUT),)
        for one in hidden:
            _remove(one)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Launch(Struct, frozen=True):
    """How to run an image: other arguments, more environment, another entrypoint, whether a person sits at a terminal."""

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: str = ""
    interactive: bool = False


def run_command(
    config: ImageConfig, root: Path, folders: Mapping[str, tuple[int, int]], bwrap: Path, launch: Launch
) -> list[str]:
    """The bubblewrap command line that runs an image as its user, sharing only the network with the host. Raises OutputError.

    The root file system is read-only but for the folders that the image lets that user write to.
    """
    user, group = _ids(config.user, root)
    line = [str(bwrap), "--ro-bind" if user else "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    for path, (owner, mode) in sorted(folders.items()):
        if user and path and path != "tmp" and _is_in(root, path) and ((owner == user and mode & 0o200) or mode & 0o002):
            line += ["--bind", str(root / path), f"/{path}"]
    line += ["--tmpfs", "/tmp"]  # noqa: S108 - within the image
    line += ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "image"]
    line += ["--die-with-parent", "--cap-drop", "ALL", "--uid", str(user), "--gid", str(group)]
    line += [] if launch.interactive else ["--new-session"]
    if (root / "etc" / "resolv.conf").is_file():
        line += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    line += ["--chdir", config.folder, "--clearenv"]
    values = dict(pair.partition("=")[::2] for pair in config.environment) | dict(launch.environment)
    values.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    for name, value in sorted(values.items()):
        line += ["--setenv", name, value]
    command = [launch.entrypoint] if launch.entrypoint else list(config.command)
    command += launch.arguments or (() if launch.entrypoint else config.arguments)
    if not command:
        message = "the image has no entrypoint and no command"
        raise OutputError(message, hint="name one: bg run //images:x --entrypoint /usr/bin/something")
    check_program(command[0], root, config.folder, values["PATH"])
    return [*line, "--", *command]


def _is_in(root: Path, path: str) -> bool:
    """Whether a folder of an image is one still, and no link to somewhere else: bubblewrap would follow it on the host."""
    return (root / path).is_dir() and (root / path).resolve() == root.resolve() / path


def _ids(user: str, root: Path) -> tuple[int, int]:
    """The numbers of the image's user and group; 0 where it names none, as the OCI image-spec has it. Raises OutputError."""
    name, _, group = user.partition(":")
    passwd, groups = _table(root / "etc" / "passwd"), _table(root / "etc" / "group")
    known = next((row for row in passwd if name and name in (row[0], row[2])), None)
    listed = next((row for row in groups if row[0] == group), None)
    # Never as root instead.
    if name and not known and not name.isdigit():
        hint = did_you_mean(name, {row[0] for row in passwd}) or "`accounts:` of the recipe has `run-as`, and can have `users`"
        raise OutputError(f"the image runs as `{name}`, and its /etc/passwd has no such user", hint=hint)
    if group and not listed and not group.isdigit():
        hint = did_you_mean(group, {row[0] for row in groups}) or "`accounts:` of the recipe has `run-as`, and can have `groups`"
        raise OutputError(f"the image runs with the group `{group}`, and its /etc/group has no such group", hint=hint)
    uid = int(name) if name.isdigit() else int(known[2]) if known else 0
    if group:
        return uid, int(group) if group.isdigit() else int(listed[2]) if listed else 0
    return uid, int(known[3]) if known and known[3].isdigit() else 0


def _table(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [row for line in lines if len(row := line.split(":")) >= 4 and row[2].isdigit()]  # noqa: PLR2004 - passwd and group have at least four fields
