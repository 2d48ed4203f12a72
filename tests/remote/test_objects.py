"""Object storage as a store: moto's S3, as it is and with access control, Google's and Azure's."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from buildgraph.keys.digest import digest_text
from buildgraph.remote.objects import ObjectStore
from buildgraph.remote.store import AbsentError, RefusedError
from tests.remote.contract import KEYS, StoreContract
from tests.remote.faults import heard, relay
from tests.remote.makers import CI, blob_of, cas_in, give, sharing
from tests.remote.servers import azurite, fake_gcs
from tests.remote.strict import Strict

BUCKET = "bucket"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a server that behaves as S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, and an environment that says where and how."""
    from urllib3 import request

    settings = {
        "AWS_ENDPOINT": s3,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    name = f"bg-{tmp_path.name.lower().replace('_', '-')[:50]}"
    assert request("PUT", f"{s3}/{name}").status == 200
    return name


class TestS3(StoreContract):
    """S3 keeps the contract."""

    title = "S3: moto"

    @pytest.fixture
    def store(self, bucket: str) -> ObjectStore:
        return ObjectStore(f"s3://{bucket}/some/path", 10)


class TestGoogle(StoreContract):
    """So does Google's storage."""

    title = "GCS: fake-gcs-server"

    @pytest.fixture
    def store(self, google: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectStore:
        return opened("gs", google, monkeypatch, tmp_path)


class TestAzure(StoreContract):
    """So does Azure's."""

    title = "Azure: Azurite"

    @pytest.fixture
    def store(self, azure: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ObjectStore:
        return opened("az", azure, monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def google(fake_gcs_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with fake_gcs(fake_gcs_program, tmp_path_factory.mktemp("gcs"), BUCKET) as environment:
        yield environment


@pytest.fixture(scope="module")
def azure(azurite_program: list[str | Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with azurite(azurite_program, tmp_path_factory.mktemp("azurite"), BUCKET) as environment:
        yield environment


def opened(scheme: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> ObjectStore:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return ObjectStore(f"{scheme}://{BUCKET}/{folder.name}", 10)


def test_google_application_credentials(google: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file that this names says who asks: each request has a token that its key signed."""
    port = int(json.loads(google["GOOGLE_SERVICE_ACCOUNT_KEY"])["gcs_base_url"].rpartition(":")[2])
    key = rsa.generate_private_key(65537, 2048)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "ci@example.org", "private_key": secret, "private_key_id": "1"}
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    sent: list[bytes] = []
    with relay(port, heard(sent)) as way:
        monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{way}")
        store = ObjectStore(f"gs://{BUCKET}/{tmp_path.name}", 10)
        store.put_result(KEYS[0], b"a result", [])
        store.result(KEYS[0])  # which the server, asked under another port than its own, does not find
    tokens = re.findall(rb"(?i)authorization: Bearer ([\w.-]+)", b"".join(sent))
    assert len(tokens) == 2
    for token in tokens:
        signed, _, signature = token.rpartition(b".")
        key.public_key().verify(base64.urlsafe_b64decode(signature + b"=="), signed, PKCS1v15(), SHA256())
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(b".")[2] + b"=="))
        assert claims["iss"] == "ci@example.org"


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_what_is_there_is_not_replaced(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two that write a blob the first one counts, by a condition that the server checks; a later one cannot damage it."""
    if scheme == "s3":
        store = ObjectStore(f"s3://{request.getfixturevalue('bucket')}/{tmp_path.name}", 10)
    else:
        store = opened(scheme, request.getfixturevalue({"gs": "google", "az": "azure"}[scheme]), monkeypatch, tmp_path)
    blob, stream = blob_of(b"right"), io.BytesIO()
    for data in (b"right", b"wrong"):
        (tmp_path / "source").write_bytes(data)
        store.write(blob, tmp_path / "source")
    store.read(blob, stream)
    assert stream.getvalue() == b"right"


class TestS3WithoutListing(StoreContract):
    """It does so for somebody who may not list, to whom S3 says 403 for what is not there."""

    title = "S3: moto, no listing"

    @pytest.fixture
    def store(self, strict: Strict, tmp_path: Path) -> ObjectStore:
        return strict.open(strict.user("s3:GetObject", "s3:PutObject"), tmp_path.name)


def test_who_may_not_list_has_hits_and_misses(strict: Strict, tmp_path: Path) -> None:
    """However many misses there are, the store is asked on, and nothing of it counts as a failure."""
    _, key = give(strict.open(strict.user("s3:GetObject", "s3:PutObject")), tmp_path / "origin", CI)
    shared = sharing(strict.open(strict.user("s3:GetObject")), cas_in(tmp_path / "here"), writes=False)
    for number in range(10):
        assert shared.look_up("deep", [digest_text(f"nobody's {number}")]) == []
    (found,) = shared.look_up("deep", [key])
    assert shared.bring_all([found.record]) == [True]
    assert shared.levels[0].summary() == "cache  the store: 1 hit, 10 misses; 41 B received"


@pytest.mark.parametrize(
    "wrong", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "AKIANOBODY", "AWS_SECRET_ACCESS_KEY": "x"}]
)
def test_wrong_credentials_are_no_misses(strict: Strict, wrong: dict[str, str], tmp_path: Path) -> None:
    """Their answer is a 403 too, with another code."""
    store = strict.open(strict.user("s3:GetObject") | wrong)
    with pytest.raises(RefusedError, match="403"):
        store.result(KEYS[0])
    with pytest.raises(RefusedError, match="403"):
        store.missing([blob_of(b"x")])


def test_who_may_list_and_not_read_is_refused(strict: Strict) -> None:
    """S3 would say 404 to him if it were not there."""
    store = strict.open(strict.user("s3:ListBucket"))
    with pytest.raises(RefusedError, match="403"):
        store.result(KEYS[0])
    with pytest.raises(RefusedError, match="403"):
        store.read(blob_of(b"x"), io.BytesIO())


def test_who_may_only_read_is_refused_when_writing(strict: Strict, tmp_path: Path) -> None:
    """That is no miss."""
    store = strict.open(strict.user("s3:GetObject"))
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(AbsentError):
        store.read(blob_of(b"nowhere"), io.BytesIO())
    with pytest.raises(RefusedError, match="403"):
        store.write(blob_of(b"x"), tmp_path / "x")
    with pytest.raises(RefusedError, match="403"):
        store.put_result(KEYS[0], b"x", [])
