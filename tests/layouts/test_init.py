"""`bg init` says what is there, writes what is needed and no more, and what it writes works."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.layouts.repository import WOLFI, Repository, apko, melange
from tests.layouts.test_layouts import five

KEY = f"{WOLFI}/wolfi-signing.rsa.pub"
NOTHING = "# The recipes say all that bg needs; docs/manual.md of buildgraph lists what could stand here.\n"
HEAD = "# What the recipes cannot say; docs/manual.md of buildgraph lists the keys.\n"


def begin(repository: Repository, files: dict[str, str]) -> None:
    """Writes files, and no manifest."""
    repository.write(files)
    (repository.root / "buildgraph.yaml").unlink()


def written(repository: Repository, *arguments: str) -> str:
    """The manifest that init writes, which makes `bg list` and `bg graph` work at once."""
    repository.bg("init", *arguments)
    text = (repository.root / "buildgraph.yaml").read_text()
    repository.bg("list")
    repository.bg("graph", "--json")
    return text


def looked(repository: Repository, *arguments: str) -> Any:
    """What init says as JSON."""
    return json.loads(repository.bg("init", "--json", *arguments))


def outcomes(repository: Repository) -> dict[str, str]:
    """What became of each flag that init read."""
    return {f"{flag['name']} {flag['value']}": flag["outcome"] for flag in looked(repository, "-n")["read"]}


def test_recipes_that_say_it_all(repository: Repository) -> None:
    """One comment line is the manifest; the facts are told."""
    named = f"contents:\n    repositories: [{WOLFI}]\n"
    begin(repository, {path: text.replace("  contents:\n", f"  {named}") for path, text in five().items()})
    said = repository.bg("init", "--dry-run")
    assert not (repository.root / "buildgraph.yaml").exists()
    assert written(repository) == NOTHING
    assert said.startswith(f"{repository.root}: 5 packages, 5 images\n")
    assert "packages      apps/go, apps/java, apps/node, apps/python and 1 more\n" in said
    assert f"repositories  {WOLFI}, named by 10 recipes\n" in said
    assert "`./packages` in apps/go/apko.yaml:2, apps/java/apko.yaml:2" in said
    assert "same name     hello-server is made by apps/go/melange.yaml:2, apps/java/melange.yaml:2" in said
    assert "the folder that the recipe is alone in: 5 packages" in said


MAKEFILE = """
MELANGE ?= $(shell which melange)
KEY ?= local-melange.rsa
REPO ?= $(shell pwd)/packages
WOLFI_REPO ?= https://packages.wolfi.dev/os
BOOTSTRAP ?= no
MELANGE_OPTS += --arch=$(shell uname -m) # as uname says
MELANGE_OPTS += --keyring-append=$(KEY).pub
MELANGE_OPTS += --pipeline-dir=./pipelines/
MELANGE_OPTS += --repository-append=$(REPO)
MELANGE_OPTS += --signing-key=$(KEY)
MELANGE_OPTS += --namespace=wolfi
ifeq ($(BOOTSTRAP), yes)
	MELANGE_OPTS += --repository-append=https://packages.wolfi.dev/bootstrap
else
	MELANGE_OPTS += --keyring-append=$(WOLFI_REPO)/wolfi-signing.rsa.pub
	MELANGE_OPTS += --repository-append=$(WOLFI_REPO)
endif

packages/$(ARCH)/%.apk: $(KEY)
	mkdir -p "./$(pkgname)/"
	@$(MELANGE) build "$(yamlfile)" $(MELANGE_OPTS) "--source-dir=./$(pkgname)/"
	rm -r /nowhere -k
