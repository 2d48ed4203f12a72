"""What the real melange says of a recipe, what is read here, and the difference; Wolfi's recipes to compare on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from buildgraph.errors import RecipeError
from buildgraph.recipes import yamltext
from buildgraph.recipes.builtins import Builtins, Table
from buildgraph.recipes.melange import read_melange
from buildgraph.recipes.values import MelangeRecipe, Source
from buildgraph.recipes.yamltext import Mapping, Node, Scalar

PROCESSORS = 2
# What bg refuses although `melange compile` takes it; docs/reading.md says why.
STRICTER = re.compile(
    r"is not an apk version$"  # `melange build` refuses it
    r"|^`if`: "  # of a subpackage: `melange build` panics
    r"|did not find expected <document start>$"  # melange does not look at what follows the first document
    r"|^a key must be a text, found nothing$"
    r"|is not a regular expression|is too complex for a text"  # expressions of transforms
    r"|^the tag `!.*` is not supported$"
)
# Likewise after an end that is marked.
_END_OF_DOCUMENT = re.compile(r"^(?:---|\.\.\.)", re.MULTILINE)
# What melange refuses although bg takes it.
LAXER = re.compile(r"stripping runs comments")  # a shell script that melange's parser cannot read


TABLE = Table()


@dataclass(frozen=True)
class Options:
    """Flags of `melange compile`, and what they are called here."""

    arch: str = "x86_64"
    build_options: tuple[str, ...] = ()
    vars_file: Path | None = None
    builtins: Builtins = TABLE

    def flags(self) -> list[str]:
        chosen = [flag for option in self.build_options for flag in ("--build-option", option)]
        return [f"--arch={self.arch}", *chosen, *(["--vars-file", str(self.vars_file)] if self.vars_file else [])]


@dataclass(frozen=True)
class Answer:
    """What melange said: a configuration, or why there is none."""

    config: Any
    refusal: str = ""

    @property
    def skipped(self) -> bool:
        """Whether the recipe is fine, but not for this architecture."""
        return "skip this arch" in self.refusal


def ask(melange: Path, recipe: Path, pipelines: Path, options: Options) -> Answer:
    """What `melange compile` makes of a recipe."""
    command = [
        str(melange),
        "compile",
        recipe.name,
        f"--pipeline-dir={pipelines}",
        "--git-commit=0",
        "--cache-dir=",
        *options.flags(),
    ]
    done = subprocess.run(command, cwd=recipe.parent, capture_output=True, check=False, text=True, errors="replace")
    errors = [line for line in done.stderr.splitlines() if " WARN " not in line]
    return Answer(None, "\n".join(errors)) if done.returncode else Answer(json.loads(done.stdout))


def ask_all(melange: Path, recipes: Sequence[Path], pipelines: Path, options: Options) -> Iterator[tuple[Path, Answer]]:
    """The same for many, side by side."""
    with ThreadPoolExecutor(PROCESSORS) as workers:
        yield from zip(recipes, workers.map(lambda recipe: ask(melange, recipe, pipelines, options), recipes), strict=True)


@cache
def _source(path: Path) -> Source | None:
    if not path.is_file():
        return None
    data = path.read_bytes()
    return Source(path.name, yamltext.parse(data, path.name), yamltext.decode(data, path.name))


def read(recipe: Path, pipelines: Path, options: Options) -> MelangeRecipe:
    """What is read here. Raises RecipeError."""
    data = recipe.read_bytes()
    vars_file = options.vars_file
    return read_melange(
        yamltext.parse(data, recipe.name),
        recipe.name,
        yamltext.decode(data, recipe.name),
        arch=options.arch,
        find_pipeline=lambda name: _source(pipelines / f"{name}.yaml"),
        build_options=options.build_options,
        vars_file=Source("vars", yamltext.parse(vars_file.read_bytes(), "vars"), "") if vars_file else None,
        builtins=options.builtins,
    )


def differences(recipe: Path, answer: Answer, pipelines: Path, options: Options) -> list[str]:
    """Where melange and bg disagree about a recipe, in words; empty where they agree."""
    try:
        found, refusal = read(recipe, pipelines, options), None
    except RecipeError as error:
        found, refusal = None, error
    if answer.skipped:
        return [f"{recipe.name}: melange skips {options.arch}, bg does not"] if found and not _leaves_out(found, options) else []
    if refusal is not None and not (refusal.where and (refusal.where.line or refusal.what == "the file is empty")):
        return [f"{recipe.name}: refused without a line: {refusal.render()}"]
    if found is None:
        fine = answer.config is None or STRICTER.search(refusal.what if refusal else "") or _has_more(recipe)
        return [] if fine else [f"{recipe.name}: only bg refuses it: {refusal.render() if refusal else ''}"]
    if answer.config is None:
        return [] if LAXER.search(answer.refusal) else [f"{recipe.name}: only melange refuses it: {answer.refusal}"]
    theirs, ours = said_by_melange(answer.config), said_here(found)
    differing = [key for key in theirs if theirs[key] != ours[key]]
    return [f"{recipe.name}: {key}:\n  melange {theirs[key]}\n  bg      {ours[key]}" for key in differing]


def _leaves_out(recipe: MelangeRecipe, options: Options) -> bool:
    return bool(recipe.target_architectures) and options.arch not in recipe.target_architectures


def _has_more(recipe: Path) -> bool:
    return bool(_END_OF_DOCUMENT.search(recipe.read_text("utf-8", "replace")))


def said_by_melange(config: Any) -> dict[str, Any]:
    """What a compiled configuration says, in the form of ``said_here``."""
    package, environment = config["package"], config["environment"]
    packages = [package, *(config.get("subpackages") or [])]
    contents, resources = environment["contents"], package.get("resources") or {}
    return {
        "version": f"{package['version']}-r{package['epoch']}",
        "description": package.get("description", ""),
        "packages": [made["name"] for made in packages],
        "conditions": [made.get("if", "") for made in packages],
        **{
            key: [made["dependencies"].get(key) or [] for made in packages]
            for key in ("provides", "runtime", "replaces", "provider-priority", "replaces-priority")
        },
        "environment": contents.get("packages") or [],
        "repositories": [*(contents.get("build_repositories") or []), *(contents.get("repositories") or [])],
        "keyring": contents.get("keyring") or [],
        "run-as": environment["accounts"].get("run-as", ""),
        "capabilities": [(config.get("capabilities") or {}).get(key) or [] for key in ("add", "drop")],
        "resources": [resources.get(key, "") for key in ("cpu", "cpumodel", "memory", "disk")],
        "target-architecture": [arch for arch in package.get("target-architecture") or [] if arch != "all"],
        "options": sorted(config.get("options") or {}),
        "tests": [
            [made["name"] if made is not package else "", tested["environment"]["contents"]["packages"]]
            for made in packages
            if (tested := (config if made is package else made).get("test"))
        ],
    }


def said_here(recipe: MelangeRecipe) -> dict[str, Any]:
    """What a recipe says that was read here."""
    resources = recipe.resources
    return {
        "version": recipe.full_version,
        "description": recipe.description,
        "packages": [made.name for made in recipe.packages],
        "conditions": [made.condition for made in recipe.packages],
        "provides": [list(made.provides) for made in recipe.packages],
        "runtime": [list(made.depends) for made in recipe.packages],
        "replaces": [list(made.replaces) for made in recipe.packages],
        "provider-priority": [made.provider_priority or [] for made in recipe.packages],
        "replaces-priority": [made.replaces_priority or [] for made in recipe.packages],
        "environment": [need.text for need in recipe.environment],
        "repositories": [line.text for line in recipe.repositories],
        "keyring": [line.text for line in recipe.keyring],
        "run-as": recipe.run_as,
        "capabilities": [list(recipe.capabilities_added), list(recipe.capabilities_dropped)],
        "resources": [resources.cpu, resources.cpumodel, resources.memory, resources.disk],
        "target-architecture": list(recipe.target_architectures),
        "options": list(recipe.options),
        "tests": [
            [test.package if test.package != recipe.name else "", sorted({need.text for need in test.environment})]
            for test in recipe.tests
        ],
    }


def recipes_of(folder: Path) -> list[Path]:
    """All recipes of a checkout of Wolfi."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith(".") and path.name != "buildgraph.yaml")


