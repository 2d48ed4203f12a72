"""Rules that hold for every version, requirement, entry and package."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from buildgraph.apk.index import IndexEntry, index_archive, parse_index, read_index_archive, render_index
from buildgraph.apk.package import canonicalise, read_package
from buildgraph.apk.pkginfo import parse_pkginfo, render_pkginfo, with_size
from buildgraph.apk.version import Requirement, Version, is_version
from buildgraph.apk.writer import PackageFile, write_package
from buildgraph.errors import RepositoryError

numbers = st.one_of(st.integers(0, 3), st.integers(0, 10**12)).map(str)
suffixes = st.tuples(
    st.sampled_from(["", "a", "b", "z"]),
    st.sampled_from(["", "_alpha", "_beta1", "_pre", "_rc2"]),
    st.sampled_from(["", "_cvs", "_svn3", "_git20240101", "_hg", "_p1"]),
    st.sampled_from(["", "-r0", "-r1", "-r10"]),
).map("".join)
versions = st.builds(lambda parts, suffix: ".".join(parts) + suffix, st.lists(numbers, min_size=1, max_size=4), suffixes)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789.+-_:", min_size=1, max_size=20)
operators = st.sampled_from(["=", "<", ">", "<=", ">=", "~", "=~"])
requirements = st.builds(
    lambda negation, name, constraint, pin: f"{negation}{name}{constraint}{pin}",
    st.sampled_from(["", "!"]),
    names,
    st.one_of(st.just(""), st.builds(str.__add__, operators, versions)),
    st.sampled_from(["", "@edge", "@local"]),
)
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=30)
plain = st.text("abcdefghijklmnopqrstuvwxyz /.:-", max_size=30).map(str.strip)
counts = st.integers(0, 1 << 62)
lists = st.lists(requirements, max_size=4, unique=True).map(tuple)
checksums = st.binary(min_size=20, max_size=20).map(lambda digest: f"Q1{base64.b64encode(digest).decode()}")
paths = st.lists(st.text("abc.-é", min_size=1, max_size=60), min_size=1, max_size=5).map("/".join)
files = st.one_of(
    st.builds(PackageFile, st.just("file"), st.sampled_from([0o644, 0o4755]), st.binary(max_size=2000)),
    st.builds(PackageFile, st.just("symlink"), st.just(0o777), target=st.text("abc/.", min_size=1, max_size=120)),
)


def entries(texts: st.SearchStrategy[str]) -> st.SearchStrategy[IndexEntry]:
    """Index entries whose free texts are drawn from ``texts``."""
    return st.builds(
        IndexEntry,
        name=names,
        version=versions,
        arch=st.sampled_from(["", "x86_64", "aarch64"]),
        checksum=st.one_of(st.just(""), checksums),
        size=counts,
        installed_size=counts,
        description=texts,
        origin=names,
        license=texts,
        url=texts,
        commit=names,
        build_date=counts,
        provider_priority=counts,
        depends=lists,
        provides=lists,
        install_if=lists,
        replaces=lists,
    )


@given(versions, versions, versions)
def test_versions_are_totally_ordered(one: str, two: str, three: str) -> None:
    """Exactly one of less, equal, greater holds, and order is transitive."""
    a, b, c = map(Version.parse, (one, two, three))

    assert (a < b) + (a == b) + (a > b) == 1
    assert (a <= b) == (not b < a)
    assert (a >= b) == (b <= a)
    assert not (a <= b <= c) or a <= c
    assert (a == b) <= (hash(a) == hash(b))


@given(versions)
def test_a_version_is_its_text(text: str) -> None:
    """Parsing keeps what was written; each version starts with itself."""
    assert str(Version.parse(text)) == text
    assert Version.parse(text).starts_with(Version.parse(text))


@given(st.lists(numbers, min_size=1, max_size=4), numbers, suffixes)
def test_longer_is_later_and_starts_with_the_shorter(parts: list[str], more: str, suffix: str) -> None:
    """One more number makes a version later, and `~` of the shorter is met, whatever else the longer has."""
    short = ".".join(parts)
    longer = f"{short}.{more}{suffix}"

    assert Version.parse(longer) > Version.parse(f"{short}{suffix}")
    assert Requirement.parse(f"foo~{short}").accepts(longer)


@given(requirements)
def test_a_requirement_is_its_text(text: str) -> None:
    """Parsing any requirement and writing it gives it back."""
    assert str(Requirement.parse(text)) == text
    assert Requirement.parse(text).negated == text.startswith("!")


@given(st.text(max_size=40))
@example("so:=")
@example("!")
def test_any_text_can_be_asked_for(text: str) -> None:
    """No text breaks the reader of requirements or of versions."""
    requirement = Requirement.parse(text)

    assert str(requirement) == text
    assert requirement.accepts("1") in {True, False}
    assert is_version(text) in {True, False}


@given(names, operators, versions, versions)
def test_operators_mean_their_comparison(name: str, operator: str, wanted: str, offered: str) -> None:
    """What a requirement accepts is what comparing the versions says."""
    requirement = Requirement.parse(f"{name}{operator}{wanted}")
    if name.startswith("so:"):
        return
    have, want = Version.parse(offered), Version.parse(wanted)
    meaning = {
        "=": have == want,
        "<": have < want,
        ">": have > want,
        "<=": have <= want,
        ">=": have >= want,
        "~": have.starts_with(want),
        "=~": have.starts_with(want),
    }

    assert requirement.accepts(offered) == meaning[operator]


@given(st.lists(entries(lines), max_size=4))
def test_an_index_is_read_back(listed: list[IndexEntry]) -> None:
    """Text and archive keep every field of every entry."""
    assert parse_index(render_index(listed)) == listed
    assert read_index_archive(index_archive(listed)) == listed


@given(st.text(max_size=200))
def test_any_text_is_an_index_or_an_error(text: str) -> None:
    """Nothing but a RepositoryError comes out of reading."""
    try:
        parse_index(text)
    except RepositoryError as error:
        lines_shown = error.render().splitlines()
    else:
        return

    assert lines_shown[0].startswith("APKINDEX:")


@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_any_bytes_are_an_archive_or_an_error(noise: bytes, position: int) -> None:
    """Noise, bare or compressed or in the midst of an index, gives entries or a RepositoryError."""
    good = index_archive([IndexEntry("foo", "1-r0")])
    inner = gzip.decompress(good)
    mixed = gzip.compress(inner[:position] + noise + inner[position:], mtime=0)
    for content in (noise, gzip.compress(noise, mtime=0), good[:position] + noise + good[position:], mixed):
        try:
            read_index_archive(content)
        except RepositoryError:
            continue


@given(entries(plain), st.integers(0, 1 << 40))
def test_a_pkginfo_is_read_back(entry: IndexEntry, size: int) -> None:
    """What `.PKGINFO` can say is kept, and setting the size changes the size."""
    content = render_pkginfo(entry, "0" * 64)
    stated = parse_pkginfo(content)
    resized = parse_pkginfo(with_size(content, size)).entry

    assert render_pkginfo(stated.entry, stated.datahash) == content
    assert resized.installed_size == size
    assert with_size(with_size(content, size), entry.installed_size) == content


@given(entries(plain), st.dictionaries(paths, files, max_size=5), st.integers(0, 9))
def test_a_written_package_is_canonical_and_true(entry: IndexEntry, content: dict[str, PackageFile], level: int) -> None:
    """What is written verifies, says its own checksum, and is its own canonical form."""
    content = {path: file for path, file in content.items() if plain_path(path) and not has_child(path, content)}
    with tempfile.TemporaryDirectory() as folder:
        path, canonical = Path(folder, "one.apk"), Path(folder, "other.apk")
        written = write_package(path, entry, content, level=level)
        info = read_package(path, verify=True)

        assert (info.entry.checksum, info.entry.size) == (written.checksum, written.size)
        assert info.entry.installed_size == sum(len(file.data) for file in content.values() if file.kind == "file")
        assert canonicalise(path, canonical) == info
        assert canonical.read_bytes() == path.read_bytes()


# A name with a slash at its end is a folder's to every reader of tar; a control segment holds files.
FILE_NAMES = st.text(min_size=1, max_size=200).filter(lambda name: not name.endswith("/"))


@given(st.lists(st.tuples(FILE_NAMES, st.binary(max_size=50)), max_size=4), st.sampled_from([0, 1, 2]))
def test_the_canonical_form_is_a_fixed_point(control: list[tuple[str, bytes]], form: int) -> None:
    """Whatever names and tar form a control segment has, the second canonical form equals the first."""
    data = gzip.compress(bytes(1024), mtime=0)
    pkginfo = render_pkginfo(IndexEntry("foo", "1", installed_size=7), hashlib.sha256(data).hexdigest())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in [(".PKGINFO", pkginfo), *control]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            try:
                archive.addfile(member, io.BytesIO(content))
            except (ValueError, UnicodeEncodeError):
                continue
    with tempfile.TemporaryDirectory() as folder:
        source, first, second = Path(folder, "source.apk"), Path(folder, "first.apk"), Path(folder, "second.apk")
        source.write_bytes(gzip.compress(buffer.getvalue(), mtime=0) + data)
        info = canonicalise(source, first)

        assert canonicalise(first, second) == info
        assert first.read_bytes() == second.read_bytes()


def plain_path(path: str) -> bool:
    """Whether no part of a path is a dot or two."""
    return not {".", ".."} & set(path.split("/"))


def has_child(path: str, content: dict[str, PackageFile]) -> bool:
    """Whether another path lies below this one, which then would have to be a directory."""
    return any(other.startswith(f"{path}/") for other in content)
