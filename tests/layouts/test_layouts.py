"""Repositories as people have them, with an empty manifest: the right targets, edges and sources."""

from __future__ import annotations

import subprocess

import pytest

from tests.layouts.repository import WOLFI, Repository, apko, melange


def test_wolfi(repository: Repository) -> None:
    """``foo.yaml`` at the root, ``foo/`` with its patches, ``pipelines/``; recipes list no repositories.

    What lies in ``foo/`` is foo's, recipes for its tests included; an image there is a target too.
    """
    repository.write({
        "zlib.yaml": melange("zlib", more="subpackages:\n  - name: zlib-dev\n    dependencies:\n      runtime: [zlib]\n"),
        "zlib/fix.patch": "p",
        "zlib/testdata/melange.yaml": melange("example"),
        "zlib/testdata/broken.yaml": "package: [\n",
        "curl.yaml": melange("curl", needs="build-base, zlib-dev", more="  - uses: company/strip\n"),
        "nginx-mainline.yaml": melange("nginx-mainline", needs="zlib-dev"),
        "nginx-mainline/nginx.conf": "c",
        "nginx-mainline/apko.yaml": apko("nginx-mainline@local, curl", repositories=f'"@local /work/packages", {WOLFI}'),
        "melange.yaml": melange("melange"),
        "melange/example.yaml": melange("hello"),
        "pipelines/company/strip.yaml": "needs:\n  packages: [zlib]\npipeline:\n  - runs: strip\n",
        ".github/workflows/build.yaml": "on: push\njobs: {}\n",
    })  # fmt: skip
    assert repository.targets() == [
        "package //:curl",
        "package //:melange",
        "package //:nginx-mainline",
        "package //:zlib",
        "image //nginx-mainline:nginx-mainline",
    ]
    assert repository.edges() == {
        "build //:curl -> //:zlib",
        "build //:nginx-mainline -> //:zlib",
        "image //nginx-mainline:nginx-mainline -> //:nginx-mainline",
        "image //nginx-mainline:nginx-mainline -> //:curl",
    }
    assert repository.external() == {"build-base"}
    assert "curl.yaml:12 zlib" in repository.places(), "what a local pipeline needs is asked for where it is used"
    assert repository.sources("//:zlib") == {
        "fix.patch": "zlib/fix.patch",
        "testdata/melange.yaml": "zlib/testdata/melange.yaml",
        "testdata/broken.yaml": "zlib/testdata/broken.yaml",
    }
    assert set(repository.sources("//:nginx-mainline")) == {"nginx.conf", "apko.yaml"}
    assert set(repository.sources("//:melange")) == {"example.yaml"}
    assert repository.sources("//:curl") == {}
    listed = repository.bg("list")
    assert "//melange:hello  left out: it lies among the sources of melange.yaml\n" in listed
    assert "//zlib/testdata:example  left out: it lies among the sources of zlib.yaml\n" in listed


APPS = ("go", "java", "node", "python", "rust")


def five(repositories: str = f"./packages, {WOLFI}") -> dict[str, str]:
    """Five applications, each with its melange.yaml, its apko.yaml and its sources, and one name for all of their packages."""
    files = {}
    for app in APPS:
        files[f"apps/{app}/melange.yaml"] = melange("hello-server", needs=f"build-{app}")
        files[f"apps/{app}/apko.yaml"] = apko("hello-server, wolfi-baselayout", repositories=repositories)
        files[f"apps/{app}/src/main"] = app
        files[f"apps/{app}/hello-server/data"] = app
    return files


def test_one_folder_per_application(repository: Repository) -> None:
    """Five packages of one name: each image has its own. A folder of that name in an application is one among others."""
    repository.write(five())
    assert set(repository.targets()) == {f"image //apps/{app}:{app}" for app in APPS} | {
        f"package //apps/{app}:hello-server" for app in APPS
    }
    assert repository.edges() == {f"image //apps/{app}:{app} -> //apps/{app}:hello-server" for app in APPS}
    assert repository.external() == {"wolfi-baselayout", *(f"build-{app}" for app in APPS)}
    for app in APPS:
        assert repository.sources(f"//apps/{app}:hello-server") == {
            "src/main": f"apps/{app}/src/main",
            "hello-server/data": f"apps/{app}/hello-server/data",
        }
    assert repository.targets("//apps/go") == ["image //apps/go:go"]
    assert repository.targets(":all", folder="apps/go") == ["image //apps/go:go", "package //apps/go:hello-server"]


