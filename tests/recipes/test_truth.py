"""The real melange and apko agree with what is read here: on recipes of Wolfi, and on includes."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from buildgraph.recipes import yamltext
from buildgraph.recipes.apko import merged_apko
from buildgraph.recipes.melange import boxed_melange, read_melange
from buildgraph.recipes.values import MelangeRecipe, Source
from tests.recipes.reading import source

SAMPLE = 40
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@pytest.fixture(scope="session")
def wolfi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wolfi's recipes and pipelines, unpacked."""
    archives = sorted(CORPUS.glob("wolfi-os-*.tar.xz"))
    if not archives:
        pytest.skip(f"there is no corpus of Wolfi's recipes in {CORPUS}")
    folder = tmp_path_factory.mktemp("wolfi")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    return next(path.parent for path in sorted(folder.rglob("zlib.yaml")))


def sample(wolfi: Path) -> list[Path]:
    """Recipes from the whole alphabet, and those with the most to substitute."""
    recipes = sorted(path for path in wolfi.glob("*.yaml") if not path.name.startswith("."))
    hard = sorted(recipes, key=lambda path: -path.read_text().count("${{range") - path.read_text().count("${{vars"))
    return sorted({*recipes[:: max(1, 2 * len(recipes) // SAMPLE)], *hard[: SAMPLE // 2]})


def compiled(melange: Path, recipe: Path, wolfi: Path) -> Any:
    """What `melange compile` makes of a recipe, None where it is not for this architecture."""
    options = ["--arch=x86_64", f"--pipeline-dir={wolfi / 'pipelines'}", "--git-commit=0", "--cache-dir="]
    done = subprocess.run(
        [melange, "compile", recipe.name, *options],
        cwd=recipe.parent, capture_output=True, check=False, text=True,
    )  # fmt: skip
    if "skip this arch" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(recipe: Path, wolfi: Path, arch: str = "x86_64") -> MelangeRecipe:
    def find(name: str) -> Source | None:
        path = wolfi / "pipelines" / f"{name}.yaml"
        return source(name, path.read_text()) if path.is_file() else None

    tree = yamltext.parse(recipe.read_bytes(), recipe.name)
    return read_melange(tree, recipe.name, recipe.read_text(), arch=arch, find_pipeline=find)


def said_by_melange(config: Any) -> dict[str, Any]:
    package = config["package"]
    packages = [package, *(config.get("subpackages") or [])]
    return {
        "version": f"{package['version']}-r{package['epoch']}",
        "packages": [made["name"] for made in packages],
        "conditions": [made.get("if", "") for made in packages],
        **{
            key: [made["dependencies"].get(key) or [] for made in packages]
            for key in ("provides", "runtime", "replaces", "provider-priority", "replaces-priority")
        },
        "environment": config["environment"]["contents"].get("packages") or [],
        "tests": [
            [made["name"] if made is not package else "", tested["environment"]["contents"]["packages"]]
            for made in packages
            if (tested := (config if made is package else made).get("test"))
        ],
    }


def said_here(recipe: MelangeRecipe) -> dict[str, Any]:
    return {
        "version": recipe.full_version,
        "packages": [made.name for made in recipe.packages],
        "conditions": [made.condition for made in recipe.packages],
        "provides": [list(made.provides) for made in recipe.packages],
        "runtime": [list(made.depends) for made in recipe.packages],
        "replaces": [list(made.replaces) for made in recipe.packages],
        "provider-priority": [made.provider_priority or [] for made in recipe.packages],
        "replaces-priority": [made.replaces_priority or [] for made in recipe.packages],
        "environment": [need.text for need in recipe.environment],
        "tests": [
            [test.package if test.package != recipe.name else "", sorted({need.text for need in test.environment})]
            for test in recipe.tests
        ],
    }


def test_melange_compile_agrees(melange: Path, wolfi: Path) -> None:
    """Names, versions, declared dependencies and the whole build environment are the same."""
    differences = []
    for recipe in sample(wolfi):
        config = compiled(melange, recipe, wolfi)
        if config is None:
            continue
        theirs, ours = said_by_melange(config), said_here(read(recipe, wolfi))
        differences += [
            f"{recipe.name}: {key}: melange {theirs[key]}, here {ours[key]}" for key in theirs if theirs[key] != ours[key]
        ]

    assert not differences, "\n".join(differences)


def test_the_boxed_recipe_compiles_to_the_same(melange: Path, wolfi: Path, tmp_path: Path) -> None:
    """The canonical text changes nothing for melange; the box only what it is meant to change."""
    for recipe in sample(wolfi)[::2]:
        expected = compiled(melange, recipe, wolfi)
        if expected is None:
            continue
        boxed = tmp_path / recipe.name
        boxed.write_text(yamltext.emit(boxed_melange(yamltext.parse_mapping(recipe.read_bytes(), recipe.name))))
        for part in [expected, *(expected.get("subpackages") or [])]:
            part.pop("test", None)
        expected["update"] = {"enabled": False}
        expected["package"].pop("test-resources", None)
        expected["environment"]["contents"].pop("keyring", None)
        expected["environment"]["contents"]["repositories"] = ["./repo"]

        assert compiled(melange, boxed, wolfi) == expected


def test_apko_merges_includes_likewise(apko: Path, tmp_path: Path) -> None:
    """`apko show-config` says the same of an image with includes and of its merged tree."""
    files = {
        "base.yaml": (
            "contents: {repositories: [./repo/], packages: [a, b]}\n"
            "accounts: {run-as: 65532, users: [{username: u, uid: 65532}]}\n"
            "environment: {A: base, B: base}\nentrypoint: {command: /base, services: {x: y}}\narchs: [x86_64]\ncmd: serve\n"
            "annotations: {a: b}\nvolumes: [/v]\nlayering: {strategy: origin, budget: 10}\npaths: [{path: /x, type: directory}]\n"
        ),
        "mid.yaml": "include: base.yaml\ncontents: {packages: [mid]}\nentrypoint: {}\narchs: []\ncertificates: {}\n"
        "layering: ~\ncmd: ''\n",
        "top.yaml": "include: mid.yaml\ncontents: {packages: [top]}\nentrypoint: {type: service-bundle}\n"
        "environment: {A: top}\nvolumes: [/w]\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    for name, text in files.items():
        tree = merged_apko(
            yamltext.parse_mapping(text.encode(), name), name, text, load_include=lambda path, _: source(path, files[path])
        )
        (tmp_path / "merged.yaml").write_text(yamltext.emit(tree))

        assert shown(apko, tmp_path / "merged.yaml") == shown(apko, tmp_path / name)


def shown(apko: Path, recipe: Path) -> list[str]:
    done = subprocess.run([apko, "show-config", recipe.name], cwd=recipe.parent, capture_output=True, check=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("include:")]
