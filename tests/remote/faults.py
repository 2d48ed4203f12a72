"""What can go wrong between a machine and a store: a relay that hands on bytes both ways, and breaks what it is told to."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.remote.certificates import self_signed

# What becomes of one connection from a client, with the port of the real server.
Fault = Callable[[socket.socket, int], None]
_RESET = struct.pack("ii", 1, 0)  # to be closed without waiting for what is under way
_AT_ONCE = 1 << 16
_MOMENT = 0.05  # seconds between looks


@contextmanager
def relay(port: int, fault: Fault) -> Iterator[int]:
    """The port of a relay to a server at ``port`` of this machine."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threads: list[threading.Thread] = []
    clients: list[socket.socket] = []

    def one(client: socket.socket) -> None:
        with client, suppress(OSError):
            fault(client, port)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threads.append(threading.Thread(target=one, args=[client]))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def reset(client: socket.socket, port: int) -> None:
    """The connection is reset once something was asked."""
    client.recv(_AT_ONCE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def silent(client: socket.socket, port: int) -> None:
    """Nothing is ever answered."""
    while client.recv(_AT_ONCE):
        pass


def answers(status: str, headers: str = "") -> Fault:
    """Every request over HTTP gets the same answer."""

    def fault(client: socket.socket, port: int) -> None:
        client.recv(_AT_ONCE)
        client.sendall(f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        client.shutdown(socket.SHUT_WR)
        while client.recv(_AT_ONCE):
            pass

    return fault


def swaps(old: bytes, new: bytes) -> Fault:
    """Some bytes of answers arrive as others."""

    def change(data: bytes) -> tuple[bytes, bool]:
        return data.replace(old, new), False

    return _changing(change)


def cuts(within: bytes) -> Fault:
    """Answers end in the middle of some bytes."""

    def change(data: bytes) -> tuple[bytes, bool]:
        position = data.find(within)
        return (data, False) if position < 0 else (data[: position + len(within) // 2], True)

    return _changing(change)


class Counts:
    """A fault that breaks nothing: it counts the bytes that were sent to the server and received from it."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0

    def __call__(self, client: socket.socket, port: int) -> None:
        """As Fault."""

        def ask(data: bytes) -> bytes:
            self.sent += len(data)
            return data

        def answer(data: bytes, client: socket.socket) -> bool:
            self.received += len(data)
            client.sendall(data)
            return False

        _between(answer, ask)(client, port)


def stalls(within: bytes) -> Fault:
    """Answers stop in the middle of some bytes, and the connection stays."""

    def hand_on(data: bytes, client: socket.socket) -> bool:
        position = data.find(within)
        client.sendall(data if position < 0 else data[: position + len(within) // 2])
        while position >= 0 and not _is_closed(client):
            time.sleep(_MOMENT)
        return position >= 0

    return _between(hand_on)


def trickles(within: bytes, seconds: float) -> Fault:
    """From some bytes on each byte of answers takes some seconds, a second as a rule."""
    has_begun = threading.Event()

    def hand_on(data: bytes, client: socket.socket) -> bool:
        position = 0 if has_begun.is_set() else data.find(within)
        if position < 0:
            client.sendall(data)
            return False
        has_begun.set()
        client.sendall(data[:position])
        for number in range(position, len(data)):
            client.sendall(data[number : number + 1])
            time.sleep(seconds)
        return False

    return _between(hand_on)


def pads_heads(seconds: float, count: int = 100) -> Fault:
    """After the first line of each answer come so many short headers, of which each byte takes some seconds, and no end."""

    def hand_on(data: bytes, client: socket.socket) -> bool:
        client.sendall(data[: data.index(b"\r\n") + 2])
        for byte in b"a: b\r\n" * count:
            client.sendall(bytes([byte]))
            time.sleep(seconds)
        return True

    return _between(hand_on)


def deafens(after: int) -> Fault:
    """No more of a request is taken after some bytes, and nothing is answered to it."""

    def fault(client: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            answering = threading.Thread(target=_copy, args=[server, client])
            answering.start()
            taken = 0
            with suppress(OSError):
                while taken < after and (data := client.recv(_AT_ONCE)):
                    taken += len(data)
                    server.sendall(data)
                while taken >= after and not _is_closed(client):
                    time.sleep(_MOMENT)
                server.shutdown(socket.SHUT_RDWR)
            answering.join()

    return fault


def encrypted(folder: Path) -> Fault:
    """The connection is encrypted, with a certificate that nobody knows."""
    key, certificate = self_signed("localhost")
    path = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.set_alpn_protocols(["h2", "http/1.1"])

    def fault(client: socket.socket, port: int) -> None:
        with context.wrap_socket(client, server_side=True) as wrapped:
            wrapped.recv(1)

    return fault


def heard(sent: list[bytes]) -> Fault:
    """No fault: everything is handed on, and what clients send is kept."""

    def keep(data: bytes) -> bytes:
        sent.append(data)
        return data

    def hand_on(data: bytes, client: socket.socket) -> bool:
        client.sendall(data)
        return False

    return _between(hand_on, keep)


def _changing(change: Callable[[bytes], tuple[bytes, bool]]) -> Fault:
    """Hands on requests as they are, and answers as ``change`` has them, which says when to end."""

    def hand_on(data: bytes, client: socket.socket) -> bool:
        changed, is_end = change(data)
        client.sendall(changed)
        return is_end

    return _between(hand_on)


def _between(hand_on: Callable[[bytes, socket.socket], bool], asked: Callable[[bytes], bytes] = lambda data: data) -> Fault:
    """Hands on requests as ``asked`` has them, and answers by ``hand_on``, which gives them on and says when to end."""

    def fault(client: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            asking = threading.Thread(target=_copy, args=[client, server, asked])
            asking.start()
            with suppress(OSError):
                while (data := server.recv(_AT_ONCE)) and not hand_on(data, client):
                    pass
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            asking.join()

    return fault


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other side ended a connection that nobody reads from."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def _copy(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes] = lambda data: data) -> None:
    with suppress(OSError):
        while data := source.recv(_AT_ONCE):
            target.sendall(change(data))
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
