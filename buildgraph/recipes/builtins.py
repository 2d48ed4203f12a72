"""The pipelines that melange carries: those of known versions from a table, those of others by asking that melange.

melange says nowhere what its pipelines declare. But ``melange compile`` expands a step that uses one, and under an ``if:`` that
is false it gathers no needs (compile.go, gatherDeps): the answer shows every inner step with its own ``if:`` and ``needs:``. With
placeholders for the inputs, the answer to one such question serves every step that gives the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from buildgraph.recipes.pipelines import DIGESTS, Step, definition_of
from buildgraph.recipes.values import Source
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Node, Scalar, Sequence, emit
from buildgraph.structs import Struct, from_json

PINNED_MELANGE = "v0.59.1"

# What `melange compile` says to a recipe's text for an architecture. Raises CompileError where melange refuses it.
Compile: TypeAlias = Callable[[str, str], Any]

_NAME, _CONTEXT, _VERSION, _EPOCH = "bg-package-name", "bg-context-name", "⟦package.version⟧", "909090909"


class CompileError(Exception):
    """melange refuses a recipe; the text is what it says."""


class Builtins(Protocol):
    """The pipelines of one melange."""

    @property
    def version(self) -> str:
        """How messages call that melange."""

    def find(self, name: str, given: Mapping[str, str], arch: str) -> Step | None:
        """The definition of a name for a step that gives some inputs, None where melange has none; CompileError."""

    def names(self) -> tuple[str, ...]:
        """All names, for suggestions; empty where they are not known."""


class Table(Struct, frozen=True, dict=True):
    """The pipelines of a version that was looked at, without their commands: ``builtin_pipelines.json``."""

    version: str = PINNED_MELANGE

    def find(self, name: str, given: Mapping[str, str], arch: str) -> Step | None:
        """The same for all inputs and architectures."""
        del given, arch
        return _known(self.version, name)

    def names(self) -> tuple[str, ...]:
        """The names in the table."""
        return tuple(_table()[self.version])


class Asked(Struct, frozen=True, dict=True):
    """The pipelines of a version that is not in the table, as that melange expands them."""

    version: str
    compile: Compile

    def find(self, name: str, given: Mapping[str, str], arch: str) -> Step | None:
        """What melange makes of a step that gives these inputs. Raises CompileError."""
        try:
            answer = self.compile(question(name, given), arch)
        except CompileError as refusal:
            if "unable to load pipeline" in str(refusal):
                return None
            raise
        tree = _definition(answer["subpackages"][0]["pipeline"][0]["pipeline"][0], given)
        return definition_of(Source(f"melange {self.version}: {name}", tree, ""))

    def names(self) -> tuple[str, ...]:
        """Nobody can list them."""
        return ()


def is_known(version: str) -> bool:
    """Whether the table has a version."""
    return version in _table()


@cache
def _known(version: str, name: str) -> Step | None:
    data = _table()[version].get(name)
    return None if data is None else definition_of(Source(f"melange {version}: {name}", _node(data), ""))


@cache
def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = from_json((Path(__file__).parent / "builtin_pipelines.json").read_bytes())
    return table


def question(name: str, given: Mapping[str, str]) -> str:
    """A recipe that shows what a pipeline is, given some inputs; equal for steps that give the same ones.

    The step stands in a subpackage, since pipelines may ask for the names of one. An input that is given as an empty text gets
    its default (pipeline.go, validateWith), so it is asked with that.
    """
    inputs = {key: _placeholder(key) if value else "" for key, value in given.items()}
    step = {"uses": name, **({"with": inputs} if inputs else {})}
    recipe = {
        "package": {"name": _NAME, "version": _VERSION, "epoch": int(_EPOCH)},
        "subpackages": [{"name": _CONTEXT, "pipeline": [{"if": "'asked' == 'run'", "pipeline": [step]}]}],
    }
    return emit(_node(recipe))


def _placeholder(key: str) -> str:
    if key in DIGESTS:
        return f"{list(DIGESTS).index(key)}".rjust(DIGESTS[key], "b")
    return f"⟦inputs.{key}⟧"


def _definition(step: Any, given: Mapping[str, str]) -> Node:
    """The definition behind an expanded step: placeholders become the variables that they stand for."""
    variables = {_placeholder(key): f"${{{{inputs.{key}}}}}" for key, value in given.items() if value}
    variables |= {
        f"{_VERSION}-r{_EPOCH}": "${{package.full-version}}",
        _VERSION: "${{package.version}}",
        _EPOCH: "${{package.epoch}}",
        _CONTEXT: "${{context.name}}",
        _NAME: "${{package.name}}",
    }

    def template(text: str, *, quoted: bool = False) -> str:
        for value, variable in variables.items():
            # In an `if:` melange writes values as quoted texts.
            text = text.replace(f'"{value}"' if quoted else value, variable)
        return text

    def inner(step: Any) -> dict[str, Any]:
        if not step.get("uses"):
            return body(step)
        # Not what it was expanded to here: the workspace may have a pipeline of that name.
        given = {key: template(value) for key, value in step.get("with", {}).items()}
        return {"uses": step["uses"], "with": given, **condition(step)}

    def condition(step: Any) -> dict[str, Any]:
        return {"if": template(step["if"], quoted=True)} if step.get("if") else {}

    def body(step: Any) -> dict[str, Any]:
        found: dict[str, Any] = {key: template(step[key]) for key in ("runs", "working-directory") if step.get(key)}
        if step.get("needs"):
            found["needs"] = {"packages": [template(need) for need in step["needs"]["Packages"] or ()]}
        if step.get("pipeline"):
            found["pipeline"] = [inner(each) for each in step["pipeline"]]
        return {**found, **condition(step)}

    return _node({"inputs": {key: {} for key in given}, **body(step)})


def _node(data: Any) -> Node:
    if isinstance(data, dict):
        return YamlMapping({key: _node(value) for key, value in data.items()})
    if isinstance(data, list):
        return Sequence([_node(value) for value in data])
    return Scalar(data) if isinstance(data, str) else Scalar(json.dumps(data), plain=True)
