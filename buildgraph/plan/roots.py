"""What is kept whatever its age: targets that somebody pinned, and the last builds of those that somebody wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from buildgraph.cache.files import faults, replacing
from buildgraph.cache.records import Records
from buildgraph.errors import CacheError
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.structs import Struct

WANTED: Final = "wanted"
BUILDS_KEPT = 2
GONE_AFTER = 7 * 86400.0  # seconds without a new result, after which a workspace whose folder is not there counts as gone
_FORMAT = 1


class Pin(Struct, frozen=True, order=True):
    """A target of a workspace, which is named by 16 digits and by its path for people."""

    workspace: str
    target: str
    path: str = ""


class Wanted(Struct, frozen=True):
    """The last results of the nodes of a workspace that builds were asked for by name or pattern, newest first."""

    path: str
    builds: Mapping[str, tuple[Digest, ...]]


def wanted_from_json(raw: Mapping[str, Any] | None) -> Wanted | None:
    """What is stored, or None for anything else."""
    try:
        if raw is None or raw["format"] != _FORMAT or not isinstance(raw["path"], str):
            return None
        builds = {str(node): tuple(_digests(actions)) for node, actions in raw["builds"].items()}
        return Wanted(raw["path"], builds)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _digests(values: Sequence[object]) -> Iterable[Digest]:
    for value in values:
        digest = parse_digest(value)
        if digest is None:
            raise ValueError
        yield digest


def note_wanted(records: Records, workspace: str, path: Path, results: Mapping[str, Digest]) -> None:
    """Notes the results that a build gave for what it was asked for; writes only what is new. Raises CacheError."""
    before = wanted_from_json(records.get(WANTED, workspace)) or Wanted(str(path), {})
    builds = dict(before.builds)
    for node, action in results.items():
        earlier = [other for other in builds.get(node, ()) if other != action]
        builds[node] = (action, *earlier)[:BUILDS_KEPT]
    if builds != before.builds or before.path != str(path):
        records.put(WANTED, workspace, {"format": _FORMAT, "path": str(path), "builds": builds})


def load_pins(root: Path) -> list[Pin]:
    """The pins of a cache, sorted. Raises CacheError for a file that is not one of pins: nothing may be lost for that."""
    path = root / "pins"
    try:
        lines = path.read_text("utf-8").splitlines()
        return sorted({Pin(str(raw["workspace"]), str(raw["target"]), str(raw["path"])) for raw in map(json.loads, lines)})
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise CacheError(message) from error
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} does not hold pins"
        raise CacheError(message, hint="remove the file and pin again") from error


def change_pins(root: Path, change: Callable[[set[Pin]], Collection[Pin]]) -> None:
    """Replaces the pins of a cache in one step; the caller keeps others from doing so at once. Raises CacheError."""
    pins = sorted(change(set(load_pins(root))))
    text = "".join(json.dumps({"workspace": pin.workspace, "target": pin.target, "path": pin.path}) + "\n" for pin in pins)
    with faults(f"write the pins in {root}"), replacing(root / "pins") as temporary:
        temporary.write_text(text, "utf-8")


def is_gone(wanted: Wanted, stored_at: float, now: float) -> bool:
    """Whether a workspace counts as removed: its folder is not on this machine, and it had no new result for a while."""
    return now - stored_at > GONE_AFTER and not Path(wanted.path).is_dir()
