"""Compression on the wire: what it saves with a real server, and what a server cannot do with it."""

from __future__ import annotations

import gzip
import io
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.remote import zstd
from buildgraph.remote.protobuf import field
from buildgraph.remote.reapi import RemoteExecutionStore
from buildgraph.remote.store import Blob, StoreError
from buildgraph.web.access import Access
from tests.remote.faults import Counts, relay
from tests.remote.makers import blob_of
from tests.remote.servers import BazelRemote

SMALL, LARGE = 1 << 20, 9 << 20  # in one message, and as a stream
_API = "/build.bazel.remote.execution.v2."


def log(size: int) -> bytes:
    """Some bytes as compilers write them."""
    words = random.Random(1)
    lines = (f"[{number:6}] cc -O2 -c src/{words.randrange(10**6)}.c -o obj/{number}.o\n" for number in range(size // 30))
    return "".join(lines).encode()[:size]


def moved(server: BazelRemote, name: str, data: bytes, folder: Path) -> tuple[int, int]:
    """The bytes that crossed the wire when a blob was written, and when it was read; it comes back as it was."""
    blob, source = blob_of(data), folder / name
    source.write_bytes(data)
    found, stream = [], io.BytesIO()
    for is_read in (False, True):
        counts = Counts()
        with relay(int(server.grpc.rpartition(":")[2]), counts) as port:
            store = RemoteExecutionStore(f"grpc://127.0.0.1:{port}/{name}", Access())
            if is_read:
                store.read(blob, stream)
            else:
                store.write(blob, source)
            store.close()
        found.append(counts.received if is_read else counts.sent)
    assert stream.getvalue() == data
    return found[0], found[1]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_text_crosses_the_wire_compressed(bazel_remote_server: BazelRemote, size: int, tmp_path: Path) -> None:
    """A log, a document or an SBOM in a fifth of its bytes, in both directions."""
    sent, received = moved(bazel_remote_server, f"log{size}", log(size), tmp_path)
    assert sent < size / 5
    assert received < size / 5


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_is_compressed_crosses_it_as_it_is(bazel_remote_server: BazelRemote, size: int, tmp_path: Path) -> None:
    """Packages and layers are; a second time would cost time and give nothing."""
    data = gzip.compress(os.urandom(size))
    sent, received = moved(bazel_remote_server, f"layer{size}", data, tmp_path)
    assert len(data) <= sent < len(data) * 1.02
    assert len(data) <= received < len(data) * 1.02


@given(st.binary(max_size=5000), st.lists(st.integers(1, 4000), max_size=5), st.integers(1, 500))
def test_what_was_compressed_comes_back(data: bytes, cuts: list[int], step: int) -> None:
    """In however many frames, since servers compress in pieces, and however it arrives."""
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    frames = b"".join(zstd.compress(data[a:b]) for a, b in pairwise(borders))
    stream = io.BytesIO()
    expanding = zstd.Expanding(stream, len(data))
    for start in range(0, len(frames), step):
        expanding.write(frames[start : start + step])
    assert stream.getvalue() == data
    assert (
        zstandard.ZstdDecompressor().decompressobj().decompress(zstd.compressing(io.BytesIO(data), len(data)).read()) == data
        or not data
    )


class Pieces(list[int]):
    """A sink that keeps the sizes of what it was given alone."""

    def write(self, data: bytes) -> None:
        self.append(len(data))


def test_a_bomb_ends_at_the_size_that_a_blob_should_have() -> None:
    """A gibibyte of zeros in some 30 KiB; it is never in memory, nor written on."""
    bomb = zstandard.ZstdCompressor(19).compress(bytes(1 << 30))
    assert len(bomb) < 100 << 10
    pieces = Pieces()
    with pytest.raises(StoreError, match="longer than it should be"):
        zstd.Expanding(pieces, 3 << 20).write(bomb)
    assert sum(pieces) <= 3 << 20
    assert max(pieces) <= 1 << 20


def test_a_sender_does_not_say_how_much_memory_is_used() -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    frame = zstandard.ZstdCompressor(compression_params=wide).compress(os.urandom(200 << 10) * 1000)
    with pytest.raises(StoreError, match="a compressed blob is damaged"):
        zstd.Expanding(Pieces(), 1 << 30).write(frame)


@contextmanager
def liar(batch: bytes, stream: list[bytes]) -> Iterator[str]:
    """The address of a server that compresses, and whose only answers are these, whatever is asked."""
    cache = field(1, 1) + field(6, 1) + field(7, 1)
    answers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        f"{_API}Capabilities/GetCapabilities": grpc.unary_unary_rpc_method_handler(lambda *_: field(1, cache)),
        f"{_API}ContentAddressableStorage/BatchReadBlobs": grpc.unary_unary_rpc_method_handler(lambda *_: batch),
        "/google.bytestream.ByteStream/Read": grpc.unary_stream_rpc_method_handler(lambda *_: iter(stream)),
    }

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
            return answers.get(details.method)

    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers((Handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (zstandard.ZstdCompressor().compress(bytes(64 << 20)), "longer than it should be"),
        (b"no zstd at all", "a compressed blob is damaged"),
    ],
    ids=["bomb", "nonsense"],
)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_server_that_lies_is_found_out(sent: bytes, said: str, size: int) -> None:
    pieces = Pieces()
    with liar(field(1, field(2, sent) + field(4, 1)), [field(10, sent)]) as address:
        store = RemoteExecutionStore(address, Access(timeout=10))
        with pytest.raises(StoreError, match=said):
            store.read(Blob("0" * 64, size), pieces)
        store.close()
    assert sum(pieces) <= size
