"""Which recipes are found, what they are called, and which files are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.errors import BgError, ManifestError, RecipeError
from buildgraph.workspace.manifest import load_manifest
from buildgraph.workspace.workspace import Workspace, load_workspace, walk

PACKAGE = "package:\n  name: {}\n  version: 1\n  epoch: 0\npipeline: []\n"
IMAGE = "contents:\n  packages: [x]\n"


def workspace(root: Path, files: dict[str, str]) -> Workspace:
    for path, text in {"buildgraph.yaml": "", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    manifest = load_manifest(root)
    return load_workspace(manifest, walk(manifest))


def labels(root: Path, files: dict[str, str]) -> list[str]:
    targets = [target for same in workspace(root, files).targets.values() for target in same]
    return sorted(f"{target.kind} {target.label}" for target in targets)


def sources(root: Path, files: dict[str, str], label: str) -> dict[str, str]:
    found = workspace(root, files)
    targets = [target for same in found.targets.values() for target in same]
    target = next(target for target in targets if str(target.label) == label and target.kind == "package")
    return dict(found.sources.sources(target.recipe, target.label.name, found.manifest.settings(label)).files)


def test_recipes_are_known_by_content(tmp_path: Path) -> None:
    """Any YAML file with `package:` or `contents:` is a recipe, whatever its name; pipelines and other YAML are none."""
    files = {
        "one.yaml": PACKAGE.format("one"),
        "apps/web/melange.yml": PACKAGE.format("web"),
        "apps/web/apko.yaml": IMAGE,
        "images/api/configs/latest.apko.yaml": IMAGE,
        "images/db.yaml": IMAGE,
        "apko.yaml": IMAGE,
        "chart/values.yaml": "replicas: 3\n",
        "pipelines/build.yaml": "pipeline:\n  - runs: make\n",
        "broken.yaml": "{{ not yaml\n",
    }
    assert labels(tmp_path, files) == [
        "image //:apko",
        "image //apps/web:web",
        "image //images/api/configs:latest",
        "image //images:db",
        "package //:one",
        "package //apps/web:web",
    ]


def test_a_file_that_looks_like_a_recipe_and_is_no_yaml_is_an_error(tmp_path: Path) -> None:
    """It is not passed over in silence."""
    with pytest.raises(RecipeError) as caught:
        labels(tmp_path, {"bad.yaml": "package:\n  name: [x\n"})
    assert str(caught.value.where).startswith("bad.yaml:")


def test_a_base_file_without_packages_is_no_target(tmp_path: Path) -> None:
    """It is there for others to include."""
    assert labels(tmp_path, {"base.yaml": "contents:\n  keyring: [k]\n", "app.yaml": IMAGE}) == ["image //:app"]


def test_a_folder_of_the_recipes_name_holds_its_sources(tmp_path: Path) -> None:
    """Wolfi's layout: foo.yaml beside foo/."""
    files = {"foo.yaml": PACKAGE.format("foo"), "bar.yaml": PACKAGE.format("bar"), "foo/fix.patch": "p", "foo/sub/x": "x"}
    assert sources(tmp_path, files, "//:foo") == {"fix.patch": "foo/fix.patch", "sub/x": "foo/sub/x"}
    assert sources(tmp_path, files, "//:bar") == {}


def test_a_recipe_alone_in_its_folder_has_what_lies_there(tmp_path: Path) -> None:
    """Without recipes, the manifest, and folders with recipes of their own."""
    files = {
        "melange.yaml": PACKAGE.format("app"),
        "apko.yaml": IMAGE,
        "main.go": "m",
        "web/index.html": "w",
        "lib/melange.yaml": PACKAGE.format("lib"),
        "lib/lib.c": "l",
        "buildgraph.lock": "",
        ".gitignore": "*.log\n",
        "debug.log": "x",
    }
    expected = {".gitignore": ".gitignore", "main.go": "main.go", "web/index.html": "web/index.html"}
    assert sources(tmp_path, files, "//:app") == expected
    assert sources(tmp_path, files, "//lib:lib") == {"lib.c": "lib/lib.c"}


def test_the_manifest_may_name_sources(tmp_path: Path) -> None:
    """Folders and files of its choice, ignored ones too."""
    manifest = "targets:\n  //pkgs:foo:\n    sources: [src, VERSION]\n"
    files = {
        "buildgraph.yaml": manifest,
        "pkgs/foo.yaml": PACKAGE.format("foo"),
        "pkgs/foo/x": "x",
        "src/a.c": "a",
        "VERSION": "1",
    }
    assert sources(tmp_path, files, "//pkgs:foo") == {"a.c": "src/a.c", "VERSION": "VERSION"}
    (tmp_path / "src/a.c").unlink()
    (tmp_path / "src").rmdir()
    del files["src/a.c"]
    with pytest.raises(ManifestError, match="`src` is not there"):
        sources(tmp_path, files, "//pkgs:foo")


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("srcc", "did you mean `src`?"),
        ("src/b.c", "did you mean `src/a.c`"),
        ("zzz", "it is looked for from the workspace's folder"),
    ],
)
def test_a_named_source_that_is_not_there(tmp_path: Path, source: str, hint: str) -> None:
    """Folders that are like it are named, and files that lie beside it."""
    manifest = f"recipes: pkgs\ntargets:\n  //:foo: {{sources: [src, {source}]}}\n"
    files = {"buildgraph.yaml": manifest, "pkgs/foo.yaml": PACKAGE.format("foo"), "src/a.c": "a"}
    with pytest.raises(ManifestError, match=f"`{source}` is not there") as caught:
        sources(tmp_path, files, "//:foo")
    assert caught.value.hint.startswith(hint)


def test_two_recipes_of_one_name_in_one_folder_are_an_error(tmp_path: Path) -> None:
    """It names both files."""
    with pytest.raises(BgError) as caught:
        labels(tmp_path, {"a.yaml": PACKAGE.format("same"), "b.yaml": PACKAGE.format("same")})
    assert "a.yaml:2" in caught.value.render()
    assert "b.yaml:2" in caught.value.render()
