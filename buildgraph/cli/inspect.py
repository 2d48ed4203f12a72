"""`bg inspect`: what a built target is, and where each part of it came from. Builds and fetches nothing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from buildgraph.apk.index import IndexEntry
from buildgraph.cli.building import attester
from buildgraph.cli.built import record_of, unbuilt
from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import TargetError
from buildgraph.outputs import export, inspection, provenance
from buildgraph.outputs.inspection import Source
from buildgraph.plan.record import Output, Record
from buildgraph.report import inspection as shown
from buildgraph.report.views import to_json


def inspect(options: argparse.Namespace, session: Session) -> int:
    """`bg inspect`: of what is here; it fetches nothing."""
    session.store.elsewhere = None
    records = {name: _built(name, session) for name in session.selection.nodes(options.targets)}
    if options.provenance:
        statements = [stated for name, record in records.items() for stated in _statements(name, record, session)]
        show([to_json(statements if len(statements) != 1 else statements[0])])
        return 0
    if options.json:
        show([to_json([_json(name, record, session) for name, record in records.items()])])
        return 0
    for number, (name, record) in enumerate(records.items()):
        show([""] if number else [])
        show(_lines(name, record, session))
    return 0


def _built(name: str, session: Session) -> Record:
    record = record_of(name, session)
    if record is None:
        raise unbuilt(name, session)
    return record


def _lines(name: str, record: Record, session: Session) -> list[str]:
    facts = [
        ("built", f"{datetime.fromtimestamp(record.built_at, UTC):%Y-%m-%d %H:%M:%S} UTC, in {record.seconds:.1f} s"),
        ("with", ", ".join(f"{tool} {version}" for tool, version in _tools(name, record, session))),
        *([("commit", record.commit)] if record.commit else []),
        ("action", record.action),
    ]
    lines = shown.built_lines(name, facts)
    if session.graph.nodes[name].kind == "package":
        for package in inspection.packages_of(record, lambda output: _blob(output, session)):
            lines += ["", *shown.package_lines(package)]
        return lines
    for image in _images(record, session):
        lines += ["", *shown.image_lines(session.graph.nodes[name].label, image)]
    return lines


def _tools(name: str, record: Record, session: Session) -> list[tuple[str, str]]:
    tool = "melange" if session.graph.nodes[name].kind == "package" else "apko"
    return [(tool, record.tools.get(tool, "?"))]


def _json(name: str, record: Record, session: Session) -> dict[str, Any]:
    node = session.graph.nodes[name]
    found: dict[str, Any] = {
        "target": node.label,
        "node": name,
        "kind": node.kind,
        "action": record.action,
        "deep_key": session.rebuilder.deep_key(name),
        "built_at": record.built_at,
        "seconds": record.seconds,
        "tools": dict(record.tools),
        "sealed": record.sealed,
        "builder": record.builder,
        "commit": record.commit,
    }
    if node.kind == "package":
        packages = inspection.packages_of(record, lambda output: _blob(output, session))
        return found | {"packages": [shown.package_json(package) for package in packages]}
    return found | {"images": [shown.image_json(image) for image in _images(record, session)]}


def _images(record: Record, session: Session) -> list[inspection.Image]:
    document = session.store.document(record.document)
    made = (
        {entry.name: entry.value.partition(" ") for entry in document.entries if entry.section == "package"} if document else {}
    )

    def source_of(package: IndexEntry) -> Source:
        for architecture in (package.arch, *session.rebuilder_architectures):  # a package may be for all of them
            digest, _, node = made.get(f"{architecture}/{package.filename}", ("", "", ""))
            if node:
                below = session.rebuilder.deep_hit(node) if node in session.graph.nodes else None
                return Source(target=node, digest=f"blake3:{digest}", action=below.action if below else "")
        locked = session.lock.source_of(package.checksum)
        return Source(repository=locked.repository) if locked else Source()

    return inspection.images_of(record, lambda output: _blob(output, session), source_of)


def _blob(output: Output, session: Session) -> Path:
    return session.cas.path(output.digest)


def _statements(name: str, record: Record, session: Session) -> Iterator[Any]:
    """The provenance of what is among the outputs. Raises TargetError where something is not."""
    node, attest, out = session.graph.nodes[name], attester(session), session.out_folder
    label = session.nodes.described[name].target.label
    if node.kind == "package":
        folder = out / "packages" / export.PackageFolders(session.graph.nodes).of(name)
        files = [folder / output.path for output in record.outputs]
    else:
        files = [export.image_folder(out, label.folder, label.name) / "index.json"]
    for file in files:
        if not file.is_file():
            message = f"{name} is not among the outputs: there is no {file}"
            raise TargetError(message, hint=f"`bg build {node.label}`")
        subjects = (
            [provenance.file_subject(file)]
            if node.kind == "package"
            else provenance.image_subjects(export.image_name(label.folder, label.name), json.loads(file.read_bytes()))
        )
        stated = attest(record, subjects)
        if stated is None:
            message = f"the cache has lost the key document of {name}"
            raise TargetError(message, hint="`bg clean --cache` and `bg build` make it again")
        yield json.loads(stated)
