"""Provenance of packages and images: in-toto statements with a SLSA predicate, made of records and key documents.

    Statement    https://in-toto.io/Statement/v1      in-toto/attestation, spec/v1/statement.md
    predicate    https://slsa.dev/provenance/v1       slsa-framework/slsa, docs/provenance/v1.md
    digests      `sha256` of what is attested, `blake3` (lower-case hex, as ``b3sum`` prints) of what the key names; consumers
                 "MUST ignore unrecognized" algorithms                 in-toto/attestation, spec/v1/digest_set.md

A statement says what the record says, no more: the same record and the same file give the same bytes, whenever it is made. It is
not signed; docs/manual.md tells how to sign and attach it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.keys.document import Entry, KeyDocument
from buildgraph.plan.explain import EXECUTABLE
from buildgraph.plan.record import Record
from buildgraph.structs import Struct

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
# docs/format.md describes it: what the parameters are, and how the action follows from them.
BUILD_TYPE = "urn:buildgraph:action:v1"
LOCAL_BUILDER = "urn:buildgraph:builder:local"  # nobody vouches for it but whoever signs
_UNSEALED = "#sandbox=off"  # "each mode MUST have a different builder.id" (SLSA, Builder)
_CREDENTIALS = re.compile(r"(?<=//)[^/@]*@")
_CHUNK = 1 << 20


class Subject(Struct, frozen=True):
    """What a statement is about: a name, and the SHA-256 (hex) of the file or the manifest."""

    name: str
    sha256: str


# From the checksum of an external package: where it comes from and its file's digest, None where that is not known.
External = Callable[[str], tuple[str, Digest | None]]


def file_subject(path: Path) -> Subject:
    """The subject that a file is. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return Subject(path.name, digest.hexdigest())


def image_subjects(name: str, index: Mapping[str, Any]) -> list[Subject]:
    """The images that the index of a layout lists; more than one have their platform in the name."""
    found = []
    for entry in index["manifests"]:
        platform = entry.get("platform", {}).get("architecture", "") if len(index["manifests"]) > 1 else ""
        found.append(Subject(f"{name} {platform}".rstrip(), str(entry["digest"]).removeprefix("sha256:")))
    return found


def statement(record: Record, document: KeyDocument, subjects: Iterable[Subject], external: External) -> dict[str, Any]:
    """The statement that these subjects come of the record's action."""
    finished = record.built_at
    settings = {
        entry.name: entry.value for entry in document.entries if entry.section == "setting" and not parse_digest(entry.value)
    }
    formats = {entry.name: entry.value for entry in document.entries if entry.section == "format"}
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"target": record.node, "settings": settings},
        "internalParameters": {"key": record.action, "formats": formats},
        "resolvedDependencies": [found for entry in document.entries for found in _dependencies(entry, external)],
    }
    byproducts = [_descriptor("key document", record.document)]
    byproducts += [_descriptor("log", record.log)] if record.log else []
    builder = (record.builder or LOCAL_BUILDER) + ("" if record.sealed else _UNSEALED)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject.name, "digest": {"sha256": subject.sha256}} for subject in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": definition,
            "runDetails": {
                "builder": {"id": builder, "version": dict(record.tools)},
                "metadata": {
                    "invocationId": f"{record.action}-{record.built_at}",
                    "startedOn": _time(finished - record.seconds),
                    "finishedOn": _time(finished),
                },
                "byproducts": byproducts,
            },
        },
    }


def to_bytes(made: Mapping[str, Any]) -> bytes:
    """A statement as a file: always the same bytes for the same statement."""
    return (json.dumps(made, indent=2, sort_keys=True) + "\n").encode()


def _dependencies(entry: Entry, external: External) -> Iterable[dict[str, Any]]:
    """What an entry of the key document names, as in-toto ResourceDescriptors; none for settings, tools and formats."""
    match entry.section:
        case "recipe" | "pipeline" | "source":
            found = _descriptor(entry.name, Digest(entry.value.removesuffix(EXECUTABLE)))
            notes = {"section": entry.section, "file": entry.place.rpartition(":")[0] or entry.place}
            yield found | {"annotations": notes}
        case "setting" if parse_digest(entry.value):
            yield _descriptor(entry.name, Digest(entry.value)) | {"annotations": {"section": entry.section, "file": entry.place}}
        case "package":
            digest, _, node = entry.value.partition(" ")
            yield _descriptor(entry.name, Digest(digest)) | {"annotations": {"section": entry.section, "target": node}}
        case "external":
            words = entry.value.split(" ")
            for version, checksum in zip(words[::2], words[1::2], strict=True):
                address, known = external(checksum)
                name = f"{entry.name}-{version}.apk"
                notes = {"section": entry.section, "checksum": checksum}
                yield _descriptor(name, known) | {"uri": _CREDENTIALS.sub("", address) or name, "annotations": notes}
        case _:
            return


def _descriptor(name: str, digest: Digest | None) -> dict[str, Any]:
    return {"name": name} | ({"digest": {"blake3": digest}} if digest else {})


def _time(seconds: float) -> str:
    """A moment as in-toto's Timestamp has it: RFC 3339, UTC, with a Z."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
