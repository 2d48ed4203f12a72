"""Labels and patterns: how people name targets.

//folder:name      one target; //a/b is short for //a/b:b
:name  name  a/b   relative to the folder one stands in
//a/...            every target at or below a
//a:all            every target in a
-//x               leave out what x matches (after a pattern that includes it)
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from buildgraph.errors import TargetError, UsageError, did_you_mean


@dataclass(frozen=True, slots=True, order=True)
class Label:
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
    patterns: Sequence[str], known: Iterable[Label], here: str = "", aliases: Callable[[Label], Label | None] = lambda _: None
) -> list[Label]:
    """The targets that the patterns name, sorted, each once.

    ``aliases`` maps a label that names no target to the one that it means (a subpackage to its origin, ``//images:api`` to
    ``images/api/apko.yaml``). Raises TargetError for a name or a pattern that matches nothing, UsageError for what is no pattern.
    """
    everything = sorted(known)
    chosen: dict[Label, None] = {}
    for pattern in patterns:
        spelled = absolute(pattern, here)
        exclude, spelled = spelled.startswith("-"), spelled.removeprefix("-")
        found = _matches(spelled, everything, aliases)
        for label in found:
            if exclude:
                chosen.pop(label, None)
            else:
                chosen[label] = None
    if not chosen:
        message = f"no target is left of {' '.join(patterns)}"
        raise TargetError(message, hint="what is left out (-//x) comes after a pattern that includes it")
    return sorted(chosen)


def _matches(spelled: str, everything: list[Label], aliases: Callable[[Label], Label | None]) -> list[Label]:
    if spelled == "//..." or spelled.endswith("/..."):
        folder = spelled[2:].removesuffix("...").strip("/")
        found = [label for label in everything if not folder or label.folder == folder or label.folder.startswith(folder + "/")]
        return found or _none_below(folder, everything, spelled)
    label = parse_label(spelled)
    if label in everything:
        return [label]
    if label.name == "all" and ":" in spelled:
        found = [other for other in everything if other.folder == label.folder]
        return found or _none_below(label.folder, everything, spelled)
    meant = aliases(label)
    if meant is not None:
        return [meant]
    message = f"no target `{label}`"
    hint = did_you_mean(str(label), map(str, everything)) or _same_name(label, everything)
    raise TargetError(message, hint=hint or "`bg list` shows every target")


def _same_name(label: Label, everything: list[Label]) -> str:
    return did_you_mean(label.name, (other.name for other in everything)) and "; ".join(
        f"did you mean `{other}`?" for other in everything if other.name == label.name
    )


def _none_below(folder: str, everything: list[Label], spelled: str) -> list[Label]:
    message = f"no target matches `{spelled}`"
    if not everything:
        raise TargetError(message, hint="this workspace holds no recipes: YAML files with `package:` or `contents:`")
    folders = {f"//{label.folder}/..." for label in everything if label.folder}
    raise TargetError(message, hint=did_you_mean(f"//{folder}/...", folders) or "`bg list` shows every target")
