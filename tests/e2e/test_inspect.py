"""`bg inspect` says what a built target is, and where each part of it came from."""

from __future__ import annotations

import json

import pytest

from tests.e2e.tiny import image, package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def test_an_image(built_example: Workspace) -> None:
    """Digest, layers, configuration; each package with version, licence, and its target or repository."""
    [found] = built_example.bg("inspect", "--json", "//images:api").answer
    [image] = found["images"]
    layout = built_example.root / "out/oci/images/api"
    index = json.loads((layout / "index.json").read_text())
    assert (image["platform"], image["digest"]) == ("linux/amd64", index["manifests"][0]["digest"])
    manifest = json.loads((layout / "blobs" / image["digest"].replace(":", "/")).read_text())
    assert [(layer["digest"], layer["size"]) for layer in image["layers"]] == [
        (layer["digest"], layer["size"]) for layer in manifest["layers"]
    ]
    assert image["config"]["User"] == "65532"
    assert image["config"]["Entrypoint"] == ["/usr/bin/stock-api"]

    packages = {package["name"]: package for package in image["packages"]}
    assert packages.keys() == {
        "ca-certificates-bundle", "glibc", "libgcc", "libstock", "stock-api", "stock-config", "wolfi-baselayout",
    }  # fmt: skip
    [made] = built_example.bg("inspect", "--json", "//packages:libstock").answer
    library = next(package for package in made["packages"] if package["name"] == "libstock")
    assert packages["libstock"]["from"] == {
        "target": "//packages:libstock@x86_64",
        "digest": library["digest"],
        "action": made["action"],
        "repository": "",
    }
    assert packages["libstock"]["checksum"] == library["checksum"]
    assert packages["libstock"]["license"] == "Apache-2.0"
    assert packages["glibc"]["from"]["repository"] == "https://packages.wolfi.dev/os"
    assert packages["glibc"]["from"]["target"] == ""


def test_a_package(built_example: Workspace) -> None:
    """Each that the recipe makes: files, sizes, what it provides and depends on."""
    [found] = built_example.bg("inspect", "--json", "//packages:libstock").answer
    packages = {package["name"]: package for package in found["packages"]}
    assert packages.keys() == {"libstock", "libstock-dev", "libstock-doc"}
    library = packages["libstock"]
    files = {file["path"]: file for file in library["files"]}
    assert files["usr/lib/libstock.so.1"] == {
        "path": "usr/lib/libstock.so.1", "kind": "link", "mode": "0777", "size": 0, "target": "libstock.so.1.2.0",
    }  # fmt: skip
    assert sum(file["size"] for file in library["files"]) == library["installed_size"]
    assert "so:libstock.so.1=1" in library["provides"]
    assert library["depends"] == ["so:libc.so.6"]


def test_for_people(built_example: Workspace) -> None:
    """The same as text."""
    out = built_example.bg("inspect", "//images:api", "//packages:libstock").out
    assert "//images:api linux/amd64\n  digest      sha256:" in out
    assert "  user        65532\n  entrypoint  /usr/bin/stock-api\n" in out
    assert "  7 packages, 5.0 MiB installed\n" in out
    line = next(line for line in out.splitlines() if line.strip().startswith("libstock "))
    assert line.split() == ["libstock", "1.2.0-r0", "18.6", "KiB", "Apache-2.0", "//packages:libstock@x86_64"]
    assert "0777  link      usr/lib/libstock.so.1 -> libstock.so.1.2.0" in out


def test_layers_made_of_packages(empty: Workspace) -> None:
    """Which packages a layer is made of, where apko makes layers by package; what is installed is told once."""
    for name in ("one", "two"):
        empty.write(f"recipes/{name}.yaml", package(name, f'echo {name} >"$OUT/usr/share/{name}"'))
    empty.write("recipes/image.yaml", image("one", "two") + "layering: {strategy: origin, budget: 3}\n")
    empty.build("//:image")
    [found] = empty.bg("inspect", "--json", "//:image").answer[0]["images"]
    parts = [layer["packages"] for layer in found["layers"]]
    assert len(parts) > 1
    assert parts[-1] == []
    names = sorted(name for part in parts for name in part)
    assert names == [package["name"] for package in found["packages"]]
    assert {"one", "two"} < set(names)


def test_what_is_not_built(fresh: Workspace) -> None:
    """Is told, with what builds it; nothing is built. A misspelt name gets a suggestion."""
    done = fresh.bg("inspect", "//images:api")
    assert (done.code, done.out) == (3, "")
    assert done.err == "error: //images:api is not built\n\nhint: `bg build //images:api`\n"
    assert not (fresh.root / "buildgraph.lock").exists()
    assert "did you mean `//images:api`" in fresh.bg("inspect", "//images:apo").err


def test_what_is_built_but_not_as_it_is_now(example: Workspace) -> None:
    """An old result is not shown for what its files say now."""
    example.edit("recipes/packages/libstock/stock.c", "#include", "/* why not */\n#include")
    done = example.bg("inspect", "//packages:libstock")
    assert (done.code, done.out) == (3, "")
    assert "//packages:libstock@x86_64 has changed since it was built" in done.err
    example.build("//packages:libstock")
    assert example.bg("inspect", "//packages:libstock").code == 0
    image = example.bg("inspect", "//images:api")  # what it depends on came out the same
    assert (image.code, "//images:api linux/amd64" in image.out) == (0, True), image.err
