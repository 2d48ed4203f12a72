"""What an action left behind: packages in canonical form, and image layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.package import canonicalise
from buildgraph.cache.cas import Cas
from buildgraph.errors import BuildError, OutputError
from buildgraph.keys.digest import Digest
from buildgraph.plan.record import Output

LAYOUT, SBOM = "layout", "sbom"
REF_NAME = "org.opencontainers.image.ref.name"  # OCI image-spec, annotations.md: the tag within a layout


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


def unknown_user(layout: Path) -> str:
    """The account that an image which apko just made is to run as, where the image has none of that name; else empty.

    apko puts the number in place of a name that it finds in the image's /etc/passwd, and leaves any other as it is
    (build/accounts.go). What container runtimes take apart themselves, a number or ``user:group``, says nothing here.
    """
    try:
        for image in _blob(layout, "index.json")["manifests"]:
            manifest = _blob(layout, _path_of(image))
            user = str(_blob(layout, _path_of(manifest["config"])).get("config", {}).get("User", ""))
            if user and ":" not in user and not user.isdigit():
                return user
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # told where the layout is taken in
        pass
    return ""


def _blob(layout: Path, path: str) -> Any:
    return json.loads((layout / path).read_bytes())


def _path_of(descriptor: Any) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


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
