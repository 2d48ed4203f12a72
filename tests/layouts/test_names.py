"""How targets of such repositories are named on the command line, and what is said of names that are none."""

from __future__ import annotations

import pytest

from tests.layouts.repository import Repository, apko, melange

SUBPACKAGE = "subpackages:\n  - name: libshop-dev\n"


@pytest.fixture
def shop(repository: Repository) -> Repository:
    repository.write({
        "buildgraph.yaml": "recipes: recipes\narchitectures: [x86_64]\n",
        "recipes/packages/libshop.yaml": melange("libshop", more=SUBPACKAGE),
        "recipes/packages/server.yaml": melange("server"),
        "recipes/images/api/apko.yaml": apko("server"),
        "recipes/images/worker.yaml": apko("server"),
        "recipes/top.yaml": melange("top"),
    })  # fmt: skip
    return repository


@pytest.mark.parametrize(
    ("said", "folder", "meant"),
    [
        (["//..."], "", "//:top //images/api:api //images:worker //packages:libshop //packages:server"),
        (["//...", "-//packages/..."], "", "//:top //images/api:api //images:worker"),
        (["//packages:all", "-//packages:server"], "", "//packages:libshop"),
        (["//images/...", "//packages:server", "-//images:api"], "", "//images:worker //packages:server"),
        (["//packages:libshop-dev"], "", "//packages:libshop"),
        (["//packages/libshop-dev"], "", "//packages:libshop"),
        (["packages/server"], "", "//packages:server"),
        (["images/api"], "", "//images/api:api"),
        (["top"], "", "//:top"),
        ([":top"], "recipes", "//:top"),
        (["./..."], "recipes/images", "//images/api:api //images:worker"),
        (["..."], "recipes/images", "//images/api:api //images:worker"),
        (["api"], "recipes/images", "//images/api:api"),
        (["../packages:server"], "recipes/images", "//packages:server"),
        (["worker.yaml", "api/apko.yaml"], "recipes/images", "//images/api:api //images:worker"),
        (["recipes/packages/server.yaml"], "", "//packages:server"),
        (["packages/server.yaml"], "", "//packages:server"),
    ],
)
def test_what_names_mean(shop: Repository, said: list[str], folder: str, meant: str) -> None:
    """Labels, patterns, exclusions, paths, files, from where one stands."""
    assert sorted(target.split()[1] for target in shop.targets(*said, folder=folder)) == sorted(meant.split())


@pytest.mark.parametrize(
    ("said", "error", "hint"),
    [
        ("//packages:libshp", "no target `//packages:libshp`", "did you mean `//packages:libshop`"),
        ("//packages:libshop-dve", "no target `//packages:libshop-dve`", "did you mean `//packages:libshop-dev`"),
        ("//pakages:server", "no target `//pakages:server`", "did you mean `//packages:server`?"),
        ("//images:server", "no target `//images:server`", "did you mean `//packages:server`?"),
        ("libshop-dev", "no target `//libshop-dev`", "did you mean `//packages:libshop-dev`?"),
        ("//packages", "no target `//packages`", "for the targets in that folder say `//packages/...`"),
        ("//images/ap/...", "no target matches `//images/ap/...`", "did you mean `//images/api/...`"),
        ("//imags/...", "no target matches `//imags/...`", "did you mean `//images/...`"),
        ("//package:all", "no target matches `//package:all`", "did you mean `//packages:all`"),
        ("-//pakcages/...", "no target matches `//pakcages/...`", "did you mean `//packages/...`"),
        ("//packages:nothing-like-it", "no target `//packages:nothing-like-it`", "`bg list` shows every target"),
    ],
)
def test_what_names_nothing(shop: Repository, said: str, error: str, hint: str) -> None:
    """Each gets what is like it: targets, subpackages, folders."""
    answer = shop.bg("list", "//...", said, code=3)
    assert answer.startswith(f"error: {error}")
    assert f"\nhint: {hint}" in answer


def test_two_recipes_of_one_label(shop: Repository) -> None:
    """In one folder: both files are named."""
    shop.write({"recipes/packages/other.yaml": melange("server")})
    said = shop.bg("list", code=6)
    assert said.startswith("recipes/packages/server.yaml:2: the package `server` is defined twice in this folder")
    assert "the other one: recipes/packages/other.yaml:2" in said


def test_settings_of_a_target_that_is_not_there(shop: Repository) -> None:
    """A label that is misspelt in the manifest would do nothing in silence."""
    manifest = "recipes: recipes\ntargets:\n  //packages:sever:\n    network: on\n"
    shop.write({"buildgraph.yaml": manifest})
    said = shop.bg("list", code=4)
    assert said.startswith(
        "buildgraph.yaml:3: `targets:` has settings for `//packages:sever`, and there is no such target\n"
        "      //packages:sever:\n"
        "      ^^^^^^^^^^^^^^^^\n"
    )
    assert "hint: did you mean `//packages:server`" in said


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            "//images:app: {sources: [recipes]}",
            "`//images:app` is an image, which has no sources, options, vars-file or env-file",
        ),
        (
            "//packages:server: {vars-file: v.yaml}",
            "the file `v.yaml` is not there, which the settings of `//packages:server` name",
        ),
        (
            "//packages:server: {env-file: [a.env]}",
            "the file `a.env` is not there, which the settings of `//packages:server` name",
        ),
    ],
)
def test_settings_that_could_do_nothing(shop: Repository, settings: str, told: str) -> None:
    """What a target cannot have, and files that are not there, are told with the manifest's line."""
    shop.write({"buildgraph.yaml": f"recipes: recipes\ntargets:\n  {settings}\n", "recipes/images/app.yaml": apko("server")})
    assert shop.bg("list", code=4).startswith(f"buildgraph.yaml:3: {told}")


