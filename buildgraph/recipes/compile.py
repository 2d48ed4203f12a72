"""What a recipe's pipelines need: melange's compilation (pkg/build/compile.go) as far as it decides about packages.

``uses:`` are loaded, inputs are filled in, conditions are evaluated, and the ``needs:`` of every step that may run are gathered.
Undefined variables and inputs are errors here, as they are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from buildgraph.errors import RecipeError, did_you_mean
from buildgraph.recipes import network, pinned, pipelines
from buildgraph.recipes.builtins import Builtins, CompileError
from buildgraph.recipes.pipelines import DIGESTS, Spot, Step, definition_of, input_name
from buildgraph.recipes.substitute import Scope, SubstitutionError, evaluate, substitute
from buildgraph.recipes.values import Need, NetworkReason, PinnedSource, Source, Use
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.structs import Struct, field

if TYPE_CHECKING:
    from buildgraph.errors import Place

# The local definition of a name, or None where the workspace has none; melange's own are looked up after that.
FindPipeline: TypeAlias = Callable[[str], Source | None]

_MAX_STEPS = 20_000
_MAX_DEPTH = 100
_HEX = frozenset("0123456789abcdefABCDEF")


class Compiler(Struct):
    """Gathers what the steps of one recipe need, in melange's order."""

    find_pipeline: FindPipeline
    builtins: Builtins
    arch: str
    needs: list[Need] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    network: list[NetworkReason] = field(default_factory=list)
    sources: list[PinnedSource] = field(default_factory=list)
    count: int = 0
    needs_only: bool = False

    def compile(self, steps: tuple[Step, ...], variables: dict[str, str], *, made: bool = True) -> None:
        """Compiles a list of top-level steps; ``made`` says whether they will run, not whether their needs count."""
        scope = Scope(variables, {})
        context = _Context(runs=made)
        for step in steps:
            self._step(step, scope, context, 0)

    def another(self) -> Compiler:
        """One for a test, whose needs are nobody else's, under the same limits."""
        return Compiler(self.find_pipeline, self.builtins, self.arch, count=self.count, needs_only=True)

    def _step(self, step: Step, scope: Scope, context: _Context, depth: int) -> None:
        self.count += 1
        if self.count > _MAX_STEPS or depth > _MAX_DEPTH:
            what = (
                f"pipelines nest deeper than {_MAX_DEPTH} levels"
                if depth > _MAX_DEPTH
                else f"more than {_MAX_STEPS:,} pipeline steps"
            )
            raise RecipeError(what, where=step.place("uses"))
        builtin = False
        if step.uses and not step.steps:
            step, context, builtin = self._loaded(step, context)
        if step.with_ or step.inputs.defaults:
            scope = _with_inputs(step, scope)
        if step.names is None or not scope.has_all(step.names):
            _refuse_texts(step, scope)
        needs = [_substituted(step, "needs", need, scope) for need in step.needs]
        if step.condition:
            condition = _substituted(step, "if", step.condition, scope, quoted=True)
            if context.live and not _holds(step, condition):
                context = _Context(context.via, context.spot, context.chain, live=False, runs=False)
        if needs and context.live:
            path, line, column = context.spot or _spot_of_needs(step)
            self.needs += [Need(text, path, line, column, context.via or "pipeline") for text in needs]
        if context.runs and (builtin or step.runs):
            context = self._note_network(step, scope, context, builtin=builtin)
        for inner in step.steps:
            self._step(inner, scope, context, depth + 1)

    def _loaded(self, step: Step, context: _Context) -> tuple[Step, _Context, bool]:
        """The step with the definition that it uses; whether that is melange's own."""
        name, spot = step.uses, step.spot
        if name.startswith("/") or ".." in name:
            raise RecipeError(f"`uses: {name}` must not be an absolute path or contain `..`", where=step.place("uses"))
        if name in context.chain:
            circle = " -> ".join([*context.chain[context.chain.index(name) :], name])
            raise RecipeError(f"the pipeline `{name}` uses itself: {circle}", where=step.place("uses"))
        local = self.find_pipeline(name)
        definition = definition_of(local) if local is not None else self._builtin(step)
        if not self.needs_only:
            self.uses.append(Use(name, *spot, local.path if local is not None else ""))
        loaded = pipelines.load(step, definition)
        for key in step.with_:
            if input_name(key) not in loaded.inputs.defaults:
                known = loaded.inputs.keys()
                hint = did_you_mean(key, known) or _listed("its inputs are", known)
                raise RecipeError(f"the pipeline `{name}` has no input `{key}`", where=_with_place(step, key), hint=hint)
        via, outer = (context.via, context.spot) if context.spot else (name, spot)
        return loaded, _Context(via, outer, (*context.chain, name), live=context.live, runs=context.runs), local is None

    def _builtin(self, step: Step) -> Step:
        name = step.uses
        try:
            definition = self.builtins.find(name, step.with_, self.arch)
        except CompileError as refusal:
            what = f"melange refuses this use of its pipeline `{name}`: {refusal}"
            raise RecipeError(what, where=step.place("uses")) from None
        if definition is None:
            hint = did_you_mean(name, self.builtins.names())
            what = f"there is no pipeline `{name}`, neither in the pipeline folders nor in melange {self.builtins.version}"
            raise RecipeError(what, where=step.place("uses"), hint=hint)
        return definition

    def _note_network(self, step: Step, scope: Scope, context: _Context, *, builtin: bool) -> _Context:
        """Notes what a step that runs downloads; the context for its inner steps."""
        path, line, _ = step.spot
        if builtin and step.uses in pinned.PIPELINES:
            self._note_source(step, scope, path, line)
            # What its commands download is known with that.
            return _Context(context.via, context.spot, context.chain, live=context.live, runs=False)
        if builtin and step.uses in network.FETCHING_PIPELINES:
            self.network.append(NetworkReason(f"uses: {step.uses}", path, line))
        if step.runs:
            self._note_commands(step, context)
        return context

    def _note_source(self, step: Step, scope: Scope, path: str, line: int) -> None:
        found = pinned.pinned(step.uses, lambda key: scope.inputs.get(input_name(key), ""), path, line)
        if isinstance(found, PinnedSource):
            self.sources.append(found)
        else:
            self.network.append(found)

    def _note_commands(self, step: Step, context: _Context) -> None:
        for command in network.fetching_commands(step.runs):
            where = step.place("runs", command.split()[0] if " " not in command else command)
            path, line = where.path, where.line
            if not line and context.spot is not None:
                path, line, _ = context.spot  # in a pipeline of melange's
            self.network.append(NetworkReason(command, path, line))