"""


def test_wolfi(repository: Repository) -> None:
    """Recipes name no repository; the Makefile's variables and conditions say which ones they are built with."""
    begin(repository, {
        "Makefile": MAKEFILE,
        "zlib.yaml": melange("zlib"),
        "zlib/fix.patch": "p",
        "curl.yaml": melange("curl", needs="zlib", more="  - uses: ours/strip\n"),
        "pipelines/ours/strip.yaml": "pipeline:\n  - runs: strip\n",
    })  # fmt: skip
    assert written(repository) == (f"{HEAD}repositories:\n  - {WOLFI} # Makefile:17\nkeyring:\n  - {KEY} # Makefile:16\n")
    assert outcomes(repository) == {
        "arch $(shell uname -m)": "for you to decide: `architectures:`, else this machine's",
        "keyring-append local-melange.rsa.pub": "not needed for packages from here, or not there",
        "pipeline-dir ./pipelines/": "bg takes that by itself, or it is not needed",
        "repository-append ./packages": "the packages of this workspace",
        "signing-key local-melange.rsa": "for you to decide: `signing-key:` names a key, else each user has one",
        "namespace wolfi": "not taken over: bg has no setting for it",
        f"keyring-append {KEY}": "`keyring:`",
        f"repository-append {WOLFI}": "`repositories:`",
        "source-dir ./${pkgname}/": "it stays open here; bg takes the folder of a recipe's name",
    }


SCRIPT = f"""#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")/.."
args=(
  --keyring-append "keys/wolfi.rsa.pub" # the vendor's
  --repository-append {WOLFI}
)
args+=(-r "$PWD/packages" --signing-key melange.rsa -k melange.rsa.pub)
for recipe in packages/*.yaml; do
  melange build "$recipe" "${{args[@]}}" --source-dir .
done
docker run --rm -v "$PWD":/work -w /work cgr.dev/chainguard/apko:latest build \\
  /work/containers/api.yaml api:latest api.tar -r {WOLFI}
"""


def test_packages_beside_containers(repository: Repository) -> None:
    """Only what is built from the source folder gets it; keys that are files count, but for one's own."""
    fetched = "package: {name: zlib, version: 1, epoch: 0}\npipeline:\n  - uses: fetch\n    with: {uri: https://x/y}\n"
    begin(repository, {
        "scripts/build.sh": SCRIPT,
        "keys/wolfi.rsa.pub": "k",
        "melange.rsa.pub": "mine",
        "packages/api.yaml": melange("api"),
        "packages/zlib.yaml": fetched,
        "packages/patched.yaml": fetched.replace("zlib", "patched") + "  - runs: patch -p1 <src/fix.patch\n",
        "containers/api.yaml": "contents:\n  packages: [api]\n",
        "src/main.c": "x",
        "src/fix.patch": "x",
        "Makefile": "all:\n\tcc src/main.c\n",
    })  # fmt: skip
    assert written(repository) == (
        f"{HEAD}repositories:\n  - {WOLFI} # scripts/build.sh:6\nkeyring:\n  - keys/wolfi.rsa.pub # scripts/build.sh:5\n"
        "targets:\n  //packages:api:\n    sources: [.] # scripts/build.sh:10\n"
        "  //packages:patched:\n    sources: [.] # scripts/build.sh:10\n"
    )
    assert "src/main.c" in repository.sources("//packages:api")
    assert repository.sources("//packages:zlib") == {}


WORKFLOW = """
on: push
env:
  REPOSITORY: https://packages.example.org/os
jobs:
  packages:
    strategy:
      matrix:
        package: [api, tool]
    steps:
      - uses: actions/checkout@v4
      - name: Build
        working-directory: recipes
        run: |
          echo building
          melange build ${{ matrix.package }}.yaml \\
            --source-dir ../src/${{ matrix.package }} \\
            --build-option static --build-option unknown \\
            --vars-file vars.yaml \\
            --repository-append ${{ env.REPOSITORY }}
      - run: sh -c 'melange build recipes/tool.yaml --pipeline-dir ci/steps -k https://packages.example.org/os/key.rsa.pub'
  images:
    steps:
      - uses: chainguard-dev/actions/apko-publish@main
        with:
          config: recipes/web.yaml
          keyring-append: https://packages.example.org/os/key.rsa.pub
"""


