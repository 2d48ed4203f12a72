"""The rules of the content-addressed store."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3

from buildgraph.cache import files
from buildgraph.cache.cas import Cas, MissingBlobError
from buildgraph.errors import CacheError

SHM = Path("/dev") / "shm"
HELLO = blake3(b"hello").hexdigest()


def damage(cas: Cas, digest: str, data: bytes) -> None:
    path = cas.path(digest)
    path.chmod(0o644)
    path.write_bytes(data)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_blob_is_a_plain_read_only_file_named_by_its_digest(cas: Cas, root: Path) -> None:
    """Nothing but the digest's tool is needed to read and check the store."""
    digest = cas.put_bytes(b"hello")

    assert digest == HELLO
    assert cas.path(digest) == root / "blobs" / HELLO[:2] / HELLO
    assert cas.path(digest).read_bytes() == b"hello"
    assert stat.S_IMODE(cas.path(digest).stat().st_mode) == 0o444
    assert (cas.has(digest), cas.size(digest), cas.read(digest), cas.verify(digest)) == (True, 5, b"hello", True)


@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum is not on PATH")
def test_b3sum_prints_the_name_of_a_blob(cas: Cas) -> None:
    """The digest is the one that the standard tool computes."""
    path = cas.path(cas.put_bytes(b"hello"))

    assert subprocess.run(["b3sum", "--no-names", path], capture_output=True, text=True, check=True).stdout.strip() == path.name


@pytest.mark.parametrize("size", [0, 1, files.CHUNK - 1, files.CHUNK, 3 * files.CHUNK + 1])
@pytest.mark.parametrize("move", [False, True])
def test_a_file_of_any_size_is_stored_whole(cas: Cas, tmp_path: Path, size: int, move: bool) -> None:
    """A file gives the same blob as its bytes; a moved one is gone, a copied one untouched."""
    data = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(data)

    digest = cas.put_file(source, move=move)

    assert cas.read(digest) == data
    assert stat.S_IMODE(cas.path(digest).stat().st_mode) == 0o444
    assert source.exists() is not move


def test_moving_a_file_copies_nothing(cas: Cas, tmp_path: Path) -> None:
    """Within a file system a move is a rename."""
    source = tmp_path / "source"
    source.write_bytes(b"hello")
    inode = source.stat().st_ino

    cas.put_file(source, move=True)

    assert cas.path(HELLO).stat().st_ino == inode


def test_moving_a_file_with_another_name_copies_it(cas: Cas, tmp_path: Path) -> None:
    """A blob must not be writable through a name outside the store."""
    source, other = tmp_path / "source", tmp_path / "other"
    source.write_bytes(b"hello")
    other.hardlink_to(source)

    cas.put_file(source, move=True)
    other.write_bytes(b"changed")

    assert not source.exists()
    assert cas.read(HELLO) == b"hello"


