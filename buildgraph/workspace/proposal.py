"""A manifest in the making: what `bg init` would write, each entry with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from buildgraph.structs import Struct, field
from buildgraph.workspace.manifest import CACHE, OUT, OUTPUTS, Manifest, parse_manifest
from buildgraph.workspace.workspace import holds_sources

# Where bg keeps its things in a repository that has folders of its own under their usual names.
OWN_FOLDER = ".buildgraph"
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./:+@=-]*[A-Za-z0-9_/.]|[A-Za-z0-9_./]")
_GLOB = re.compile(r"([*?\[\]\\!#])")
_ESCAPED = r"\\\1"


class Proposal(Struct):
    """The entries of a manifest for the folder ``root``; each value maps to why it is there.

    ``exclude`` has paths of files; ``targets`` the settings of targets by label and by the setting's name.
    """

    root: Path
    folders: dict[str, tuple[str, str]] = field(default_factory=dict)
    exclude: dict[str, str] = field(default_factory=dict)
    pipelines: dict[str, str] = field(default_factory=dict)
    repositories: dict[str, str] = field(default_factory=dict)
    keyring: dict[str, str] = field(default_factory=dict)
    targets: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    @staticmethod
    def beginning(root: Path) -> Proposal:
        """The manifest of a folder whose recipes are not looked at yet."""
        found = Proposal(root)
        if holds_sources(root / CACHE):
            found.folders["cache"] = (f"{OWN_FOLDER}/cache", f"the folder {CACHE} is this repository's own")
        if _is_foreign(root / OUT):
            found.folders["out"] = (f"{OWN_FOLDER}/out", f"the folder {OUT} is this repository's own")
        return found

    def setting(self, label: str, name: str, value: str, why: str) -> None:
        """Adds a value to a list among a target's settings."""
        self.targets.setdefault(label, {}).setdefault(name, {}).setdefault(value, why)

    def manifest(self) -> Manifest:
        """What the text says."""
        return parse_manifest(self.root, self.text().encode())

    def text(self) -> str:
        """The manifest as it would be written; a comment where nothing has to be said."""
        lines = [f"{key}: {_scalar(value)} # {_comment(why)}" for key, (value, why) in self.folders.items()]
        lines += _list("exclude", {f"/{_GLOB.sub(_ESCAPED, path)}": why for path, why in self.exclude.items()})
        for name in ("repositories", "keyring", "pipelines"):
            lines += _list(name, getattr(self, name))
        if self.targets:
            lines.append("targets:")
        for label, settings in sorted(self.targets.items()):
            lines.append(f"  {_scalar(label)}:")
            for name, values in settings.items():
                shown = ", ".join(map(_scalar, values))
                lines.append(f"    {name}: [{shown}] # {_comment('; '.join(dict.fromkeys(values.values())))}")
        if not lines:
            return "# The recipes say all that bg needs; docs/manual.md of buildgraph lists what could stand here.\n"
        return "\n".join(["# What the recipes cannot say; docs/manual.md of buildgraph lists the keys.", *lines, ""])


def _is_foreign(folder: Path) -> bool:
    """Whether a folder for outputs holds something that bg did not put there."""
    try:
        return any(path.name not in OUTPUTS and not path.name.startswith(".") for path in folder.iterdir())
    except OSError:
        return folder.exists()


def _list(key: str, values: dict[str, str]) -> Iterable[str]:
    if values:
        yield f"{key}:"
        yield from (f"  - {_scalar(value)} # {_comment(why)}" for value, why in values.items())


def _scalar(text: str) -> str:
    """A text as a YAML scalar that every reader takes for this text."""
    return text if _PLAIN.fullmatch(text) and not text[0].isdigit() else json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return " ".join(text.split())
