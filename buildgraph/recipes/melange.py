"""melange recipes: YAML tree to values as melange reads them (pkg/config/config.go, ParseConfiguration); their boxed form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from buildgraph.apk.version import Version
from buildgraph.errors import Place, RecipeError, did_you_mean
from buildgraph.recipes import architecture, pinned, scalars, schema, yamltext
from buildgraph.recipes.builtins import Builtins, Table
from buildgraph.recipes.compile import Compiler, FindPipeline
from buildgraph.recipes.pipelines import Step, child, map_of, mappings_of, steps_of, text_of, texts_of, value_place
from buildgraph.recipes.substitute import (
    Replace,
    SubstitutionError,
    TooLongError,
    evaluate,
    literal_replacer,
    substitute,
)
from buildgraph.recipes.values import MelangeRecipe, Need, PackageDecl, Resources, Source, TestDecl, Written, written_address
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence
from buildgraph.structs import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+_.-]*")
_PRIORITY = re.compile(r"[-+]?[0-9]+")
_CPE_FIELD = re.compile(r"[a-z0-9][a-z0-9+_.-]*")
_CPE_PARTS = ("a", "o")
_CAPABILITIES = ("cap_ipc_lock", "cap_net_admin", "cap_net_bind_service", "cap_net_raw", "cap_sys_admin")
_OUT = "/home/build/melange-out"
_MAX_PACKAGES = 10_000
_PINNED = Table()
_NOTHING = Mapping()

Variables: TypeAlias = dict[str, str]


def read_melange(
    tree: Node,
    path: str,
    text: str,
    *,
    arch: str,
    find_pipeline: FindPipeline,
    build_options: tuple[str, ...] = (),
    vars_file: Source | None = None,
    builtins: Builtins = _PINNED,
) -> MelangeRecipe:
    """The recipe in ``tree`` for one architecture (in any spelling) and the given build options.

    ``path`` and ``text`` are what places in it show. ``find_pipeline`` gives the workspace's definition of a ``uses:`` name, or
    None; ``builtins`` has melange's own. ``vars_file`` is what ``--vars-file`` would name (``read_vars`` checks it). Raises
    RecipeError, with a place, for everything that melange would refuse before it starts to build, but for shell syntax.
    """
    if not isinstance(tree, Mapping):
        raise RecipeError(f"expected a mapping, found {yamltext.describe(tree)}", where=yamltext.place(tree, path, text))
    schema.check(tree, schema.RECIPE, path, text)
    compiler = Compiler(find_pipeline, builtins, arch)
    try:
        return _Reader(tree, Source(path, tree, text), arch, build_options, vars_file).recipe(compiler)
    except TooLongError as error:
        raise RecipeError(str(error), where=yamltext.place(tree, path, text)) from None


def read_vars(source: Source) -> Mapping:
    """The mapping in a vars-file. Raises RecipeError where melange could not take it."""
    if not isinstance(source.tree, Mapping):
        what = f"a vars-file must be a mapping, found {yamltext.describe(source.tree)}"
        raise RecipeError(what, where=yamltext.place(source.tree, source.path, source.text))
    schema.check(source.tree, schema.TEXT_MAP, source.path, source.text)
    return source.tree


class _Declared(Struct, frozen=True):
    """A package with its node and the parse-time substitution of its texts."""

    package: PackageDecl
    node: Mapping
    replace: Replace


class _Reader(Struct):
    tree: Mapping
    source: Source
    arch: str
    options: tuple[str, ...]
    vars_file: Source | None
    name: str = ""
    version: str = ""
    epoch: int = 0

    def recipe(self, compiler: Compiler) -> MelangeRecipe:
        package = self._package()
        own_vars = self._vars()
        description = text_of(package.items.get("description"))
        self.name, self.version = text_of(package.items["name"]), text_of(package.items["version"])
        replace = literal_replacer(
            self._transformed({**self._package_variables(), "package.description": description, **own_vars})
        )
        self.name, self.version, description = replace(self.name), replace(self.version), replace(description)
        # From here on the package's own fields count with their variables replaced (config.go: buildConfigMap(&cfg) again).
        strict = {**self._package_variables(), "package.description": description, **own_vars}
        variables = self._transformed(strict)
        self._check_package(package)
        declared = self._packages(package, description, replace, variables, strict)
        environment = self._environment(child(self.tree, "environment"), replace, variables)
        self._apply_options(environment)
        scope = self._compile_variables(own_vars, declared)
        tests = self._compile(compiler, declared, variables, scope)
        contents = child(self.tree, "environment", "contents")
        own_home = child(self.tree, "environment", "environment", "HOME") is not None
        sources, conflicts = pinned.together(compiler.sources, own_home=own_home)
        capabilities, options = self.tree.items.get("capabilities"), self.tree.items.get("options")
        return MelangeRecipe(
            path=self.source.path,
            name=self.name,
            version=self.version,
            epoch=self.epoch,
            full_version=self._full_version(),
            description=description,
            target_architectures=self._targets(package, replace),
            packages=tuple(each.package for each in declared),
            environment=(*environment, *compiler.needs),
            repositories=tuple(
                self._address(item, replace)
                for key in ("build_repositories", "repositories")
                for item in texts_of(child(contents, key))
            ),
            keyring=tuple(self._address(item, replace) for item in texts_of(child(contents, "keyring"))),
            architectures=tuple(architecture.to_apk(item.text) for item in texts_of(child(self.tree, "environment", "archs"))),
            uses=tuple(compiler.uses),
            network=tuple(dict.fromkeys((*compiler.network, *conflicts))),
            sources=sources,
            run_as=text_of(child(self.tree, "environment", "accounts", "run-as")),
            capabilities_added=tuple(item.text for item in texts_of(child(capabilities, "add"))),
            capabilities_dropped=tuple(item.text for item in texts_of(child(capabilities, "drop"))),
            resources=_resources(package),
            options=tuple(sorted(options.items) if isinstance(options, Mapping) else ()),
            tests=tests,
        )

    def _package(self) -> Mapping:
        package = self.tree.items.get("package")
        if not isinstance(package, Mapping):
            raise RecipeError("a melange recipe needs a `package:` with a name and a version", where=self._at(self.tree))
        for key in ("name", "version"):
            if not text_of(package.items.get(key)):
                where = yamltext.key_place(self.tree, "package", self.source.path, self.source.text)
                raise RecipeError(f"the package has no `{key}`", where=where)
        self.epoch = scalars.number(package.items.get("epoch"))
        return package

    def _check_package(self, package: Mapping) -> None:
        """What melange refuses about the package itself (config.go, validate; build.go, BuildPackage)."""
        self._check_name(self.name, package)
        try:
            Version.parse(self.version)
        except ValueError as error:
            raise RecipeError(str(error), where=value_place(package, "version", self.source)) from None
        for given in mappings_of(package.items.get("setcap")):
            for names in map_of(given.items.get("add")):
                for name in names.split(","):
                    if name not in _CAPABILITIES:
                        hint = did_you_mean(name, _CAPABILITIES) or "it takes " + ", ".join(_CAPABILITIES)
                        raise RecipeError(f"melange cannot set the capability `{name}`", where=self._at(given), hint=hint)
            if not text_of(given.items.get("reason")):
                raise RecipeError("a capability needs a `reason`", where=self._at(given))
        self._check_cpe(package.items.get("cpe"))

    def _check_cpe(self, cpe: Node | None) -> None:
        given = {key: value for key, value in map_of(cpe).items() if value}
        if not given or not isinstance(cpe, Mapping):
            return
        if given.get("part", "a") not in _CPE_PARTS:
            raise RecipeError("the `part` of a CPE is `a` or `o`", where=value_place(cpe, "part", self.source))
        if ("vendor" in given) != ("product" in given):
            raise RecipeError("a CPE with a `vendor` needs a `product`, and the other way round", where=self._at(cpe))
        for key, value in given.items():
            if key != "part" and not _CPE_FIELD.fullmatch(value):
                what = f"`{value}` cannot stand in a CPE: small letters, digits and `+_.-`, a letter or digit first"
                raise RecipeError(what, where=value_place(cpe, key, self.source))

    def _check_name(self, name: str, node: Mapping) -> None:
        if not _PACKAGE_NAME.fullmatch(name):
            what = f"`{name}` is not a package name: letters, digits and `+_.-`, a letter or digit first"
            raise RecipeError(what, where=value_place(node, "name", self.source))

    def _full_version(self) -> str:
        return f"{self.version}-r{self.epoch}"

    def _package_variables(self) -> Variables:
        return {
            "package.name": self.name,
            "package.version": self.version,
            "package.epoch": str(self.epoch),
            "package.full-version": self._full_version(),
        }

    def _vars(self) -> Variables:
        """The recipe's variables, those of a vars-file before them (config.go, ParseConfiguration)."""
        own = self.tree.items.get("vars")
        found = map_of(own)
        if self.vars_file is not None:
            more = map_of(read_vars(self.vars_file))
            if more and not isinstance(own, Mapping):
                what = f"melange takes variables from {self.vars_file.path} only for a recipe that has `vars:`"
                raise RecipeError(what, where=self._at(self.tree), hint="add `vars: {}` to the recipe")
            found |= more
        return {f"vars.{key}": value for key, value in found.items()}

    def _var_place(self, name: str) -> Place:
        """Where the value of a variable is written."""
        for source, node in (
            (self.vars_file, self.vars_file and self.vars_file.tree),
            (self.source, self.tree.items.get("vars")),
        ):
            if source is not None and isinstance(node, Mapping) and name in node.items:
                return value_place(node, name, source)
        return self._at(self.tree)

    def _transformed(self, variables: Variables) -> Variables:
        """With what ``var-transforms`` define, in their order (vars.go, PerformVarSubstitutions)."""
        variables = dict(variables)
        for node in mappings_of(self.tree.items.get("var-transforms")):
            from buildgraph.recipes.goregexp import ExpressionError, replace_all  # most recipes have none

            given = {key: text_of(node.items.get(key)) for key in ("from", "match", "replace", "to")}
            start = self._substituted(node, "from", given["from"], variables)
            try:
                variables[f"vars.{given['to']}"] = replace_all(start, given["match"], given["replace"])
            except ExpressionError as error:
                raise RecipeError(str(error), where=value_place(node, "match", self.source)) from None
        return variables

    def _packages(
        self, package: Mapping, description: str, replace: Replace, variables: Variables, strict: Variables
    ) -> list[_Declared]:
        """The package and the subpackages with their ranges expanded."""
        declared = [_Declared(self._declared(package, self.name, description, replace, variables, strict), package, replace)]
        names = {self.name}
        for node, own in self._expanded(replace, variables):
            name = own(text_of(node.items.get("name")))
            self._check_name(name, node)
            if name in names:
                raise RecipeError(f"the package `{name}` is made twice", where=value_place(node, "name", self.source))
            names.add(name)
            if len(names) > _MAX_PACKAGES:
                raise RecipeError(f"more than {_MAX_PACKAGES:,} packages", where=value_place(node, "range", self.source))
            own_description = own(text_of(node.items.get("description")))
            declared.append(_Declared(self._declared(node, name, own_description, own, variables, strict), node, own))
        return declared

    def _expanded(self, replace: Replace, variables: Variables) -> Iterator[tuple[Mapping, Replace]]:
        """Subpackages with their ranges expanded, keys sorted (config.go, replaceSubpackages)."""
        data = mappings_of(self.tree.items.get("data"))
        ranges = {text_of(given.items.get("name")): map_of(given.items.get("items")) for given in data}
        for node in mappings_of(self.tree.items.get("subpackages")):
            wanted = text_of(node.items.get("range"))
            if not wanted:
                yield node, replace
                continue
            if wanted not in ranges:
                where = value_place(node, "range", self.source)
                what = f"the range `{wanted}` is not defined in `data:`"
                raise RecipeError(what, where=where, hint=did_you_mean(wanted, ranges))
            # Go sorts by bytes of UTF-8, which is the order of code points.
            for key, value in sorted(ranges[wanted].items()):
                yield node, literal_replacer({**variables, "range.key": key, "range.value": value})

    def _declared(
        self, node: Mapping, name: str, description: str, replace: Replace, variables: Variables, strict: Variables
    ) -> PackageDecl:
        given = node.items.get("dependencies")
        given = given if isinstance(given, Mapping) else _NOTHING
        is_origin = name == self.name
        condition = "" if is_origin else replace(text_of(node.items.get("if")))
        return PackageDecl(
            name=name,
            version=self._full_version(),
            description=description,
            provides=self._texts(given, "provides", replace, variables),
            depends=self._texts(given, "runtime", replace, variables),
            depends_lines=tuple([item.line for item in texts_of(given.items["runtime"])]) if "runtime" in given.items else (),
            replaces=self._texts(given, "replaces", replace, strict),
            provider_priority=self._priority(given, "provider-priority", replace, strict, is_origin=is_origin),
            replaces_priority=self._priority(given, "replaces-priority", replace, strict, is_origin=is_origin),
            condition=condition,
            made=self._holds(node, condition),
            path=self.source.path,
            line=node.items["name"].line if "name" in node.items else node.line,
        )

    def _texts(self, given: Mapping, key: str, replace: Replace, variables: Variables) -> tuple[str, ...]:
        if key not in given.items:
            return ()
        listed = texts_of(given.items[key])
        return tuple([self._substituted(given, key, replace(item.text), variables) for item in listed])

    def _priority(self, given: Mapping, key: str, replace: Replace, strict: Variables, *, is_origin: bool) -> str:
        if key not in given.items:
            return ""
        text = replace(text_of(given.items[key]))
        result = self._substituted(given, key, text, strict)
        # melange loses the result for subpackages, in a loop's copy (config.go, applySubstitutionsForPriorities).
        result = result if is_origin else text
        if result and not (_PRIORITY.fullmatch(result) and abs(int(result)) <= scalars.MAX_INT):
            raise RecipeError(f"`{key}` must be a whole number, found `{result}`", where=value_place(given, key, self.source))
        return result

    def _holds(self, node: Mapping, condition: str) -> bool:
        try:
            return not condition or evaluate(condition)
        except SubstitutionError as error:
            raise RecipeError(f"`if`: {error.what}", where=value_place(node, "if", self.source)) from None

    def _environment(self, node: Node | None, replace: Replace, variables: Variables) -> list[Need]:
        """``contents.packages`` of an ``environment:`` (config.go, applySubstitutionsForPackages)."""
        needs: list[Need] = []
        for item in texts_of(child(node, "contents", "packages")):
            try:
                text = substitute(replace(item.text), variables)
            except SubstitutionError as error:
                raise RecipeError(error.what, where=self._at(item), hint=did_you_mean(error.name, variables)) from None
            needs.append(Need(text, self.source.path, item.line, item.column, "environment"))
        return needs

    def _apply_options(self, needs: list[Need]) -> None:
        """What build options add to the environment and take from it (build.go, applyBuildOption)."""
        for option in self.options:
            change = child(self.tree, "options", option, "environment", "contents", "packages")
            added = texts_of(child(change, "add"))
            needs += [Need(item.text, self.source.path, item.line, item.column, f"option {option}") for item in added]
            for removed in texts_of(child(change, "remove")):
                if not _remove(needs, removed.text):
                    what = f"`{removed.text}` is listed more than once and last, which melange does not survive removing"
                    raise RecipeError(what, where=self._at(removed))

    def _compile_variables(self, own_vars: Variables, declared: list[_Declared]) -> Variables:
        """The variables of every step (pipeline.go, NewSubstitutionMap)."""
        own_vars = dict(own_vars)
        for option in self.options:
            own_vars |= {f"vars.{key}": value for key, value in map_of(child(self.tree, "options", option, "vars")).items()}
        for key, value in own_vars.items():
            if "${{" in value:
                # melange resolves variables in the random order of a Go map, starting from nothing.
                what = f"the variable `{key}` refers to other variables, which melange does not support"
                raise RecipeError(what, where=self._var_place(key.removeprefix("vars.")))
        variables = self._transformed({
            **self._package_variables(),
            "package.srcdir": "/home/build",
            "targets.outdir": _OUT,
            "targets.destdir": f"{_OUT}/{self.name}",
            "targets.contextdir": f"{_OUT}/{self.name}",
            "context.name": self.name,
            **architecture.variables(self.arch),
            **own_vars,
        })  # fmt: skip
        variables |= {f"targets.package.{each.package.name}": f"{_OUT}/{each.package.name}" for each in declared}
        options = self.tree.items.get("options")
        variables |= {f"options.{key}.enabled": "false" for key in (options.items if isinstance(options, Mapping) else ())}
        variables |= {f"options.{key}.enabled": "true" for key in self.options}
        return variables

    def _compile(
        self, compiler: Compiler, declared: list[_Declared], variables: Variables, scope: Variables
    ) -> tuple[TestDecl, ...]:
        """Compiles all pipelines in melange's order (compile.go, Compile); what the tests need comes back."""
        tests = []
        for position, each in enumerate(declared):
            steps = steps_of((each.node if position else self.tree).items.get("pipeline"), self.source, each.replace)
            self._check_steps(steps)
            own_scope = self._subpackage_scope(each, scope) if position else scope
            compiler.compile(steps, own_scope, made=each.package.made)
            test = (each.node if position else self.tree).items.get("test")
            if isinstance(test, Mapping):
                tests.append(self._test(test, each, variables, own_scope, compiler.another()))
        return tuple(tests)

    def _test(self, test: Mapping, tested: _Declared, variables: Variables, scope: Variables, compiler: Compiler) -> TestDecl:
        needs = self._environment(test.items.get("environment"), tested.replace, variables)
        compiler.compile(steps_of(test.items.get("pipeline"), self.source, tested.replace), scope, made=False)
        own = Need(tested.package.name, self.source.path, test.line, test.column, "test")
        return TestDecl(tested.package.name, (*needs, *compiler.needs, own), test.line)

    def _subpackage_scope(self, declared: _Declared, scope: Variables) -> Variables:
        name = declared.package.name
        own = {
            **scope,
            "subpkg.name": name,
            "context.name": name,
            "targets.subpkgdir": f"{_OUT}/{name}",
            "targets.contextdir": f"{_OUT}/{name}",
        }
        self._substituted(declared.node, "if", declared.package.condition, own)
        return own

    def _check_steps(self, steps: tuple[Step, ...]) -> None:
        """What melange refuses about steps as they are written (config.go, validatePipelines)."""
        for step in steps:
            if step.with_ and not step.uses:
                where = yamltext.key_place(step.node, "with", self.source.path, self.source.text)
                raise RecipeError("a step has `with` but no `uses`", where=where)
            if step.uses and step.runs:
                where = yamltext.key_place(step.node, "runs", self.source.path, self.source.text)
                raise RecipeError(f"a step cannot have both `uses: {step.uses}` and `runs`", where=where)
            self._check_steps(step.steps)

    def _targets(self, package: Mapping, replace: Replace) -> tuple[str, ...]:
        targets = tuple(replace(item.text) for item in texts_of(package.items.get("target-architecture")))
        return () if targets == ("all",) else targets

    def _address(self, item: Scalar, replace: Replace) -> Written:
        return written_address(replace(item.text), self.source.path, item.line, item.column)

    def _substituted(self, node: Mapping, key: str, text: str, variables: Variables) -> str:
        try:
            return substitute(text, variables)
        except SubstitutionError as error:
            where = value_place(node, key, self.source, error.name)
            raise RecipeError(error.what, where=where, hint=did_you_mean(error.name, variables)) from None

    def _at(self, node: Node) -> Place:
        return yamltext.place(node, self.source.path, self.source.text)