def test_moving_a_symlink_takes_the_content_and_leaves_its_target(cas: Cas, tmp_path: Path) -> None:
    """What is moved is the name that was given."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"hello")
    link.symlink_to(target)

    cas.put_file(link, move=True)

    assert (link.is_symlink(), target.read_bytes(), cas.path(HELLO).is_symlink()) == (False, b"hello", False)


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="/dev/shm is not there to be a second file system")
def test_another_file_system_means_a_copy(cas: Cas) -> None:
    """Where neither rename nor link work, the result is the same."""
    folder = SHM / f"bg-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "source").write_bytes(b"hello")

        cas.put_file(folder / "source", move=True)
        cas.link(HELLO, folder / "linked")

        assert not (folder / "source").exists()
        assert (folder / "linked").read_bytes() == b"hello"
        assert stat.S_IMODE((folder / "linked").stat().st_mode) == 0o444
    finally:
        shutil.rmtree(folder)


def test_a_blob_that_exists_is_kept(cas: Cas, tmp_path: Path) -> None:
    """Putting the same content again writes nothing, and notes the use in the access time."""
    cas.put_bytes(b"hello")
    before = cas.path(HELLO).stat()
    os.utime(cas.path(HELLO), (0, before.st_mtime))
    (tmp_path / "source").write_bytes(b"hello")

    for put in (partial(cas.put_bytes, b"hello"), partial(cas.put_file, tmp_path / "source")):
        put()
        after = cas.path(HELLO).stat()

        assert (after.st_ino, int(after.st_mtime)) == (before.st_ino, int(before.st_mtime))
        assert after.st_atime >= before.st_mtime


@pytest.mark.parametrize("left", [b"", b"hel"])
def test_putting_heals_a_blob_of_the_wrong_size(cas: Cas, left: bytes) -> None:
    """What a power cut left of a blob is replaced."""
    cas.put_bytes(b"hello")
    damage(cas, HELLO, left)

    assert not cas.has(HELLO, size=5)
    cas.put_bytes(b"hello")
    assert cas.read(HELLO) == b"hello"


def test_an_empty_file_is_only_the_empty_blob(cas: Cas, tmp_path: Path) -> None:
    """The commonest damage, a file without its content, is seen without reading."""
    cas.put_bytes(b"hello")
    empty = cas.put_bytes(b"")
    damage(cas, HELLO, b"")

    assert cas.has(empty)
    assert not cas.has(HELLO)
    with pytest.raises(MissingBlobError):
        cas.link(HELLO, tmp_path / "out")


@pytest.mark.parametrize("how", ["read", "verify"])
def test_a_wrong_blob_goes_to_quarantine_and_is_missing(cas: Cas, root: Path, how: str) -> None:
    """Wrong bytes are never handed out, and kept for whoever wants to know what happened."""
    cas.put_bytes(b"hello")
    damage(cas, HELLO, b"jello")

    if how == "verify":
        assert not cas.verify(HELLO)
    else:
        with pytest.raises(MissingBlobError):
            cas.read(HELLO)

    assert not cas.has(HELLO)
    (kept,) = (root / "quarantine").iterdir()
    assert (kept.name[:64], kept.read_bytes()) == (HELLO, b"jello")


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n", "é" * 64])
def test_what_is_no_digest_names_no_blob(cas: Cas, tmp_path: Path, digest: str) -> None:
    """A digest from a record cannot lead out of the store."""
    assert not cas.has(digest)
    assert not cas.verify(digest)
    for use in (cas.path, cas.size, cas.read, lambda name: cas.link(name, tmp_path / "out")):
        with pytest.raises(MissingBlobError):
            use(digest)


def test_a_folder_or_symlink_in_place_of_a_blob_is_no_blob(cas: Cas, root: Path) -> None:
    """Only regular files count."""
    (root / "blobs" / "ab").mkdir(parents=True)
    (root / "blobs" / "ab" / ("ab" * 32)).mkdir()
    (root / "blobs" / "ab" / ("ab" + "0" * 62)).symlink_to("/etc/passwd")

    assert list(cas.iter_blobs()) == []
    assert not cas.has("ab" * 32)


def test_blobs_are_listed_in_order_without_what_is_not_theirs(cas: Cas, root: Path) -> None:
    """Foreign files are no blobs."""
    digests = sorted(cas.put_bytes(bytes([number])) for number in range(50))
    (root / "blobs" / "README").write_text("?")
    (root / "blobs" / digests[0][:2] / "notes").write_text("?")
    (root / "blobs" / digests[0][:2] / ("f" * 64)).write_text("?")

    assert list(cas.iter_blobs()) == digests


def test_a_link_shares_the_blob_and_replaces_what_is_there(cas: Cas, tmp_path: Path) -> None:
    """An output costs no space, and a name never shows anything but the old or the new file."""
    out = tmp_path / "out"
    cas.put_bytes(b"hello")
    out.write_bytes(b"old")
    old = out.open("rb")

    for _ in range(2):
        cas.link(HELLO, out)

        assert out.samefile(cas.path(HELLO))
    with old:
        assert old.read() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out"]


def test_a_link_replaces_a_symlink_and_not_its_target(cas: Cas, tmp_path: Path) -> None:
    """What stands at the destination is the symlink."""
    cas.put_bytes(b"hello")
    (tmp_path / "target").write_bytes(b"kept")
    (tmp_path / "out").symlink_to(tmp_path / "target")

    cas.link(HELLO, tmp_path / "out")

    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"kept"


def test_executables_are_copies_and_leave_the_blob_alone(cas: Cas, tmp_path: Path) -> None:
    """A hard link would make the blob executable for all."""
    cas.put_bytes(b"hello")

    cas.link(HELLO, tmp_path / "tool", executable=True)

    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o555
    assert stat.S_IMODE(cas.path(HELLO).stat().st_mode) == 0o444
    assert not (tmp_path / "tool").samefile(cas.path(HELLO))


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
@pytest.mark.parametrize("there", [False, True])
def test_where_no_link_can_be_a_copy_is_made(
    cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, there: bool
) -> None:
    """Too many links, another file system, one without links: none is an error."""
    cas.put_bytes(b"hello")
    if there:
        (tmp_path / "out").write_bytes(b"old")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(number, os.strerror(number))))

    cas.link(HELLO, tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == b"hello"
    assert not (tmp_path / "out").samefile(cas.path(HELLO))


def test_a_real_file_system_runs_out_of_links(cas: Cas, tmp_path: Path) -> None:
    """At the limit of links to one file, the next one is a copy."""
    limit = os.pathconf(tmp_path, "PC_LINK_MAX")
    if not 0 < limit <= 65_000:
        pytest.skip(f"this file system allows {limit} links")
    cas.put_bytes(b"hello")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(limit - 1):
        os.link(cas.path(HELLO), many / str(number))

    cas.link(HELLO, tmp_path / "out")

    assert not (tmp_path / "out").samefile(cas.path(HELLO))
    assert (tmp_path / "out").read_bytes() == b"hello"


def refuse(*_: int) -> int:
    raise OSError(errno.EXDEV, "?")


def end_early(source: int, target: int, count: int, copied: list[int]) -> int:
    if copied:
        return 0
    copied.append(os.sendfile(target, source, None, min(count, 1000)))
    return copied[0]


@pytest.mark.parametrize("kernel", ["helps", "refuses", "ends early"])
def test_copies_are_whole_with_and_without_the_kernels_help(
    cas: Cas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    """copy_file_range may be missing, refuse two file systems, or end before the end, as some FUSE file systems have it."""
    data = os.urandom(2 * files.CHUNK + 7)
    digest = cas.put_bytes(data)
    if kernel != "helps":
        copied = list[int]()
        monkeypatch.setattr(os, "copy_file_range", refuse if kernel == "refuses" else partial(end_early, copied=copied))

    cas.copy(digest, tmp_path / "out", 0o640)

    assert (tmp_path / "out").read_bytes() == data
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


def test_a_destination_that_cannot_be_is_an_error_that_names_it(cas: Cas, tmp_path: Path) -> None:
    """A missing folder, or a folder in the way."""
    cas.put_bytes(b"hello")
    (tmp_path / "folder").mkdir()

    for destination in (tmp_path / "no" / "out", tmp_path / "folder"):
        with pytest.raises(CacheError, match=str(destination)) as caught:
            cas.link(HELLO, destination)
        assert not isinstance(caught.value, MissingBlobError)
    assert files_in(tmp_path / "folder") == []


def test_only_regular_files_are_taken_in(cas: Cas, tmp_path: Path) -> None:
    """A named pipe does not block, a folder and a missing file are told."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "", "missing"):
        with pytest.raises(CacheError, match="cannot read"):
            cas.put_file(tmp_path / name)


