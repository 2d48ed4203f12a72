"""A line to a server far away: `python -m benchmarks.line PORT SECONDS` prints a port of its own, where the server seems to be.

What is said there is handed on to the server at PORT of this machine after so many seconds, and what it answers after as many.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

HOST = "127.0.0.1"


@contextmanager
def line(port: int, seconds: float) -> Iterator[int]:
    """The port of such a line, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.line", str(port), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class _End(asyncio.Protocol):
    """One of the two ends of a connection through the line."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.other: _End

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.writelines(self._early)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self.other.say, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        asyncio.get_running_loop().call_later(self._seconds, self.other.hang_up)

    def say(self, data: bytes) -> None:
        """Sends what came in at the other end."""
        if self._transport is None:
            self._early.append(data)
        else:
            self._transport.write(data)

    def hang_up(self) -> None:
        """Ends this end too."""
        if self._transport is not None:
            self._transport.close()


class _Near(_End):
    """The end where the server seems to be."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(seconds)
        self.other = _End(seconds)
        self.other.other = self
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._connecting = loop.create_task(loop.create_connection(lambda: self.other, HOST, self._port))


async def _main(port: int, seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Near(port, seconds), HOST, 0, backlog=128)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
