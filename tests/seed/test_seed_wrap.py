"""From a plan entry to an apk, and from apks to a repository: same bytes, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildgraph import structs
from buildgraph.structs import replace

pytest.importorskip("elftools")

from buildgraph.apk.index import IndexEntry, read_index_archive
from buildgraph.apk.package import read_package
from buildgraph.errors import OutputError, RepositoryError
from tools.seed.check import Made, check
from tools.seed.debian import Deb, is_whole
from tools.seed.elf import library_version, links, scan
from tools.seed.fixups import applets
from tools.seed.layout import Tree, file, link
from tools.seed.plan import Item
from tools.seed.store import Store, make_link, signing_key
from tools.seed.wrap import Bench, fingerprint, recall, wrap, wrap_all

MakeDeb = Callable[..., Deb]


def item(*debs: Deb, name: str = "a") -> Item:
    """A plan entry of a package with nothing special about it."""
    return Item(name, "1.0-r1", "x86_64", name, debs, ("glibc",), ("other=1.0-r1",), (), ())


def say(_: str) -> None:
    """Say nothing."""


def test_an_apk_says_what_its_plan_and_its_files_say(make_deb: MakeDeb, debs: Path, tmp_path: Path) -> None:
    """Names, dependencies and provides of the plan, with cmd: and pc: for the files."""
    deb = make_deb("a", {"bin/tool": b"#!/bin/sh\n", "usr/lib/x86_64-linux-gnu/pkgconfig/a.pc": "Name: a\n"})

    wrapped = wrap(item(deb), debs, tmp_path / "a.apk")

    assert read_package(tmp_path / "a.apk", verify=True).entry == structs.replace(wrapped.entry, checksum=wrapped.entry.checksum)
    assert wrapped.entry.depends == ("glibc",)
    assert wrapped.entry.provides == ("cmd:tool=1.0-r1", "other=1.0-r1", "pc:a=1.0-r1")


def test_the_same_deb_gives_the_same_bytes(
    make_deb: MakeDeb, debs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time zone, locale, umask, moment, folder: nothing of the surroundings is in an apk."""
    deb = make_deb("a", {"bin/b": b"x" * 70000, "bin/a": b"y", "etc/ü": "z", "lib/l": "-> ../bin/a"})
    first = wrap(item(deb), debs, tmp_path / "a.apk")
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.chdir(tmp_path)
    time.tzset()
    before = os.umask(0o077)
    (tmp_path / "elsewhere").mkdir()
    try:
        second = wrap(item(deb), debs, Path("elsewhere/b.apk"))
    finally:
        os.umask(before)
        monkeypatch.undo()
        time.tzset()

    assert first.path.read_bytes() == (tmp_path / "elsewhere" / "b.apk").read_bytes()
    assert first.sha256 == second.sha256


def test_what_is_wrapped_is_recalled_and_what_is_damaged_is_made_again(make_deb: MakeDeb, debs: Path, tmp_path: Path) -> None:
    """An apk without its note, or with other bytes than the note says, does not count."""
    bench = Bench(debs, tmp_path / "apks", 1)
    plan = [item(make_deb("a", {"bin/a": b"a"}))]
    [first] = wrap_all(plan, bench, say)
    said: list[str] = []
    [again] = wrap_all(plan, bench, said.append)

    assert again == first
    assert said == ["wrap: 0 of 1 packages to make, 1 at a time"]

    first.path.write_bytes(first.path.read_bytes()[:-1])

    assert recall(first.path) is None
    [healed] = wrap_all(plan, bench, say)
    assert healed == first


def test_the_fingerprint_covers_debs_and_maker(make_deb: MakeDeb) -> None:
    """Another package, another plan or another maker is another apk."""
    one, other = (item(make_deb(name, {"bin/a": name.encode()})) for name in ("a", "b"))
    prints = [fingerprint(one, "m"), fingerprint(other, "m"), fingerprint(one, "n"), fingerprint(replace(one, leave=("x",)), "m")]

    assert len(set(prints)) == len(prints)
    assert fingerprint(one, "m") == fingerprint(replace(one), "m")


def test_a_broken_deb_is_an_error_that_names_it(debs: Path, tmp_path: Path) -> None:
    """Never a traceback."""
    deb = Deb("a", "1.0-1", "amd64", 4, "0", "", "")
    (debs / deb.filename).write_bytes(b"junk")

    assert not is_whole(debs / deb.filename, deb)
    with pytest.raises(RepositoryError, match=r"a_1.0-1_amd64.deb cannot be unpacked"):
        wrap(item(deb), debs, tmp_path / "a.apk")


