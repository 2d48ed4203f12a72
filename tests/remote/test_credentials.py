"""Credentials of the user's own file, with servers that ask for them: each kind lets in, and goes to nobody else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from buildgraph.cli.places import user_cache
from buildgraph.execute.credentials import own
from buildgraph.remote.connect import connect
from buildgraph.remote.store import RefusedError, Store, StoreError
from buildgraph.structs import replace
from buildgraph.web.access import Access, Header, Login
from buildgraph.workspace.credentials import find_entry, load_credentials
from tests.remote.faults import answers, heard, relay
from tests.remote.makers import blob_of
from tests.remote.servers import BazelRemote, bazel_remote
from tests.servers import find_nginx, nginx_server

USER, PASSWORD = "ci", "p4ss: w0rd"
KEY = "0" * 64
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}


def opened(
    folder: Path, url: str, said: str, access: Access | None = None, environment: Mapping[str, str] = ENVIRONMENT
) -> Store:
    """The store at an address, with a file that says something of it (YAML in one line)."""
    path = folder / "credentials.yaml"
    path.write_text(f"stores: {{'{url}': {said}}}\n")
    path.chmod(0o600)
    entry = find_entry(load_credentials(path), url)
    assert entry is not None
    return connect(url, folder, replace(access or Access(), own=own(entry, environment), own_store=url))


def works(store: Store, folder: Path) -> None:
    """Whether the store is read and written."""
    (folder / "data").write_bytes(b"some bytes")
    blob = blob_of(b"some bytes")
    store.write(blob, folder / "data")
    store.put_result(KEY, b"{}", [blob])
    assert store.result(KEY) == b"{}"


@pytest.fixture(scope="module", params=["http", "grpc"])
def of_bazel_remote(
    request: pytest.FixtureRequest, bazel_remote_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A bazel-remote with a password, by either protocol."""
    folder = tmp_path_factory.mktemp("closed")
    hashed = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    (folder / "users").write_text(f"{USER}:{{SHA}}{hashed}\n")
    with bazel_remote(bazel_remote_program, folder, "--htpasswd_file", str(folder / "users")) as server:
        yield str(getattr(server, request.param))


def secrets(folder: Path) -> dict[str, str]:
    """The ways to say the password."""
    (folder / "secret").write_text(f"{PASSWORD}\n")
    (folder / "with-return").write_text(f"{PASSWORD}\r\n")
    return {
        "text": f"password: '{PASSWORD}'",
        "file": "password-file: secret",
        "absolute": f"password-file: {folder}/with-return",
        "home": "password-file: ~/secret",
        "command": f"password-command: [cat, {folder}/secret]",
        "line": f"password-command: \"printf '%s\\\\n' '{PASSWORD}'\"",
    }


@pytest.mark.parametrize("way", ["text", "file", "absolute", "home", "command", "line"])
def test_a_password(of_bazel_remote: str, tmp_path: Path, way: str) -> None:
    """As text, in a file, by a command; a wrong one is refused."""
    said = f"{{user: {USER}, {secrets(tmp_path)[way]}}}"
    works(opened(tmp_path, of_bazel_remote, said, environment={**ENVIRONMENT, "HOME": str(tmp_path)}), tmp_path)
    with pytest.raises(RefusedError):
        opened(tmp_path, of_bazel_remote, f"{{user: {USER}, password: wrong}}").result(KEY)


def test_the_file_goes_before_other_places(of_bazel_remote: str, tmp_path: Path) -> None:
    """Before HTTP_AUTH and netrc; what is not of the store it says nothing of, and there these count."""
    host = urlsplit(of_bazel_remote).netloc
    wrong = Access(http_auth=f"basic:{host}:{USER}:wrong")
    works(opened(tmp_path, of_bazel_remote, f"{{user: {USER}, password: '{PASSWORD}'}}", wrong), tmp_path)
    right = Access(http_auth=f"basic:{host}:{USER}:{PASSWORD}")
    with pytest.raises(RefusedError):
        opened(tmp_path, of_bazel_remote, f"{{user: {USER}, password: wrong}}", right).result(KEY)
    other = replace(right, own=lambda: Login(USER, "wrong"), own_store="https://other.example")
    assert connect(of_bazel_remote, tmp_path, other).missing([blob_of(b"absent")])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (("Authorization", "Bearer t0ken"), "{token: t0ken}"),
        (("X-Api-Key", "v4lue"), "{header: X-Api-Key, value: v4lue}"),
        (("X-Api-Key", "v4lue"), "{header: x-api-key, value-command: echo v4lue}"),
        (("Authorization", "Custom w0rd"), "{header: Authorization, value: Custom w0rd}"),
    ],
)
def test_a_token_and_a_header(tmp_path: Path, wanted: tuple[str, str], said: str) -> None:
    """nginx lets in who sends it, and refuses all others."""
    for name in ("served", "scratch"):
        (tmp_path / name).mkdir()
    nginx = find_nginx(Path(user_cache(os.environ), "tests"))
    with nginx_server(nginx, tmp_path / "served", tmp_path / "scratch", dav=True, header=wanted) as url:
        works(opened(tmp_path, url, said), tmp_path)
        with pytest.raises(RefusedError):
            connect(url, tmp_path, Access()).result(KEY)
        with pytest.raises(RefusedError):
            opened(tmp_path, url, "{token: wrong}").result(KEY)


