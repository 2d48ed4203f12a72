"""Labels and patterns: how people name targets.

//folder:name      one target; //a/b is short for //a/b:b, or for //a:b where there is no //a/b:b
:name  name  a/b   relative to the folder one stands in
//a/...            every target at or below a
//a:all            every target in a
-//x               leave out what x matches (after a pattern that includes it)
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence

from buildgraph.errors import TargetError, UsageError, closest
from buildgraph.structs import Struct

MOST_SUGGESTED = 3


class Label(Struct, frozen=True, order=True):
    """A target's name: its folder relative to the recipes folder ("" for that folder itself) and its own name."""

    folder: str
    name: str

    def __str__(self) -> str:
        return f"//{self.folder}:{self.name}"


def parse_label(text: str) -> Label:
    """The label that ``//folder:name`` or ``//folder`` spells; UsageError where it spells none."""
    if not text.startswith("//"):
        message = f"`{text}` is not a label"
        raise UsageError(message, hint="a label looks like //folder:name")
    folder, colon, name = text[2:].partition(":")
    folder = folder.strip("/")
    if not colon:
        name = posixpath.basename(folder)
    if not name or "//" in folder or any(part in {".", "..", "..."} for part in folder.split("/")):
        message = f"`{text}` is not a label"
        raise UsageError(message, hint="a label looks like //folder:name")
    return Label(folder, name)


def absolute(text: str, here: str) -> str:
    """``text`` with a relative label or pattern made absolute, ``here`` being the folder one stands in."""
    sign, body = ("-", text[1:]) if text.startswith("-") else ("", text)
    if body.startswith("//"):
        return sign + body
    folder, colon, name = body.partition(":")
    folder = posixpath.normpath(posixpath.join(here, folder)) if folder else here
    if folder.startswith("../") or folder == "..":
        message = f"`{text}` points outside the recipes folder"
        raise UsageError(message)
    folder = "" if folder == "." else folder
    return f"{sign}//{folder}{colon}{name}"


def select(
    patterns: Sequence[str],
    known: Iterable[Label],
    here: str = "",
    aliases: Callable[[Label], Label | None] = lambda _: None,
    also: Iterable[Label] = (),
) -> list[Label]:
    """The targets that the patterns name, sorted, each once.

    ``aliases`` maps a label that names no target to the one that it means (a subpackage to its origin, ``//images:api`` to
    ``images/api/apko.yaml``); ``also`` are labels of that kind, to be suggested. Raises TargetError for a name or a pattern that
    matches nothing, UsageError for what is no pattern.
    """
    everything = sorted(known)
    folders = _folders(everything)
    chosen: dict[Label, None] = {}
    for pattern in patterns:
        spelled = absolute(pattern, here)
        exclude, spelled = spelled.startswith("-"), spelled.removeprefix("-")
        found = _matches(spelled, everything, aliases)
        if not found:
            raise _nothing(spelled, everything, folders, also)
        for label in found:
            if exclude:
                chosen.pop(label, None)
            else:
                chosen[label] = None
    if not chosen:
        message = f"no target is left of {' '.join(patterns)}"
        raise TargetError(message, hint="what is left out (-//x) comes after a pattern that includes it")
    return sorted(chosen)


def _folders(labels: Iterable[Label]) -> set[str]:
    """The folders at or below which there are targets, without the recipes folder itself."""
    found: set[str] = set()
    for label in labels:
        folder = label.folder
        while folder and folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return found


def _matches(spelled: str, everything: list[Label], aliases: Callable[[Label], Label | None]) -> list[Label]:
    if _is_recursive(spelled):
        folder = spelled[2:].removesuffix("...").strip("/")
        return [label for label in everything if not folder or label.folder == folder or label.folder.startswith(folder + "/")]
    label = parse_label(spelled)
    if label in everything:
        return [label]
    if _is_folder(spelled, label):
        return [other for other in everything if other.folder == label.folder]
    meant = aliases(label)
    if meant is None and ":" not in spelled:
        inner = Label(posixpath.dirname(label.folder), label.name)
        meant = inner if inner in everything else aliases(inner)
    return [meant] if meant is not None else []


def _is_recursive(spelled: str) -> bool:
    return spelled == "//..." or spelled.endswith("/...")


def _is_folder(spelled: str, label: Label) -> bool:
    return label.name == "all" and ":" in spelled


def _nothing(spelled: str, everything: list[Label], folders: set[str], also: Iterable[Label]) -> TargetError:
    """The error for a pattern that matches nothing, with the names that are like it."""
    if not everything:
        return TargetError(f"no target matches `{spelled}`", hint="this workspace holds no recipes")
    if _is_recursive(spelled):
        meant = [f"//{folder}/..." for folder in closest(spelled[2:].removesuffix("...").strip("/"), folders)]
        return TargetError(f"no target matches `{spelled}`", hint=_hint(meant))
    label = parse_label(spelled)
    if _is_folder(spelled, label):
        meant = [f"//{folder}:all" for folder in closest(label.folder, {other.folder for other in everything})]
        return TargetError(
            f"no target matches `{spelled}`", hint=_hint([f"//{label.folder}/..."] if label.folder in folders else meant)
        )
    names = sorted({*everything, *also})
    meant = [str(other) for other in names if other.name == label.name] or closest(str(label), map(str, names))
    if not meant:
        alike = closest(label.name, {other.name for other in names})
        meant = [str(other) for other in names if other.name in alike]
    return TargetError(f"no target `{spelled}`", hint=_folder_meant(spelled, folders) or _hint(meant[:MOST_SUGGESTED]))


def _hint(meant: list[str]) -> str:
    names = " or ".join(f"`{text}`" for text in meant)
    return f"did you mean {names}?" if names else "`bg list` shows every target"


def _folder_meant(spelled: str, folders: set[str]) -> str:
    folder = spelled[2:].strip("/")
    return f"for the targets in that folder say `//{folder}/...`" if folder in folders else ""
