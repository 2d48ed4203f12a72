"""melange recipes: YAML tree to values as melange reads them (pkg/config/config.go, ParseConfiguration); their boxed form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildgraph.errors import Place, RecipeError, did_you_mean
from buildgraph.recipes import architecture, schema, yamltext
from buildgraph.recipes.compile import Compiler, FindPipeline
from buildgraph.recipes.pipelines import child, map_of, mappings_of, steps_of, text_of, texts_of, value_place
from buildgraph.recipes.substitute import Replace, SubstitutionError, evaluate, literal_replacer, substitute, transform
from buildgraph.recipes.values import MelangeRecipe, Need, PackageDecl, Resources, Source, Written
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9+_.-]*")
_PRIORITY = re.compile(r"[-+]?[0-9]+")


def read_melange(
    tree: Node, path: str, text: str, *, arch: str, find_pipeline: FindPipeline, build_options: tuple[str, ...] = ()
) -> MelangeRecipe:
    """The recipe in ``tree`` for one architecture (in any spelling) and the given build options.

    ``path`` and ``text`` are what places in it show. ``find_pipeline`` gives the workspace's definition of a ``uses:`` name, or
    None. Raises RecipeError, with a place, for everything that melange would refuse before it starts to build.
    """
    if not isinstance(tree, Mapping):
        raise RecipeError(f"expected a mapping, found {yamltext.describe(tree)}", where=yamltext.place(tree, path, text))
    schema.check(tree, schema.RECIPE, path, text)
    return _Reader(tree, Source(path, tree, text), arch, build_options).recipe(find_pipeline)


@dataclass(slots=True)
class _Reader:
    tree: Mapping
    source: Source
    arch: str
    options: tuple[str, ...]
    name: str = ""
    version: str = ""
    epoch: int = 0

    def recipe(self, find_pipeline: FindPipeline) -> MelangeRecipe:
        package = self._package()
        variables = self._parse_variables(package)
        replace = literal_replacer(variables)
        self.name, self.version = replace(text_of(package.items["name"])), replace(text_of(package.items["version"]))
        self._check_name(self.name, package)
        description = replace(text_of(package.items.get("description")))
        # From here on the package's own fields count with their variables replaced (config.go: buildConfigMap(&cfg) again).
        variables = {**variables, **self._package_variables(description)}
        strict = {**self._package_variables(description), **self._vars()}
        packages, step_lists = self._packages(package, description, replace, variables, strict)
        self._check_steps(self.tree)
        environment = self._environment(replace, variables)
        scope = self._compile_variables(packages)
        compiler = Compiler(find_pipeline)
        compiler.compile(steps_of(self.tree.items.get("pipeline"), self.source, replace), scope)
        for declared, node, own_replace in step_lists:
            own_scope = self._subpackage_scope(declared, node, scope)
            compiler.compile(steps_of(node.items.get("pipeline"), self.source, own_replace), own_scope, made=declared.made)
        contents = child(self.tree, "environment", "contents")
        capabilities, options = self.tree.items.get("capabilities"), self.tree.items.get("options")
        return MelangeRecipe(
            path=self.source.path,
            name=self.name,
            version=self.version,
            epoch=self.epoch,
            full_version=f"{self.version}-r{self.epoch}",
            description=description,
            target_architectures=self._targets(package, replace),
            packages=tuple(packages),
            environment=(*environment, *compiler.needs),
            repositories=tuple(
                self._written(item, replace)
                for key in ("build_repositories", "repositories")
                for item in texts_of(child(contents, key))
            ),
            keyring=tuple(self._written(item, replace) for item in texts_of(child(contents, "keyring"))),
            architectures=tuple(architecture.to_apk(item.text) for item in texts_of(child(self.tree, "environment", "archs"))),
            uses=tuple(compiler.uses),
            network=tuple(dict.fromkeys(compiler.network)),
            run_as=text_of(child(self.tree, "environment", "accounts", "run-as")),
            capabilities_added=tuple(item.text for item in texts_of(child(capabilities, "add"))),
            capabilities_dropped=tuple(item.text for item in texts_of(child(capabilities, "drop"))),
            resources=_resources(package),
            options=tuple(sorted(options.items) if isinstance(options, Mapping) else ()),
        )

    def _package(self) -> Mapping:
        package = self.tree.items.get("package")
        if not isinstance(package, Mapping):
            raise RecipeError("a melange recipe needs a `package:` with a name and a version", where=self._at(self.tree))
        for key in ("name", "version"):
            if not text_of(package.items.get(key)):
                where = yamltext.key_place(self.tree, "package", self.source.path, self.source.text)
                raise RecipeError(f"the package has no `{key}`", where=where)
        self.epoch = schema.number(package.items.get("epoch"))
        return package

    def _check_name(self, name: str, node: Mapping) -> None:
        if not _PACKAGE_NAME.fullmatch(name):
            what = f"`{name}` is not a package name: letters, digits and `+_.-`, a letter or digit first"
            raise RecipeError(what, where=value_place(node, "name", self.source))

    def _package_variables(self, description: str) -> dict[str, str]:
        return {
            "package.name": self.name,
            "package.version": self.version,
            "package.description": description,
            "package.epoch": str(self.epoch),
            "package.full-version": f"{self.version}-r{self.epoch}",
        }

    def _vars(self) -> dict[str, str]:
        return {f"vars.{key}": value for key, value in map_of(self.tree.items.get("vars")).items()}

    def _parse_variables(self, package: Mapping) -> dict[str, str]:
        self.name, self.version = text_of(package.items["name"]), text_of(package.items["version"])
        variables = {**self._package_variables(text_of(package.items.get("description"))), **self._vars()}
        self._transform(variables)
        return variables

    def _transform(self, variables: dict[str, str]) -> None:
        """Adds what ``var-transforms`` define, in their order (vars.go, PerformVarSubstitutions)."""
        for node in mappings_of(self.tree.items.get("var-transforms")):
            given = {key: text_of(node.items.get(key)) for key in ("from", "match", "replace", "to")}
            start = self._substituted(node, "from", given["from"], variables)
            try:
                variables[f"vars.{given['to']}"] = transform(start, given["match"], given["replace"])
            except SubstitutionError as error:
                raise RecipeError(error.what, where=value_place(node, "match", self.source)) from None

    def _packages(
        self, package: Mapping, description: str, replace: Replace, variables: dict[str, str], strict: dict[str, str]
    ) -> tuple[list[PackageDecl], list[tuple[PackageDecl, Mapping, Replace]]]:
        """The declared packages, and for each subpackage its node and its parse-time substitution."""
        transformed = dict(strict)
        self._transform(transformed)
        packages = [self._declared(package, self.name, description, "", replace, transformed, strict)]
        steps = []
        names = {self.name}
        for node, own in self._expanded(replace, variables):
            name = own(text_of(node.items.get("name")))
            self._check_name(name, node)
            if name in names:
                raise RecipeError(f"the package `{name}` is made twice", where=value_place(node, "name", self.source))
            names.add(name)
            own_description = own(text_of(node.items.get("description")))
            condition = own(text_of(node.items.get("if")))
            declared = self._declared(node, name, own_description, condition, own, transformed, strict)
            packages.append(declared)
            steps.append((declared, node, own))
        return packages, steps

    def _expanded(self, replace: Replace, variables: dict[str, str]) -> Iterator[tuple[Mapping, Replace]]:
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
        self, node: Mapping, name: str, description: str, condition: str, replace: Replace,
        transformed: dict[str, str], strict: dict[str, str],
    ) -> PackageDecl:  # fmt: skip
        given = node.items.get("dependencies")

        def texts(key: str, variables: dict[str, str]) -> tuple[str, ...]:
            return tuple(
                self._substituted(given, key, replace(item.text), variables)
                for item in texts_of(child(given, key))
                if isinstance(given, Mapping)
            )

        def priority(key: str) -> str:
            text = text_of(child(given, key))
            if not text or not isinstance(given, Mapping):
                return ""
            text = self._substituted(given, key, replace(text), strict)
            if text and not _PRIORITY.fullmatch(text):
                raise RecipeError(f"`{key}` must be a whole number, found `{text}`", where=value_place(given, key, self.source))
            return text

        line, _ = node.keys.get("name", (node.line, 0))
        return PackageDecl(
            name=name,
            version=f"{self.version}-r{self.epoch}",
            description=description,
            provides=texts("provides", transformed),
            depends=texts("runtime", transformed),
            replaces=texts("replaces", strict),
            provider_priority=priority("provider-priority"),
            replaces_priority=priority("replaces-priority"),
            condition=condition,
            made=self._holds(node, condition),
            path=self.source.path,
            line=line,
        )

    def _holds(self, node: Mapping, condition: str) -> bool:
        try:
            return not condition or evaluate(condition)
        except SubstitutionError as error:
            raise RecipeError(f"`if`: {error.what}", where=value_place(node, "if", self.source)) from None

    def _environment(self, replace: Replace, variables: dict[str, str]) -> list[Need]:
        """``environment.contents.packages`` after build options (build.go, applyBuildOption)."""
        contents = child(self.tree, "environment", "contents")
        needs: list[Need] = []
        for item in texts_of(child(contents, "packages")):
            where = yamltext.place(item, self.source.path, self.source.text)
            try:
                text = substitute(replace(item.text), variables)
            except SubstitutionError as error:
                raise RecipeError(error.what, where=where, hint=did_you_mean(error.name, variables)) from None
            needs.append(Need(text, where.path, where.line, where.column, "environment"))
        for option in self.options:
            change = child(self.tree, "options", option, "environment", "contents", "packages")
            added = texts_of(child(change, "add"))
            needs += [Need(item.text, self.source.path, item.line, item.column, f"option {option}") for item in added]
            for removed in texts_of(child(change, "remove")):
                needs = _without(needs, removed.text)
        return needs

    def _compile_variables(self, packages: list[PackageDecl]) -> dict[str, str]:
        """The variables of every step (pipeline.go, NewSubstitutionMap)."""
        variables = {
            **self._package_variables(""),
            "package.srcdir": "/home/build",
            "targets.outdir": "/home/build/melange-out",
            "targets.destdir": f"/home/build/melange-out/{self.name}",
            "targets.contextdir": f"/home/build/melange-out/{self.name}",
            "context.name": self.name,
            **architecture.variables(self.arch),
        }
        del variables["package.description"]
        own = self._vars()
        for option in self.options:
            own |= {f"vars.{key}": value for key, value in map_of(child(self.tree, "options", option, "vars")).items()}
        for key, value in own.items():
            if "${{" in value:
                # melange resolves variables in the random order of a Go map, starting from nothing.
                node = self.tree.items.get("vars")
                where = value_place(node, key[5:], self.source) if isinstance(node, Mapping) else None
                raise RecipeError(f"the variable `{key}` refers to other variables, which melange does not support", where=where)
        variables |= own
        self._transform(variables)
        variables |= {f"targets.package.{declared.name}": f"/home/build/melange-out/{declared.name}" for declared in packages}
        options = self.tree.items.get("options")
        variables |= {f"options.{key}.enabled": "false" for key in (options.items if isinstance(options, Mapping) else ())}
        variables |= {f"options.{key}.enabled": "true" for key in self.options}
        return variables

    def _subpackage_scope(self, declared: PackageDecl, node: Mapping, scope: dict[str, str]) -> dict[str, str]:
        folder = f"/home/build/melange-out/{declared.name}"
        own = {
            **scope,
            "subpkg.name": declared.name,
            "context.name": declared.name,
            "targets.subpkgdir": folder,
            "targets.contextdir": folder,
        }
        self._substituted(node, "if", declared.condition, own)
        return own

    def _check_steps(self, node: Mapping) -> None:
        """What melange refuses about steps as they are written (config.go, validatePipelines)."""
        for step in mappings_of(node.items.get("pipeline")):
            uses, runs, given = (step.items.get(key) for key in ("uses", "runs", "with"))
            if isinstance(given, Mapping) and not text_of(uses):
                where = yamltext.key_place(step, "with", self.source.path, self.source.text)
                raise RecipeError("a step has `with` but no `uses`", where=where)
            if text_of(uses) and text_of(runs):
                where = yamltext.key_place(step, "runs", self.source.path, self.source.text)
                raise RecipeError(f"a step cannot have both `uses: {text_of(uses)}` and `runs`", where=where)
            self._check_steps(step)
        for subpackage in mappings_of(node.items.get("subpackages")):
            self._check_steps(subpackage)

    def _targets(self, package: Mapping, replace: Replace) -> tuple[str, ...]:
        targets = tuple(replace(item.text) for item in texts_of(package.items.get("target-architecture")))
        return () if targets == ("all",) else targets

    def _written(self, item: Scalar, replace: Replace) -> Written:
        return Written(replace(item.text), self.source.path, item.line, item.column)

    def _substituted(self, node: Node | None, key: str, text: str, variables: dict[str, str]) -> str:
        try:
            return substitute(text, variables)
        except SubstitutionError as error:
            where = value_place(node, key, self.source, error.name) if isinstance(node, Mapping) else None
            raise RecipeError(error.what, where=where, hint=did_you_mean(error.name, variables)) from None

    def _at(self, node: Node) -> Place:
        return yamltext.place(node, self.source.path, self.source.text)


def _resources(package: Mapping) -> Resources:
    given = {key: text_of(child(package, "resources", key)) for key in ("cpu", "cpumodel", "memory", "disk")}
    return Resources(**given, timeout=text_of(package.items.get("timeout")))


def _without(needs: list[Need], text: str) -> list[Need]:
    """A package taken out as melange does it: the last one takes its place, and is itself not looked at again."""
    kept, size = list(needs), len(needs)
    for position in range(len(kept)):
        if kept[position].text == text and size:
            kept[position] = kept[size - 1]
            size -= 1
    return kept[:size]


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
    return Mapping(items, tree.keys, tree.line, tree.column)


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
    return Mapping(items, node.keys, node.line, node.column)