def test_who_asks_for_the_name_it_makes_means_the_one_from_outside(repository: Repository) -> None:
    """Where several others are equally near, that is no mistake: each makes a compiler with the previous one."""
    repository.write({
        "buildgraph.yaml": "architectures: [x86_64]\n",
        **{f"{team}/compiler.yaml": melange("compiler", needs="compiler") for team in ("one", "two", "three")},
        "one/tool.yaml": melange("tool", needs="compiler"),
    })  # fmt: skip
    needs = {(edge["from"], edge["to"]) for edge in repository.graph()["edges"] if edge["requirement"] == "compiler"}
    assert needs == {
        ("//one:tool@x86_64", "//one:compiler@x86_64"),
        *((f"//{team}:compiler@x86_64", "compiler") for team in ("one", "two", "three")),
    }


@pytest.mark.parametrize("key", ["out", "cache"])
def test_recipes_where_none_is_looked_for(repository: Repository, key: str) -> None:
    """A folder of outputs or a cache with recipes in it would hide them: that is told, with one of them."""
    files = {"recipes/deep/x.yaml": melange("x"), "recipes/notes.yaml": "a: 1\n", "images/api.yaml": apko("x")}
    repository.write({"buildgraph.yaml": f"salt: x\n{key}: recipes\n", **files})
    assert repository.bg("list", code=4) == (
        f"buildgraph.yaml:2: {key} must not hold recipes: none is looked for in `recipes`\n"
        f"    {key}: recipes\n"
        f"    {' ' * len(key)}  ^^^^^^^\n\n"
        f"hint: name another folder, such as `{key}`, or move recipes/deep/x.yaml out of it\n"
    )
    for line in ("exclude: [deep/]", "recipes: images"):
        repository.write({"buildgraph.yaml": f"{key}: recipes\n{line}\n"})
        assert repository.bg("list").count("\n") == 1
    repository.write({"buildgraph.yaml": f"{key}: recipes\n", ".gitignore": "recipes/\n"})
    assert repository.bg("list").count("\n") == 1


def test_recipes_that_come_into_the_usual_folder_of_outputs(repository: Repository) -> None:
    """Without a line in the manifest that could be shown, and after a run that saw none there."""
    repository.write({"buildgraph.yaml": "# nothing\n", "images/api.yaml": apko("x")})
    repository.bg("list")
    repository.write({"buildgraph.yaml": "# nothing\n", "out/packages/x.yaml": melange("x")})
    assert repository.bg("list", code=4) == (
        "buildgraph.yaml: out must not hold recipes: none is looked for in `out`\n\n"
        "hint: name another folder or move out/packages/x.yaml out of it\n"
    )


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        ("options:\n  typed: {}\n", "did you mean `typed`?"),
        ("options:\n  fast: {}\n", "its options are fast"),
        ("", "it has no `options:`"),
    ],
)
def test_an_option_that_the_recipe_does_not_have(repository: Repository, known: str, hint: str) -> None:
    """melange would say nothing, and build as if it was not said."""
    manifest = "targets:\n  //p:\n    options:\n      - typd\n"
    repository.write({"buildgraph.yaml": manifest, "p/p.yaml": melange("p", more=known)})
    told = f"buildgraph.yaml:4: p/p.yaml has no option `typd`\n          - typd\n            ^^^^\n\nhint: {hint}\n"
    assert repository.bg("list", code=4) == told
    repository.write({"buildgraph.yaml": manifest, "p/p.yaml": melange("p", more="options:\n  typd: {}\n")})
    assert repository.bg("list")


@pytest.mark.parametrize(
    ("arch", "hint"),
    [
        ("x86-64", "did you mean `x86_64`"),
        ("arm46", "did you mean `arm64`"),
        ("sparc", "the architectures are x86, x86_64, aarch64"),
    ],
)
def test_an_architecture_that_is_none(repository: Repository, arch: str, hint: str) -> None:
    """An image for it alone would be left out of every build; of an included file it is told there."""
    told = f"base.yaml:4: `{arch}` is no architecture\n    archs: [amd64, {arch}]\n                   ^"
    repository.write({"base.yaml": apko("x", more=f"archs: [amd64, {arch}]\n")})
    assert repository.bg("list", code=5).startswith(told)
    repository.write({"top.yaml": "include: base.yaml\ncmd: /bin/x\n"})
    said = repository.bg("list", code=5)
    assert said.startswith(told)
    assert f"\nhint: {hint}" in said


def test_an_architecture_that_only_the_manifest_knows(repository: Repository) -> None:
    """Whoever has such a repository can say so."""
    repository.write({"buildgraph.yaml": "architectures: [sparc]\n", "base.yaml": apko("x", more="archs: [sparc]\n")})
    assert repository.targets("//...") == ["image //:base"]