def test_a_header_by_grpc(bazel_remote_server: BazelRemote, tmp_path: Path) -> None:
    """As metadata of each call, under its name in small letters."""
    sent: list[bytes] = []
    with relay(urlsplit(bazel_remote_server.grpc).port or 0, heard(sent)) as port:
        store = opened(tmp_path, f"grpc://127.0.0.1:{port}", "{header: X-Api-Key, value: v4lue}")
        works(store, tmp_path)
        store.close()
    assert b"x-api-key" in b"".join(sent)
    assert b"v4lue" in b"".join(sent)


@pytest.mark.parametrize("said", [f"{{user: {USER}, password: s3cr3t}}", "{token: s3cr3t}", "{header: X-Key, value: s3cr3t}"])
def test_nobody_else_learns_it(tmp_path: Path, said: str) -> None:
    """A store that sends elsewhere, to another host or port, has nothing sent along."""
    elsewhere: list[bytes] = []
    with relay(9, heard([])) as closed, relay(closed, lambda client, _: elsewhere.append(client.recv(1 << 16))) as other:
        moved = answers("302 Found", f"Location: http://localhost:{other}/ac/{KEY}\r\n")
        with relay(closed, moved) as port, pytest.raises(StoreError):
            opened(tmp_path, f"http://127.0.0.1:{port}", said).result(KEY)
    assert b"s3cr3t" not in b"".join(elsewhere)
    assert base64.b64encode(f"{USER}:s3cr3t".encode()) not in b"".join(elsewhere)


@pytest.mark.parametrize(
    ("store", "address", "is_told"),
    [
        ("https://a.example/bg", "https://a.example/bg/ac/1", True),
        ("https://a.example/bg", "http://a.example/bg/ac/1", False),
        ("https://a.example", "https://b.example/ac/1", False),
        ("https://a.example", "https://a.example:8443/ac/1", False),
        ("http://a.example", "http://a.example/ac/1", True),
        ("oci://a.example/r", "https://a.example/v2/", True),
        ("oci://a.example/r", "http://a.example/v2/", False),
        ("oci+http://a.example/r", "http://a.example/v2/", True),
        ("oci://localhost:5000/r", "http://localhost:5000/v2/", True),
        ("grpcs://a.example/i", "grpcs://a.example/i", True),
        ("grpcs://a.example/i", "grpc://a.example/i", False),
    ],
)
def test_where_it_is_told(store: str, address: str, is_told: bool) -> None:
    """At the store's own host and port, and not in the open where the store is encrypted."""
    access = Access(own=lambda: Header("X", "y"), own_store=store)
    assert (access.header(address) is not None) == is_told


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{token-file: none}", "cannot read .*/none: no such file"),
        ("{token-command: [sh, -c, 'echo s3cr3t; exit 3']}", "sh ended with exit code 3"),
        ("{token-command: no-such-program}", "no-such-program"),
        ("{token-command: 'true'}", "no secret of one line"),
        ("{token-command: \"printf 's3cr3t\\\\nHost: evil'\"}", "no secret of one line"),
        ("{token-file: /dev/zero}", "no secret of one line"),
        ("{header: X-Key, value: 'schlüssel'}", "characters that no header can have"),
    ],
)
def test_a_secret_that_cannot_be_had(tmp_path: Path, said: str, why: str) -> None:
    """The store fails, with file and line, and without what was read; nothing is sent in its place, nor asked twice."""
    store = opened(tmp_path, "http://127.0.0.1:9", said)
    for _ in range(2):
        with pytest.raises(StoreError, match=why) as failed:
            store.result(KEY)
        assert str(failed.value).startswith(f"{tmp_path}/credentials.yaml:1: ")
        assert "s3cr3t" not in str(failed.value)


def test_a_command_runs_once_and_only_if_the_store_is_asked(tmp_path: Path) -> None:
    """Not for every request."""
    said = f"{{token-command: [sh, -c, 'echo x >>{tmp_path}/ran; echo t']}}"
    store = opened(tmp_path, "http://127.0.0.1:9", said)
    assert not (tmp_path / "ran").exists()
    for _ in range(3):
        with pytest.raises(StoreError):
            store.result(KEY)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_secrets_are_not_shown() -> None:
    """By nothing that could be printed."""
    assert "s3cr3t" not in repr([Header("X", "s3cr3t"), Login("u", "s3cr3t"), Access(own=lambda: Login("u", "s3cr3t"))])