def sample(recipes: Sequence[Path], size: int) -> list[Path]:
    """For everything that recipes can have the first two that have it, then every n-th, until there are ``size``.

    What they have are their keys and where these stand, the pipelines that they use, and the kinds of their variables.
    """
    seen: dict[str, int] = {}
    chosen: dict[Path, None] = {}
    for recipe in recipes:
        data = recipe.read_bytes()
        features = {*_keys(yamltext.parse(data, recipe.name)), *_VARIABLE.findall(data.decode())}
        if any(seen.get(feature, 0) < 2 for feature in features):
            chosen[recipe] = None
            seen |= {feature: seen.get(feature, 0) + 1 for feature in features}
    step = max(1, len(recipes) // max(1, size - len(chosen)))
    return sorted([*chosen, *(recipe for recipe in recipes[::step] if recipe not in chosen)])


_VARIABLE = re.compile(r"\$\{\{ *(?:[a-z]+\.(?!vars)[a-z.]+|vars)")
_FREE = {"vars", "with", "inputs", "environment", "items", "services", "annotations"}


def _keys(node: Node, path: str = "") -> Iterable[str]:
    if isinstance(node, Scalar):
        if path.endswith("uses"):
            yield f"{path} {node.text}"
        return
    children = node.items.items() if isinstance(node, Mapping) else (("", item) for item in node.items)
    for key, value in children:
        inner = f"{path}/{key if path.rpartition('/')[2] not in _FREE else '*'}"
        yield inner
        yield from _keys(value, inner)
