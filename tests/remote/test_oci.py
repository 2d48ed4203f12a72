"""An OCI registry as a store, with the distribution's docker-registry; other tools read what bg wrote there."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from urllib3 import request

from buildgraph.errors import ManifestError
from buildgraph.remote import actionresult, oci
from buildgraph.remote import result as results
from buildgraph.remote.connect import connect
from buildgraph.remote.oci import RegistryStore
from buildgraph.remote.ociauth import Credentials
from buildgraph.remote.store import Blob, RefusedError, StoreError
from buildgraph.web.access import Access, Header, Login
from tests.remote.contract import KEYS, StoreContract
from tests.remote.makers import CI, blob_of, cas_in, give, sharing
from tests.remote.servers import docker_registry
from tests.remote.tokens import Tokens, token_server
from tests.servers import faulty_server, status

USER, PASSWORD = "somebody", "a secret word"
_HTPASSWD = "somebody:$2b$05$abcdefghijklmnopqrstuunrlB6l4ErRSz86t04PNr4QeEMTIY6ZW\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, registry_program: Path) -> Iterator[str]:
    """The host and port of a registry that all tests of this module share."""
    with docker_registry(registry_program, tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory, registry_program: Path) -> Iterator[str]:
    """One that knows only somebody."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "users").write_text(_HTPASSWD)
    with docker_registry(registry_program, folder, f"auth: {{htpasswd: {{realm: packages, path: {folder}/users}}}}") as host:
        yield host


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A repository of one test."""
    return f"cache/{hashlib.sha256(tmp_path.name.encode()).hexdigest()[:16]}"


@pytest.fixture
def store(registry: str, repository: str) -> RegistryStore:
    """An empty repository."""
    return RegistryStore(f"oci://{registry}/{repository}", Access())


def docker_config(folder: Path, host: str, login: str = f"{USER}:{PASSWORD}") -> Path:
    """What `docker login` leaves."""
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(login.encode()).decode()}}}))
    return path


class TestRegistry(StoreContract):
    """A registry that is open to everybody keeps the contract."""

    title = "OCI: docker-registry"


class TestClosedRegistry(StoreContract):
    """So does one that asks for a user and password."""

    title = "OCI: with a password"

    @pytest.fixture
    def store(self, closed_registry: str, repository: str, tmp_path: Path) -> RegistryStore:
        access = Access(docker=docker_config(tmp_path, closed_registry))
        return RegistryStore(f"oci+http://{closed_registry}/{repository}", access)


class TestTokenRegistry(StoreContract):
    """So does one that asks for tokens, which are asked for once for reading and once for writing."""

    title = "OCI: with tokens"

    @pytest.fixture
    def store(self, token_registry: tuple[Tokens, str], repository: str, tmp_path: Path) -> RegistryStore:
        _, host = token_registry
        return RegistryStore(f"oci://{host}/{repository}", Access(docker=docker_config(tmp_path, host)))


@pytest.fixture(scope="module")
def token_registry(tmp_path_factory: pytest.TempPathFactory, registry_program: Path) -> Iterator[tuple[Tokens, str]]:
    """A registry that takes tokens, and the server that gives them: to everybody for reading, to somebody for writing."""
    folder = tmp_path_factory.mktemp("tokens")
    with (
        token_server(folder, USER, PASSWORD) as tokens,
        docker_registry(registry_program, folder / "registry", tokens.settings()) as host,
    ):
        yield tokens, host


def test_a_token_is_asked_for_once(token_registry: tuple[Tokens, str], repository: str, tmp_path: Path) -> None:
    """One for reading, one for writing, however many requests there are and threads that make them."""
    tokens, host = token_registry
    tokens.scopes.clear()
    store = RegistryStore(f"oci://{host}/{repository}", Access(docker=docker_config(tmp_path, host)))
    give(store, tmp_path / "one", CI)
    give(store, tmp_path / "two", CI, name="two")
    kinds = [(scope.rpartition(":")[0], sorted(scope.rpartition(":")[2].split(","))) for scope in tokens.scopes]
    assert sorted(kinds) == [(f"repository:{repository}", ["pull"]), (f"repository:{repository}", ["pull", "push"])]


def test_a_token_that_ended_is_renewed(token_registry: tuple[Tokens, str], repository: str, tmp_path: Path) -> None:
    """An upload whose first attempt is refused is sent whole."""
    _, host = token_registry
    store = RegistryStore(f"oci://{host}/{repository}", Access(docker=docker_config(tmp_path, host)))
    store._credentials._known = {True: "Bearer ended", False: "Bearer ended"}
    record, key = give(store, tmp_path / "one", CI)
    assert [found.record for found in sharing(store, cas_in(tmp_path / "two")).look_up("deep", [key])] == [record]


def test_a_token_for_reading_is_none_for_writing(token_registry: tuple[Tokens, str], repository: str, tmp_path: Path) -> None:
    """Somebody without a password reads; what is written is refused, and that is told."""
    _, host = token_registry
    give(RegistryStore(f"oci://{host}/{repository}", Access(docker=docker_config(tmp_path, host))), tmp_path / "one", CI)
    stranger = RegistryStore(f"oci://{host}/{repository}", Access())
    assert stranger.missing([blob_of(b"the package one")]) == []
    with pytest.raises(RefusedError, match="401"):
        stranger.put_result(KEYS[0], b"{}", [])


@pytest.mark.parametrize("place", ["own", "address", "docker", "variable", "netrc"])
def test_where_passwords_come_from(closed_registry: str, repository: str, tmp_path: Path, place: str) -> None:
    """The user's own file (before a wrong one of docker's), the address itself, docker's file, HTTP_AUTH, netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n')
    own = f"oci://{closed_registry}/{repository}"
    (tmp_path / "own").mkdir()
    wrong = docker_config(tmp_path / "own", closed_registry, "somebody:else's") if place == "own" else None
    address, access = {
        "own": (own, Access(docker=wrong, own=lambda: Login(USER, PASSWORD), own_store=own)),
        "address": (f"oci://{USER}:{PASSWORD.replace(' ', '%20')}@{closed_registry}/{repository}", Access()),
        "docker": (f"oci://{closed_registry}/{repository}", Access(docker=docker_config(tmp_path, f"http://{closed_registry}"))),
        "variable": (f"oci://{closed_registry}/{repository}", Access(http_auth=f"basic:{closed_registry}:{USER}:{PASSWORD}")),
        "netrc": (f"oci://{closed_registry}/{repository}", Access(netrc=netrc)),
    }[place]
    give(RegistryStore(address, access), tmp_path / "one", CI)


