"""Repositories as people have them, built for real: each image holds its own packages, each package saw its own sources."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildgraph.apk.index import read_index_archive
from tests.e2e.tiny import WOLFI, WOLFI_KEY, package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e

# Recipes that list no repositories get these.
FALLBACK = f"repositories: [{WOLFI}]\nkeyring: [{WOLFI_KEY}]\n"
# What a build saw in its source folder goes into the package.
SEES = 'find . -type f ! -name ".melange*" ! -path "./.config/*" ! -path "./melange-out/*" | sort >"$OUT/usr/share/{0}.sources"'


@pytest.fixture
def repository(empty: Workspace, seed: Path) -> Workspace:
    """A workspace whose recipes lie at its root, and that has Wolfi's address answered by the seed."""
    (empty.root / "recipes").rmdir()
    empty.write("buildgraph.yaml", f"mirrors: {{{WOLFI}: {seed}}}\n")
    return empty


def manifest(workspace: Workspace, more: str) -> None:
    path = workspace.root / "buildgraph.yaml"
    path.write_text(path.read_text() + more)


def image(packages: str, *, repositories: str = WOLFI, keyring: str = WOLFI_KEY, more: str = "") -> str:
    return f"contents:\n  repositories: [{repositories}]\n  keyring: [{keyring}]\n  packages: [{packages}]\n{more}"


def files_of(workspace: Workspace, target: str) -> dict[str, str]:
    """The text files of an image, but for what apko itself writes, by path."""
    folder, _, name = target[2:].partition(":")
    layout = workspace.root / "out/oci" / folder / name
    index = json.loads((layout / "index.json").read_text())
    return dict(_files(layout, index["manifests"][0]["digest"]))


def _files(layout: Path, digest: str) -> Iterator[tuple[str, str]]:
    found = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    for inner in found.get("manifests", ()):
        yield from _files(layout, inner["digest"])
    for layer in found.get("layers", ()):
        with tarfile.open(layout / "blobs/sha256" / layer["digest"].removeprefix("sha256:")) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None:
                    yield member.name, stream.read().decode("utf-8", "replace")


def test_wolfi(repository: Workspace) -> None:
    """Recipes at the root that list no repositories, a folder beside a recipe, a local pipeline, an image with a tag."""
    manifest(repository, FALLBACK)
    script = f'cat note.txt >"$OUT/usr/share/zlib"\n{SEES.format("zlib")}'
    repository.write("zlib.yaml", package("zlib", script))
    repository.write("zlib/note.txt", "from the folder\n")
    repository.write("zlib/testdata/melange.yaml", "package: [\n")
    takes = 'cat /usr/share/zlib /usr/share/stamp >"$OUT/usr/share/curl"'
    repository.write("curl.yaml", package("curl", takes, needs=("zlib",)) + "  - uses: company/stamp\n")
    repository.write("stamp.yaml", package("stamp", 'echo stamped >"$OUT/usr/share/stamp"'))
    stamp = "needs:\n  packages: [stamp]\npipeline:\n  - runs: test -f /usr/share/stamp\n"
    repository.write("pipelines/company/stamp.yaml", stamp)
    tagged = f'"@local /work/packages", {WOLFI}'
    repository.write("curl/apko.yaml", image("curl@local, zlib=1.0.0-r0@local, wolfi-baselayout", repositories=tagged))

    done = repository.build()
    assert done.ran == {"//:curl", "//:stamp", "//:zlib", "//curl:curl"}
    found = files_of(repository, "//curl:curl")
    assert found["usr/share/curl"] == "from the folder\nstamped\n"
    assert found["usr/share/zlib.sources"] == "./note.txt\n./testdata/melange.yaml\n"
    assert found["etc/apk/repositories"] == f"{WOLFI}\n"
    assert repository.build().ran == set()
    repository.edit("pipelines/company/stamp.yaml", "test -f", "test -s")
    assert repository.build().ran == {"//:curl", "//curl:curl"}, "melange writes the recipe with its pipelines into the package"


APPS = ("go", "java", "node", "python", "rust")


