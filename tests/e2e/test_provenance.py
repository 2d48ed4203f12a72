"""Provenance and SBOMs beside outputs: their shape by the clauses of the specifications, their content by the record."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from buildgraph.apk.package import read_package
from buildgraph.cache.records import Records
from buildgraph.keys.document import KeyDocument
from buildgraph.plan.store import ACTION
from tests.e2e.tiny import image, package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")  # RFC 3986, section 3.1: a scheme, which all TypeURIs have


def statements(workspace: Workspace) -> dict[str, Any]:
    """Every statement among the outputs, by the path of its file."""
    out = workspace.root / "out"
    files = [*out.glob("packages/**/*.provenance.json"), *out.glob("provenance/**/*.json")]
    return {path.relative_to(out).as_posix(): json.loads(path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def made(built_example: Workspace) -> dict[str, Any]:
    return statements(built_example)


def test_each_package_and_image_has_one(built_example: Workspace, made: dict[str, Any]) -> None:
    out = built_example.root / "out"
    packages = {f"{path.relative_to(out).as_posix().removesuffix('.apk')}.provenance.json" for path in out.rglob("*.apk")}
    images = {f"provenance/images/{name}.json" for name in ("api", "debug", "tools", "worker")}
    assert made.keys() == packages | images


def test_the_shape_is_that_of_the_specifications(made: dict[str, Any]) -> None:
    """in-toto Statement v1 (spec/v1/statement.md), SLSA provenance v1 (provenance/v1, "REQUIRED for SLSA Build L1")."""
    for statement in made.values():
        # Statement: `_type` and `predicateType` are fixed, `subject` is a list of descriptors that MUST have a digest.
        assert statement.keys() == {"_type", "subject", "predicateType", "predicate"}
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
        assert statement["subject"]
        names = [subject["name"] for subject in statement["subject"]]
        assert len(set(names)) == len(names), "names of subjects are unique within a statement"
        for subject in statement["subject"]:
            assert re.fullmatch("[0-9a-f]{64}", subject["digest"]["sha256"])
        # Provenance: buildDefinition and runDetails are required, of them buildType, externalParameters and builder.id.
        definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
        assert URI.fullmatch(definition["buildType"])
        assert URI.fullmatch(run["builder"]["id"])
        assert isinstance(definition["externalParameters"], dict)
        # "The same field name SHOULD NOT be used for both externalParameters and internalParameters."
        assert not definition["externalParameters"].keys() & definition["internalParameters"].keys()
        # The version of a builder is a map of texts to texts.
        assert all(isinstance(text, str) for pair in run["builder"]["version"].items() for text in pair)
        # metadata: Timestamps are RFC 3339 in UTC with a Z (in-toto field_types.md), the start not after the end.
        times = [run["metadata"][name] for name in ("startedOn", "finishedOn")]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)
        assert times[0] <= times[1]
        for descriptor in (*definition["resolvedDependencies"], *run["byproducts"]):
            # ResourceDescriptor: "at least one of uri, digest, content MUST be set"; a DigestSet maps names to lower-case hex.
            assert descriptor.keys() & {"uri", "digest"}
            assert descriptor.keys() <= {"name", "uri", "digest", "annotations"}
            assert descriptor.get("digest", {}).keys() <= {"blake3"}
            assert all(re.fullmatch("[0-9a-f]{64}", value) for value in descriptor.get("digest", {}).values())
            assert "uri" not in descriptor or URI.fullmatch(descriptor["uri"])


def test_subjects_are_what_users_get(built_example: Workspace, made: dict[str, Any]) -> None:
    """A package's file, signature included, by its SHA-256; an image's manifest, which is what registries know it by."""
    out = built_example.root / "out"
    for path, statement in made.items():
        [subject] = statement["subject"]
        if path.startswith("packages/"):
            apk = out / path.replace(".provenance.json", ".apk")
            assert subject["name"] == apk.name
            assert subject["digest"]["sha256"] == hashlib.sha256(apk.read_bytes()).hexdigest()
        else:
            index = json.loads((out / "oci" / path.removeprefix("provenance/").removesuffix(".json") / "index.json").read_bytes())
            assert f"sha256:{subject['digest']['sha256']}" == index["manifests"][0]["digest"]


def test_dependencies_are_those_of_the_key(built_example: Workspace, made: dict[str, Any]) -> None:
    """Every entry of the key document is there once: files and packages with digests, settings and formats as parameters."""
    records = Records(built_example.root / "cache")
    rows = {row["node"]: row for _, row in records.iter(ACTION)}
    records.close()
    for statement in made.values():
        definition = statement["predicate"]["buildDefinition"]
        row = rows[definition["externalParameters"]["target"]]
        assert definition["internalParameters"]["key"] == row["action"]
        blob = built_example.root / "cache/blobs" / row["document"][:2] / row["document"]
        entries = KeyDocument.from_bytes(blob.read_bytes()).entries
        found = [(each["annotations"]["section"], each["name"]) for each in definition["resolvedDependencies"]]
        parameters = [("setting", name) for name in definition["externalParameters"]["settings"]]
        parameters += [("format", name) for name in definition["internalParameters"]["formats"]]
        expected = [(entry.section, entry.name) for entry in entries if entry.section not in {"external", "tool"}]
        assert sorted(pair for pair in found + parameters if pair[0] != "external") == sorted(expected)
        checksums = [each["annotations"]["checksum"] for each in definition["resolvedDependencies"] if "uri" in each]
        assert sorted(checksums) == sorted(word for entry in entries for word in entry.value.split() if word.startswith("Q1"))


def test_materials_of_an_image_are_subjects_of_packages(built_example: Workspace, made: dict[str, Any]) -> None:
    """An image's packages are named by the digest that their own records have, and external ones by address and digest."""
    wanted = {
        each["name"]: each for each in made["provenance/images/api.json"]["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    listed = built_example.bg("inspect", "--json", "//packages:libstock").answer[0]["packages"]
    digest = next(each["digest"] for each in listed if each["name"] == "libstock").removeprefix("blake3:")
    assert wanted["x86_64/libstock-1.2.0-r0.apk"]["digest"] == {"blake3": digest}
    glibc = next(each for name, each in wanted.items() if name.startswith("x86_64/glibc-"))
    assert glibc["uri"] == f"https://packages.wolfi.dev/os/{glibc['name']}"
    assert glibc["annotations"]["checksum"].startswith("Q1")


def test_inspect_prints_what_lies_beside_the_output(built_example: Workspace, made: dict[str, Any]) -> None:
    assert built_example.bg("inspect", "--provenance", "//images:api").answer == made["provenance/images/api.json"]
    several = built_example.bg("inspect", "--provenance", "//packages:libstock").answer
    assert several == [
        made[f"packages/x86_64/{name}-1.2.0-r0.provenance.json"] for name in ("libstock", "libstock-dev", "libstock-doc")
    ]


def test_the_builder_is_the_one_who_ran_it(empty: Workspace) -> None:
    """What is named in BG_BUILDER_ID is recorded, and told by whoever exports it later; outside the box it is another one."""
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    empty.write("recipes/two.yaml", package("two", 'echo two >"$OUT/usr/share/two"'))
    empty.write("recipes/image.yaml", image("one"))

    def builder(name: str) -> str:
        statement = statements(empty)[f"packages/x86_64/{name}-1.0.0-r0.provenance.json"]
        return str(statement["predicate"]["runDetails"]["builder"]["id"])

    done = empty.bg("build", "//:one", env={"BG_BUILDER_ID": "no uri"})
    assert (done.code, "BG_BUILDER_ID is `no uri`, which is no URI" in done.err) == (2, True)
    empty.build("//:one", env={"BG_BUILDER_ID": "https://ci.example.org/release"})
    assert builder("one") == "https://ci.example.org/release"
    empty.build("//:one", "//:two", "//:image")
    assert (builder("one"), builder("two")) == ("https://ci.example.org/release", "urn:buildgraph:builder:local")
    empty.build("--sandbox=off", "//:two")
    assert builder("two") == "urn:buildgraph:builder:local#sandbox=off"


def test_the_sbom_of_a_package_is_melange_s(built_example: Workspace) -> None:
    """SPDX 2.3 beside each package, which it names with its version and licence."""
    folder = built_example.root / "out/packages/x86_64"
    for apk in folder.glob("*.apk"):
        content = json.loads(Path(f"{str(apk).removesuffix('.apk')}.spdx.json").read_text())
        assert content["spdxVersion"] == "SPDX-2.3"
        name = next(each for each in content["packages"] if each["SPDXID"] == content["documentDescribes"][0])
        assert apk.name == f"{name['name']}-{name['versionInfo']}.apk"
        assert name["licenseDeclared"] == read_package(apk).entry.license


def test_they_go_with_their_package(example: Workspace) -> None:
    """A new version takes the place of the one before, and so do its papers; one that is gone or was edited is put right.

    An edited one is not looked for where nothing else happened: thousands of them would be most of what a look takes.
    """
    folder = example.root / "out/packages/x86_64"
    example.edit("recipes/packages/stock-config.yaml", "epoch: 2", "epoch: 3")
    example.build("//packages:stock-config")
    names = {f"stock-config-1.0.0-r3.{kind}" for kind in ("apk", "spdx.json", "provenance.json")}
    assert {path.name for path in folder.glob("stock-config-*")} == names
    papers = folder / "stock-config-1.0.0-r3.provenance.json"
    before = papers.read_bytes()
    papers.unlink()
    example.build("//packages:stock-config")
    assert papers.read_bytes() == before
    papers.write_bytes(b"{}")
    example.build("//packages:stock-config", "//packages:libstock")
    assert papers.read_bytes() == before
