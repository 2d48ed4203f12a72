"""`bg cache`: what the cache holds, making room in it, mending it, keeping targets in it, and handing results on."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from buildgraph.cache import storage
from buildgraph.cache.cas import Cas
from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import CacheError, TargetError, UsageError
from buildgraph.keys.digest import new_hasher
from buildgraph.plan import archive, checkup, collection, roots
from buildgraph.plan.collection import Limits, Removed
from buildgraph.plan.inventory import Held, Inventory, take_inventory
from buildgraph.plan.roots import Pin
from buildgraph.report.graphs import counted
from buildgraph.report.inspection import size
from buildgraph.report.views import table, to_json
from buildgraph.workspace import labels

_MOST_SHOWN = 20
_WORDS = {
    "result": "result",
    "fetched": "fetched file",
    "stray": "file that nothing names",
    "unpacked": "unpacked package",
    "damaged": "damaged file",
    "workspace": "workspace that is gone",
}


def cache(options: argparse.Namespace, session: Session) -> int:
    """The command."""
    return _OPERATIONS[options.operation](options, _Cache(session))


class _Cache:
    """A cache to work on, which is not held as a build holds it."""

    def __init__(self, session: Session) -> None:
        self.session, self.root = session, session.cache_folder
        self.cas, self.records = Cas(self.root, new_hasher), session.records

    def inventory(self, *, texts: bool = False) -> Inventory:
        return take_inventory(self.root, self.cas, self.records, texts=texts)

    def kept(self, inventory: Inventory, now: float) -> dict[str, str]:
        return collection.kept_actions(inventory, roots.load_pins(self.root), now)

    def selected(self, inventory: Inventory, patterns: Sequence[str]) -> list[Held]:
        """The results of the targets that patterns name; all without a pattern. Raises TargetError."""
        results = sorted(inventory.results, key=lambda held: (held.name, -held.stored_at, held.action))
        if not patterns:
            return results
        chosen = _select(patterns, (held.target for held in results), self.session)
        return [held for held in results if held.target in chosen]


def _select(patterns: Sequence[str], known: Iterable[str], session: Session) -> set[str]:
    there = set[labels.Label]()
    for target in known:
        with suppress(UsageError):  # a record may say anything, and must not keep others from being found
            there.add(labels.parse_label(target))
    if not there:
        message = f"nothing there matches {' '.join(patterns)}"
        raise TargetError(message, hint="`bg cache ls` lists results, `bg cache pin` pinned targets")
    return {str(label) for label in labels.select(patterns, there, session.selection.folder)}


def _stats(options: argparse.Namespace, held: _Cache) -> int:
    with held.session.use.together():
        inventory = held.inventory(texts=True)
    now = time.time()
    kinds = {kind: [one for one in inventory.held if one.kind == kind] for kind in _WORDS if kind != "workspace"}
    used = [one.used_at for one in inventory.results]
    answer: dict[str, Any] = {
        "folder": str(held.root),
        "size": inventory.size(),
        "blobs": {"count": len(inventory.blobs), "size": sum(blob.size for blob in inventory.blobs.values())},
        "records": {kind: {"count": count, "size": inventory.bytes[kind]} for kind, count in sorted(inventory.counts.items())},
        "database": storage.size_of(held.root / "records") + storage.size_of(held.records.journal),
        "held": {kind: {"count": len(some), "size": sum(map(inventory.size_of, some))} for kind, some in kinds.items()},
        "used": {"oldest": int(min(used)), "newest": int(max(used))} if used else None,
        "kept": sum(one.action in held.kept(inventory, now) for one in inventory.results),
        "pins": len(roots.load_pins(held.root)),
        "budget": held.session.manifest.cache_size or None,
    }
    show([to_json(answer)] if options.json else _stats_lines(answer, now))
    return 0


def _stats_lines(answer: dict[str, Any], now: float) -> list[str]:
    budget = f" of {size(answer['budget'])}" if answer["budget"] else ""
    rows = [("in all", f"{size(answer['size'])}{budget}", answer["folder"])]
    rows.append(("files", size(answer["blobs"]["size"]), counted(answer["blobs"]["count"], "file")))
    for kind, one in answer["held"].items():
        if one["count"]:
            rows.append((f"  {_plural(kind)}", size(one["size"]), str(one["count"])))
    rows.append(
        ("records", size(answer["database"]), ", ".join(f"{one['count']} {kind}" for kind, one in answer["records"].items()))
    )
    if answer["used"]:
        ages = (_ago(now - answer["used"][which]) for which in ("oldest", "newest"))
        rows.append(("last used", "", " to ".join(ages)))
    rows.append(("kept", "", f"{counted(answer['kept'], 'result')}, by {counted(answer['pins'], 'pin')} and the last builds"))
    return table(rows)


def _gc(options: argparse.Namespace, held: _Cache) -> int:
    limits = Limits(options.max_size, options.older_than)
    if limits == Limits():
        limits = Limits(held.session.manifest.cache_size or None)
    if limits == Limits():
        message = "bg cache gc needs a limit"
        raise UsageError(message, hint="--max-size 10G, --older-than 30d, or `cache-size: 10G` in the manifest")
    with held.session.use.together() if options.dry_run else held.session.use.alone():
        inventory, now = held.inventory(texts=True), time.time()
        kept = held.kept(inventory, now)
        going = [*collection.choose(inventory, kept, limits, now), *collection.forgotten(inventory, now)]
        removed = _go(going, inventory, held, dry_run=options.dry_run)
    left = inventory.size() - removed.size
    if options.json:
        show([to_json({**_removed_json(removed), "left": left, "dry_run": options.dry_run})])
        return 0
    _show_removed(removed, dry_run=options.dry_run)
    if limits.max_size is not None and left > limits.max_size:
        show([f"{size(left)} stay, which is more: {counted(len(kept), 'result')} pinned or of the last builds, and what is new"])
    return 0


def _go(going: Sequence[Held], inventory: Inventory, held: _Cache, *, dry_run: bool) -> Removed:
    if dry_run:
        return collection.weigh(going, inventory)
    return collection.remove(going, inventory, held.cas, held.records, stop=held.session.cancelled.is_set)


def _show_removed(removed: Removed, *, dry_run: bool) -> None:
    show([f"  {name}" for name in removed.results[:_MOST_SHOWN]])
    more = len(removed.results) - _MOST_SHOWN
    show([f"  and {more} more"] if more > 0 else [])
    line = removed_line(removed)
    show([line.replace("removed", "would remove", 1) if dry_run else line])


def removed_line(removed: Removed) -> str:
    """What went, in a line."""
    if not removed.counts:
        return "removed nothing"
    things = ", ".join(
        counted(count, _WORDS[kind]) if count == 1 else f"{count} {_plural(kind)}"
        for kind, count in sorted(removed.counts.items())
    )
    return f"removed {things}: {size(removed.size)}" + ("" if removed.whole else ", and not yet all that should go")


def _plural(kind: str) -> str:
    return {"stray": "files that nothing names", "workspace": "workspaces that are gone"}.get(kind, f"{_WORDS[kind]}s")


def _removed_json(removed: Removed) -> dict[str, Any]:
    return {"removed": dict(removed.counts), "results": removed.results, "size": removed.size}


def _verify(options: argparse.Namespace, held: _Cache) -> int:
    seed = options.seed or secrets.token_hex(4)
    with held.session.use.together():
        inventory = held.inventory()
        digests = sorted(inventory.blobs)
        if options.sample < 1:
            digests = checkup.drawn(digests, options.sample, seed)
        findings = _examine(inventory, digests, held)
        differing = held.records.differing()
    if options.json:
        answer = {"blobs": len(digests), "of": len(inventory.blobs), "seed": seed, "differing": differing}
        show([to_json({**answer, "findings": _findings_json(findings)})])
    else:
        _show_findings(findings)
        if differing:  # no fault: a kill may come between the two
            show([f"the journal says otherwise of {counted(differing, 'record')}; `bg cache repair` writes it anew"])
        drawn = f" of {len(inventory.blobs)}, drawn with --seed {seed}" if options.sample < 1 else ""
        show([f"{counted(len(digests), 'file')}{drawn} and {counted(sum(inventory.counts.values()), 'record')} read"])
    if findings:
        message = f"the cache has {counted(len(findings), 'fault')}"
        raise CacheError(message, hint="`bg cache repair` drops what is wrong, and nothing else")
    return 0


def _examine(inventory: Inventory, digests: Sequence[str], held: _Cache) -> list[checkup.Finding]:
    findings = checkup.wrong_blobs(digests, held.cas)
    bad = {finding.what for finding in findings}
    return findings + checkup.wrong_records(inventory, held.records, bad, whole=not held.session.manifest.remotes)


def _repair(options: argparse.Namespace, held: _Cache) -> int:
    with held.session.use.alone():
        held.records.mend()
        inventory = held.inventory()
        findings = _examine(inventory, sorted(inventory.blobs), held)
        checkup.mend(findings, inventory, held.cas, held.records)
    if options.json:
        show([to_json({"dropped": _findings_json(findings), "made_again": held.records.made_again})])
        return 0
    _show_findings(findings)
    show(
        [
            f"{counted(len(findings), 'fault')} mended; damaged files are in {held.root / 'quarantine'}"
            if findings
            else f"nothing {'else ' if held.records.made_again else ''}is wrong"
        ]
    )
    return 0


def _show_findings(findings: Sequence[checkup.Finding]) -> None:
    show([f"{finding.fault:7}  {finding.what}  {finding.why}" for finding in findings])


def _findings_json(findings: Sequence[checkup.Finding]) -> list[dict[str, str]]:
    return [{"fault": finding.fault, "what": finding.what, "why": finding.why} for finding in findings]


def _pin(options: argparse.Namespace, held: _Cache) -> int:
    session = held.session
    if options.targets:
        chosen = [str(target.label) for target in session.selection.targets(options.targets)]
        pins = {Pin(session.workspace_name, target, str(session.settings.root)) for target in chosen}
        _change_pins(held, lambda before: before | pins)
    return _show_pins(options, held)


def _unpin(options: argparse.Namespace, held: _Cache) -> int:
    own = [pin.target for pin in roots.load_pins(held.root) if pin.workspace == held.session.workspace_name]
    chosen = _select(options.targets or ["//..."], own, held.session)
    _change_pins(
        held,
        lambda before: {pin for pin in before if pin.target not in chosen or pin.workspace != held.session.workspace_name},
    )
    return _show_pins(options, held)


def _change_pins(held: _Cache, change: Callable[[set[Pin]], set[Pin]]) -> None:
    session = held.session
    with session.locks.hold("notes", on_wait=session.use.tell, cancelled=session.cancelled.is_set):
        roots.change_pins(held.root, change)


def _show_pins(options: argparse.Namespace, held: _Cache) -> int:
    pins = roots.load_pins(held.root)
    if options.json:
        show([to_json([{"target": pin.target, "workspace": pin.path} for pin in pins])])
    else:
        show(
            table([(pin.target, pin.path if pin.workspace != held.session.workspace_name else "") for pin in pins]) or ["no pins"]
        )
    return 0


def _ls(options: argparse.Namespace, held: _Cache) -> int:
    with held.session.use.together():
        inventory = held.inventory()
        chosen = held.selected(inventory, options.targets)
        now = time.time()
        kept = held.kept(inventory, now)
    if options.json:
        show([to_json([_result_json(one, inventory, kept) for one in chosen])])
        return 0
    rows = [
        (one.name, size(inventory.size_of(one)), f"stored {_ago(now - one.stored_at)}", f"used {_ago(now - one.used_at)}",
         one.action[:12], kept.get(one.action, ""))
        for one in chosen
    ]  # fmt: skip
    show(table(rows))
    return 0


def _result_json(one: Held, inventory: Inventory, kept: dict[str, str]) -> dict[str, Any]:
    return {
        "target": one.target,
        "node": one.name,
        "action": one.action,
        "size": inventory.size_of(one),
        "stored_at": int(one.stored_at),
        "used_at": int(one.used_at),
        "kept": kept.get(one.action, ""),
        "tier": one.record.tier if one.record else "",
    }


def _rm(options: argparse.Namespace, held: _Cache) -> int:
    with held.session.use.together() if options.dry_run else held.session.use.alone():
        inventory = held.inventory(texts=True)
        going = held.selected(inventory, options.targets)
        removed = _go(going, inventory, held, dry_run=options.dry_run)
    if options.json:
        show([to_json({**_removed_json(removed), "dry_run": options.dry_run})])
    else:
        _show_removed(removed, dry_run=options.dry_run)
    return 0


def _export(options: argparse.Namespace, held: _Cache) -> int:
    from buildgraph.cli import sharing

    path = _from_here(options.file, held.session)
    with held.session.use.together():
        inventory = held.inventory(texts=True)
        chosen = held.selected(inventory, options.targets)
        if options.since:
            chosen = [one for one in chosen if one.stored_at > _written(_from_here(options.since, held.session))]
        elif options.since_run or options.used:
            began = archive.run_began(held.root)
            chosen = [one for one in chosen if (one.used_at if options.used else one.stored_at) > began]
        seal = sharing.seal_of(held.session.manifest, held.session.settings, held.cas, held.session.console.say)
        packed = archive.pack(path, chosen, inventory, held.cas, seal)
    told = {"results": packed.results, "unsigned": packed.unsigned, "blobs": packed.blobs, "size": packed.size}
    signed = packed.results - packed.unsigned
    line = (
        f"{counted(packed.results, 'result')}, {signed} of them signed, with {counted(packed.blobs, 'file')}, {size(packed.size)}"
    )
    show([to_json(told) if options.json else line])
    return 0


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError as error:
        message = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise UsageError(message) from error


def _import(options: argparse.Namespace, held: _Cache) -> int:
    from buildgraph.cli import sharing

    path = _from_here(options.file, held.session)
    believed = sharing.believed_of(held.session.manifest, held.session.settings)
    room = archive.free_room(held.root) if options.max_size is None else options.max_size
    with held.session.use.together():
        taken = archive.unpack(path, held.cas, held.records, believed, room)
    archive.mark_run(held.root)
    left = [f"{counted(count, 'record')} left out: {reason}" for reason, count in sorted(taken.left_out.items())]
    told = {"results": taken.results, "blobs": taken.blobs, "size": taken.size, "left_out": taken.left_out}
    line = f"{counted(taken.results, 'result')}; {counted(taken.blobs, 'file')} came, {size(taken.size)}"
    show([to_json(told)] if options.json else [*left, line])
    return 0


def _push(options: argparse.Namespace, held: _Cache) -> int:
    from buildgraph.cli.push import push

    with held.session.use.together():
        inventory = held.inventory()
        return push(options, held.session, held.selected(inventory, options.targets), inventory)


def _from_here(name: str, session: Session) -> Path:
    return session.settings.here / name


def _ago(seconds: float) -> str:
    """How long ago, roughly."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


_OPERATIONS: dict[str, Callable[[argparse.Namespace, _Cache], int]] = {
    "stats": _stats,
    "gc": _gc,
    "verify": _verify,
    "repair": _repair,
    "pin": _pin,
    "unpin": _unpin,
    "ls": _ls,
    "rm": _rm,
    "export": _export,
    "import": _import,
    "push": _push,
}