def _resources(package: Mapping) -> Resources:
    given = {key: text_of(child(package, "resources", key)) for key in ("cpu", "cpumodel", "memory", "disk")}
    return Resources(**given, timeout=text_of(package.items.get("timeout")))


def _remove(needs: list[Need], text: str) -> bool:
    """Takes a package out as melange does it: the last one takes its place, and is itself not looked at again.

    False where melange goes on beyond the end that it has set itself, and panics.
    """
    size = len(needs)
    for position, need in enumerate(list(needs)):
        if need.text == text:
            if position >= size:
                return False
            size -= 1
            needs[position] = needs[size]
    del needs[size:]
    return True


def normalise(tree: Mapping) -> Mapping:
    """The recipe without what says nothing about its packages: tests, and how to find new versions.

    melange runs ``test:`` in ``melange test`` only, ``update:`` in no command, ``package.test-resources`` nowhere but in others'
    schedulers (pkg/config/config.go). They do land in the apk's ``.melange.yaml``, so leaving them out keeps that stable too.
    """
    items = {key: value for key, value in tree.items.items() if key not in {"test", "update"}}
    package = items.get("package")
    if isinstance(package, Mapping):
        items["package"] = _with(package, {"test-resources": None})
    subpackages = items.get("subpackages")
    if isinstance(subpackages, Sequence):
        items["subpackages"] = Sequence(
            [_with(item, {"test": None}) if isinstance(item, Mapping) else item for item in subpackages.items],
            subpackages.line,
            subpackages.column,
        )
    return Mapping(items, tree.line, tree.column)


def boxed_melange(tree: Mapping) -> Mapping:
    """The normalised recipe as it lies in the box: ``./repo`` is the only repository, and unsigned, so there is no keyring."""
    tree = normalise(tree)
    environment = tree.items.get("environment")
    environment = environment if isinstance(environment, Mapping) else Mapping()
    contents = environment.items.get("contents")
    contents = contents if isinstance(contents, Mapping) else Mapping()
    contents = _with(contents, {
        "repositories": Sequence([Scalar("./repo")]),
        "keyring": Sequence(),
        "build_repositories": None,
        "runtime_repositories": None,
    })  # fmt: skip
    return _with(tree, {"environment": _with(environment, {"contents": contents})})


def _with(node: Mapping, changes: dict[str, Node | None]) -> Mapping:
    """A copy of a mapping with some keys set, or taken out where the change is None."""
    items = {key: value for key, value in {**node.items, **changes}.items() if value is not None}
    return Mapping(items, node.line, node.column)