def test_an_image_equally_near_to_two_packages_of_the_name(repository: Repository) -> None:
    """It is an error that names both recipes, and who asks."""
    files = {path: text for path, text in five().items() if "apko" not in path}
    repository.write({**files, "images/all.yaml": apko("hello-server")})
    said = repository.bg("graph", code=6)
    assert said.startswith(
        "images/all.yaml:3: package `hello-server` is made by two recipes that are equally near to //images:all"
    )
    assert "one: apps/go/melange.yaml:2, the other one: apps/java/melange.yaml:2" in said
    repository.write({"images/melange.yaml": melange("hello-server")})
    assert repository.edges() == {"image //images:all -> //images:hello-server"}


def test_packages_beside_containers(repository: Repository) -> None:
    """``packages/*.yaml`` and ``containers/*.yaml``; what they are built from lies at the root and the manifest says so."""
    files = {
        "packages/api.yaml": melange("api", needs="libshop-dev"),
        "packages/libshop.yaml": melange("libshop", more="subpackages:\n  - name: libshop-dev\n"),
        "packages/libshop/fix.patch": "p",
        "containers/api.yaml": apko("api"),
        "containers/tools.yaml": apko("api, libshop"),
        "Makefile": "all:\n",
        "src/api/main.c": "int main;",
        "src/shop.c": "int shop;",
    }
    repository.write(files)
    assert repository.targets() == [
        "image //containers:api",
        "image //containers:tools",
        "package //packages:api",
        "package //packages:libshop",
    ]
    assert repository.edges() == {
        "build //packages:api -> //packages:libshop",
        "image //containers:api -> //packages:api",
        "image //containers:tools -> //packages:api",
        "image //containers:tools -> //packages:libshop",
    }
    assert repository.sources("//packages:api") == {}
    assert repository.sources("//packages:libshop") == {"fix.patch": "packages/libshop/fix.patch"}
    repository.write({"buildgraph.yaml": "targets:\n  //packages:api:\n    sources: [.]\n"})
    found = repository.sources("//packages:api")
    assert found["src/api/main.c"] == "src/api/main.c"
    assert {path for path in found if path.endswith(".yaml")} == set(), "no recipe and no manifest"


def test_images_with_configurations(repository: Repository) -> None:
    """``images/*/configs/*.apko.yaml``, each with a template that it includes and that is no image by itself."""
    repository.write({
        "images/base.apko.yaml": apko("wolfi-baselayout"),
        "images/db/configs/template.apko.yaml": "include: images/base.apko.yaml\ncontents:\n  packages: [db-entry]\n",
        "images/db/configs/latest.apko.yaml": "include: images/db/configs/template.apko.yaml\ncontents:\n  packages: [db]\n",
        "images/db/configs/latest-dev.apko.yaml": "include: template.apko.yaml\ncontents:\n  packages: [db, busybox]\n",
        "images/web/configs/latest.apko.yaml": "include: images/base.apko.yaml\ncontents:\n  packages: [web]\n",
        "packages/db.yaml": melange("db", more="subpackages:\n  - name: db-entry\n"),
        "packages/web.yaml": melange("web", needs="db"),
    })  # fmt: skip
    assert repository.targets("//images/...") == [
        "image //images/db/configs:latest",
        "image //images/db/configs:latest-dev",
        "image //images/web/configs:latest",
    ]
    assert "images/db/configs/template.apko.yaml:3 db-entry" in repository.places()
    assert "image //images/web/configs:latest -> //packages:web" in repository.edges()
    listed = repository.bg("list")
    assert "//images:base  left out: images/db/configs/template.apko.yaml includes it" in listed
    said = repository.bg("list", "//images:base", code=3)
    assert "hint: an entry `//images:base: {}` below `targets:`" in said
    repository.write({"buildgraph.yaml": "targets:\n  //images:base: {}\n"})
    assert repository.targets("//images:all") == ["image //images:base"]
    repository.write({"buildgraph.yaml": "", "images/base.apko.yaml": apko("wolfi-baselayout", more="cmd: /bin/sh\n")})
    assert repository.targets("//images:all") == ["image //images:base"], "what starts something is an image as well"


