"""Pipeline steps, as recipes and the definitions that ``uses:`` loads have them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from buildgraph.errors import RecipeError
from buildgraph.recipes import scalars, schema, yamltext
from buildgraph.recipes.values import Source
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from buildgraph.errors import Place
    from buildgraph.recipes.substitute import Replace


@dataclass(frozen=True, slots=True)
class Input:
    """An input that a definition declares."""

    default: str
    required: bool


class Position(NamedTuple):
    """A place in a file, by what it is made of."""

    path: str
    line: int
    column: int


# Not frozen, since creating a frozen dataclass takes three times as long and a workspace has a hundred thousand; never changed.
@dataclass(slots=True)
class Step:
    """A pipeline step after parse-time substitution (melange config.go, Pipeline)."""

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

    def position(self, key: str) -> Position:
        """As ``place``, without the excerpt: what no error needs."""
        owner = self
        if self.definition is not None and key in self.definition.node.items and self.definition.source.text:
            owner = self.definition
        value = owner.node.items.get(key, owner.node)
        return Position(owner.source.path, value.line, value.column)

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
    return {name: Input(text_of(child(value, "default")), scalars.truth(child(value, "required"))) for name, value in declared}


@lru_cache(maxsize=4096)
def definition_of(source: Source) -> Step:
    """The step that a definition file describes; RecipeError where it does not have the form of one.

    melange decodes definitions without KnownFields (usescache.go), so unknown keys are fine in them.
    """
    tree = source.tree
    if isinstance(tree, Scalar) and tree.is_null:
        tree = Mapping()
    if not isinstance(tree, Mapping):
        what = f"expected a mapping, found {yamltext.describe(tree)}"
        raise RecipeError(what, where=yamltext.place(tree, source.path, source.text))
    schema.check(tree, schema.PIPELINE, source.path, source.text, known_fields=False)
    return step_of(tree, source, str)


def load(call: Step, definition: Step) -> Step:
    """The step that results from decoding a definition onto the step that uses it (compile.go, compilePipeline).

    What the definition has goes before what the step has. A null there leaves the step's text, but takes its mapping away.
    """
    items = definition.node.items
    return Step(
        node=call.node,
        source=call.source,
        uses=call.uses,
        condition=definition.condition if _has_text(items.get("if")) else call.condition,
        with_=call.with_,
        runs=definition.runs if _has_text(items.get("runs")) else call.runs,
        directory=definition.directory if _has_text(items.get("working-directory")) else call.directory,
        needs=definition.needs if "needs" in items else call.needs,
        inputs={**call.inputs, **definition.inputs} if call.inputs else definition.inputs,
        steps=definition.steps,
        definition=definition,
    )


def _has_text(node: Node | None) -> bool:
    return isinstance(node, Scalar) and not node.is_null