def test_the_user_s_own_file_for_tokens(token_registry: tuple[Tokens, str], repository: str, tmp_path: Path) -> None:
    """The password goes to the server that gives tokens; a token of one's own that the registry refuses is told as refused."""
    _, host = token_registry
    address = f"oci://{host}/{repository}"
    give(RegistryStore(address, Access(own=lambda: Login(USER, PASSWORD), own_store=address)), tmp_path / "one", CI)
    wrong = Access(own=lambda: Header("Authorization", "Bearer s3cr3t"), own_store=address)
    with pytest.raises(RefusedError, match="does not take what the user's credentials"):
        RegistryStore(address, wrong).result(KEYS[0])


def test_a_wrong_password_is_not_shown(closed_registry: str, repository: str, tmp_path: Path) -> None:
    """A refusal says that it was one, and no more."""
    access = Access(docker=docker_config(tmp_path, closed_registry, "somebody:else's"))
    with pytest.raises(RefusedError) as refused:
        RegistryStore(f"oci://{closed_registry}/{repository}", access).result(KEYS[0])
    assert str(refused.value) == "the server answers 401 Unauthorized"
    with pytest.raises(RefusedError, match="asks for a user and password"):
        RegistryStore(f"oci://{closed_registry}/{repository}", Access()).result(KEYS[0])


