"""What users get is what other tools of the field read."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from buildgraph.apk import signing
from tests.e2e import tiny
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e


def run(*command: str | Path, cwd: Path) -> str:
    """What a program printed, which must succeed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"there is no {command[0]} here")
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=True).stdout


def layer_files(layout: Path) -> dict[str, tarfile.TarInfo]:
    index = json.loads((layout / "index.json").read_text())
    manifest = blob(layout, index["manifests"][0]["digest"])
    found: dict[str, tarfile.TarInfo] = {}
    for layer in manifest["layers"]:
        with tarfile.open(layout / "blobs/sha256" / layer["digest"].removeprefix("sha256:")) as archive:
            found.update({member.name: member for member in archive})
    return found


def blob(layout: Path, digest: str) -> Any:
    return json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())


def test_skopeo_reads_the_layouts(built_example: Workspace, tmp_path: Path) -> None:
    """By tag: inspected, and copied into a docker archive."""
    layout = built_example.root / "out/oci/images/api"
    found = json.loads(run("skopeo", "inspect", f"oci:{layout}:latest", cwd=tmp_path))
    assert found["Digest"] == json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert found["Architecture"] == "amd64"
    assert found["Labels"]["org.opencontainers.image.title"] == "stock-api"
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{layout}:latest", cwd=tmp_path))["config"]
    assert config["User"] == "65532"
    assert config["Entrypoint"] == ["/usr/bin/stock-api"]
    assert "PORT=8080" in config["Env"]
    run(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        f"oci:{layout}:latest",
        f"docker-archive:{tmp_path}/api.tar:api:latest",
        cwd=tmp_path,
    )
    with tarfile.open(tmp_path / "api.tar") as archive:
        assert "manifest.json" in archive.getnames()


def test_umoci_unpacks_them(built_example: Workspace, tmp_path: Path) -> None:
    """By tag, without being root."""
    layout = built_example.root / "out/oci/images/tools"
    run("umoci", "unpack", "--rootless", "--image", f"{layout}:latest", tmp_path / "bundle", cwd=tmp_path)
    assert (tmp_path / "bundle/rootfs/usr/bin/shelf-label").is_file()


def test_an_image_holds_what_it_needs_and_no_more(built_example: Workspace) -> None:
    """The api image names one package: its library came by the scan; there is no shell and no package of a neighbour."""
    files = layer_files(built_example.root / "out/oci/images/api")
    assert "usr/lib/libstock.so.1" in files
    assert not [name for name in files if name.endswith(("/sh", "/bash", "/busybox", "/shelf-label"))]
    assert any(name.endswith("/sh") for name in layer_files(built_example.root / "out/oci/images/debug"))


@pytest.mark.parametrize("kind", ["repositories", "build_repositories"])
def test_the_repository_is_one_that_apko_installs_from(
    built_example: Workspace, seed: Path, apko: Path, tmp_path: Path, kind: str
) -> None:
    """With its signature verified; with another key it is refused."""
    packages = built_example.root / "out/packages"
    key = next(packages.glob("*.rsa.pub"))
    recipe = {
        "contents": {
            kind: [str(packages), str(seed)],
            "runtime_repositories": ["https://packages.example.org/os"],
            "keyring": [str(key), str(seed / "wolfi-signing.rsa.pub")],
            "packages": ["wolfi-baselayout", "stock-api"],
        },
        "archs": ["x86_64"],
    }
    (tmp_path / "image.yaml").write_text(json.dumps(recipe))
    (tmp_path / "out").mkdir()
    build: list[str | Path] = [apko, "build", "image.yaml", "test:latest", "out", "--cache-dir", tmp_path / "cache"]
    run(*build, cwd=tmp_path)
    assert "usr/lib/libstock.so.1" in layer_files(tmp_path / "out")

    other = tmp_path / key.name
    other.write_bytes(signing.public_key(signing.generate_key(2048)))
    recipe["contents"]["keyring"][0] = str(other)  # type: ignore[index]
    (tmp_path / "image.yaml").write_text(json.dumps(recipe))
    refused = subprocess.run([str(part) for part in build], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "verif" in refused.stderr


def test_sboms_name_what_is_in_the_image(built_example: Workspace) -> None:
    """SPDX documents beside the images."""
    content = json.loads((built_example.root / "out/sbom/images/api/sbom-x86_64.spdx.json").read_text())
    assert content["spdxVersion"].startswith("SPDX-2")
    assert {"stock-api", "libstock", "stock-config"} <= {package["name"] for package in content["packages"]}


def test_old_packages_leave_the_repository(example: Workspace) -> None:
    """A new version takes the place of the one before; what a removed recipe made goes too."""
    folder = example.root / "out/packages/x86_64"
    assert (folder / "stock-config-1.0.0-r2.apk").is_file()
    example.edit("recipes/packages/stock-config.yaml", "epoch: 2", "epoch: 3")
    example.build("//packages:stock-config")
    assert [path.name for path in folder.glob("stock-config-*.apk")] == ["stock-config-1.0.0-r3.apk"]
    (example.root / "recipes/packages/shelf-label.yaml").unlink()
    (example.root / "recipes/images/tools.yaml").unlink()
    example.build("//packages:stock-config")
    assert not list(folder.glob("shelf-label-*"))


def test_an_output_that_was_edited_is_put_right(example: Workspace) -> None:
    """Outputs may be damaged by their users; the next build gives the right ones again, and the cache is whole."""
    # Outputs are hard links to blobs, and the blobs here to those of the example that all tests share: no longer.
    shutil.copytree(example.root / "cache", example.root / "own")
    shutil.rmtree(example.root / "cache")
    (example.root / "own").rename(example.root / "cache")
    shutil.rmtree(example.root / "out")
    example.build("//...")
    layout = example.root / "out/oci/images/api"
    victim = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    before = victim.read_bytes()
    # A file of its own for both: other tests' caches have the same one (conftest's copies).
    blob = next(path for path in (example.root / "cache/blobs").glob("*/*") if path.samefile(victim))
    shutil.copy2(blob, example.root / "copy")
    (example.root / "copy").replace(blob)
    victim.unlink()
    victim.hardlink_to(blob)
    victim.chmod(0o644)
    with victim.open("ab") as stream:
        stream.write(b"garbage")
    example.build("//...")
    assert victim.read_bytes() == before
    shutil.rmtree(example.root / "out")
    example.build("//...")
    assert victim.read_bytes() == before


def test_images_of_a_folder_called_as_an_image(empty: Workspace) -> None:
    """`//:web` and `//web:debug` lie within one another, and neither takes away the other's files."""
    for recipe in ("web", "web/debug"):
        empty.write(f"recipes/{recipe}.yaml", tiny.image("base"))
    for target in ("//...", "//web:debug", "//:web"):
        empty.write("recipes/base.yaml", tiny.package("base", f'echo {target} >"$OUT/usr/share/base"'))
        empty.build(target)
    for folder in ("web", "web/debug"):
        layout = empty.root / "out/oci" / folder
        (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
        assert (layout / "blobs/sha256" / manifest["digest"].removeprefix("sha256:")).is_file()