def test_five_applications_with_packages_of_one_name(repository: Workspace) -> None:
    """Each image has its own application's; the packages, which no single repository can hold, lie in five."""
    manifest(repository, FALLBACK)
    for app in APPS:
        script = f'cat src/main >"$OUT/usr/share/hello"\n{SEES.format("hello")}'
        repository.write(f"apps/{app}/melange.yaml", package("hello-server", script))
        repository.write(f"apps/{app}/apko.yaml", image("hello-server, wolfi-baselayout", repositories=f"./packages, {WOLFI}"))
        repository.write(f"apps/{app}/src/main", f"hello from {app}\n")
        repository.write(f"apps/{app}/hello-server/data", "no folder of the recipe's name, but the application's")

    done = repository.build("-j", "2", "//...")
    assert len(done.ran) == 10
    indexes = {path.parent.relative_to(repository.root / "out/packages") for path in repository.root.rglob("APKINDEX.tar.gz")}
    assert indexes >= {Path("apps") / app / "x86_64" for app in APPS}
    checksums = set()
    for app in APPS:
        found = files_of(repository, f"//apps/{app}:{app}")
        assert found["usr/share/hello"] == f"hello from {app}\n"
        assert found["usr/share/hello.sources"] == "./hello-server/data\n./src/main\n"
        folder = repository.root / "out/packages/apps" / app / "x86_64"
        (entry,) = read_index_archive((folder / "APKINDEX.tar.gz").read_bytes())
        assert (folder / entry.filename).is_file()
        checksums.add(entry.checksum)
    assert len(checksums) == 5
    rows = {row["target"]: row["packages"][0]["path"] for row in done.answer["targets"] if "packages" in row}
    assert all(Path(path).is_file() for path in rows.values())
    assert len(set(rows.values())) == 5

    repository.edit("apps/go/src/main", "hello", "good day")
    assert repository.build().ran == {"//apps/go:hello-server", "//apps/go:go"}
    for app in APPS[1:]:
        (repository.root / "apps" / app / "melange.yaml").unlink()
        (repository.root / "apps" / app / "apko.yaml").unlink()
    repository.build()
    paths = [str(path.relative_to(repository.root / "out/packages")) for path in (repository.root / "out").rglob("*.apk")]
    assert paths == ["x86_64/hello-server-1.0.0-r0.apk"], "one of the name is left, and the common repository can hold it"


def test_packages_beside_containers(repository: Workspace) -> None:
    """Sources at the root; images name no repository and no key at all."""
    manifest(repository, FALLBACK + "targets:\n  //packages:api:\n    sources: [.]\n")
    repository.write("packages/api.yaml", package("api", f'cat src/api >"$OUT/usr/share/api"\n{SEES.format("api")}'))
    repository.write("packages/conf.yaml", package("conf", 'echo conf >"$OUT/usr/share/conf"', runtime=("api",)))
    repository.write("src/api", "the api\n")
    repository.write("containers/web.yaml", "contents:\n  packages: [conf, wolfi-baselayout]\n")

    assert repository.build().ran == {"//packages:api", "//packages:conf", "//containers:web"}
    found = files_of(repository, "//containers:web")
    assert (found["usr/share/api"], found["usr/share/conf"]) == ("the api\n", "conf\n")
    assert found["usr/share/api.sources"] == "./src/api\n"
    assert found["etc/apk/repositories"] == f"{WOLFI}\n"
    assert "etc/apk/keys/wolfi-signing.rsa.pub" in found


