"""Pipeline steps, as recipes and the definitions that ``uses:`` loads have them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from buildgraph.errors import RecipeError
from buildgraph.recipes import scalars, schema, yamltext
from buildgraph.recipes.substitute import references
from buildgraph.recipes.values import Source
from buildgraph.recipes.yamltext import NULLS, Mapping, Node, Scalar, Sequence
from buildgraph.structs import Struct, field

if TYPE_CHECKING:
    from buildgraph.errors import Place
    from buildgraph.recipes.substitute import Replace

Spot: TypeAlias = tuple[str, int, int]  # path, line and column: a place without its excerpt, which only errors need


class Inputs(Struct, frozen=True):
    """What a definition declares, in the form that steps need over and over.

    ``defaults`` has every input by the name of its variable, ``inputs.KEY``, empty where there is none; ``required`` and
    ``digests`` are keys.
    """

    defaults: dict[str, str]
    required: tuple[str, ...]
    digests: tuple[str, ...]

    def __or__(self, other: Inputs) -> Inputs:
        """Both; of an input that both declare, what the other says."""
        replaced = {key for key in (*self.required, *self.digests) if input_name(key) in other.defaults}
        return Inputs(
            self.defaults | other.defaults,
            (*(key for key in self.required if key not in replaced), *other.required),
            (*(key for key in self.digests if key not in replaced), *other.digests),
        )

    def keys(self) -> list[str]:
        """The declared inputs."""
        return [name.partition(".")[2] for name in self.defaults]


def input_name(key: str) -> str:
    """The variable of an input."""
    return f"inputs.{key}"


NO_INPUTS = Inputs({}, (), ())

# Digests that pipelines take must be digits of this number, or melange refuses the step (pipeline.go, validateWith).
DIGESTS = {"expected-sha256": 64, "expected-sha512": 128, "expected-commit": 40}


# Not frozen, since it is filled in field by field; never changed after that.
class Step(Struct):
    """A pipeline step after parse-time substitution (melange config.go, Pipeline).

    ``names`` are the variables in ``runs`` and ``directory``, None where these are malformed. ``definition`` is what a ``uses:``
    was loaded from.
    """

    node: Mapping
    source: Source
    uses: str = ""
    condition: str = ""
    with_: dict[str, str] = field(default_factory=dict)
    runs: str = ""
    directory: str = ""
    needs: tuple[str, ...] = ()
    inputs: Inputs = NO_INPUTS
    steps: tuple[Step, ...] = ()
    names: frozenset[str] | None = frozenset()
    definition: Step | None = None

    @property
    def spot(self) -> Spot:
        """Where its ``uses:`` is written."""
        written = self.node.items.get("uses", self.node)
        return self.source.path, written.line, written.column

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
    return node.text if isinstance(node, Scalar) and not (node.plain and node.text in NULLS) else ""


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


_REPLACED_TEXTS = {"runs": "runs", "if": "condition", "working-directory": "directory"}


def step_of(node: Mapping, source: Source, replace: Replace) -> Step:
    """One step; ``replace`` is the parse-time substitution of the recipe that it stands in (config.go, replacePipeline)."""
    step = Step(node, source)
    for key, value in node.items.items():
        attribute = _REPLACED_TEXTS.get(key)
        if attribute is not None:
            setattr(step, attribute, replace(text_of(value)))
        elif key == "uses":
            step.uses = text_of(value)
        elif key == "with":
            step.with_ = {name: replace(text) for name, text in map_of(value).items()}
        elif key == "pipeline":
            step.steps = steps_of(value, source, replace)
        elif key == "needs":
            step.needs = tuple(replace(item.text) for item in texts_of(child(value, "packages")))
        elif key == "inputs":
            step.inputs = _inputs(value)
    if "${{" in step.runs or "${{" in step.directory:
        runs, directory = references(step.runs), references(step.directory)
        step.names = None if runs is None or directory is None else runs | directory
    return step


def _inputs(node: Node) -> Inputs:
    declared = node.items if isinstance(node, Mapping) else {}
    return Inputs(
        {input_name(key): text_of(child(value, "default")) for key, value in declared.items()},
        tuple(key for key, value in declared.items() if scalars.truth(child(value, "required"))),
        tuple(key for key in declared if key in DIGESTS),
    )


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
    given = definition.node.items
    keeps_directory = bool(call.directory) and not _has_text(given.get("working-directory"))
    return Step(
        node=call.node,
        source=call.source,
        uses=call.uses,
        condition=call.condition if call.condition and not _has_text(given.get("if")) else definition.condition,
        with_=call.with_,
        runs=definition.runs,
        directory=call.directory if keeps_directory else definition.directory,
        needs=call.needs if call.needs and "needs" not in given else definition.needs,
        inputs=call.inputs | definition.inputs if call.inputs.defaults else definition.inputs,
        steps=definition.steps,
        names=_union(definition.names, call.names) if keeps_directory else definition.names,
        definition=definition,
    )


def _has_text(node: Node | None) -> bool:
    return isinstance(node, Scalar) and not node.is_null


def _union(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return None if one is None or other is None else one | other