@pytest.mark.parametrize("content", ["", "[]", '{"auths": {"HOST": {"auth": "%%"}}}', '{"auths": {"HOST": 1}}', "a secret"])
def test_a_file_that_docker_did_not_write(closed_registry: str, repository: str, tmp_path: Path, content: str) -> None:
    """The store fails, in words that quote nothing of it."""
    path = tmp_path / "config.json"
    path.write_text(content.replace("HOST", closed_registry))
    with pytest.raises(StoreError) as failed:
        RegistryStore(f"oci://{closed_registry}/{repository}", Access(docker=path)).result(KEYS[0])
    assert str(failed.value) == f"{path} is not as `docker login` writes it"


def test_passwords_go_to_the_registry_alone(tmp_path: Path) -> None:
    """A registry may have blobs sent to another server; that one learns nothing."""
    credentials = Credentials("https://registry.example", Access(docker=docker_config(tmp_path, "registry.example")))
    credentials.renew('Basic realm="packages"', "", writes=True)
    assert credentials.header("https://registry.example/v2/cache/blobs/uploads/1", writes=True).startswith("Basic ")
    for other in ("https://storage.example/1", "http://registry.example/v2/1", "https://registry.example:8443/v2/1"):
        assert credentials.header(other, writes=True) == ""


def test_tokens_are_not_asked_for_in_the_open(tmp_path: Path) -> None:
    """A registry that is reached with encryption cannot have the password sent without."""
    credentials = Credentials("https://registry.example", Access(docker=docker_config(tmp_path, "registry.example")))
    with pytest.raises(StoreError, match="without encryption"):
        credentials.renew('Bearer realm="http://127.0.0.1:9/token",service="a",scope="b"', "", writes=False)


def test_the_manifest_is_one_of_an_artefact(store: RegistryStore, registry: str, repository: str, tmp_path: Path) -> None:
    """image-spec v1.1.0, manifest.md: what a manifest must have, read without bg. Its blobs are those of the result."""
    source = tmp_path / "blob"
    source.write_bytes(b"an output")
    blob = blob_of(b"an output")
    store.write(blob, source)
    for value, blobs in ((b"small", [blob, blob]), (b"large" * (1 << 14), [blob]), (b"alone", [])):
        store.put_result(KEYS[0], value, blobs)
        answer = request("GET", f"http://{registry}/v2/{repository}/manifests/{KEYS[0]}", headers={"Accept": oci.MANIFEST})
        manifest = answer.json()
        assert answer.headers["Content-Type"] == manifest["mediaType"] == oci.MANIFEST
        assert manifest["schemaVersion"] == 2
        assert manifest["artifactType"] == oci.ARTIFACT
        assert [layer["digest"] for layer in manifest["layers"]] == [
            f"sha256:{blob.sha256 if blobs else hashlib.sha256(b'{}').hexdigest()}"
        ]
        for descriptor in (manifest["config"], *manifest["layers"]):
            content = request("GET", f"http://{registry}/v2/{repository}/blobs/{descriptor['digest']}").data
            assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (descriptor["digest"], descriptor["size"])
            assert base64.b64decode(descriptor.get("data", "")) in {content, b""}
        assert content == (b"an output" if blobs else b"{}")


def test_skopeo_reads_it(store: RegistryStore, registry: str, repository: str, tmp_path: Path) -> None:
    """Another tool copies a result with its blobs into a folder."""
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("there is no skopeo")
    record, _ = give(store, tmp_path / "one", CI)
    place = results.place("action", record.action, "local")
    source = f"docker://{registry}/{repository}:{place}"
    command = [skopeo, "copy", "--insecure-policy", "--src-tls-verify=false", source, f"dir:{tmp_path / 'copy'}"]
    copied = subprocess.run(command, capture_output=True, text=True, check=False)
    assert copied.returncode == 0, copied.stderr
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert blob_of(b"the package one").sha256 in names
    assert json.loads((tmp_path / "copy/manifest.json").read_text())["artifactType"] == oci.ARTIFACT


