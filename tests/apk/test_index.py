"""The index: its text, its archive, and what happens to broken ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc

import pytest

from buildgraph.apk.index import IndexEntry, index_archive, parse_index, read_index_archive, render_index
from buildgraph.apk.signing import generate_key, sign_index
from buildgraph.errors import RepositoryError

FULL = IndexEntry(
    name="foo",
    version="1.2-r3",
    arch="x86_64",
    checksum="Q1JPfzlQZrTSjonl4KVbYT8SxgMUg=",
    size=12,
    installed_size=34,
    description="says: foo",
    origin="foos",
    license="MIT",
    url="https://foo.example",
    commit="c0ffee",
    build_date=315532800,
    provider_priority=5,
    depends=("so:libc.so.6", "bar>1", "!baz"),
    provides=("cmd:foo=1.2-r3", "foo-virtual"),
    install_if=("bar", "docs"),
    replaces=("oldfoo",),
)
FULL_TEXT = """\
C:Q1JPfzlQZrTSjonl4KVbYT8SxgMUg=
P:foo
V:1.2-r3
A:x86_64
S:12
I:34
T:says: foo
U:https://foo.example
L:MIT
o:foos
t:315532800
c:c0ffee
D:so:libc.so.6 bar>1 !baz
i:bar docs
p:cmd:foo=1.2-r3 foo-virtual
r:oldfoo
k:5

"""


def test_a_record_has_the_fields_in_apkos_order() -> None:
    """What is written is what apko's template writes, with a blank line after it."""
    assert render_index([FULL]) == FULL_TEXT
    assert parse_index(FULL_TEXT) == [FULL]
    assert FULL.filename == "foo-1.2-r3.apk"


def test_what_is_empty_is_left_out_but_for_checksum_and_description() -> None:
    """These two lines are always there."""
    assert render_index([IndexEntry("a", "1")]) == "C:Q1\nP:a\nV:1\nT:\n\n"


def test_a_line_break_in_a_value_does_not_end_the_record() -> None:
    """A description of two lines becomes one, so that it cannot add fields."""
    entry = IndexEntry("a", "1", description="first\nP:other\r\n\nlast")

    assert [(one.name, one.description) for one in parse_index(render_index([entry]))] == [("a", "first P:other   last")]


def test_the_names_that_an_entry_offers() -> None:
    """Its own name with its version, then its provides; None says that no version is stated."""
    assert list(FULL.provided()) == [("foo", "1.2-r3"), ("cmd:foo", "1.2-r3"), ("foo-virtual", None)]


@pytest.mark.parametrize(
    "text", ["P:a\nV:1\n", "P:a\nV:1", "\n\nP:a\nV:1\n\n\n", "P:a\r\nV:1\r\n\r\n", "X:new\nP:a\nV:1\n\nT:no name\n\n"]
)
def test_reading_is_lenient_about_blank_lines_and_unknown_fields(text: str) -> None:
    """A last record without blank line counts, one without name does not."""
    assert parse_index(text) == [IndexEntry("a", "1")]


@pytest.mark.parametrize(
    ("text", "line", "excerpt"),
    [
        ("P:a\nV:1\n\nP:b\nS:many\nV:1\n\n", 5, "S:many"),
        ("P:a\nV:1\nk:-1\n\n", 3, "k:-1"),
        ("P:a\nV:1\nt:99999999999999999999\n\n", 3, "t:99999999999999999999"),
        ("P:a\nV:1\nC:Q1!!!\n\n", 3, "C:Q1!!!"),
        ("P:a\nnonsense\n\n", 2, "nonsense"),
        ("P:a\nS:\n\n", 2, "S:"),
        ("P:a\nS:" + "1" * 10_000, 2, ("S:" + "1" * 10_000)[:1000]),
    ],
)
def test_a_broken_line_is_shown(text: str, line: int, excerpt: str) -> None:
    """The error names the file, the line and its text."""
    with pytest.raises(RepositoryError) as caught:
        parse_index(text, "repo/APKINDEX")

    assert caught.value.where is not None
    assert (caught.value.where.path, caught.value.where.line, caught.value.where.excerpt) == ("repo/APKINDEX", line, excerpt)
    assert "repo/APKINDEX" in caught.value.render()


def test_an_archive_gives_its_entries_back() -> None:
    """Equal entries make equal bytes, with a signature before them or not."""
    content = index_archive([FULL, IndexEntry("a", "1")], "some repository")
    signed = sign_index(content, generate_key(2048), "key")

    assert content == index_archive([FULL, IndexEntry("a", "1")], "some repository")
    assert read_index_archive(content) == read_index_archive(signed) == [FULL, IndexEntry("a", "1")]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert archive.getnames() == ["APKINDEX", "DESCRIPTION"]


def test_a_long_index_is_split_into_blocks() -> None:
    """Stored blocks hold 65,535 bytes; gzip itself reads many of them back."""
    entries = [IndexEntry(f"package-{number}", "1") for number in range(10_000)]

    assert read_index_archive(index_archive(entries)) == entries
    assert gzip.decompress(index_archive(entries)).count(b"P:package-") == 10_000


def hostile_archives() -> dict[str, bytes]:
    """Archives that claim what they are not."""
    good = index_archive([FULL])
    header = tarfile.TarInfo("APKINDEX")
    header.size = 1 << 33
    negative = bytearray(tarfile.TarInfo("APKINDEX").tobuf())
    negative[124:136] = b"\xff" * 11 + b"\x00"
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + 256 + sum(negative[156:]))
    other = tarfile.TarInfo("OTHER")
    return {
        "empty": b"",
        "not gzip": b"C:Q1\nP:a\n\n",
        "gzip of nothing": gzip.compress(b""),
        "gzip of text": gzip.compress(b"P:a\n\n" * 400),
        "truncated": good[: len(good) // 2],
        "trailing bytes": b"x" + good,
        "no index in it": gzip.compress(other.tobuf() + b"\0" * 1024),
        "claims 8 GiB": gzip.compress(header.tobuf() + b"P:a\n"),
        "negative size": gzip.compress(bytes(negative) + b"\0" * 1024),
        "a thousand long names": gzip.compress(long_name_chain(5000)),
        "changed content": good.replace(b"foo", b"fou"),
    }


def long_name_chain(length: int) -> bytes:
    """Headers that each only announce another."""
    info = tarfile.TarInfo("././@LongLink")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 5
    return (info.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(512, b"\0")) * length


@pytest.mark.parametrize("what", sorted(hostile_archives()))
def test_a_broken_archive_is_an_error(what: str) -> None:
    """Whatever the bytes are, the answer is a RepositoryError."""
    with pytest.raises(RepositoryError):
        read_index_archive(hostile_archives()[what], "APKINDEX.tar.gz")


def test_a_bomb_takes_no_memory() -> None:
    """A small archive of gigabytes is given up before it is unpacked: a member may not be larger than an index may."""
    header = tarfile.TarInfo("OTHER")
    header.size = 2 << 30
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(header.tobuf())
        for _ in range(400):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(RepositoryError):
        read_index_archive(buffer.getvalue())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 32 << 20