def test_what_init_writes_builds(repository: Workspace, seed: Path) -> None:
    """From a script's flags to an image: repositories, a key file, a source folder, a folder of pipelines, an option."""
    (repository.root / "buildgraph.yaml").unlink()
    repository.write("keys/wolfi-signing.rsa.pub", (seed / "wolfi-signing.rsa.pub").read_text())
    repository.write(
        "scripts/build.sh",
        f"""#!/bin/sh
cd "$(dirname "$0")/.."
for name in api tool; do
  melange build "recipes/$name.yaml" --source-dir "src/$name" --pipeline-dir ci/steps --build-option loud \\
    -r {WOLFI} -k keys/wolfi-signing.rsa.pub -r "$PWD/packages" --signing-key melange.rsa -k melange.rsa.pub
done
apko build recipes/web.yaml web:latest web.tar -r ./packages -r {WOLFI} -k keys/wolfi-signing.rsa.pub
""",
    )
    loud = "options: {loud: {vars: {word: LOUD}}}\nvars: {word: quiet}\n"
    repository.write("recipes/api.yaml", package("api", 'cat main >"$OUT/usr/share/api"') + "  - uses: ours/stamp\n" + loud)
    repository.write("recipes/tool.yaml", package("tool", 'cat main /usr/share/api >"$OUT/usr/share/tool"', needs=("api",)))
    repository.write("recipes/web.yaml", "contents: {packages: [tool, api, wolfi-baselayout]}\narchs: [x86_64]\n")
    repository.write("src/api/main", "api\n")
    repository.write("src/tool/main", "tool\n")
    stamp = 'pipeline:\n  - runs: echo stamped >>"${{targets.destdir}}/usr/share/api"\n'
    repository.write("ci/steps/ours/stamp.yaml", stamp)
    assert repository.bg("init").code == 0
    text = (repository.root / "buildgraph.yaml").read_text()
    assert "options: [loud]" in text
    manifest(repository, f"mirrors: {{{WOLFI}: {seed}}}\n")

    assert repository.build().ran == {"//recipes:api", "//recipes:tool", "//recipes:web"}
    found = files_of(repository, "//recipes:web")
    assert found["usr/share/tool"] == "tool\napi\nstamped\n"
    assert found["etc/apk/repositories"] == f"{WOLFI}\n"
    assert [name for name in found if name.startswith("etc/apk/keys/")] == ["etc/apk/keys/wolfi-signing.rsa.pub"]
    assert repository.bg("init").code == 0
    assert repository.build().ran == set()


def test_images_with_configurations(repository: Workspace) -> None:
    """Variants in ``configs/`` that share a template."""
    manifest(repository, FALLBACK)
    repository.write("packages/db.yaml", package("db", 'echo db >"$OUT/usr/share/db"'))
    repository.write("packages/tool.yaml", package("tool", 'echo tool >"$OUT/usr/share/tool"'))
    repository.write("images/db/configs/template.apko.yaml", image("wolfi-baselayout, db", more="environment: {A: b}\n"))
    template = "include: images/db/configs/template.apko.yaml\ncontents:\n  packages: [{}]\n"
    repository.write("images/db/configs/latest.apko.yaml", template.format(""))
    repository.write("images/db/configs/latest-dev.apko.yaml", template.format("tool"))

    done = repository.build("//images/...")
    assert done.ran == {"//images/db/configs:latest", "//images/db/configs:latest-dev", "//packages:db", "//packages:tool"}
    assert "usr/share/tool" not in files_of(repository, "//images/db/configs:latest")
    assert {"usr/share/tool", "usr/share/db"} <= files_of(repository, "//images/db/configs:latest-dev").keys()


def test_a_recipe_beside_an_application_s_own_source(repository: Workspace) -> None:
    """The build sees the folder as git has it, and the application's own folder ``cache``."""
    manifest(repository, FALLBACK + "cache: .buildgraph/cache\n")
    repository.write("melange.yaml", package("shop", SEES.format("shop")))
    repository.write("apko.yaml", image("shop@local, wolfi-baselayout", repositories=f'"@local ./packages", {WOLFI}'))
    for path in ("main.go", "shop/cart.go", "cache/cache.go", "debug.log", "packages/x86_64/APKINDEX.tar.gz", ".git/HEAD"):
        repository.write(path, "x")
    repository.write(".gitignore", "*.log\n")

    assert repository.build().ran == {"//:shop", "//:apko"}
    assert files_of(repository, "//:apko")["usr/share/shop.sources"].split() == [
        "./.gitignore",
        "./cache/cache.go",
        "./main.go",
        "./shop/cart.go",
    ]
    repository.write("packages/x86_64/APKINDEX.tar.gz", "y")
    repository.write("debug.log", "y")
    assert repository.build().ran == set()


