"""Caches of several kinds on this machine, each the real program."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from tests.conftest import ROOT
from tests.servers import answers, free_port
from tests.waiting import wait_for


@dataclass(frozen=True)
class BazelRemote:
    """A bazel-remote: its addresses and its folder."""

    http: str
    grpc: str
    folder: Path


@contextmanager
def bazel_remote(program: Path, folder: Path, *options: str) -> Iterator[BazelRemote]:
    """A running bazel-remote with an empty folder."""
    http, grpc = free_port(), free_port()
    command: list[str | Path] = [program, "--dir", folder / "data", "--max_size", "5", "--enable_ac_key_instance_mangling"]
    command += ["--http_address", f"127.0.0.1:{http}", "--grpc_address", f"127.0.0.1:{grpc}", *options]
    with _running(command, folder / "log", http, grpc):
        yield BazelRemote(f"http://127.0.0.1:{http}", f"grpc://127.0.0.1:{grpc}", folder / "data")


@contextmanager
def casd(program: Path, folder: Path) -> Iterator[str]:
    """The address of a running buildbox-casd with an empty folder."""
    port = free_port()
    folder.mkdir()
    # It ends at once where an entry of PATH is not there.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    command: list[str | Path] = [program, "--bind", f"127.0.0.1:{port}", folder / "data"]
    with _running(command, folder / "log", port, environment=environment):
        yield f"grpc://127.0.0.1:{port}"


@contextmanager
def docker_registry(program: Path, folder: Path, auth: str = "") -> Iterator[str]:
    """The host and port of a running registry of the distribution project; ``auth`` is a section of its settings, in YAML."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "config.yml").write_text(f"""
version: 0.1
log: {{accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
""")
    command: list[str | Path] = [program, "serve", folder / "config.yml"]
    with _running(command, folder / "log", port):
        yield f"127.0.0.1:{port}"


# The account that Azurite has, https://learn.microsoft.com/azure/storage/common/storage-use-azurite; it is no secret.
_ACCOUNT, _KEY = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def strict_s3(folder: Path) -> Iterator[str]:
    """The address of a running S3 that checks who asks, once it is told to."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "tests.remote.strict_s3", str(port)]
    with _running(command, folder / "log", port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def fake_gcs(program: Path, folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """A running storage of Google's with a bucket; the environment in which its clients find it."""
    port = free_port()
    with _running([program, f"127.0.0.1:{port}", bucket], folder / "log", port):
        account = {"gcs_base_url": f"http://127.0.0.1:{port}", "disable_oauth": True}
        secrets = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        yield {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account | secrets)}


@contextmanager
def azurite(program: Sequence[str | Path], folder: Path, container: str) -> Iterator[dict[str, str]]:
    """A running storage of Azure's with a container; the environment in which its clients find it."""
    port = free_port()
    command = [*program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder / "data"]
    command += ["--skipApiVersionCheck", "--disableTelemetry"]
    with _running(command, folder / "log", port):
        url = f"http://127.0.0.1:{port}"
        _make_container(url, container)
        yield {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url}


def _make_container(url: str, name: str) -> None:
    """https://learn.microsoft.com/rest/api/storageservices/create-container, signed with the account's key."""
    from urllib3 import request

    sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [f"{name}:{value}" for name, value in sent.items()]
    signed = "PUT" + "\n" * 12 + "\n".join([*lines, f"/{_ACCOUNT}/{_ACCOUNT}/{name}", "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(_KEY), signed.encode(), hashlib.sha256)).decode()
    headers = {**sent, "Content-Length": "0", "Authorization": f"SharedKey {_ACCOUNT}:{signature}"}
    answer = request("PUT", f"{url}/{_ACCOUNT}/{name}?restype=container", headers=headers)
    assert answer.status == 201, answer.data


@contextmanager
def _running(
    command: Sequence[str | Path], log: Path, *ports: int, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server, once it answers at its ports, until the block ends."""
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: all(answers(port) for port in ports) or server.poll() is not None)
        assert server.poll() is None, log.read_text()
        yield
    finally:
        server.terminate()
        server.wait()