def test_a_repository_appears_whole_and_signed(make_deb: MakeDeb, debs: Path, tmp_path: Path) -> None:
    """Its name follows from its packages alone; the key may change, the name does not."""
    store = Store(tmp_path / "store")
    key = signing_key(tmp_path / "key", say)
    plan = [item(make_deb("a", {"bin/a": b"a"}))]
    with store.locked(say):
        packages = dict(zip(plan, wrap_all(plan, Bench(debs, store.apks, 1), say), strict=True))
        folder = store.publish("small", packages, key)
        store.note_made("request", folder)

    assert (tmp_path / "key" / "wolfi-signing.rsa").stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in read_index_archive((folder / "x86_64" / "APKINDEX.tar.gz").read_bytes())] == ["a"]
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "wolfi-signing.rsa.pub", "x86_64"]
    assert store.made_before("request") == folder
    assert store.is_signed(folder, tmp_path / "key")

    again = store.publish("small", packages, signing_key(tmp_path / "other", say))

    assert again == folder
    assert not store.is_signed(folder, key)

    (folder / "x86_64" / "a-1.0-r1.apk").unlink()

    assert store.made_before("request") is None


def test_a_link_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    """--link moves a link in one step, and refuses to replace a folder or file."""
    make_link(tmp_path / "seed", tmp_path / "one")
    make_link(tmp_path / "seed", tmp_path / "two")

    assert (tmp_path / "seed").readlink() == tmp_path / "two"

    (tmp_path / "file").touch()

    with pytest.raises(OutputError, match="no symbolic link"):
        make_link(tmp_path / "file", tmp_path / "one")


def test_a_set_is_checked_for_what_apko_would_refuse() -> None:
    """Unmet dependencies, rivals and clashing files are each named with the packages at fault."""
    packages = [
        Made(
            IndexEntry("a", "1-r0", depends=("so:gone.so.1", "b>1"), provides=("cmd:x=1-r0", "virtual")),
            {"etc/x": "1", "etc/y": "1"},
        ),
        Made(IndexEntry("b", "1-r0", provides=("cmd:x=2-r0", "virtual")), {"etc/x": "2", "etc/y": "1"}),
    ]

    with pytest.raises(RepositoryError) as caught:
        check(packages)

    assert caught.value.details.splitlines() == [
        "a depends on so:gone.so.1, which nothing provides",
        "a depends on b>1, which nothing provides",
        "a and b both provide cmd:x",
        "a and b both have etc/x, with different content",
    ]


def test_a_program_depends_on_the_libraries_that_it_asks_for() -> None:
    """The interpreter that runs this test is an ELF file that needs the C library; a library in the package is none of it."""
    program = Path("/bin/sh").resolve().read_bytes()
    found = links(program)
    tree: Tree = {"usr/bin/x": file(program, 0o755), "usr/bin/y": link("x"), "usr/lib/private/libc.so.6": file("")}

    provides, depends = scan(tree, "1-r0")

    assert "libc.so.6" in found.needed
    assert found.interpreter.startswith("/lib")
    assert provides == {"cmd:x=1-r0", "cmd:y=1-r0"}
    assert "so:libc.so.6" not in depends
    assert any(name.startswith("so:ld-linux") for name in depends)
    assert links(b"\x7fELF junk") == links(b"") == links(program[:100])


@pytest.mark.parametrize(
    ("soname", "version"), [("libz.so.1", "1"), ("libfoo.so", "0"), ("libfoo-2.3.so", "0"), ("a.so.1.2", "1.2")]
)
def test_a_library_is_provided_with_its_soname_version(soname: str, version: str) -> None:
    """The digits after .so., or 0 (melange: pkg/sca/sca.go)."""
    assert library_version(soname) == version


def test_applets_are_read_from_the_binary() -> None:
    """Busybox holds their sorted names, a zero after each, an empty one at the end."""
    assert applets(b"\x7fELF\0\0junk\0[\0[[\0acpid\0zcat\0\0more\0") == ["[", "[[", "acpid", "zcat"]
    with pytest.raises(RepositoryError, match="applets"):
        applets(b"\x7fELF nothing")
