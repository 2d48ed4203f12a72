"""Pipeline steps and the definitions that ``uses:`` loads: melange's built-in ones, and those in folders of the workspace."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from buildgraph.recipes import yamltext
from buildgraph.recipes.values import Source
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from buildgraph.errors import Place
    from buildgraph.recipes.substitute import Replace

MELANGE_VERSION = "v0.59.1"


@dataclass(frozen=True, slots=True)
class Input:
    """An input that a definition declares."""

    default: str
    required: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A pipeline step after parse-time substitution (melange config.go, Pipeline).

    ``definition`` is what its ``uses:`` has loaded, None before that; keys that the definition has count instead of the step's
    own (compile.go: the definition is decoded onto the step).
    """

    node: Mapping
    source: Source
    uses: str
    condition: str
    with_: dict[str, str]
    runs: str
    directory: str
    needs: tuple[str, ...]
    inputs: dict[str, Input]
    steps: tuple[Step, ...]
    definition: Step | None = None

    def place(self, key: str, needle: str = "") -> Place:
        """Where ``key`` of this step is written, at ``needle`` inside its value if that can be found."""
        owner = self
        if self.definition is not None and key in self.definition.node.items and self.definition.source.text:
            owner = self.definition
        return value_place(owner.node, key, owner.source, needle)


def value_place(node: Mapping, key: str, source: Source, needle: str = "") -> Place:
    """Where ``needle`` stands in the value of ``key``, else the value, else the mapping."""
    value: Node = node.items.get(key, node)
    if needle and value.line:
        for offset, line in enumerate(yamltext.lines_of(source.text)[value.line - 1 : value.line + 2000]):
            column = line.find(needle, value.column - 1 if offset == 0 else 0)
            if column >= 0:
                return yamltext.place_at(value.line + offset, column + 1, source.path, source.text, length=len(needle))
    return yamltext.place(value, source.path, source.text)


def text_of(node: Node | None) -> str:
    """The text of a checked scalar field; empty where it is not given or null."""
    return node.text if isinstance(node, Scalar) and not node.is_null else ""


def texts_of(node: Node | None) -> list[Scalar]:
    """The scalars of a checked list; yaml.v3 drops null items."""
    items = node.items if isinstance(node, Sequence) else ()
    return [item for item in items if isinstance(item, Scalar) and not item.is_null]


def map_of(node: Node | None) -> dict[str, str]:
    """A checked mapping of texts."""
    return {key: text_of(value) for key, value in node.items.items()} if isinstance(node, Mapping) else {}


def mappings_of(node: Node | None) -> list[Mapping]:
    """The mappings of a checked list."""
    return [item for item in node.items if isinstance(item, Mapping)] if isinstance(node, Sequence) else []


def child(node: Node | None, *keys: str) -> Node | None:
    """The node under a path of keys, None where there is none."""
    for key in keys:
        node = node.items.get(key) if isinstance(node, Mapping) else None
    return node


def steps_of(node: Node | None, source: Source, replace: Replace) -> tuple[Step, ...]:
    """The steps of a checked ``pipeline:`` list."""
    return tuple(step_of(item, source, replace) for item in mappings_of(node))


def step_of(node: Mapping, source: Source, replace: Replace) -> Step:
    """One step; ``replace`` is the parse-time substitution of the recipe that it stands in (config.go, replacePipeline)."""
    items = node.items
    return Step(
        node=node,
        source=source,
        uses=text_of(items.get("uses")),
        condition=replace(text_of(items.get("if"))),
        with_={key: replace(value) for key, value in map_of(items["with"]).items()} if "with" in items else {},
        runs=replace(text_of(items.get("runs"))),
        directory=replace(text_of(items.get("working-directory"))),
        needs=tuple(replace(item.text) for item in texts_of(child(items["needs"], "packages"))) if "needs" in items else (),
        inputs=_inputs(items["inputs"]) if "inputs" in items else {},
        steps=steps_of(items["pipeline"], source, replace) if "pipeline" in items else (),
    )


def _inputs(node: Node) -> dict[str, Input]:
    declared = node.items.items() if isinstance(node, Mapping) else ()
    return {
        name: Input(text_of(child(value, "default")), text_of(child(value, "required")).lower() in {"true", "yes", "on", "y"})
        for name, value in declared
    }


def load(call: Step, definition: Step) -> Step:
    """The step that results from decoding a definition onto the step that uses it (compile.go, compilePipeline)."""
    given = {key for key, value in definition.node.items.items() if not (isinstance(value, Scalar) and value.is_null)}
    return Step(
        node=call.node,
        source=call.source,
        uses=call.uses,
        condition=definition.condition if "if" in given else call.condition,
        with_=call.with_,
        runs=definition.runs if "runs" in given else call.runs,
        directory=definition.directory if "working-directory" in given else call.directory,
        needs=definition.needs if "needs" in given else call.needs,
        inputs={**call.inputs, **definition.inputs},
        steps=definition.steps,
        definition=definition,
    )


def builtin_names(version: str = MELANGE_VERSION) -> tuple[str, ...]:
    """The names of the pipelines that this version of melange carries."""
    return tuple(_table().get(version, {}))


@cache
def builtin(name: str, version: str = MELANGE_VERSION) -> Step | None:
    """A built-in definition, without its commands; None where melange has none of that name."""
    data = _table().get(version, {}).get(name)
    tree = _node(data) if data is not None else None
    if not isinstance(tree, Mapping):
        return None
    return step_of(tree, Source(f"melange {version}: {name}", tree, ""), str)


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("builtin_pipelines.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return table


def _node(data: Any) -> Node:
    if isinstance(data, dict):
        return Mapping({key: _node(value) for key, value in data.items()})
    if isinstance(data, list):
        return Sequence([_node(value) for value in data])
    return Scalar(data)
