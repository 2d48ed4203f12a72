"""What a recipe's pipelines need: melange's compilation (pkg/build/compile.go) as far as it decides about packages.

``uses:`` are loaded, inputs are filled in, conditions are evaluated, and the ``needs:`` of every step that may run are gathered.
Undefined variables and inputs are errors here, as they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from buildgraph.errors import RecipeError, did_you_mean
from buildgraph.recipes import network, pipelines
from buildgraph.recipes.builtins import DIGESTS, Builtins, CompileError
from buildgraph.recipes.pipelines import Position, Step, definition_of
from buildgraph.recipes.substitute import SubstitutionError, evaluate, substitute
from buildgraph.recipes.values import Need, NetworkReason, Source, Use
from buildgraph.recipes.yamltext import Mapping as YamlMapping

if TYPE_CHECKING:
    from buildgraph.errors import Place

# The local definition of a name, or None where the workspace has none; melange's own are looked up after that.
FindPipeline: TypeAlias = Callable[[str], Source | None]
Variables: TypeAlias = Mapping[str, str]

_MAX_STEPS = 20_000
_MAX_DEPTH = 100
_HEX = frozenset("0123456789abcdefABCDEF")


@dataclass(slots=True)
class Compiler:
    """Gathers what the steps of one recipe need, in melange's order."""

    find_pipeline: FindPipeline
    builtins: Builtins
    arch: str
    needs: list[Need] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    network: list[NetworkReason] = field(default_factory=list)
    count: int = 0

    def compile(self, steps: tuple[Step, ...], variables: Variables, *, made: bool = True) -> None:
        """Compiles a list of top-level steps; ``made`` says whether they will run, not whether their needs count."""
        for step in steps:
            self._step(step, variables, _Context(live=True, runs=made), 0)

    def another(self) -> Compiler:
        """One that gathers apart from this one (the needs of tests are nobody else's), under the same limits."""
        return Compiler(self.find_pipeline, self.builtins, self.arch, count=self.count)

    def _step(self, step: Step, inherited: Variables, context: _Context, depth: int) -> None:
        self.count += 1
        if self.count > _MAX_STEPS:
            raise RecipeError(f"more than {_MAX_STEPS:,} pipeline steps", where=step.place("uses"))
        if depth > _MAX_DEPTH:
            raise RecipeError(f"pipelines nest deeper than {_MAX_DEPTH} levels", where=step.place("uses"))
        if step.uses and not step.steps:
            step, context = self._loaded(step, context)
        scope = _scope(step, inherited)
        needs = [_substituted(step, "needs", need, scope) for need in step.needs]
        for key, text in (("working-directory", step.directory), ("runs", step.runs)):
            _substituted(step, key, text, scope)
        condition = _substituted(step, "if", step.condition, scope, quoted=True) if step.condition else ""
        if context.live and condition and not _holds(step, condition):
            context = _Context(context.via, context.place, context.chain, live=False, runs=False)
        if context.live:
            where = context.place or step.position("needs")
            via = context.via or "pipeline"
            self.needs += [Need(text, where.path, where.line, where.column, via) for text in needs]
        if context.runs and step.runs:
            self._note_commands(step, context)
        for inner in step.steps:
            self._step(inner, scope, context, depth + 1)

    def _loaded(self, step: Step, context: _Context) -> tuple[Step, _Context]:
        name, where = step.uses, step.position("uses")
        if name.startswith("/") or ".." in name:
            raise RecipeError(f"`uses: {name}` must not be an absolute path or contain `..`", where=step.place("uses"))
        if name in context.chain:
            circle = " -> ".join([*context.chain[context.chain.index(name) :], name])
            raise RecipeError(f"the pipeline `{name}` uses itself: {circle}", where=step.place("uses"))
        local = self.find_pipeline(name)
        definition = definition_of(local) if local is not None else self._builtin(step)
        self.uses.append(Use(name, where.path, where.line, where.column, local.path if local is not None else ""))
        loaded = pipelines.load(step, definition)
        for key in step.with_:
            if key not in loaded.inputs:
                hint = did_you_mean(key, loaded.inputs) or _listed("its inputs are", loaded.inputs)
                raise RecipeError(f"the pipeline `{name}` has no input `{key}`", where=_with_place(step, key), hint=hint)
        if context.runs and local is None and name in network.FETCHING_PIPELINES:
            self.network.append(NetworkReason(f"uses: {name}", where.path, where.line))
        via, place = (context.via, context.place) if context.place else (name, where)
        return loaded, _Context(via, place, (*context.chain, name), live=context.live, runs=context.runs)

    def _builtin(self, step: Step) -> Step:
        name = step.uses
        try:
            definition = self.builtins.find(name, step.with_, self.arch)
        except CompileError as refusal:
            raise RecipeError(f"melange refuses this use of its pipeline `{name}`: {refusal}", where=step.place("uses")) from None
        if definition is None:
            hint = did_you_mean(name, self.builtins.names())
            what = f"there is no pipeline `{name}`, neither in the pipeline folders nor in melange {self.builtins.version}"
            raise RecipeError(what, where=step.place("uses"), hint=hint)
        return definition

    def _note_commands(self, step: Step, context: _Context) -> None:
        for command in network.fetching_commands(step.runs):
            where = step.place("runs", command.split()[0] if " " not in command else command)
            path, line = where.path, where.line
            if not line and context.place is not None:
                path, line, _ = context.place  # in a pipeline of melange's
            self.network.append(NetworkReason(command, path, line))


