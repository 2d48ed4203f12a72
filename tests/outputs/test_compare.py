"""Differences are found where they are, in any format that lies in a package, and nothing is told where there is none."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.writer import PackageFile, write_package
from buildgraph.outputs.compare import MOST, Difference, compare
from buildgraph.outputs.suspects import Build, Clues
from buildgraph.structs import replace

INFO = IndexEntry("it", "1-r0", "x86_64")
NAMES = st.sampled_from(["usr/bin/a", "usr/bin/b", "etc/c.conf", "usr/share/d/e", "f"])
FILES = st.builds(PackageFile, st.just("file"), st.sampled_from([0o644, 0o755]), st.binary(max_size=40))
LINKS = st.builds(PackageFile, st.just("symlink"), st.just(0o777), target=st.sampled_from(["a", "../b"]))
CLUES = Clues(Build(1_795_524_311, "bg", 4, ("/bg",)), Build(1_795_527_911, "elsewhere", 1, ("/another-place/bg",)))


def packages(folder: Path, before: Mapping[str, PackageFile], again: Mapping[str, PackageFile]) -> list[Difference]:
    """How two packages with these files differ."""
    for name, files in (("before", before), ("again", again)):
        write_package(folder / name, INFO, files)
    return compared(folder)


def compared(folder: Path, name: str = "x86_64/it-1-r0.apk") -> list[Difference]:
    """How the files ``before`` and ``again`` in a folder differ as an output of this name."""
    return compare({name: folder / "before"}, {name: folder / "again"}, CLUES)


def contents(folder: Path, before: bytes, again: bytes) -> list[Difference]:
    """How two packages differ that have one file with these contents."""
    found = packages(folder, {"it": PackageFile("file", data=before)}, {"it": PackageFile("file", data=again)})
    assert all(difference.where[:3] == ("x86_64/it-1-r0.apk", "data", "it") for difference in found)
    return found


@given(before=st.dictionaries(NAMES, FILES | LINKS, max_size=4), again=st.dictionaries(NAMES, FILES | LINKS, max_size=4))
def test_every_member_that_differs_is_told_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, PackageFile], again: dict[str, PackageFile]
) -> None:
    """For any two packages: the members named are those that are not the same in both."""
    found = packages(tmp_path_factory.mktemp("any"), before, again)
    differing = {name for name in before.keys() | again.keys() if before.get(name) != again.get(name)}
    told = {difference.where[2] for difference in found if difference.where[1] == "data"}
    folders = {"usr", "usr/bin", "etc", "usr/share", "usr/share/d"}  # of files that only one has
    grouped = {difference.what for difference in found if ", as of " in difference.what}  # told of the first of several
    assert told - folders <= differing
    assert (told - folders == differing) or grouped


@pytest.mark.parametrize(
    ("again", "what", "values"),
    [
        (PackageFile("file", 0o755, b"x"), "mode", ("0644", "0755")),
        (PackageFile("symlink", 0o644, target="x"), "kind", ("file", "symbolic link")),
        (PackageFile("file", 0o644, b"y"), "content", ("x", "y")),
    ],
)
def test_what_differs_of_a_member(tmp_path: Path, again: PackageFile, what: str, values: tuple[str, str]) -> None:
    found = packages(tmp_path, {"a": PackageFile("file", 0o644, b"x")}, {"a": again})
    assert values in [(difference.before, difference.again) for difference in found if difference.what == what]


def test_what_a_package_says_of_itself(tmp_path: Path) -> None:
    """A line of .PKGINFO; not its size and the hash of the data, which follow from the files."""
    for name, depends in (("before", "a"), ("again", "b")):
        write_package(tmp_path / name, replace(INFO, depends=(depends,)), {"f": PackageFile("file", data=name.encode())})
    found = {difference.where[1:]: difference for difference in compared(tmp_path)}
    assert found.keys() == {("control", ".PKGINFO"), ("data", "f")}
    assert found["control", ".PKGINFO"].before == "depend = a"


def tar(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data, mtime in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data, mtime in members:
            archive.writestr(zipfile.ZipInfo(name, (1980 + mtime, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


def ar(*members: tuple[str, bytes, int]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data, mtime in members:
        parts += [f"{name + '/':16}{mtime:<12}{0:<6}{0:<6}{'100644':8}{len(data):<10}`\n".encode(), data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


@pytest.mark.parametrize("archive", [tar, zipped, ar])
class TestArchivesInPackages:
    """Tar, zip (jar, wheel) and ar (static libraries), down to the member."""

    def test_content(self, tmp_path: Path, archive: Callable[..., bytes]) -> None:
        [found] = contents(tmp_path, archive(("a", b"1\n2\n", 1), ("b", b"x", 1)), archive(("a", b"1\n3\n", 1), ("b", b"x", 1)))
        assert (found.where[3:], found.at, found.before, found.again) == (("a",), "line 2", "2", "3")

    def test_time(self, tmp_path: Path, archive: Callable[..., bytes]) -> None:
        """Of all members told once."""
        members = [("a", b"1", 1), ("b", b"2", 1), ("c", b"3", 1)]
        [found] = contents(tmp_path, archive(*members), archive(*((name, data, 2) for name, data, _ in members)))
        assert (found.where[3:], found.what, found.suspects) == (("a",), "time, as of 2 more", ("an embedded time",))

    def test_order(self, tmp_path: Path, archive: Callable[..., bytes]) -> None:
        members = [("a", b"1", 1), ("b", b"2", 1)]
        [found] = contents(tmp_path, archive(*members), archive(*reversed(members)))
        assert (found.what, found.before, found.again, found.suspects) == ("order", "a", "b", ("the order of a directory",))

    def test_missing(self, tmp_path: Path, archive: Callable[..., bytes]) -> None:
        [found] = contents(tmp_path, archive(("a", b"1", 1), ("b", b"2", 1)), archive(("a", b"1", 1)))
        assert (found.where[3:], found.what) == (("b",), "only in the first build")

    def test_within_gzip(self, tmp_path: Path, archive: Callable[..., bytes]) -> None:
        """Formats within formats."""
        one, other = (gzip.compress(archive(("a", content, 1)), mtime=0) for content in (b"x", b"y"))
        [found] = contents(tmp_path, one, other)
        assert found.where[3:] == ("(uncompressed)", "a")

    def test_a_broken_one_is_some_bytes(self, tmp_path: Path, archive: Callable[..., bytes]) -> None:
        one = archive(("a", b"1" * 2000, 1), ("b", b"2" * 2000, 1))[:600]
        assert len(contents(tmp_path, one, one[:-1] + b"\0")) == 1


def test_the_time_in_a_gzip_header(tmp_path: Path) -> None:
    [found] = contents(tmp_path, gzip.compress(b"same", mtime=1_795_524_311), gzip.compress(b"same", mtime=1_795_524_312))
    assert (found.what, found.suspects) == ("time", ("an embedded time",))


def test_another_compression_of_the_same(tmp_path: Path) -> None:
    """Differs only as compressed, and is told as that: by its bytes."""
    [found] = contents(tmp_path, gzip.compress(b"same" * 999, 1, mtime=0), gzip.compress(b"same" * 999, 9, mtime=0))
    assert found.at.startswith("offset 0x")


def test_binary_files(tmp_path: Path) -> None:
    """Offset and bytes of both, with what can be read in them."""
    [found] = contents(tmp_path, b"\0\1\2abc", b"\0\1\2abd")
    assert (found.at, found.before, found.again) == ("offset 0x5", "63  c", "64  d")


@pytest.mark.parametrize("order", ["<I", ">I"])
def test_a_time_in_a_binary_file(tmp_path: Path, order: str) -> None:
    """Four bytes that count the seconds up to the build, as in a .pyc; others of the same form are not taken for one."""
    one, other = (b"\0" * 9 + struct.pack(order, round(build.ended)) + b"\xff" for build in (CLUES.before, CLUES.again))
    assert contents(tmp_path, one, other)[0].suspects == ("an embedded time",)
    assert contents(tmp_path, one, b"\0" * 9 + struct.pack(order, 77) + b"\xff")[0].suspects == ()


def test_a_build_id_follows_from_the_rest(tmp_path: Path) -> None:
    """Of an ELF file the difference behind the build id is shown, not the id that comes first."""

    def program(build_id: bytes, code: bytes) -> bytes:
        return b"\x7fELF" + b"\0" * 60 + struct.pack("<III", 4, 20, 3) + b"GNU\0" + build_id * 20 + b"\0" * 40 + code

    [found] = contents(tmp_path, program(b"\x01", b"\xc3"), program(b"\x02", b"\xcc"))
    assert (found.before, found.again) == ("c3  .", "cc  .")


def test_a_text_in_a_binary_file(tmp_path: Path) -> None:
    """Is shown as a text, also where another length moves what follows and changes numbers before it."""
    one, other = (bytes([len(text)]) + b"\0\1" + text + b"\0same text\0" for text in (b"by root@bg", b"by root@elsewhere"))
    [found] = contents(tmp_path, one, other)
    assert (found.at, found.before, found.again) == ("offset 0x3", "by root@bg", "by root@elsewhere")
    assert found.suspects == ("the host's name",)


def test_lines_in_another_order(tmp_path: Path) -> None:
    [found] = contents(tmp_path, b"head\nb.c\na.c\n", b"head\na.c\nb.c\n")
    assert (found.at, found.suspects) == ("line 2", ("the order of a directory",))


def test_a_line_more(tmp_path: Path) -> None:
    [found] = contents(tmp_path, b"a\n", b"a\nb\n")
    assert (found.at, found.before, found.again) == ("line 2", "", "b")


def test_the_end_of_a_line(tmp_path: Path) -> None:
    """What no line shows is shown by its bytes."""
    [found] = contents(tmp_path, b"a\n", b"a")
    assert (found.at, found.before) == ("offset 0x1", "0a  .")


def test_there_is_an_end(tmp_path: Path) -> None:
    """Two builds that have nothing in common are not compared for ever."""
    files = {name: {f"{name}{number}": PackageFile("file") for number in range(MOST)} for name in "ab"}
    assert len(packages(tmp_path, files["a"], files["b"])) == MOST


def test_what_is_no_package(tmp_path: Path) -> None:
    """Is told, not raised."""
    for name in ("before", "again"):
        (tmp_path / name).write_bytes(name.encode())
    [found] = compared(tmp_path, "x.apk")
    assert (found.where, found.what) == (("x.apk",), "cannot be read")


def test_an_image_that_differs_in_its_index_alone(tmp_path: Path) -> None:
    """Whatever of an image differs is told, also where all platforms are the same."""
    config, manifest = b'{"os": "linux"}', b'{"config": {"digest": "sha256:c"}, "layers": []}'
    outputs = []
    for name in ("before", "again"):
        index = f'{{"manifests": [{{"digest": "sha256:m", "annotations": {{"name": "{name}"}}}}]}}'.encode()
        files = {"layout/index.json": index, "layout/blobs/sha256/m": manifest, "layout/blobs/sha256/c": config}
        outputs.append({path: tmp_path / name / path for path in files})
        for path, content in files.items():
            outputs[-1][path].parent.mkdir(parents=True, exist_ok=True)
            outputs[-1][path].write_bytes(content)
    before, again = outputs
    assert [difference.where for difference in compare(before, again, CLUES)] == [("layout/index.json",)]
    assert compare(before, before, CLUES) == []
