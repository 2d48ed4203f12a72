"""The manifest: everything has a default, and what is wrong is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildgraph.errors import ManifestError
from buildgraph.workspace.manifest import EPOCH_1980, Manifest, find_workspace, load_manifest

EVERYTHING = """\
recipes: ./pkgs/
out: build
cache: /var/cache/bg
architectures: [aarch64]
repositories: [https://r]
keyring: [https://k]
mirrors: {https://r/: mirror/}
pipelines: [pipes]
network: off
source-date-epoch: 7
salt: s
tag: 3.10
jobs: 3
memory: 2G
signing-key: k.rsa
tools: path
targets:
  //a/b:
    sources: [src, VERSION]
    network: on
    root: true
    options: [x]
    tag: t
    vars-file: vars/a.yaml
    env-file: [./a.env, b.env]
  //a/c: {env-file: c.env}
"""


TAG = "tag must be at most 128 letters, digits, `_`, `.` and `-`, none of the last two first"
KEY = "ed25519:fj4VkMSLhRs0XbBZ9JsTqUpzBtl0CR4KzIVvMt4K1pE="
KEYGEN = "`bg keygen --results` prints the line to put there"
OWN_FOLDER = "name a folder for outputs alone, such as `out`: `bg clean` removes what is in it"


def load(tmp_path: Path, text: str) -> Manifest:
    (tmp_path / "buildgraph.yaml").write_text(text)
    return load_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "~\n"])
def test_an_empty_file_is_a_manifest(tmp_path: Path, text: str) -> None:
    """No key is required."""
    assert load(tmp_path, text) == Manifest(tmp_path)


def test_every_key(tmp_path: Path) -> None:
    """What each key becomes."""
    (tmp_path / "pkgs").mkdir()
    manifest = load(tmp_path, EVERYTHING)
    assert (manifest.recipes, manifest.out, manifest.cache) == ("pkgs", "build", "/var/cache/bg")
    assert manifest.mirrors == (("https://r", "mirror"),)
    assert (manifest.network, manifest.source_date_epoch, manifest.tag) == ("off", 7, "3.10")
    assert (manifest.jobs, manifest.memory) == (3, 2 << 30)
    settings = manifest.settings("//a/b:b")
    assert (settings.sources, settings.network, settings.root, settings.options) == (("src", "VERSION"), "on", True, ("x",))
    assert (settings.vars_file, settings.env_files) == ("vars/a.yaml", ("a.env", "b.env"))
    assert settings.files() == ("src", "VERSION", "a.env", "b.env", "vars/a.yaml")
    assert manifest.settings("//a/c:c").files() == ("c.env",)
    assert manifest.tools == "path"
    assert manifest.settings("//other:x").sources is None
    assert Manifest(tmp_path).source_date_epoch == EPOCH_1980


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("recipe: x\n", "unknown key `recipe`", "did you mean `recipes`?"),
        ("jobs: many\n", "jobs must be a whole number, 1 or more", ""),
        ("jobs: 0\n", "jobs must be a whole number, 1 or more", ""),
        ("source-date-epoch: -1\n", "source-date-epoch must be a whole number", ""),
        ("tag: a b\n", TAG, ""),
        ("targets:\n  //x:y: {tag: -a}\n", TAG, ""),
        ("recipes: nowhere\n", "the recipes folder `nowhere` is not there", ""),
        ("out: .\n", "out must not hold the recipes", OWN_FOLDER),
        ("out: /\n", "out must not hold the recipes", OWN_FOLDER),
        ("recipes: pkgs/..\nout: ./\n", "out must not hold the recipes", OWN_FOLDER),
        ("jobs: [1]\n", "jobs must be a text", ""),
        ("memory: 4X\n", "memory must be a size such as 4G or 512M", ""),
        ("network: sometimes\n", "network must be one of as-needed, on, off", ""),
        ("recipes: ../elsewhere\n", "recipes must lie inside the workspace", ""),
        ("mirrors: [a]\n", "mirrors must be a mapping", ""),
        ("targets:\n  packages:x: {}\n", "`packages:x` is not a label", "a label looks like //folder:name"),
        ("targets:\n  //x:y: {rot: true}\n", "unknown key `rot`", "did you mean `root`?"),
        ("tools: newest\n", "tools must be one of pinned, path", ""),
        ("targets:\n  //x:y:\n    vars-file: /etc/x\n", "a vars-file must lie inside the workspace", ""),
        (f"trust:\n  ci: {{key: {KEY}, tiers: [trustd]}}\n", "there is no tier `trustd`", "did you mean `trusted`?"),
        ("trust:\n  ci: {key: 'ed25519:AAAA', tiers: [local]}\n", "the key `ci` of `trust:` is none", KEYGEN),
        ("- a\n", "the manifest must be a mapping", ""),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, message: str, hint: str) -> None:
    """Unknown keys and wrong types are errors with place and suggestion."""
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, text)
    assert caught.value.what == message
    assert caught.value.hint == hint
    assert caught.value.where is not None
    assert caught.value.where.excerpt == text.splitlines()[caught.value.where.line - 1]


def test_the_longest_mirror_prefix_counts(tmp_path: Path) -> None:
    """Mirrors replace whole path components, the longest match first."""
    manifest = Manifest(tmp_path, mirrors=(("https://r", "one"), ("https://r/os", "two")))
    assert manifest.mirrored("https://r/os/x86_64") == "two/x86_64"
    assert manifest.mirrored("https://r/extras") == "one/extras"
    assert manifest.mirrored("https://repository") == "https://repository"


def test_the_nearest_manifest_upwards_is_the_workspace(tmp_path: Path) -> None:
    """A workspace is found from any folder in it."""
    (tmp_path / "buildgraph.yaml").write_text("")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_workspace(inner) == tmp_path
    with pytest.raises(ManifestError, match=r"no buildgraph\.yaml"):
        find_workspace(Path("/proc"))