@pytest.mark.parametrize(
    ("repositories", "keyring", "package_line", "expected"),
    [
        (f'"@local ./packages", {WOLFI}', f"./melange.rsa.pub, {WOLFI_KEY}", "api@local", WOLFI),
        (f'{WOLFI}, "@local /work/packages"', f"{WOLFI_KEY}, /work/melange.rsa.pub", "api=1.0.0-r0@local", WOLFI),
        (f"{WOLFI}, ./packages", "keys/wolfi-signing.rsa.pub", "api>=1", WOLFI),
        (f"{WOLFI}, /work/packages", WOLFI_KEY, "api", WOLFI),
        (f'"@edge {WOLFI}"', WOLFI_KEY, "api", f"@edge {WOLFI}"),
    ],
)
def test_local_packages_in_all_their_forms(
    repository: Workspace, seed: Path, repositories: str, keyring: str, package_line: str, expected: str
) -> None:
    """In an image and in an environment: keys that are not there are those of packages which bg makes itself."""
    repository.write("keys/wolfi-signing.rsa.pub", (seed / "wolfi-signing.rsa.pub").read_text())
    lists = f"repositories: [{repositories}], keyring: [{keyring}], "
    local = package("api", 'echo api >"$OUT/usr/share/api"').replace("contents: {", "contents: {" + lists)
    takes = package("tool", 'cp /usr/share/api "$OUT/usr/share/tool"', needs=(package_line,))
    repository.write("packages/api.yaml", local)
    repository.write("packages/tool.yaml", takes.replace("contents: {", "contents: {" + lists))
    packages = f"'{package_line}', tool, wolfi-baselayout"
    repository.write("images/web.yaml", image(packages, repositories=repositories, keyring=keyring))

    assert repository.build().ran == {"//packages:api", "//packages:tool", "//images:web"}
    found = files_of(repository, "//images:web")
    assert found["usr/share/tool"] == "api\n"
    assert found["etc/apk/repositories"] == f"{expected}\n"
    assert [name for name in found if name.startswith("etc/apk/keys/")] == ["etc/apk/keys/wolfi-signing.rsa.pub"]


def test_a_local_key_counts_when_it_is_there(repository: Workspace) -> None:
    """It goes into the image as apko would put it there, and a build that has nothing to do notices when it comes."""
    manifest(repository, FALLBACK)
    repository.write(".gitignore", "*.rsa*\n")
    repository.write("api.yaml", package("api", 'echo api >"$OUT/usr/share/api"'))
    lines = f'"@local ./packages", {WOLFI}'
    repository.write(
        "web.yaml", image("api@local, wolfi-baselayout", repositories=lines, keyring=f"./melange.rsa.pub, {WOLFI_KEY}")
    )
    assert repository.build().ran == {"//:api", "//:web"}
    assert repository.build().ran == set()
    key = "-----BEGIN PUBLIC KEY-----\n"
    repository.write("melange.rsa.pub", key)
    assert repository.build().ran == {"//:web"}
    assert files_of(repository, "//:web")["etc/apk/keys/melange.rsa.pub"] == key
    repository.write("melange.rsa.pub", f"{key}another")
    assert repository.build().ran == {"//:web"}


def test_an_image_of_local_packages_alone(repository: Workspace) -> None:
    """No repository is named anywhere but a folder, or none at all."""
    manifest(repository, "")
    named = package("one", 'echo one >"$OUT/usr/share/one"').replace(
        "contents: {", f"contents: {{repositories: [{WOLFI}], keyring: [{WOLFI_KEY}], "
    )
    repository.write("one.yaml", named)
    repository.write("folder.yaml", 'contents: {repositories: ["@local ./packages"], packages: [one@local]}\narchs: [x86_64]\n')
    repository.write("nowhere.yaml", "contents: {packages: [one]}\narchs: [x86_64]\n")
    assert repository.build().ran == {"//:one", "//:folder", "//:nowhere"}
    assert files_of(repository, "//:folder")["etc/apk/repositories"] == "@local ./packages\n"
    assert files_of(repository, "//:nowhere")["usr/share/one"] == "one\n"
