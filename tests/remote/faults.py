"""What can go wrong between a machine and a store: a relay that hands on bytes both ways, and breaks what it is told to."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.remote.certificates import self_signed

# What becomes of one connection from a client, with the port of the real server.
Fault = Callable[[socket.socket, int], None]
_RESET = struct.pack("ii", 1, 0)  # to be closed without waiting for what is under way
_AT_ONCE = 1 << 16


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
    return _changing(lambda data: (data, False), sent.append)


def _changing(change: Callable[[bytes], tuple[bytes, bool]], hear: Callable[[bytes], object] = lambda _: None) -> Fault:
    """Hands on requests as they are, and answers as ``change`` has them, which says when to end."""

    def fault(client: socket.socket, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            asking = threading.Thread(target=_copy, args=[client, server, hear])
            asking.start()
            with suppress(OSError):
                while data := server.recv(_AT_ONCE):
                    changed, is_end = change(data)
                    client.sendall(changed)
                    if is_end:
                        break
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            asking.join()

    return fault


def _copy(source: socket.socket, target: socket.socket, hear: Callable[[bytes], object]) -> None:
    with suppress(OSError):
        while data := source.recv(_AT_ONCE):
            hear(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
