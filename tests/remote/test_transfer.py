"""Requests to servers that answer what no client expects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from buildgraph.web.access import Access
from buildgraph.web.client import request
from buildgraph.web.transfer import AddressError, Loop, Take, Transfer, WebError

ACCESS = Access(timeout=10)


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers each GET with these bytes and sends each PUT elsewhere, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append("GET")
            self.wfile.write(answer)
            self.close_connection = True

        def do_PUT(self) -> None:
            asked.append("PUT")
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(303)
            self.send_header("Location", "/login")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_header_may_be_called_like_a_status() -> None:
    """It changes neither the status nor the other headers."""
    with (
        answering(b"HTTP/1.1 404 No\r\nOne: 1\r\nHTTP/x: 200 y\r\nContent-Length: 0\r\n\r\n") as (address, _),
        request("GET", f"{address}/x", ACCESS) as answer,
    ):
        assert (answer.status, answer.reason, answer.headers.get("One")) == (404, "No", "1")


def test_what_is_no_http_may_be_tried_again() -> None:
    """It says nothing against the address."""
    with answering(b"garbage\r\n" * 10) as (address, _), pytest.raises(WebError, match="not HTTP") as caught:
        request("GET", f"{address}/x", ACCESS)
    assert not caught.value.is_final


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\0", "☃"])
def test_a_header_is_one_line(value: str) -> None:
    """Nothing is sent with another one."""
    with answering(b"") as (address, asked), pytest.raises(WebError, match="no header can have"):
        request("GET", f"{address}/x", ACCESS, {"Authorization": value})
    assert asked == []


def test_an_address_without_sense() -> None:
    """It is refused as such."""
    with pytest.raises(AddressError):
        request("GET", "http://[::1/x", ACCESS)


def test_an_upload_is_not_answered_by_another_page() -> None:
    """A page that the server sends us to has not taken it."""
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin") as (address, asked),
        pytest.raises(WebError, match="another page"),
    ):
        request("PUT", f"{address}/x", ACCESS, body=b"content")
    assert asked == ["PUT", "GET"]


def test_what_is_given_up_is_not_told_of() -> None:
    """Nor is an answer whose taker raised: it is none to the next request over the same connections."""

    def refuse(_: int) -> Take:
        raise ValueError

    loop, transfer = Loop(), Transfer(ACCESS)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin") as (address, _):
        transfer.configure("GET", address, {}, None, None)
        transfer.begin(address, refuse)
        loop.start(transfer)
        while not transfer.is_done:
            loop.push()
    loop.drop(transfer)
    assert loop.turn() == []