class _Context(Struct, frozen=True):
    """Where a step stands: the outermost ``uses:``, the chain of loaded names, whether its needs count and whether it runs."""

    via: str = ""
    spot: Spot | None = None
    chain: tuple[str, ...] = ()
    live: bool = True
    runs: bool = True


def _with_inputs(step: Step, scope: Scope) -> Scope:
    """The scope of a step that has inputs (pipeline.go, validateWith and MutateWith)."""
    values = dict(step.inputs.defaults)
    for key, value in step.with_.items():
        name = input_name(key)
        values[name] = value or values.get(name, "")
    _check_inputs(step, values)
    references = [name for name, value in values.items() if "${{" in value]
    if not references:
        return Scope(scope.variables, {**scope.inputs, **values})
    # A value that refers to an input of its own name means the enclosing pipeline's.
    known = {name: value for name, value in values.items() if "${{" not in value}
    inner = Scope(scope.variables, {**scope.inputs, **known})
    late: list[str] = []
    for name in references:
        try:
            inner.inputs[name] = substitute(values[name], inner)
        except SubstitutionError:
            inner.inputs[name] = values[name]
            late.append(name)
    # An input may refer to another one of the same step, which is in scope only now.
    for name in late:
        try:
            inner.inputs[name] = substitute(values[name], inner)
        except SubstitutionError as error:
            raise _error(error, _with_place(step, name.partition(".")[2]), inner) from None
    return inner


def _check_inputs(step: Step, values: dict[str, str]) -> None:
    for key in step.inputs.required:
        if not values[input_name(key)]:
            raise RecipeError(f"the pipeline `{step.uses}` requires the input `{key}`", where=step.place("uses"))
    for key in step.inputs.digests:
        value = values[input_name(key)]
        if value and not (len(value) == DIGESTS[key] and _HEX.issuperset(value)):
            what = f"`{key}` must be {DIGESTS[key]} hexadecimal digits, found {len(value)} characters"
            raise RecipeError(what, where=_with_place(step, key))


def _refuse_texts(step: Step, scope: Scope) -> None:
    """The error of a step whose commands or folder cannot be substituted."""
    for key, text in (("working-directory", step.directory), ("runs", step.runs)):
        _substituted(step, key, text, scope)


def _spot_of_needs(step: Step) -> Spot:
    where = step.place("needs")
    return where.path, where.line, where.column


def _substituted(step: Step, key: str, text: str, scope: Scope, *, quoted: bool = False) -> str:
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


def _error(error: SubstitutionError, where: Place, scope: Scope) -> RecipeError:
    return RecipeError(error.what, where=where, hint=did_you_mean(error.name, scope) if error.name else "")


def _listed(lead: str, names: list[str]) -> str:
    return f"{lead} " + ", ".join(f"`{name}`" for name in sorted(names)) if names else "it takes no inputs"
