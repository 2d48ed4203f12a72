"""What `bg inspect` shows, as text for people and as JSON-able values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from buildgraph.apk.index import IndexEntry
from buildgraph.outputs.inspection import File, Image, Package, Source
from buildgraph.report.graphs import counted
from buildgraph.report.views import table
from buildgraph.structs import asdict

_STEP = 1024
_MOST_FILES = 40


def package_lines(package: Package) -> list[str]:
    """A package for people."""
    entry = package.entry
    files = [file for file in package.files if file.kind != "directory"]
    lines = [
        f"{entry.name} {entry.version}  {entry.description}".rstrip(),
        f"  file       {package.file}  {size(entry.size)}, {size(entry.installed_size)} installed",
        f"  digest     blake3:{package.digest}",
        f"  checksum   {entry.checksum}",
        f"  licence    {entry.license or '(none)'}",
    ]
    for title, texts in (("provides", entry.provides), ("depends", entry.depends), ("replaces", entry.replaces)):
        lines += [f"  {title:9}  {' '.join(texts)}"] if texts else []
    lines.append(f"  {counted(len(files), 'file')}")
    rows = [_file_row(file) for file in files[:_MOST_FILES]]
    lines += [f"    {line}" for line in table(rows)]
    if len(files) > _MOST_FILES:
        lines.append(f"    and {len(files) - _MOST_FILES} more (--json has them)")
    return lines


def _file_row(file: File) -> tuple[str, str, str]:
    return (
        file.mode,
        size(file.size) if file.kind == "file" else file.kind,
        f"{file.path}{' -> ' * bool(file.target)}{file.target}",
    )


def image_lines(label: str, image: Image) -> list[str]:
    """An image for people."""
    config = image.config
    lines = [f"{label} {image.platform}", f"  digest      {image.digest}"]
    for number, layer in enumerate(image.layers, 1):
        lines.append(f"  layer {number:<4}  {layer.digest}  {size(layer.size):>9}  {' '.join(layer.packages)}".rstrip())
    lines.append(f"  user        {config.get('User') or '0 (root)'}")
    for title, key in (("entrypoint", "Entrypoint"), ("command", "Cmd")):
        lines += [f"  {title:10}  {' '.join(config[key])}"] if config.get(key) else []
    lines += [f"  folder      {config['WorkingDir']}"] if config.get("WorkingDir") else []
    lines += [f"  {'env' if not number else '':10}  {pair}" for number, pair in enumerate(config.get("Env") or ())]
    total = sum(package.entry.installed_size for package in image.packages)
    lines.append(f"  {counted(len(image.packages), 'package')}, {size(total)} installed")
    rows = [
        (
            package.entry.name,
            package.entry.version,
            size(package.entry.installed_size),
            package.entry.license or "-",
            _from(package.source),
        )
        for package in image.packages
    ]
    return [*lines, *(f"    {line}" for line in table(rows))]


def _from(source: Source) -> str:
    return source.target or source.repository or "(unknown)"


def package_json(package: Package) -> dict[str, Any]:
    """A package for machines."""
    files = [asdict(file) for file in package.files]
    return {"file": package.file, "digest": f"blake3:{package.digest}", **_entry_json(package.entry), "files": files}


def image_json(image: Image) -> dict[str, Any]:
    """An image for machines."""
    packages = [{**_entry_json(package.entry), "from": asdict(package.source)} for package in image.packages]
    layers = [asdict(layer) for layer in image.layers]
    return {"platform": image.platform, "digest": image.digest, "layers": layers, "config": image.config, "packages": packages}


def _entry_json(entry: IndexEntry) -> dict[str, Any]:
    names = ("name", "version", "arch", "checksum", "size", "installed_size", "description", "origin", "license", "url")
    return {name: getattr(entry, name) for name in (*names, "depends", "provides", "replaces")}


def size(number: int) -> str:
    """Bytes for people."""
    value = float(number)
    for unit in ("B", "KiB", "MiB"):
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} GiB"


def built_lines(node: str, facts: Sequence[tuple[str, str]]) -> list[str]:
    """The head of what is shown of a node: which action it comes from."""
    return [node, *(f"  {name:10}  {value}" for name, value in facts)]
