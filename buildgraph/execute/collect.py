"""What an action left behind: packages in canonical form, image layouts, and the part of a log that tells what went wrong."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.package import canonicalise
from buildgraph.cache.cas import Cas
from buildgraph.errors import BuildError, OutputError
from buildgraph.keys.digest import Digest
from buildgraph.plan.materials import Materials
from buildgraph.plan.record import Output

LAYOUT, SBOM = "layout", "sbom"
REF_NAME = "org.opencontainers.image.ref.name"  # OCI image-spec, annotations.md: the tag within a layout
_PREFIX = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:INFO |WARN )?")
_CHATTER = re.compile(r" INFO (?:installing \S+ \(|auth configured for)")
_STEP = re.compile(r'running step "(.*)"$')
_WANTS_NETWORK = re.compile(
    r"Could not resolve host|Temporary failure in name resolution|Network is unreachable|no such host|bad address|"
    r"getaddrinfo|ENETUNREACH|EAI_AGAIN|connect: network is unreachable",
    re.IGNORECASE,
)
_WANTS_TAGS = re.compile(r"fatal: No (?:names found|tags can describe)")


def packages(out: Path, scratch: Path, cas: Cas) -> tuple[list[Output], list[IndexEntry]]:
    """Puts the packages below ``out`` into the CAS in canonical form; their outputs and index entries, sorted by path.

    Raises OSError where the cache cannot be written to.
    """
    outputs, entries = [], []
    for path in sorted(out.glob("*/*.apk")):
        canonical = scratch / "canonical.apk"
        try:
            info = canonicalise(path, canonical)
        except OutputError as error:
            raise error.__cause__ or error from None  # it is the cache that cannot be written to, which who called us tells
        size = canonical.stat().st_size
        digest = Digest(cas.put_file(canonical, move=True))
        outputs.append(Output(f"{path.parent.name}/{path.name}", digest, size))
        entries.append(info.entry)
    return outputs, entries


def image(out: Path, tag: str, cas: Cas) -> list[Output]:
    """Puts an image's OCI layout and SBOMs into the CAS, its index naming the tag; the outputs, sorted by path."""
    _name_tag(out / LAYOUT, tag)
    outputs = []
    for path in sorted(_files(out)):
        relative = path.relative_to(out).as_posix()
        if relative.startswith((f"{LAYOUT}/", f"{SBOM}/")):
            size = path.stat().st_size
            outputs.append(Output(relative, Digest(cas.put_file(path, move=True)), size))
    return outputs


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _name_tag(layout: Path, tag: str) -> None:
    """apko leaves the descriptors without a reference; umoci, skopeo and others find an image of a layout by it.

    A tag names one image, so where there are several, one for each architecture, what apko wrote becomes an index that the
    layout's own refers to: the one that apko would publish.
    """
    path = layout / "index.json"
    try:
        written = path.read_bytes()
        index = json.loads(written)
        if len(index["manifests"]) > 1:
            digest = hashlib.sha256(written).hexdigest()
            (layout / "blobs/sha256" / digest).write_bytes(written)
            one = {"mediaType": index["mediaType"], "digest": f"sha256:{digest}", "size": len(written)}
            index = {"schemaVersion": 2, "mediaType": index["mediaType"], "manifests": [one]}
        index["manifests"][0].setdefault("annotations", {})[REF_NAME] = tag
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        message = f"apko left no usable OCI layout: {error}"
        raise BuildError(message) from error
    path.write_text(json.dumps(index, separators=(",", ":"), sort_keys=True), "utf-8")


def from_the_error(lines: Sequence[str], most: int) -> list[str]:
    """The part of a log to show: what the failing step said, at most ``most`` lines, without melange's own chatter."""
    kept = [_PREFIX.sub("", line) for line in lines if not _CHATTER.search(line)]
    start = max((number for number, line in enumerate(kept) if _STEP.search(line)), default=0)
    shown = kept[start:]
    return shown if len(shown) <= most else [f"... {len(shown) - most} lines before ...", *shown[-most:]]


def failure_hint(lines: Iterable[str], materials: Materials) -> str:
    """What to try after a failure, as far as the log tells."""
    for line in lines:
        if materials.fetched and _WANTS_TAGS.search(line):
            return "bg gives a checkout no tag but the one that the recipe names; with `network: on` git fetches what there is"
        if not materials.network and _WANTS_NETWORK.search(line):
            return "the step wanted the network: `network: on` for this target in the manifest grants it"
        if "no space left on device" in line.lower():
            return "a disk is full: the cache's, or scratch space, which is in memory as far as `memory:` in the manifest allows"
        if "Exec format error" in line:
            return (
                "this machine cannot run programs of that architecture: build on one that can, or have the kernel run them by"
                " an emulator (qemu-user-static and binfmt_misc; docs/manual.md, Several architectures)"
            )
        if "Operation not permitted" in line and "chown" in line:
            return "the box has one user: a recipe that must change owners needs `root: true` for its target in the manifest"
    return ""


def failing_step(lines: Sequence[str], materials: Materials) -> str:
    """``file:line`` of the step that failed as far as the log names it, else of where the recipe's steps begin."""
    for line in reversed(lines):
        found = _STEP.search(line)
        if found and found[1] in materials.steps:
            return materials.steps[found[1]]
    return materials.steps.get("", "")
