"""External packages over real HTTP: by nginx and by a server with faults, with passwords that are seen nowhere."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e.extras import EXTRAS, WOLFI, Extras, locked, uses
from tests.e2e.tiny import image, package
from tests.e2e.workspace import MANIFEST, Ran, Workspace
from tests.servers import Fault, Files, cut, drops, faulty_server, nginx_server, status

pytestmark = pytest.mark.e2e

SECRET = "correct-horse-battery"
INDEX = "/x86_64/APKINDEX.tar.gz"
Serve = Callable[..., AbstractContextManager[str]]
MOTD = "/x86_64/motd-1.0-r0.apk"


@pytest.fixture
def serve(nginx: Path, seed: Path, tmp_path: Path) -> Serve:
    """Serves the seed, by nginx."""
    return lambda login=None: nginx_server(nginx, seed, tmp_path, login)


@pytest.fixture
def files(empty: Workspace, seed: Path, tmp_path: Path) -> Iterator[Files]:
    """A repository with one package, whose server has faults, and a recipe that needs the package."""
    repository = Extras(tmp_path / "extras")
    repository.publish("motd", "1.0-r0", "hello\n" * 50_000)
    with faulty_server(repository.folder) as served:
        empty.write("buildgraph.yaml", MANIFEST.format(seed=seed) + f"  {EXTRAS}: {served.url}\n")
        empty.write("recipes/greeter.yaml", uses("greeter", "motd"))
        yield served


def asked(files: Files, path: str) -> list[str | None]:
    """The Range of every request for a file."""
    return [headers.get("Range") for requested, headers in files.requests if requested == path]


def kept(workspace: Workspace) -> list[Path]:
    """Everything that bg may have written for a workspace."""
    folders = [workspace.root, workspace.home / ".cache"]
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def holds(workspace: Workspace, content: bytes) -> list[Path]:
    """The files that have a content, as it is or within gzip (packages, layers, indexes)."""
    return [path for path in kept(workspace) if content in path.read_bytes() or content in inflated(path.read_bytes())]


def inflated(content: bytes) -> bytes:
    """What all gzip members hold, one after another."""
    found = b""
    while content.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        found += member.decompress(content)
        content = member.unused_data
    return found


def test_the_same_from_a_server_as_from_a_folder(empty: Workspace, seed: Path, serve: Serve) -> None:
    """The lock, the packages and the images do not tell where their repository lies; afterwards no server is needed."""
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    empty.write("recipes/all.yaml", image("one", "busybox"))
    by_folder, lock = empty.build("//..."), locked(empty)
    assert empty.bg("clean", "--cache").code == 0
    (empty.root / "buildgraph.lock").unlink()
    with serve() as url:
        empty.write("buildgraph.yaml", (empty.root / "buildgraph.yaml").read_text().replace(str(seed), url))
        by_server = empty.build("//...")
    assert by_server.ran == by_folder.ran == {"//:one", "//:all"}
    assert by_server.digests() == by_folder.digests()
    assert locked(empty) == lock
    empty.edit("recipes/one.yaml", "echo one", "echo two")
    assert empty.build("//...").ran == {"//:one", "//:all"}
    assert "index" not in {path.name for path in (empty.root / "cache").iterdir()}


@pytest.mark.parametrize("by", ["HTTP_AUTH", "NETRC", "~/.netrc"])
def test_a_password_is_seen_nowhere(empty: Workspace, seed: Path, serve: Serve, by: str) -> None:
    """Not in the cache, the lock, the state, the outputs, the logs, on the screen, nor from inside of a box."""
    hostile = 'env >"$OUT/usr/share/one"; cat /proc/*/environ >>"$OUT/usr/share/one" 2>/dev/null || true; env'
    empty.write("recipes/one.yaml", package("one", f'{hostile}; cat "$HOME/.netrc" /root/.netrc 2>/dev/null || true'))
    empty.write("recipes/bad.yaml", package("bad", "env; exit 1"))
    empty.write("recipes/all.yaml", image("one", "busybox"))
    with serve(("me", SECRET)) as url:
        empty.write("buildgraph.yaml", (empty.root / "buildgraph.yaml").read_text().replace(str(seed), url))
        refused = empty.bg("build", "//:one")
        assert refused.code == 11
        assert "the server answers 401 Unauthorized" in refused.err
        assert "HTTP_AUTH=basic:HOST:USER:PASSWORD or ~/.netrc" in refused.err
        wrong = empty.bg("build", "//:one", env={"HTTP_AUTH": f"basic:{url.removeprefix('http://')}:me:not-{SECRET}"})
        assert wrong.code == 11
        netrc = empty.home / (".netrc" if by == "~/.netrc" else "passwords")
        netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
        netrc.chmod(0o600)
        said = {
            "HTTP_AUTH": {"HTTP_AUTH": f"basic:{url.removeprefix('http://')}:me:{SECRET}"},
            "NETRC": {"NETRC": str(netrc)},
            "~/.netrc": {},
        }[by]
        runs: list[Ran] = [refused, wrong, empty.build("//:all", env=said)]
        runs += [empty.bg(*words, env=said) for words in (["build", "//:bad"], ["plan"], ["explain", "--key", "//:all"])]
        runs += [empty.bg("lock", "--upgrade", env=said), empty.bg("build", "//:one", "--sandbox=off", env=said)]
    assert runs[3].code == 1, runs[3].err
    netrc.unlink()
    assert not any(SECRET in run.out + run.err for run in runs)
    looked = [path for path in holds(empty, b"SOURCE_DATE_EPOCH=") if path.suffix == ".apk"]
    assert looked, "what the recipe wrote of its environment was not found"
    assert holds(empty, SECRET.encode()) == holds(empty, base64.b64encode(f"me:{SECRET}".encode())) == []


@pytest.mark.parametrize("place", ["manifest", "mirror", "package", "image"])
def test_a_password_in_an_address(empty: Workspace, place: str) -> None:
    """It is refused with its place, and not shown."""
    address = f"https://me:{SECRET}@apk.example/os"
    manifest = (empty.root / "buildgraph.yaml").read_text()
    if place == "manifest":
        empty.write("buildgraph.yaml", manifest.replace("repositories: [", f"repositories: [{address}, "))
    elif place == "mirror":
        empty.write("buildgraph.yaml", manifest.replace("mirrors:\n", f"mirrors:\n  https://other.example: {address}\n"))
    elif place == "package":
        empty.write("recipes/it.yaml", uses("it", "motd").replace(EXTRAS, address))
    else:
        contents = {"contents": {"repositories": [address], "packages": ["busybox"]}}
        empty.write("recipes/it.yaml", json.dumps(contents))
    done = empty.bg("build", "//...")
    assert done.code == (4 if place in {"manifest", "mirror"} else 5)
    assert "with a user or password in it" in done.err
    assert "takes the user and password from HTTP_AUTH or ~/.netrc" in done.err
    assert SECRET not in done.out + done.err
    assert [path for path in holds(empty, SECRET.encode()) if path.suffix != ".yaml"] == []


def test_faults_that_pass(empty: Workspace, files: Files) -> None:
    """A build goes through cuts, throttling and errors of the server as if nothing had been, and fetches nothing twice."""
    size = (files.folder / MOTD[1:]).stat().st_size
    files.faults = {
        "/extras.rsa.pub": [drops],
        INDEX: [status(500), cut(100)],
        MOTD: [status(429, Retry_After="1"), cut(size - 100), cut(size + 7, claim=size + 7)],
    }
    assert empty.build("//...").ran == {"//:greeter"}
    assert asked(files, INDEX) == [None, None, "bytes=100-"]
    assert asked(files, MOTD)[:3] == [None, None, f"bytes={size - 100}-"]
    before = len(files.requests)
    empty.edit("recipes/greeter.yaml", "cat /usr/share/motd", "head -n1 /usr/share/motd")
    assert empty.build("//...").ran == {"//:greeter"}
    assert len(files.requests) == before


@pytest.mark.parametrize(
    ("path", "fault", "reason"),
    [
        (INDEX, status(500), "the server answers 500 Internal Server Error (5 attempts)"),
        (MOTD, drops, "the server closed the connection without an answer (5 attempts)"),
        (INDEX, status(404), "the server answers 404 Not Found"),
    ],
)
def test_faults_that_stay(empty: Workspace, files: Files, path: str, fault: Fault, reason: str) -> None:
    """In the end the address, the reason and the attempts are told; nothing of it is kept."""
    # One more than attempts: what fails on a connection from before is asked on a new one within the attempt (RFC 9110, 9.2.2).
    files.faults = {path: [fault] * 6}
    done = empty.bg("build", "//...")
    assert done.code == 11
    assert f"cannot fetch {files.url}{path}: {reason}" in done.err
    assert "`mirrors:` in the manifest can name another place" in done.err
    assert holds(empty, b"hello\nhello") == []
    assert list((empty.root / "cache/tmp").glob("*/")) == []
    assert (empty.root / "buildgraph.lock").exists() == (path == MOTD)
    files.faults = {}
    assert empty.build("//...").ran == {"//:greeter"}


def another_package(files: Files) -> None:
    """The package is another one of the same name."""
    elsewhere = Extras(files.folder.parent / "elsewhere")
    elsewhere.publish("motd", "1.0-r0", "evil\n" * 1000)
    (files.folder / MOTD[1:]).write_bytes((elsewhere.folder / MOTD[1:]).read_bytes())


def half_a_package(files: Files) -> None:
    """The server promises, and sends, only the first half."""
    half = (files.folder / MOTD[1:]).stat().st_size // 2
    files.faults[MOTD] = [cut(half, claim=half)]


def a_page_instead(files: Files) -> None:
    """Something answers with a page for people."""
    (files.folder / MOTD[1:]).write_text("<html>Please log in</html>")


@pytest.mark.parametrize("change", [another_package, half_a_package, a_page_instead])
def test_what_is_not_the_locked_package(empty: Workspace, files: Files, change: Callable[[Files], None]) -> None:
    """It does not enter the cache, and the error says what to do."""
    assert empty.bg("lock").code == 0
    change(files)
    done = empty.bg("build", "//...")
    assert done.code == 11
    assert f"motd-1.0-r0.apk of {EXTRAS} is not the package that the lock names" in done.err
    assert f"at {files.url}{MOTD}" in done.err
    assert "`bg lock --upgrade motd` takes what it has now" in done.err
    blobs = [path for path in (empty.root / "cache/blobs").rglob("*") if path.is_file()]
    assert not any(path.read_bytes() == (files.folder / MOTD[1:]).read_bytes() for path in blobs)
    assert list((empty.root / "cache/tmp").glob("*/")) == []


def test_a_version_that_has_left_the_server(empty: Workspace, files: Files) -> None:
    """404 for a package of the lock means that its repository has moved on."""
    assert empty.bg("lock").code == 0
    files.faults[MOTD] = [status(404)]
    done = empty.bg("build", "//...")
    assert done.code == 11
    assert f"motd-1.0-r0.apk has left {EXTRAS}" in done.err
    assert "`bg lock --upgrade motd`" in done.err


def another_key(files: Files) -> None:
    """The key that lies there is not the one that signed."""
    other = Extras(files.folder.parent / "elsewhere")
    (files.folder / "extras.rsa.pub").write_bytes((other.folder / "extras.rsa.pub").read_bytes())


def resigned(files: Files) -> None:
    """Somebody else signed the index."""
    other = Extras(files.folder.parent / "elsewhere")
    other.publish("motd", "1.0-r0", "evil\n")
    (files.folder / INDEX[1:]).write_bytes((other.folder / INDEX[1:]).read_bytes())


@pytest.mark.parametrize("change", [another_key, resigned])
def test_an_index_that_does_not_verify(empty: Workspace, files: Files, change: Callable[[Files], None]) -> None:
    """Nothing of it is kept, and nothing locked."""
    change(files)
    index = (files.folder / INDEX[1:]).read_bytes()
    done = empty.bg("build", "//...")
    assert done.code == 11, done.err
    assert "does not verify against the keyring" in done.err
    assert not (empty.root / "buildgraph.lock").exists()
    assert [path for path in kept(empty) if path.read_bytes() == index] == []


def test_a_key_that_is_none(empty: Workspace, files: Files) -> None:
    """A page for people is not kept as a key."""
    key = (files.folder / "extras.rsa.pub").read_bytes()
    (files.folder / "extras.rsa.pub").write_text("<html>Please log in</html>")
    done = empty.bg("build", "//...")
    assert done.code == 11
    assert f"what lies at {files.url}/extras.rsa.pub is no public key" in done.err
    (files.folder / "extras.rsa.pub").write_bytes(key)
    assert empty.build("//...").ran == {"//:greeter"}


def test_a_proxy_of_the_environment(empty: Workspace, files: Files) -> None:
    """HTTP_PROXY counts, NO_PROXY too."""
    proxy = {"HTTP_PROXY": "http://127.0.0.1:1"}
    done = empty.bg("lock", env={**proxy, "NO_PROXY": "127.0.0.1"})
    assert done.code == 0, done.err
    assert WOLFI in (empty.root / "buildgraph.lock").read_text()