def test_a_workflow(repository: Repository) -> None:
    """Its variables, its matrix, its folders, its actions."""
    begin(repository, {
        ".github/workflows/build.yaml": WORKFLOW,
        "recipes/api.yaml": melange("api", more="options:\n  static:\n    vars: {a: b}\n"),
        "recipes/tool.yaml": melange("tool", more="  - uses: ours/strip\n"),
        "recipes/web.yaml": "contents:\n  packages: [api]\n",
        "src/api/main.c": "x",
        "src/tool/main.c": "x",
        "ci/steps/ours/strip.yaml": "pipeline:\n  - runs: strip\n",
    })  # fmt: skip
    place = ".github/workflows/build.yaml"
    assert written(repository) == (
        f"{HEAD}repositories:\n  - https://packages.example.org/os # {place}:20\n"
        f"keyring:\n  - https://packages.example.org/os/key.rsa.pub # {place}:21\n"
        f"pipelines:\n  - ci/steps # {place}:21\n"
        f"targets:\n  //recipes:api:\n    sources: [src/api] # {place}:17\n    options: [static] # {place}:18\n"
        f"  //recipes:tool:\n    sources: [src/tool] # {place}:17\n"
    )
    found = outcomes(repository)
    assert found["build-option unknown"] == "no recipe that it is for has this option"
    assert found["vars-file vars.yaml"] == "not taken over: bg has no setting for it"


def test_what_others_name(repository: Repository) -> None:
    """Where no script tells, recipes that name no repository get those of most of the others; and none if nobody names one."""
    begin(repository, {
        "api.yaml": melange("api"),
        "one.yaml": apko("api", more="").replace("packages:", f"keyring: [{KEY}, ./melange.rsa.pub]\n  packages:"),
        "two.yaml": apko("api"),
        "three.yaml": apko("api", repositories="https://other.example.org/os"),
    })  # fmt: skip
    why = "as one.yaml and 1 more name it"
    assert written(repository) == f"{HEAD}repositories:\n  - {WOLFI} # {why}\nkeyring:\n  - {KEY} # {why}\n"
    said = repository.bg("init")
    assert "./melange.rsa.pub, named by 1 recipe; it is not there and is left out" in said
    for name in ("one.yaml", "two.yaml", "three.yaml", "buildgraph.yaml"):
        (repository.root / name).unlink()
    assert written(repository) == NOTHING
    assert "none named by 1 recipe" in repository.bg("init")


def test_a_recipe_that_names_what_lies_beside_it(repository: Repository) -> None:
    """melange takes a recipe's own folder for its source if nobody says otherwise; several recipes may share it."""
    begin(repository, {
        "server.melange.yaml": melange("server", more="  - runs: cp -r src/server out\n"),
        "client.melange.yaml": melange("client", more="  - uses: go/build\n    with: {packages: ./cmd, output: c}\n"),
        "meta.melange.yaml": melange("meta"),
        "src/server/main.c": "x",
        "cmd/main.go": "x",
    })  # fmt: skip
    assert written(repository) == (
        f"{HEAD}targets:\n  //:client:\n    sources: [.] # the recipe names cmd, which lies beside it\n"
        "  //:server:\n    sources: [.] # the recipe names src, which lies beside it\n"
    )


def test_a_program_of_the_packages_name_is_not_its_folder(repository: Repository) -> None:
    """Where a package has a folder of its own, only a path in a step says that the sources lie above it, not a word."""
    own = {"packages/lib/lib.c": "x", "packages/app/main.c": "x"}
    app = "  - runs: |\n      cc -o app main.c -llib\n      install -D app ${{targets.destdir}}/usr/bin/app\n      echo lib\n"
    begin(repository, {"packages/lib.yaml": melange("lib"), "packages/app.yaml": melange("app", more=app), **own})
    assert written(repository) == NOTHING
    for path in ("cd app && cc main.c", "make -C app", "cc app/main.c", "./app/build"):
        begin(repository, {"packages/app.yaml": melange("app", more=f"  - runs: {path}\n")})
        assert "//packages:app:\n    sources: [packages] # the recipe names app, which lies beside it\n" in written(repository)


