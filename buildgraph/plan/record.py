"""Records: what one action gave, and which action a deep key led to. Both are JSON objects, checked when they come in.

docs/format.md lists every field. A record that does not check is a miss, never an error: it may come from another machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from buildgraph.apk.index import IndexEntry
from buildgraph.graph.resolve import Built
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.structs import Struct, field

FORMAT = 1
LOCAL = "local"  # the tier of what somebody builds for himself
MAX_OUTPUTS = 100_000
_LONGEST = 1e9  # seconds that an action may have taken
_END_OF_TIME = 253_402_300_800  # seconds since 1970 from which on there are no dates: the year 10000


class Output(Struct, frozen=True):
    """A file that an action made: its path within the output folder (with slashes, never outside it), content and size."""

    path: str
    digest: Digest
    size: int


class Discovered(Struct, frozen=True):
    """A requirement that melange's scan found, and the local package that met it in the box."""

    requirement: str
    node: str
    package: str


class Record(Struct, frozen=True):
    """What one action gave.

    ``action`` is the action key; ``document`` and ``log`` are blobs; ``packages`` are the index entries of the packages made
    (with the checksums of their canonical form); ``sealed`` says that the box was used. ``builder`` is a URI for who ran it,
    ``commit`` what the workspace was at, with a ``+`` where files were others, ``scratch`` where its temporary files lay
    ("memory" or "disk"), ``processors`` how many it could use; empty where not known; ``tier`` says who is answerable for it,
    ``fetched`` that another machine made it; ``envelope`` is the blob with what that machine signed, where it is kept.
    """

    action: Digest
    node: str
    document: Digest
    outputs: tuple[Output, ...]
    packages: tuple[IndexEntry, ...] = ()
    discovered: tuple[Discovered, ...] = ()
    log: Digest | None = None
    seconds: float = 0.0
    built_at: int = 0
    tools: Mapping[str, str] = field(default_factory=dict)
    sealed: bool = True
    builder: str = ""
    commit: str = ""
    scratch: str = ""
    processors: int = 0
    tier: str = LOCAL
    fetched: bool = False
    envelope: Digest | None = None

    def built(self) -> Built:
        """The packages' real metadata, for resolving."""
        return Built(
            {entry.name: entry for entry in self.packages},
            {found.requirement: (found.node, found.package) for found in self.discovered},
        )

    def content(self) -> list[tuple[str, Digest]]:
        """What dependents see of it."""
        return [(output.path, output.digest) for output in self.outputs]


class DeepRecord(Struct, frozen=True):
    """Where a deep key leads, and under which discoveries.

    What recipes declare is in the deep key. This is what only building showed, in the node's box and in those of all that was
    in it: ``nodes``, further nodes with their deep keys, and per architecture ``found``. A hit counts only while these hold.
    """

    action: Digest
    document: Digest
    nodes: Mapping[str, Digest]
    found: Mapping[str, Found]
    tier: str = LOCAL
    envelope: Digest | None = None  # as in `Record`


class Found(Struct, frozen=True):
    """What packages' real metadata asked for beyond what recipes declare.

    ``requirements`` went to the pool; ``names`` are all names asked for, the pool's own questions included; ``answer`` digests
    what the pool and the local packages have for them.
    """

    requirements: tuple[str, ...]
    names: tuple[str, ...]
    answer: Digest


def record_to_json(record: Record) -> dict[str, Any]:
    """The record as it is stored."""
    return {
        "format": FORMAT,
        "action": record.action,
        "node": record.node,
        "document": record.document,
        "outputs": [[output.path, output.digest, output.size] for output in record.outputs],
        "packages": [_entry_to_json(entry) for entry in record.packages],
        "discovered": [[found.requirement, found.node, found.package] for found in record.discovered],
        "log": record.log,
        "seconds": round(record.seconds, 3),
        "built_at": record.built_at,
        "tools": dict(record.tools),
        "sealed": record.sealed,
        "builder": record.builder,
        "commit": record.commit,
        "scratch": record.scratch,
        "processors": record.processors,
        "tier": record.tier,
        "fetched": record.fetched,
        **_envelope_to_json(record.envelope),
    }


