"""Writes buildgraph/recipes/builtin_pipelines.json: what melange's built-in pipelines need and take, without their commands.

    python tools/extract_pipelines.py MELANGE_SOURCE VERSION

MELANGE_SOURCE is an unpacked melange module (``go mod download -json chainguard.dev/melange@VERSION`` prints its folder),
VERSION the key of the table, such as v0.59.1. Other versions in the file stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from buildgraph.recipes import yamltext
from buildgraph.recipes.yamltext import Mapping, Node, Sequence

TABLE = Path(__file__).parent.parent / "buildgraph" / "recipes" / "builtin_pipelines.json"
# Commands and descriptions do not bear on what a step needs.
LEFT_OUT = {"runs", "description", "name", "label", "environment", "assertions"}


def trimmed(node: Node) -> Any:
    """A definition as JSON, with what decides about needs only; steps that do nothing else are left out."""
    if isinstance(node, Mapping):
        items = {key: trimmed(value) for key, value in sorted(node.items.items()) if key not in LEFT_OUT}
        for key in ("inputs", "with"):
            # Here the keys are names that people choose.
            free = node.items.get(key)
            if isinstance(free, Mapping):
                items[key] = {name: trimmed(value) for name, value in sorted(free.items.items())}
        if items.get("pipeline") == []:
            del items["pipeline"]
        return {key: value for key, value in items.items() if value is not None}
    if isinstance(node, Sequence):
        return [item for item in map(trimmed, node.items) if item not in ({}, None)]
    if node.plain and node.text in yamltext.TRUES | yamltext.FALSES:
        return node.text in yamltext.TRUES
    return None if node.is_null else node.text


def main() -> None:
    """Reads every definition below ``pkg/build/pipelines`` and puts it into the table."""
    source, version = Path(sys.argv[1]), sys.argv[2]
    root = source / "pkg" / "build" / "pipelines"
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    table[version] = {
        path.relative_to(root).with_suffix("").as_posix(): trimmed(yamltext.parse_mapping(path.read_bytes(), path.name))
        for path in sorted(root.rglob("*.yaml"))
    }
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
