"""Key documents: what counts, what only explains, and how two differ."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.keys.digest import digest_bytes, digest_file, digest_text, parse_digest
from buildgraph.keys.document import SECTIONS, Entry, KeyDocument, difference, key_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(st.characters(max_codepoint=0x7F), max_size=12)
ENTRIES = st.builds(Entry, st.sampled_from(SECTIONS), TEXTS, TEXTS, TEXTS, TEXTS)
DOCUMENTS = st.lists(ENTRIES, max_size=8, unique_by=lambda entry: (entry.section, entry.name)).map(KeyDocument.of)

# The key of this document is part of every cache's content: another value means that all of them are lost.
GOLDEN = [Entry("source", "src/a.c", "1" * 64, "why", "a.c"), Entry("tool", "melange", "v0.59.1"), Entry("setting", "ü\n", '"')]
GOLDEN_KEY = "c262b0c362149d329539b0a53ef5a76769462adb322de3de34052dbe7922e894"


def reference_key(document: KeyDocument) -> str:
    """The key as docs/format.md describes it, written anew."""
    rows = sorted([entry.section, entry.name, entry.value] for entry in document.entries)
    return blake3(json.dumps([1, rows], separators=(",", ":")).encode()).hexdigest()


@given(DOCUMENTS)
def test_the_key_is_what_the_format_says(document: KeyDocument) -> None:
    """Format number, then section, name and value of the sorted entries, as compact ASCII JSON, through BLAKE3."""
    assert document.key() == reference_key(document)


@given(DOCUMENTS)
def test_every_document_is_read_back(document: KeyDocument) -> None:
    """to_bytes and from_bytes are inverse."""
    assert KeyDocument.from_bytes(document.to_bytes()) == document


@given(DOCUMENTS, st.randoms())
def test_neither_order_nor_explanations_count(document: KeyDocument, chance: random.Random) -> None:
    """The key is that of a set of entries, of their values alone."""
    shuffled = [Entry(entry.section, entry.name, entry.value, "other", "elsewhere:1") for entry in document.entries]
    chance.shuffle(shuffled)
    again = KeyDocument.of(shuffled)
    assert again.key() == document.key()
    assert difference(document, again) == []


@given(DOCUMENTS, DOCUMENTS)
def test_keys_differ_exactly_where_a_difference_can_be_told(one: KeyDocument, other: KeyDocument) -> None:
    """No rebuild without a reason, no reason without a rebuild."""
    changes = difference(one, other)
    assert (one.key() == other.key()) == (not changes)
    assert [(change.section, change.name) for change in difference(other, one)] == [
        (change.section, change.name) for change in changes
    ]


@given(DOCUMENTS, st.randoms())
def test_a_key_needs_no_document(document: KeyDocument, chance: random.Random) -> None:
    """It can be had from what counts alone, in any order, said twice or once."""
    values = [entry[:3] for entry in document.entries] * 2
    chance.shuffle(values)
    assert key_of(values) == document.key()


def test_one_thing_has_one_value() -> None:
    """Two values for one entry are a defect of whoever wrote the document."""
    with pytest.raises(ValueError, match="two values for tool melange"):
        KeyDocument.of([Entry("tool", "melange", "1"), Entry("tool", "melange", "2")])


@pytest.mark.parametrize("damage", [b"[1]\n", b'["a","b","c","d"]\n', b'["a","b",3,"d","e"]\n', b"{", b"\xff\n"])
def test_what_is_no_document_is_refused(damage: bytes) -> None:
    """A damaged blob is an error that the reader of the cache turns into a miss."""
    with pytest.raises(ValueError):  # noqa: PT011 - several decoders' own messages
        KeyDocument.from_bytes(damage)


def test_golden_key_in_other_worlds(tmp_path: Path) -> None:
    """The same key under another hash seed, folder, time zone, locale and umask."""
    program = (
        "from buildgraph.keys.document import Entry, KeyDocument\n"
        f"print(KeyDocument.of([{', '.join(repr(entry) for entry in GOLDEN)}]).key())"
    )
    for seed, zone, locale in [("0", "UTC", "C"), ("1", "Asia/Kathmandu", "C.UTF-8"), ("4711", "America/New_York", "POSIX")]:
        env = {
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "LC_ALL": locale,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True, umask=0
        )
        assert done.stdout.strip() == KeyDocument.of(GOLDEN).key() == GOLDEN_KEY


def test_digests(tmp_path: Path) -> None:
    """Digests are what b3sum prints, of bytes, texts and files alike; others' digests are checked when they come in."""
    assert digest_bytes(b"") == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    assert digest_file(tmp_path / "file") == digest_bytes(b"x" * 3_000_000)
    assert digest_text("\udcff") == digest_bytes(b"\xff")
    assert parse_digest("a" * 64) == "a" * 64
    for wrong in ("a" * 63, "A" * 64, "g" * 64, "../" + "a" * 61, None, 5, b"a" * 64):
        assert parse_digest(wrong) is None
