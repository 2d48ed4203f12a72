"""`bg lock`: completes the lock, looks whether it is complete, or moves external packages to newer versions."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import BgError
from buildgraph.keys.document import KeyDocument, difference
from buildgraph.plan.explain import Teller
from buildgraph.report import views
from buildgraph.structs import Struct
from buildgraph.workspace.lockfile import Lock

_MOST_REASONS = 3  # of an image, in text


class Moved(Struct, frozen=True):
    """A package whose versions in the lock are others; empty where it came or went."""

    name: str
    arch: str
    old: str
    new: str


def lock(options: argparse.Namespace, session: Session) -> int:
    """`bg lock`."""
    locker, everything = session.locker, session.graph.order
    if options.check:
        locker.check(everything)
        show([_json([], {}) if options.json else "buildgraph.lock covers every target"])
        return 0
    before, documents = locker.lock, {}
    if options.upgrade is None:
        locker.complete(everything)
        locker.tidy()
    else:
        documents = dict(_image_documents(session))
        locker.upgrade(options.upgrade)
    moved = moves(before, locker.lock)
    images = dict(_changed_images(documents, session))
    lines = _lines(moved, images) or [_unmoved(options, before, locker.lock)]
    show([_json(moved, images)] if options.json else lines)
    return 0


def _unmoved(options: argparse.Namespace, before: Lock, after: Lock) -> str:
    if options.upgrade is None:
        return "buildgraph.lock is complete"
    if before.digest() != after.digest():
        return "nothing newer: the versions are the same, and the repositories have other files of them"
    return "nothing newer: buildgraph.lock is as it was"


def _json(moved: list[Moved], images: dict[str, tuple[str, ...]]) -> str:
    packages = [{"name": one.name, "arch": one.arch, "old": one.old, "new": one.new} for one in moved]
    return views.to_json({"packages": packages, "images": [{"target": name, "reasons": why} for name, why in images.items()]})


def _lines(moved: list[Moved], images: dict[str, tuple[str, ...]]) -> list[str]:
    lines = list(dict.fromkeys(f"{one.name} {one.old or '(none)'} -> {one.new or '(gone)'}" for one in moved))
    lines += ["", "images that change:"] if images else []
    for name, reasons in images.items():
        more = f"; and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
        lines.append(f"  {name}  {'; '.join(reasons[:_MOST_REASONS])}{more}")
    return lines


def moves(before: Lock, after: Lock) -> list[Moved]:
    """The packages that two locks have in different versions, sorted by name and architecture."""
    old, new = _versions(before), _versions(after)
    return [
        Moved(*key, old.get(key, ""), new.get(key, "")) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    ]


def _versions(held: Lock) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for package in held.packages:
        key = (package.entry.name, package.entry.arch)
        found[key] = f"{found[key]} {package.entry.version}" if key in found else package.entry.version
    return found


def _image_documents(session: Session) -> Iterator[tuple[str, KeyDocument]]:
    """The key documents of the images that have one."""
    for name, node in session.graph.nodes.items():
        if node.kind == "image":
            try:
                yield name, session.rebuilder.deep(name).document
            except BgError:  # told when somebody builds it
                continue


def _changed_images(before: dict[str, KeyDocument], session: Session) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The images whose keys are others than before, with the reasons; nothing but the lock changed meanwhile."""
    teller = Teller(lambda *_: None, lambda *_: None, session.user_tree)
    for name, document in _image_documents(session) if before else ():
        if name in before and document.key() != before[name].key():
            yield name, teller.tell(name, difference(before[name], document))