def record_from_json(raw: Mapping[str, Any] | None, action: Digest) -> Record | None:
    """The record stored under ``action``, or None for anything that is not exactly such a record."""
    try:
        return None if raw is None else _record(raw, action)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _record(raw: Mapping[str, Any], action: Digest) -> Record | None:
    if raw["format"] != FORMAT or raw["action"] != action:
        return None
    outputs = tuple(Output(_inner_path(path), _digest(digest), _natural(size)) for path, digest, size in raw["outputs"])
    if len(outputs) > MAX_OUTPUTS or len({output.path for output in outputs}) != len(outputs):
        return None
    return Record(
        action=action,
        node=_text(raw["node"]),
        document=_digest(raw["document"]),
        outputs=outputs,
        packages=tuple(_entry_from_json(entry) for entry in raw["packages"]),
        discovered=tuple(Discovered(_text(one), _text(two), _text(three)) for one, two, three in raw["discovered"]),
        log=None if raw["log"] is None else _digest(raw["log"]),
        seconds=_seconds(raw["seconds"]),
        built_at=_natural(raw["built_at"], below=_END_OF_TIME),
        tools={_text(name): _text(version) for name, version in raw["tools"].items()},
        sealed=raw["sealed"] is True,
        builder=_text(raw.get("builder", "")),
        commit=_text(raw.get("commit", "")),
        scratch=_text(raw.get("scratch", "")),
        processors=_natural(raw.get("processors", 0)),
        tier=_text(raw.get("tier", LOCAL)),
        fetched=raw.get("fetched") is True,
        envelope=_envelope(raw),
    )


def deep_to_json(record: DeepRecord) -> dict[str, Any]:
    """The deep record as it is stored."""
    return {
        "format": FORMAT,
        "action": record.action,
        "document": record.document,
        "nodes": dict(record.nodes),
        "found": {
            architecture: [list(found.requirements), list(found.names), found.answer]
            for architecture, found in record.found.items()
        },
        "tier": record.tier,
        **_envelope_to_json(record.envelope),
    }


def deep_from_json(raw: Mapping[str, Any] | None) -> DeepRecord | None:
    """The deep record, or None for anything that is not exactly one."""
    try:
        if raw is None or raw["format"] != FORMAT:
            return None
        found = {
            _text(architecture): Found(_texts(requirements), _texts(names), _digest(answer))
            for architecture, (requirements, names, answer) in raw["found"].items()
        }
        nodes = {_text(node): _digest(key) for node, key in raw["nodes"].items()}
        tier, envelope = _text(raw.get("tier", LOCAL)), _envelope(raw)
        return DeepRecord(_digest(raw["action"]), _digest(raw["document"]), nodes, found, tier, envelope)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


_ENTRY_FIELDS = (
    "name", "version", "arch", "checksum", "size", "installed_size", "description", "origin", "license", "url", "commit",
    "build_date", "provider_priority", "depends", "provides", "install_if", "replaces",
)  # fmt: skip


def _entry_to_json(entry: IndexEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _ENTRY_FIELDS}


def _entry_from_json(raw: Mapping[str, Any]) -> IndexEntry:
    values: dict[str, Any] = {}
    for name in _ENTRY_FIELDS:
        value = raw[name]
        if name in {"depends", "provides", "install_if", "replaces"}:
            values[name] = _texts(value)
        elif name in {"size", "installed_size", "build_date", "provider_priority"}:
            values[name] = _natural(value)
        else:
            values[name] = _text(value)
    return IndexEntry(**values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(values: Sequence[object]) -> tuple[str, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError
    return tuple(_text(value) for value in values)


def _natural(value: object, *, below: int = 1 << 64) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
        raise TypeError
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LONGEST:
        raise TypeError
    return float(value)


def told_tier(tier: str) -> str:
    """A tier for people: it may be another machine's text, of any length and with any characters."""
    return f"of the tier `{ascii(tier[:80])[1:-1]}`"


def _envelope_to_json(envelope: Digest | None) -> dict[str, str]:
    return {} if envelope is None else {"envelope": envelope}


def _envelope(raw: Mapping[str, Any]) -> Digest | None:
    return None if raw.get("envelope") is None else _digest(raw["envelope"])


def _digest(value: object) -> Digest:
    digest = parse_digest(value)
    if digest is None:
        raise ValueError
    return digest


def _inner_path(value: object) -> str:
    path = _text(value)
    if not path or path.startswith("/") or "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError
    return path