def test_what_cannot_be_used_is_left_out(repository: Repository) -> None:
    """Templates, packages made twice in a folder, images that ask for what two make, each with the reason."""
    files = {path: text for path, text in five().items() if "apko" not in path}
    begin(repository, {
        **files,
        "template.yaml": "package:\n  name: {{ name }}\n",
        "twice/a.yaml": melange("same"),
        "twice/b.yaml": melange("same"),
        "sub/a.yaml": melange("a", more="subpackages:\n  - name: shared\n"),
        "sub/b.yaml": melange("b", more="subpackages:\n  - name: shared\n"),
        "images/any.yaml": apko("hello-server"),
        "images/base.yaml": apko("wolfi-baselayout", more="entripoint: {}\n"),
        "tool/melange.yaml": melange("tool", more="  - uses: nowhere/to/be/found\n"),
        "odd [name]!.yaml": "contents: [\n",
    })  # fmt: skip
    text = written(repository)
    assert text.startswith(f"{HEAD}exclude:\n")
    lines = [line.removeprefix("  - ") for line in text.splitlines() if line.startswith("  - ")]
    excluded = {line.split(" # ")[0]: line.split(" # ")[1] for line in lines}
    assert excluded["/template.yaml"] == "line 2: a key must be a text, found a mapping"
    twice = "line 2: the package `same` is defined twice in this folder, the other one: twice/a.yaml:2"
    assert excluded["/twice/b.yaml"] == twice
    assert excluded["/sub/b.yaml"].startswith("line ")
    assert "package `shared` is made twice" in excluded["/sub/b.yaml"]
    assert "`hello-server` is made by two recipes that are equally near" in excluded["/images/any.yaml"]
    assert "entripoint" in excluded["/images/base.yaml"]
    assert "nowhere/to/be/found" in excluded["/tool/melange.yaml"]
    assert looked(repository)["left_out"]["template.yaml"] == excluded["/template.yaml"]
    assert "package //twice:same" in repository.targets()


def test_pipelines_that_recipes_use(repository: Repository) -> None:
    """They are found wherever they lie, and those that bg finds by itself stay."""
    begin(repository, {
        "recipes/api.yaml": melange("api", more="  - uses: ours/one\n  - uses: theirs/two\n"),
        "recipes/pipelines/ours/one.yaml": "pipeline:\n  - runs: x\n",
        "lib/steps/theirs/two.yaml": "pipeline:\n  - runs: x\n",
    })  # fmt: skip
    assert written(repository) == (
        f"{HEAD}pipelines:\n  - recipes/pipelines # recipes/api.yaml:12 uses ours/one\n"
        "  - lib/steps # recipes/api.yaml:13 uses theirs/two\n"
    )


def test_folders_of_ones_own(repository: Repository) -> None:
    """A program's folders ``cache`` and ``out`` stay its own; empty ones, and bg's, are bg's."""
    begin(repository, {"melange.yaml": melange("api"), "cache/cache.go": "x", "out/out.go": "x"})
    assert written(repository) == (
        f"{HEAD}cache: .buildgraph/cache # the folder cache is this repository's own\n"
        "out: .buildgraph/out # the folder out is this repository's own\n"
    )
    assert set(repository.sources("//:api")) == {"cache/cache.go", "out/out.go"}


def test_what_bg_made_is_no_folder_of_the_repository(repository: Repository) -> None:
    """After builds the outputs and the cache are where they are by themselves: nothing needs to be said of them."""
    outputs = {f"out/{folder}/x": "x" for folder in ("oci", "sbom", "provenance", "packages")}
    begin(repository, {"api.yaml": melange("api"), "cache/FORMAT": "1\n", **outputs})
    assert "out:" not in looked(repository)["manifest"]["text"]