@dataclass(frozen=True, slots=True)
class _Context:
    """Where a step stands: the outermost ``uses:``, the chain of loaded names, whether its needs count and whether it runs."""

    via: str = ""
    place: Position | None = None
    chain: tuple[str, ...] = ()
    live: bool = True
    runs: bool = True


def _scope(step: Step, inherited: Variables) -> Variables:
    """All variables that a step sees: inherited ones, then its inputs (pipeline.go, validateWith and MutateWith)."""
    if not step.with_ and not step.inputs:
        return inherited
    given = dict(step.with_)
    for key, declared in step.inputs.items():
        value = given[key] = given.get(key) or declared.default
        if value and key in DIGESTS and not (len(value) == DIGESTS[key] and _HEX.issuperset(value)):
            what = f"`{key}` must be {DIGESTS[key]} hexadecimal digits, found {len(value)} characters"
            raise RecipeError(what, where=_with_place(step, key))
        if declared.required and not value:
            raise RecipeError(f"the pipeline `{step.uses}` requires the input `{key}`", where=step.place("uses"))
    scope = dict(inherited)
    late: list[tuple[str, str]] = []
    for key, value in given.items():
        try:
            scope[f"inputs.{key}"] = substitute(value, scope)
        except SubstitutionError:
            scope[f"inputs.{key}"] = value
            late.append((key, value))
    # An input may refer to another one of the same step, which is in scope only now.
    for key, value in late:
        try:
            scope[f"inputs.{key}"] = substitute(value, scope)
        except SubstitutionError as error:
            raise _error(error, _with_place(step, key), scope) from None
    return scope


def _substituted(step: Step, key: str, text: str, scope: Variables, *, quoted: bool = False) -> str:
    try:
        return substitute(text, scope, quoted=quoted)
    except SubstitutionError as error:
        raise _error(error, step.place(key, error.name), scope) from None


def _holds(step: Step, condition: str) -> bool:
    try:
        return evaluate(condition)
    except SubstitutionError as error:
        raise RecipeError(f"`if`: {error.what}", where=step.place("if")) from None


def _with_place(step: Step, key: str) -> Place:
    given = step.node.items.get("with")
    if isinstance(given, YamlMapping) and key in given.items:
        return pipelines.value_place(given, key, step.source)
    return step.place("uses")


def _error(error: SubstitutionError, where: Place, scope: Variables) -> RecipeError:
    return RecipeError(error.what, where=where, hint=did_you_mean(error.name, scope) if error.name else "")


def _listed(lead: str, names: dict[str, pipelines.Input]) -> str:
    return f"{lead} " + ", ".join(f"`{name}`" for name in sorted(names)) if names else "it takes no inputs"
