"""The store against a dictionary: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, invariant, multiple, rule

from buildgraph.cache.cas import Cas, MissingBlobError

CONTENT = st.binary(max_size=40) | st.integers(0, 3).map(lambda number: bytes(number) * 70_000)


class CasMachine(RuleBasedStateMachine):
    """``sound`` has what the store must give, ``wrong`` the bytes of blobs that were damaged since."""

    digests: Bundle[str] = Bundle("digests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bg-cas-"))
        self.cas = Cas(self.folder / "cache", blake3)
        self.sound: dict[str, bytes] = {}
        self.wrong: dict[str, bytes] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def stored(self, digest: str, data: bytes) -> str:
        """A put keeps a file of the right size, wrong or not, and replaces any other."""
        assert digest == blake3(data).hexdigest()
        if len(self.wrong.get(digest, b"")) != len(data) or not data:
            self.wrong.pop(digest, None)
            self.sound[digest] = data
        return digest

    @rule(target=digests, data=CONTENT)
    def put_bytes(self, data: bytes) -> str:
        return self.stored(self.cas.put_bytes(data), data)

    @rule(target=digests, data=CONTENT, move=st.booleans())
    def put_file(self, data: bytes, move: bool) -> str:
        source = self.folder / "source"
        source.unlink(missing_ok=True)
        source.write_bytes(data)
        digest = self.cas.put_file(source, move=move)
        assert source.exists() is not move
        return self.stored(digest, data)

    @rule(target=digests, data=CONTENT)
    def name_a_blob_that_may_be_missing(self, data: bytes) -> str:
        return blake3(data).hexdigest()

    @rule(target=digests, first=CONTENT, second=CONTENT)
    def put_in_scratch(self, first: bytes, second: bytes) -> MultipleResults[str]:
        with self.cas.scratch() as folder:
            (folder / "a").write_bytes(first)
            (folder / "b").write_bytes(second)
            assert self.cas.sweep() == 0
            names = [self.cas.put_file(folder / name, move=True) for name in ("a", "b")]
        return multiple(*[self.stored(name, data) for name, data in zip(names, (first, second), strict=True)])

    @rule(digest=digests, data=st.binary(max_size=40))
    def damage(self, digest: str, data: bytes) -> None:
        if digest in self.sound and data != self.sound[digest]:
            path = self.cas.path(digest)
            path.unlink()
            path.write_bytes(data)
            del self.sound[digest]
            self.wrong[digest] = data

    @rule(digest=digests)
    def remove(self, digest: str) -> None:
        self.cas.path(digest).unlink(missing_ok=True)
        self.sound.pop(digest, None)
        self.wrong.pop(digest, None)

    @rule(digest=digests)
    def read(self, digest: str) -> None:
        if digest in self.sound:
            assert self.cas.read(digest) == self.sound[digest]
            return
        with pytest.raises(MissingBlobError):
            self.cas.read(digest)
        if self.wrong.pop(digest, b""):
            assert not self.cas.path(digest).exists()

    @rule(digest=digests)
    def verify(self, digest: str) -> None:
        assert self.cas.verify(digest) == (digest in self.sound)
        self.wrong.pop(digest, None)

    @rule(digest=digests, executable=st.booleans(), name=st.sampled_from(["x", "y"]))
    def link(self, digest: str, executable: bool, name: str) -> None:
        destination = self.folder / name
        content = self.sound.get(digest) if digest in self.sound else self.wrong.get(digest)
        if digest in self.sound or content:
            self.cas.link(digest, destination, executable=executable)
            assert destination.read_bytes() == content
        else:
            with pytest.raises(MissingBlobError):
                self.cas.link(digest, destination, executable=executable)

    @invariant()
    def same_blobs(self) -> None:
        present = {**self.sound, **{digest: data for digest, data in self.wrong.items() if data}}
        assert list(self.cas.iter_blobs()) == sorted(present)
        assert {digest: self.cas.size(digest) for digest in present} == {digest: len(data) for digest, data in present.items()}

    @invariant()
    def nothing_left_over(self) -> None:
        tmp = self.folder / "cache" / "tmp"
        assert not tmp.exists() or [path.name for path in tmp.iterdir()] == ["gate"]


TestCasModel = CasMachine.TestCase
TestCasModel.settings = settings(max_examples=60, stateful_step_count=30)