def test_an_existing_manifest_stays(repository: Repository) -> None:
    """Unless one insists; one further up counts too."""
    repository.write({"buildgraph.yaml": "salt: mine\n", "deep/melange.yaml": melange("api")})
    said = repository.bg("init")
    assert f"{repository.root}/buildgraph.yaml is there and stays as it is" in said
    assert "    # The recipes say all that bg needs" in said
    assert (repository.root / "buildgraph.yaml").read_text() == "salt: mine\n"
    assert f"{repository.root}/buildgraph.yaml is there and stays as it is" in repository.bg("init", "deep")
    assert not (repository.root / "deep/buildgraph.yaml").exists()
    assert looked(repository)["manifest"]["state"] == "kept"
    assert looked(repository, "--force")["manifest"]["state"] == "written"
    assert (repository.root / "buildgraph.yaml").read_text() == NOTHING


def test_gitignore(repository: Repository) -> None:
    """What it lacks is told, and added only if one asks; nothing where git is not used."""
    begin(repository, {"deep/melange.yaml": melange("api"), ".gitignore": "*.log"})
    assert "should have" not in repository.bg("init", "-n")
    subprocess.run(["git", "init", "-q", str(repository.root)], check=True)
    assert ".gitignore should have /out/ and /cache/" in repository.bg("init", "-n", "--gitignore")
    assert (repository.root / ".gitignore").read_text() == "*.log"
    assert looked(repository, "--gitignore")["gitignore"] == {"missing": ["/out/", "/cache/"], "added": True}
    assert (repository.root / ".gitignore").read_text() == "*.log\n/out/\n/cache/\n"
    assert looked(repository, "--gitignore")["gitignore"] == {"missing": [], "added": False}
    (repository.root / ".gitignore").write_text("/deep/out/\n")
    assert looked(repository, "deep", "--force")["gitignore"]["missing"] == ["/cache/"]


def test_nothing_to_begin_with(repository: Repository) -> None:
    """No recipe, no folder: errors, and nothing written."""
    begin(repository, {"README.md": "x", "values.yaml": "a: b\n"})
    assert "no melange or apko recipe in" in repository.bg("init", code=3)
    assert "there is no folder" in repository.bg("init", "nowhere", code=2)
    assert not (repository.root / "buildgraph.yaml").exists()


PARTS: dict[str, dict[str, str]] = {
    "applications": five(),
    "packages": {"packages/zlib.yaml": melange("zlib"), "packages/curl.yaml": melange("curl", needs="zlib")},
    "the same again": {"packages/other.yaml": melange("zlib", more="subpackages:\n  - name: curl\n")},
    "an image": {"images/all.yaml": apko("hello-server, zlib, curl")},
    "a base": {"images/base.yaml": apko("zlib"), "images/derived.yaml": "include: base.yaml\ncontents: {packages: [curl]}\n"},
    "a lone recipe": {"melange.yaml": melange("shop", needs="zlib"), "packages/x86_64/APKINDEX.tar.gz": "x", "src/x": "x"},
    "material": {"zlib.yaml": melange("zlib"), "zlib/melange.yaml": melange("shop"), "zlib/bad.yaml": "package: [\n"},
    "templates": {"chart/a.yaml": "{{ x }}\npackage: y\n", "tmpl.yaml": "package:\n  name: {{ x }}\n", "z.yaml": "contents: [\n"},
    "a script": {"build.sh": SCRIPT, "src/y": "x"},
    "a Makefile": {"Makefile": MAKEFILE, "pipelines/a/b.yaml": "pipeline: []\n"},
    "an unknown pipeline": {"tool/melange.yaml": melange("tool", more="  - uses: no/such/pipeline\n")},
    "a cache": {"cache/x.go": "x"},
}  # fmt: skip


@given(st.sets(st.sampled_from(sorted(PARTS)), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_what_init_writes_works_at_once(tmp_path_factory: pytest.TempPathFactory, capsys: Any, parts: set[str]) -> None:
    """Whatever comes together: `bg list` and `bg graph` succeed, and a second look finds nothing more to say."""
    repository = Repository(tmp_path_factory.mktemp("repository"), capsys)
    begin(repository, {"first/melange.yaml": melange("first")})
    for part in sorted(parts):
        begin(repository, PARTS[part])
    text = written(repository)
    assert written(repository, "--force") == text