def test_a_disk_that_cannot_read_a_blob_any_more_has_lost_it(cas: Cas, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blob is made again rather than the build broken."""
    cas.put_bytes(b"hello")
    monkeypatch.setattr(Cas, "_digest_of", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "?")))

    assert not cas.verify(HELLO)
    assert not cas.has(HELLO)


def test_scratch_is_removed_with_all_that_a_build_leaves(cas: Cas, root: Path) -> None:
    """Read-only folders, symlinks that lead out, and paths longer than the system takes."""
    outside = root.parent / "outside"
    outside.mkdir(mode=0o500)
    with cas.scratch() as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch(0o444)
        (folder / "out").symlink_to(outside)
        (folder / "a" / "b").chmod(0)
        (folder / "a").chmod(0o500)
        place = os.getcwd()
        try:
            os.chdir(folder)
            for _ in range(1500):
                os.mkdir("deeper")
                os.chdir("deeper")
        finally:
            os.chdir(place)

    assert files_in(root / "tmp") == ["gate"]
    assert not folder.exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o500


def test_an_error_in_scratch_is_the_users_own(cas: Cas, root: Path) -> None:
    """The folder is removed and the error is not dressed as one of the cache."""
    with pytest.raises(FileNotFoundError), cas.scratch() as folder:
        (folder / "missing").read_bytes()

    assert files_in(root / "tmp") == ["gate"]


def test_sweeping_leaves_what_is_in_use(cas: Cas, root: Path) -> None:
    """Only what no living process has locked goes, and nothing that bg did not name."""
    (root / "tmp").mkdir()
    (root / "tmp" / "mine.txt").touch()
    with cas.scratch() as folder:
        (folder / "file").touch()

        assert Cas(root, blake3).sweep() == 0
        assert (folder / "file").exists()
    assert files_in(root / "tmp") == ["gate", "mine.txt"]


def test_sweeping_a_cache_that_was_never_used_does_nothing(cas: Cas, root: Path) -> None:
    """Not even a folder is made."""
    assert cas.sweep() == 0
    assert not (root / "tmp").exists()