def test_the_registry_keeps_what_results_name(registry_program: Path, tmp_path: Path) -> None:
    """Its garbage collection takes a blob that no result names, and nothing else."""
    with docker_registry(registry_program, tmp_path / "registry") as host:
        store = RegistryStore(f"oci://{host}/cache", Access())
        _, key = give(store, tmp_path / "one", CI)
        source = tmp_path / "stray"
        source.write_bytes(b"nobody's")
        store.write(blob_of(b"nobody's"), source)
    settings = tmp_path / "registry/config.yml"
    subprocess.run([registry_program, "garbage-collect", settings], capture_output=True, check=True)
    with docker_registry(registry_program, tmp_path / "registry") as host:
        store = RegistryStore(f"oci://{host}/cache", Access())
        assert store.missing([blob_of(b"nobody's"), blob_of(b"the package one")]) == [blob_of(b"nobody's")]
        shared = sharing(store, cas_in(tmp_path / "two"))
        (found,) = shared.look_up("deep", [key])
        assert shared.bring_all([found.record]) == [True]


@pytest.mark.parametrize(
    "manifest",
    ["{}", '{"config": 1}', '{"config": {"digest": 1, "size": 1}}', "[" * 100_000],
    ids=range(4),
)
def test_what_is_no_result(manifest: str) -> None:
    """It is a failure of the store, whatever it is: an image that somebody tagged so, or worse."""
    with pytest.raises(StoreError, match="did not write"):
        oci._config(manifest.encode())


@pytest.mark.parametrize("address", ["oci://registry.example", "oci://registry.example/Upper", "oci:///cache", "oci://a/b//c"])
def test_an_address_without_a_repository(address: str, tmp_path: Path) -> None:
    """It is an error of the manifest, told before anything runs."""
    with pytest.raises(ManifestError, match="names no repository"):
        connect(address, tmp_path, Access())


@pytest.mark.parametrize("kind", ["oci", "http"])
def test_the_name_of_a_large_result_is_no_path(tmp_path: Path, kind: str) -> None:
    """Who can write a result cannot have bg ask the server for something else, as the user."""
    name = "/../../../../private?all=1"
    manifest = json.dumps({"config": {"digest": f"sha256:{name}", "size": 1}}).encode()
    for path, content in ((f"v2/cache/manifests/{KEYS[0]}", manifest), (f"ac/{KEYS[0]}", actionresult.wrap(Blob(name, 1), []))):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with faulty_server(tmp_path) as files:
        address = files.url.replace("http://", "oci://") + "/cache" if kind == "oci" else files.url
        with pytest.raises(StoreError, match="did not write"):
            connect(address, tmp_path, Access()).result(KEYS[0])
        assert len(files.requests) == 1


def test_only_the_registry_says_who_gets_its_password(tmp_path: Path) -> None:
    """Not the server that it leads to for a blob, nor what stands between that one and bg."""
    blob = blob_of(b"one")
    with faulty_server(tmp_path) as registry, faulty_server(tmp_path) as storage, faulty_server(tmp_path) as stranger:
        host = registry.url.removeprefix("http://")
        challenge = f'Bearer realm="{stranger.url}/token",service="registry"'
        registry.faults[f"/v2/cache/blobs/sha256:{blob.sha256}"] = [status(307, Location=f"{storage.url}/blob")]
        storage.faults["/blob"] = [status(401, WWW_Authenticate=challenge)]
        store = RegistryStore(f"oci://{host}/cache", Access(http_auth=f"basic:{host}:user:password"))
        with pytest.raises(StoreError, match="401"):
            store.read(blob, io.BytesIO())
        assert storage.headers("Authorization") == [None]
        assert stranger.requests == []
