"""A server that is asked for many things at once: each answer belongs to its question, whatever becomes of the others."""

from __future__ import annotations

import io
import socket
import ssl
import threading
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.store import AbsentError, Blob, StoreError
from buildgraph.web import client, transfer
from buildgraph.web.access import Access
from tests.remote.certificates import self_signed
from tests.remote.faults import relay
from tests.remote.makers import blob_of
from tests.servers import Files, cut, faulty_server, silence, status

MANY = 60


def served(files: Files, number: int) -> Blob:
    blob = blob_of(f"blob {number}".encode() * 1000)
    (files.folder / "cas").mkdir(exist_ok=True)
    (files.folder / "cas" / blob.sha256).write_bytes(f"blob {number}".encode() * 1000)
    return blob


class Named(io.BytesIO):
    """Takes a blob."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def read_many(store: BazelStore, blobs: list[Blob]) -> dict[int, bytes | StoreError]:
    sinks = ((blob, Named(number)) for number, blob in enumerate(blobs))
    with closing(store.read_many(sinks)) as answers:
        return {sink.number: error or sink.getvalue() for sink, error in answers}


def test_each_answer_is_for_its_own_question(tmp_path: Path) -> None:
    """Some blobs are gone, cut, or refused; all others come, over the same connections."""
    with faulty_server(tmp_path) as files:
        blobs = [served(files, number) for number in range(MANY)]
        (files.folder / "cas" / blobs[7].sha256).unlink()
        files.faults[f"/cas/{blobs[20].sha256}"] = [cut(100)]
        files.faults[f"/cas/{blobs[30].sha256}"] = [status(500)]
        found = read_many(BazelStore(files.url, Access()), blobs)
        asked = len(files.requests)
    failed = {number: error for number, error in found.items() if isinstance(error, StoreError)}
    assert {number: str(error) for number, error in failed.items()} == {
        7: "a blob is gone",
        20: "the answer ended 6900 bytes too early",
        30: "the server answers 500 Internal Server Error",
    }
    assert isinstance(failed[7], AbsentError)
    assert found == {number: f"blob {number}".encode() * 1000 for number in range(MANY)} | failed
    assert asked == MANY


def test_a_silent_answer_holds_up_no_other(tmp_path: Path) -> None:
    """It fails when its time is over."""
    with faulty_server(tmp_path) as files:
        blobs = [served(files, number) for number in range(MANY)]
        files.faults[f"/cas/{blobs[0].sha256}"] = [silence(10)]
        found = read_many(BazelStore(files.url, Access(timeout=3)), blobs)
    assert str(found.pop(0)) == "the server fell silent"
    assert found == {number: f"blob {number}".encode() * 1000 for number in range(1, MANY)}


def test_who_has_enough_asks_no_more(tmp_path: Path) -> None:
    """What is under way is dropped, and the rest is never asked for."""
    with faulty_server(tmp_path) as files:
        blobs = [served(files, number) for number in range(MANY)]
        store = BazelStore(files.url, Access())
        with closing(store.read_many((blob, Named(number)) for number, blob in enumerate(blobs))) as answers:
            sink, error = next(answers)
        assert error is None
        assert sink.getvalue() == f"blob {sink.number}".encode() * 1000
        assert len(files.requests) < MANY
        assert read_many(store, blobs[:3]) == {number: f"blob {number}".encode() * 1000 for number in range(3)}


def test_an_interrupt_ends_all_of_them(tmp_path: Path) -> None:
    """However long the server is silent; nobody asks it anything after that."""
    with faulty_server(tmp_path) as files:
        blobs = [served(files, number) for number in range(3)]
        for blob in blobs:
            files.faults[f"/cas/{blob.sha256}"] = [silence(10)]
        threading.Timer(0.2, client.interrupt).start()
        try:
            found = read_many(BazelStore(files.url, Access(timeout=100_000)), blobs)
        finally:
            transfer.stopped.wait()
            transfer.stopped.clear()
    assert {str(error) for error in found.values()} == {"interrupted"}


def test_an_address_that_cannot_be_asked_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="this is no address that can be asked"):
        read_many(BazelStore("https:///cache", Access()), [blob_of(b"hello")])


def test_the_authorities_of_the_environment_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE names those that a company has of its own; without it the same server is not believed."""
    key, certificate = self_signed("localhost")
    public, both = tmp_path / "public.pem", tmp_path / "both.pem"
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    both.write_bytes(public.read_bytes() + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)

    def answer(client: socket.socket, _port: int) -> None:
        with context.wrap_socket(client, server_side=True) as wrapped:
            wrapped.recv(1 << 16)
            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    transfer._authorities.cache_clear()
    with relay(0, answer) as port:
        store = BazelStore(f"https://localhost:{port}", Access())
        assert "certificate verify failed" in str(read_many(store, [blob_of(b"hello")])[0])
        transfer._authorities.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        assert read_many(store, [blob_of(b"hello")]) == {0: b"hello"}
    transfer._authorities.cache_clear()