def test_pipelines_beside_the_recipes_folder(repository: Repository) -> None:
    """``pipelines/`` is looked for above a recipe up to the workspace's root, wherever the manifest says that recipes are."""
    repository.write({
        "buildgraph.yaml": "recipes: deploy/packages\narchitectures: [x86_64]\n",
        "deploy/packages/api.yaml": melange("api", more="  - uses: ours/one\n  - uses: ours/two\n"),
        "deploy/packages/tool.yaml": melange("tool"),
        "deploy/pipelines/ours/one.yaml": "needs: {packages: [tool]}\n",
        "pipelines/ours/one.yaml": "needs: {packages: [never]}\n",
        "pipelines/ours/two.yaml": "needs: {packages: [make]}\n",
    })  # fmt: skip
    assert repository.edges() == {"build //:api -> //:tool"}
    assert repository.external() == {"make"}


def test_includes_are_looked_for_above(repository: Repository) -> None:
    """apko runs in the folder that the path is relative to, which is one above the including file."""
    repository.write({
        "deploy/images/base.yaml": apko("wolfi-baselayout"),
        "deploy/images/web/apko.yaml": "include: images/base.yaml\ncontents:\n  packages: [web]\n",
        "deploy/images/api/apko.yaml": "include: ../base.yaml\ncontents:\n  packages: [web]\n",
        "deploy/web.yaml": melange("web"),
    })  # fmt: skip
    assert repository.targets("//deploy/images/...") == ["image //deploy/images/api:api", "image //deploy/images/web:web"]
    assert repository.external() == {"wolfi-baselayout"}


def test_files_that_include_each_other_are_told(repository: Repository) -> None:
    """They do not leave each other out."""
    repository.write({
        "a.yaml": "include: b.yaml\ncontents: {packages: [x]}\n",
        "b.yaml": "include: a.yaml\ncontents: {packages: [x]}\n",
    })  # fmt: skip
    assert "includes itself" in repository.bg("list", code=5)


@pytest.mark.parametrize("name", ["melange.yaml", ".melange.yaml"])
def test_a_recipe_beside_an_application_s_own_source(repository: Repository, name: str) -> None:
    """The whole folder is its source, without .git, out-dirs, caches and what git ignores."""
    repository.write({
        name: melange("shop"),
        "apko.yaml": apko("shop@local", repositories=f'"@local ./packages", {WOLFI}'),
        "go.mod": "module shop",
        "main.go": "package main",
        "shop/cart.go": "package shop",
        "internal/packages/x86_64/APKINDEX.tar.gz": "test data",
        "cache/cache.go": "package cache",
        ".gitignore": "*.log\n/node_modules/\n",
        "debug.log": "x",
        "node_modules/x/index.js": "x",
        "packages/x86_64/APKINDEX.tar.gz": "melange's out-dir",
        "packages/x86_64/shop-1.0.0-r0.apk": "x",
        "melange-cache/sha256:00": "x",
        ".git/HEAD": "ref",
        "vendored/.git": "gitdir: /home/me/shop/.git/modules/vendored",
        "vendored/v.go": "package v",
        "out/oci/x": "x",
    })  # fmt: skip
    assert repository.targets() == ["image //:apko", "package //:shop"]
    assert repository.edges() == {"image //:apko -> //:shop"}
    assert set(repository.sources("//:shop")) == {
        ".gitignore",
        "go.mod",
        "main.go",
        "shop/cart.go",
        "internal/packages/x86_64/APKINDEX.tar.gz",
        "cache/cache.go",
        "vendored/v.go",
    }


def test_a_worktree_of_git(repository: Repository) -> None:
    """There .git is a file, with a path of this machine: it is no source either."""
    repository.write({"melange.yaml": melange("shop"), "main.go": "x"})
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(repository.root)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    other = repository.root.parent / "other"
    subprocess.run([*git, "worktree", "add", "-q", str(other)], check=True)
    assert (other / ".git").is_file()
    assert set(Repository(other, repository.capsys).sources("//:shop")) == {"main.go"}


def test_a_cache_that_is_one(repository: Repository) -> None:
    """A folder named cache is left alone only where it is bg's, or empty but for what keeps it in git."""
    repository.write({"melange.yaml": melange("shop"), "main.go": "x", "cache/.gitkeep": ""})
    assert set(repository.sources("//:shop")) == {"main.go"}
    repository.write({"cache/FORMAT": "1\n", "cache/blobs/aa": "x"})
    assert set(repository.sources("//:shop")) == {"main.go"}


