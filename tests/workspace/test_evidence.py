"""What scripts pass to melange and apko, for which recipes, from which folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.workspace.evidence import Invocation, read_evidence
from buildgraph.workspace.tree import walk

RECIPES = ("packages/api.yaml", "packages/tool.yaml", "app/melange.yaml", "images/web.yaml")


def read(root: Path, path: str, text: str, *, executable: bool = False) -> list[Invocation]:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    (root / path).chmod(0o755 if executable else 0o644)
    return read_evidence(root, walk(root, [""], frozenset()))


@pytest.mark.parametrize(
    ("text", "recipes", "source"),
    [
        ("melange build packages/api.yaml --source-dir src", {"packages/api.yaml"}, "src"),
        ("sudo -E A=b melange --log-level debug build --source-dir=src/api/ packages/api.yaml", {"packages/api.yaml"}, "src/api"),
        ("cd packages && melange build api.yaml --source-dir ../src", {"packages/api.yaml"}, "src"),
        ("(cd app; melange build --source-dir .)", {"app/melange.yaml"}, "app"),
        ('docker run -v "$PWD":/w x/melange:v1 build /w/packages/api.yaml --source-dir /w/src', {"packages/api.yaml"}, "w/src"),
        ("bash -c 'melange build packages/api.yaml --source-dir src'", {"packages/api.yaml"}, "src"),
        ("for p in api tool; do melange build packages/$p.yaml --source-dir src/$p; done",
         {"packages/api.yaml", "packages/tool.yaml"}, "src/api"),
        ('for p in packages/*.yaml; do melange build "$p" --source-dir "${p%.yaml}"; done',
         {"packages/api.yaml", "packages/tool.yaml"}, "packages/api"),
        ('melange build "$1" --source-dir "$(dirname "$1")/src"', {"packages/api.yaml", "packages/tool.yaml", "app/melange.yaml",
         "images/web.yaml"}, "packages/src"),
        ('melange build packages/$1.yaml --source-dir "src/$(basename packages/$1.yaml .yaml)"',
         {"packages/api.yaml", "packages/tool.yaml"}, "src/api"),
        ("MELANGE=$(command -v melange)\n$MELANGE build packages/a*.yaml --source-dir $OPEN", {"packages/api.yaml"}, None),
        ("melange build elsewhere/x.yaml --source-dir .", set(), None),
    ],
)  # fmt: skip
def test_which_recipes_with_which_sources(tmp_path: Path, text: str, recipes: set[str], source: str | None) -> None:
    """Arguments may be patterns, the variables of loops, paths of a container."""
    (found,) = read(tmp_path, "build.sh", text)
    matches = found.matches(RECIPES)
    assert set(matches) == recipes
    if recipes:
        (flag,) = found.values("source-dir")
        assert matches[min(recipes, key=RECIPES.index)].paths(flag.value)[:1] == ([source] if source else [])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Makefile", "all:\n\tmelange build packages/api.yaml -r https://a/os"),
        ("hack/rules.mk", "all:\n\tmelange build packages/api.yaml -r https://a/os"),
        ("justfile", "build:\n  melange build packages/api.yaml -r https://a/os"),
        ("Dockerfile.ci", "FROM x\nRUN melange build packages/api.yaml -r https://a/os"),
        (".github/workflows/a.yml", "jobs:\n  a:\n    steps:\n      - run: melange build packages/api.yaml -r https://a/os"),
        (".github/workflows/b.yaml", "jobs:\n  - run: >\n      melange build packages/api.yaml\n      -r https://a/os\n"),
        (".gitlab-ci.yml", "a:\n  script:\n    - !reference [x, y]\n    - melange build packages/api.yaml -r https://a/os"),
        (
            ".circleci/config.yml",
            "jobs:\n  a:\n    steps:\n      - run: {command: melange build packages/api.yaml -r https://a/os}",
        ),
        ("Taskfile.yml", "tasks:\n  a:\n    cmds: [melange build packages/api.yaml -r https://a/os]"),
        ("Jenkinsfile", "stage('x') { sh 'melange build packages/api.yaml -r https://a/os' }"),
        ("tools/build", "#!/bin/sh\nmelange build packages/api.yaml -r https://a/os"),
    ],
)
def test_where_evidence_is_found(tmp_path: Path, path: str, text: str) -> None:
    """In what people build with, each flag with its line."""
    (found,) = read(tmp_path, path, text, executable=path == "tools/build")
    assert set(found.matches(RECIPES)) == {"packages/api.yaml"}
    (flag,) = found.values("repository-append")
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "https://a/os" in line)
    assert flag.value == "https://a/os"
    assert flag.line == (2 if ">" in text else line), "a folded text has the line that it begins in"


@pytest.mark.parametrize(
    "text",
    [
        "go install chainguard.dev/melange@latest\napk add melange apko\nmelange version\nmelange keygen",
        "rm -r packages -k x # melange build packages/api.yaml",
        "docker pull cgr.dev/chainguard/melange",
        "echo melange",
    ],
)
def test_what_is_no_build(tmp_path: Path, text: str) -> None:
    """The tools are installed and asked for their versions too."""
    assert read(tmp_path, "build.sh", text) == []


def test_flags(tmp_path: Path) -> None:
    """Long and short, with and without `=`, several in one."""
    text = (
        "apko build -k=a.pub -rhttps://x --keyring-append b.pub,c.pub --offline \\\n"
        "  --arch amd64,arm64 images/web.yaml web:1 out.tar -p y"
    )
    (found,) = read(tmp_path, "x.sh", text)
    assert [(flag.name, flag.value) for flag in found.flags] == [
        ("keyring-append", "a.pub"),
        ("repository-append", "https://x"),
        ("keyring-append", "b.pub"),
        ("keyring-append", "c.pub"),
        ("offline", ""),
        ("arch", "amd64"),
        ("arch", "arm64"),
        ("package-append", "y"),
    ]
    assert (found.tool, set(found.matches(RECIPES))) == ("apko", {"images/web.yaml"})