def test_files_with_the_names_that_tools_give(repository: Repository) -> None:
    """``NAME.melange.yaml``, ``NAME.apko.yaml`` and files that are named by their endings alone."""
    repository.write({
        "shop.melange.yaml": melange("shop"),
        "shop/main.c": "x",
        "shop.apko.yaml": apko("shop"),
        "lib/.melange.yaml": melange("libshop"),
        "lib/lib.c": "x",
        "lib/lib/inner.c": "x",
        "web/.apko.yml": apko("shop"),
    })  # fmt: skip
    assert repository.targets() == ["image //:shop", "package //:shop", "package //lib:libshop", "image //web:web"]
    assert set(repository.sources("//:shop")) == {"main.c"}
    assert set(repository.sources("//lib:libshop")) == {"lib.c", "lib/inner.c"}


LOCAL = {
    "tagged folder": ('"@local ./packages"', "api@local"),
    "tagged path of a container": ('"@local /work/packages"', "api@local"),
    "tagged, with a version": ('"@local ./packages"', "api=1.0.0-r0@local"),
    "tagged, with a range": ('"@mine /work/packages"', "api>=1@mine"),
    "plain folder": ("./packages", "api"),
    "folder above": ("../packages", "api"),
    "plain path of a container": ("/work/packages", "api=1.0.0-r0"),
    "file address": ("file:///work/packages", "api~1.0"),
    "nowhere": ("", "api"),
}


@pytest.mark.parametrize("form", LOCAL)
@pytest.mark.parametrize("remote", [WOLFI, ""])
def test_local_packages_in_all_their_forms(repository: Repository, form: str, remote: str) -> None:
    """Whatever line an image or an environment has for them, or none: the name is what counts."""
    folder, text = LOCAL[form]
    repositories = ", ".join(filter(None, [folder, remote]))
    repository.write({
        "packages/api.yaml": melange("api"),
        "packages/tool.yaml": (
            f"package: {{name: tool, version: 1, epoch: 0}}\n"
            f"environment:\n  contents:\n    repositories: [{repositories}]\n    packages: ['{text}']\n"
        ),
        "images/api.yaml": apko(f"'{text}', wolfi-baselayout", repositories=repositories),
    })  # fmt: skip
    assert repository.edges() == {"build //packages:tool -> //packages:api", "image //images:api -> //packages:api"}
    assert repository.places() == {f"packages/tool.yaml:5 {text}", f"images/api.yaml:3 {text}"}


def test_another_version_than_the_local_one_is_external_s(repository: Repository) -> None:
    """With a tag too."""
    repository.write({"api.yaml": melange("api"), "image.yaml": apko("api<1@local, api>2")})
    assert repository.edges() == set()
    assert repository.external() == {"api"}


def test_other_formats_lie_among_recipes(repository: Repository) -> None:
    """Charts, CI files with tags, streams of documents, other programs' packages and contents: no error, no target."""
    repository.write({
        "api.yaml": melange("api"),
        ".gitlab-ci.yml": "include:\n  - local: x.yml\nbuild:\n  script:\n    - !reference [.setup, script]\n",
        "serverless.yml": "service: x\npackage:\n  patterns: [x]\nresources: {A: !Ref B}\n",
        "chart/templates/config.yaml": 'data:\n  {{- include "x" . | nindent 2 }}\n  package: {{ .Values.package }}\n',
        "k8s/all.yaml": "kind: A\nspec: {package: x}\n---\nkind: B\nspec: {contents: y}\n",
        "conda/meta.yaml": "package:\n  name: x\n  version: 1\nsource: {url: u}\ntest: {}\n",
        "book/toc.yaml": "contents:\n  title: x\n",
        "compose.yaml": "include: [other.yaml]\nservices: {}\n",
        "mkdocs.yml": "site_name: x\ninclude: x\nx: !!python/name:y\n",
        "latin1.yaml": "title: x\n",
    })  # fmt: skip
    (repository.root / "latin1.yaml").write_bytes(b"title: caf\xe9\npackage: x\n")
    assert repository.targets() == ["package //:api"]


def test_excluded_files_are_no_recipes(repository: Repository) -> None:
    """``exclude:`` takes patterns as .gitignore does; what they match stays somebody's source."""
    repository.write({
        "buildgraph.yaml": "exclude: [testdata/, '*.tmpl.yaml']\n",
        "melange.yaml": melange("api"),
        "testdata/bad.yaml": "package: [\n",
        "deep/testdata/other.yaml": melange("api"),
        "api.tmpl.yaml": "package:\n  name: {{ name }}\n",
    })  # fmt: skip
    assert repository.targets() == ["package //:api"]
    assert set(repository.sources("//:api")) == {"testdata/bad.yaml", "deep/testdata/other.yaml", "api.tmpl.yaml"}
