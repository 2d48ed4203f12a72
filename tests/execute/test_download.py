"""Getting files over HTTP: whole or not at all, in as many attempts as it takes, and with nothing told that is secret."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildgraph.errors import CacheError, Interrupted, NoSuchFileError, RepositoryError
from buildgraph.execute.download import download
from buildgraph.structs import replace
from buildgraph.web import client, transfer
from buildgraph.web.access import Access, Login, without_login
from tests.servers import Fault, Files, Handler, cut, drops, etag, faulty_server, nginx_server, silence, status
from tests.waiting import PATIENCE, wait_for

CONTENT = bytes(range(256)) * 4096  # a mebibyte


class Pauses(list[float]):
    """Notes how long a download waits, instead of waiting."""

    def __call__(self, seconds: float) -> None:
        if seconds:
            self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def access(pauses: Pauses) -> Access:
    """Patient in attempts, not in time."""
    return Access(attempts=4, wait=pauses)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)
    with faulty_server(folder) as served:
        yield served


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here/file"


def says_nothing(handler: Handler, _content: bytes) -> None:
    """Not even that it heard."""
    handler.server.files.ended.wait()


def nothing_is_left(target: Path) -> bool:
    return list(target.parent.iterdir()) == []


def test_cuts_are_resumed(files: Files, target: Path, access: Access, pauses: Pauses) -> None:
    """Where the connection ends too early, only the rest is asked for, of the same content."""
    files.faults["/file"] = [cut(300_000), drops]
    download(f"{files.url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
    assert files.headers("Range") == [None, "bytes=300000-", "bytes=300000-"]
    assert files.headers("If-Range") == [None, etag(CONTENT), etag(CONTENT)]
    assert pauses == [0.5, 1]
    assert list(target.parent.iterdir()) == [target]


def test_silence_is_a_cut(files: Files, target: Path, access: Access) -> None:
    """A server that says nothing more is asked again for the rest."""
    files.faults["/file"] = [silence(1000)]
    download(f"{files.url}/file", target, access=replace(access, timeout=0.2))
    assert target.read_bytes() == CONTENT
    assert files.headers("Range") == [None, "bytes=1000-"]


def test_a_file_that_changed_meanwhile_starts_anew(files: Files, target: Path, access: Access) -> None:
    """Halves of two files are never put together: If-Range makes the server send the whole one."""
    files.faults["/file"] = [lambda handler, _: cut(1000)(handler, b"old" * 1000)]
    download(f"{files.url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
    assert files.headers("If-Range") == [None, etag(b"old" * 1000)]


@pytest.mark.parametrize("tag", ['W/"weak"', ""])
def test_without_a_strong_tag_nothing_is_resumed(files: Files, target: Path, access: Access, tag: str) -> None:
    """Nobody would know whether the rest belongs to the beginning."""
    headers = {"Content_Length": str(len(CONTENT)), **({"ETag": tag} if tag else {})}

    def weak(handler: Handler, content: bytes) -> None:
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content[:1000])
        handler.close_connection = True

    files.faults["/file"] = [weak]
    download(f"{files.url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
    assert files.headers("Range") == [None, None]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_statuses_that_pass(files: Files, target: Path, access: Access, pauses: Pauses, code: int) -> None:
    """They are tried again with growing pauses."""
    files.faults["/file"] = [status(code), status(code), status(code)]
    download(f"{files.url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
    assert pauses == [0.5, 1, 2]


@pytest.mark.parametrize(("asked", "waited"), [("7", 7), ("86400", 60), ("soon", 0.5), ("-3", 0.5)])
def test_the_server_may_ask_for_time(
    files: Files, target: Path, access: Access, pauses: Pauses, asked: str, waited: float
) -> None:
    """Retry-After counts, up to a minute; what is no time does not."""
    files.faults["/file"] = [status(429, Retry_After=asked)]
    download(f"{files.url}/file", target, access=access)
    assert pauses == [waited]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(500), "the server answers 500 Internal Server Error"),
        (status(429), "the server answers 429 Too Many Requests"),
        (drops, "the server closed the connection without an answer"),
        (cut(10), f"the answer ended {len(CONTENT) - 10} bytes too early"),
        (cut(len(CONTENT), claim=len(CONTENT) + 5, tag=False), "the answer ended 5 bytes too early"),
    ],
)
def test_it_gives_up_in_the_end(files: Files, target: Path, access: Access, fault: Fault, reason: str) -> None:
    """The error names the address, the reason, the attempts and what to do; nothing is left on the disk."""
    files.faults["/file"] = [fault] * 4
    with pytest.raises(RepositoryError) as caught:
        download(f"{files.url}/file", target, access=access)
    assert caught.value.what == f"cannot fetch {files.url}/file: {reason} (4 attempts)"
    assert "`mirrors:` in the manifest" in caught.value.hint
    assert len(files.requests) == 4
    assert nothing_is_left(target)


def test_a_promise_of_more_than_there_is(files: Files, target: Path, access: Access) -> None:
    """The server is asked for the rest, says that there is none, and the file is fetched anew."""
    files.faults["/file"] = [cut(len(CONTENT), claim=len(CONTENT) + 5), status(416)]
    download(f"{files.url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
    assert files.headers("Range") == [None, f"bytes={len(CONTENT)}-", None]


def test_a_part_that_was_not_asked_for(files: Files, target: Path, access: Access) -> None:
    """It is not put behind what is there; all is fetched anew."""
    files.faults["/file"] = [cut(1000), status(206, Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")]
    download(f"{files.url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
    assert files.headers("Range") == [None, "bytes=1000-", None]


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        (404, NoSuchFileError, "is the address right?"),
        (410, NoSuchFileError, "is the address right?"),
        (401, RepositoryError, "HTTP_AUTH=basic:HOST:USER:PASSWORD or ~/.netrc"),
        (403, RepositoryError, "HTTP_AUTH=basic:HOST:USER:PASSWORD or ~/.netrc"),
        (400, RepositoryError, "`mirrors:`"),
    ],
)
def test_statuses_that_stay(
    files: Files, target: Path, access: Access, code: int, kind: type[RepositoryError], hint: str
) -> None:
    """They are told at once."""
    files.faults["/file"] = [status(code)]
    with pytest.raises(kind) as caught:
        download(f"{files.url}/file", target, access=access)
    assert f"the server answers {code}" in caught.value.what
    assert hint in caught.value.hint
    assert len(files.requests) == 1
    assert nothing_is_left(target)


def test_nobody_listens(target: Path, access: Access) -> None:
    """A connection that is refused is tried again, and told in plain words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/file"
        with pytest.raises(RepositoryError) as caught:
            download(address, target, access=access)
    assert caught.value.what == f"cannot fetch {address}: Connection refused (4 attempts)"


@pytest.mark.parametrize("address", ["http://[::1/file", "http://"])
def test_no_address(target: Path, access: Access, address: str) -> None:
    """What cannot be an address is not asked."""
    with pytest.raises(RepositoryError, match="no address"):
        download(address, target, access=access)


def test_an_interrupt_ends_it(files: Files, target: Path) -> None:
    """Whoever gives up does not wait for the next attempt."""
    files.faults["/file"] = [status(500)] * 9
    with pytest.raises(Interrupted):
        download(f"{files.url}/file", target, access=Access(wait=lambda _: True))
    assert len(files.requests) == 1
    assert nothing_is_left(target)


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_a_silent_server_holds_nobody_up(files: Files, target: Path, access: Access, after: int | None) -> None:
    """Who ends bg need not wait until a server is given up, be it before its answer or in the middle of it."""
    files.faults["/file"] = [says_nothing if after is None else silence(after)]
    patient = replace(access, timeout=100_000, wait=lambda _: transfer.stopped.is_set())
    failures: list[BaseException] = []

    def get() -> None:
        try:
            download(f"{files.url}/file", target, access=patient)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    thread = threading.Thread(target=get)
    thread.start()
    wait_for(lambda: files.requests)
    client.interrupt()
    thread.join(PATIENCE)
    transfer.stopped.clear()
    assert not thread.is_alive()
    assert [type(error) for error in failures] == [Interrupted]
    assert not target.exists()


def test_a_full_disk_is_no_fault_of_the_server(files: Files, access: Access) -> None:
    """It is the cache's error, and nothing is asked again."""
    with pytest.raises(CacheError):
        download(f"{files.url}/file", Path("/proc/nowhere/file"), access=access)
    assert files.requests == []


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_credentials_go_to_their_host_only(files: Files, target: Path, access: Access) -> None:
    """A redirect to another host does not take them along."""
    host = files.url.removeprefix("http://")
    elsewhere = files.url.replace("127.0.0.1", "localhost")
    files.faults["/file"] = [status(302, Location=f"{elsewhere}/file")]
    download(f"{files.url}/file", target, access=replace(access, http_auth=f"basic:{host}:me:secret"))
    assert files.headers("Authorization") == [basic("me", "secret"), None]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("http_auth", "address", "login"),
    [
        ("basic:apk.example:me:pass", "https://apk.example/os/x", Login("me", "pass")),
        ("basic:apk.example:me:pa:ss", "https://apk.example/os/x", Login("me", "pa:ss")),
        ("basic:apk.example:8080:me:pass", "http://apk.example:8080/os", Login("me", "pass")),
        ("basic:apk.example:8080:me:pass", "http://apk.example/os", None),
        ("basic:apk.example:me:pass", "https://other.example/os", None),
        ("basic:apk.example:me:pass", "https://apk.example:8080/os", None),
        ("basic:*:me:pass", "https://apk.example/os", None),
        ("basic:APK.example:me:pass", "https://apk.EXAMPLE/os", Login("me", "pass")),
        ("", "https://u%40x:p%3Aw@apk.example/os", Login("u@x", "p:w")),
    ],
)
def test_what_http_auth_means(http_auth: str, address: str, login: Login | None) -> None:
    """The host is that of the address with its port, as apko has it; the password may have colons, as for melange."""
    assert Access(http_auth=http_auth).login(address) == login


@pytest.mark.parametrize("text", ["basic:host", "bearer:host:secret-user:secret-word", "secret-word"])
def test_a_malformed_http_auth(text: str) -> None:
    """It is told without what it holds."""
    with pytest.raises(RepositoryError) as caught:
        Access(http_auth=text).login("https://apk.example/os")
    assert "secret" not in caught.value.render()


def test_netrc(tmp_path: Path) -> None:
    """It serves hosts that HTTP_AUTH does not name; its default is for no host in particular, so for none."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine apk.example login me password pass\ndefault login anyone password secret\n")
    access = Access(netrc=netrc)
    assert access.login("https://apk.example:8080/os") == Login("me", "pass")
    assert access.login("https://other.example/os") is None
    assert replace(access, http_auth="basic:apk.example:you:word").login("https://apk.example") == Login("you", "word")
    assert Access(netrc=tmp_path / "missing").login("https://apk.example") is None


def test_a_malformed_netrc(tmp_path: Path) -> None:
    """The line is told, not what stands in it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine apk.example\nlogin me passwort secret-word\n")
    with pytest.raises(RepositoryError) as caught:
        Access(netrc=netrc).login("https://apk.example/os")
    assert f"{netrc}:2: not a line of a netrc file" in caught.value.what
    assert "secret" not in caught.value.render()
    netrc.write_bytes(b"\xff\xfe")
    with pytest.raises(RepositoryError, match="netrc"):
        Access(netrc=netrc).login("https://apk.example/os")


def test_what_the_environment_says() -> None:
    """Where passwords and proxies are; a proxy in small letters goes before, and NO_PROXY is for hosts that need none."""
    said = {
        "HOME": "/home/me",
        "HTTPS_PROXY": "http://BIG",
        "https_proxy": "small:3128",
        "NO_PROXY": "in.example",
        "HTTP_AUTH": "a",
    }
    access = Access.of(said)
    assert access.http_auth == "a"
    assert access.netrc == Path("/home/me/.netrc")
    assert access.proxy("https://apk.example/os") == "http://small:3128"
    assert access.proxy("https://apk.in.example/os") == ""
    assert access.proxy("http://apk.example/os") == ""
    assert Access.of({"NETRC": "/etc/netrc", "ALL_PROXY": "http://p"}).netrc == Path("/etc/netrc")
    assert "secret" not in repr(Access.of({"HTTP_AUTH": "secret", "HTTP_PROXY": "http://u:secret@p"}))
    assert without_login("https://me:secret@apk.example:80/os?a=b") == "https://apk.example:80/os?a=b"


def test_through_a_proxy(files: Files, target: Path, access: Access) -> None:
    """The proxy gets the whole address, and its own password."""
    host = files.url.removeprefix("http://")
    (files.folder / "http:/apk.example").mkdir(parents=True)
    (files.folder / "http:/apk.example/x").write_bytes(b"by proxy")
    download("http://apk.example/x", target, access=replace(access, proxies={"http": f"http://me:word@{host}"}))
    assert target.read_bytes() == b"by proxy"
    assert [path for path, _ in files.requests] == ["http://apk.example/x"]
    assert files.headers("Proxy-Authorization") == [basic("me", "word")]


@pytest.mark.parametrize("proxy", ["socks9://me:secret@proxy.example", "http://me:secret@[::1"])
def test_a_proxy_that_is_none(target: Path, access: Access, proxy: str) -> None:
    """It is told without its password."""
    with pytest.raises(RepositoryError) as caught:
        download("http://apk.example/x", target, access=replace(access, proxies={"http": proxy}))
    assert "the proxy that the environment names" in caught.value.what
    assert "secret" not in caught.value.render()


def test_passwords_of_any_letters(files: Files, target: Path, access: Access) -> None:
    """They are sent as UTF-8."""
    host = files.url.removeprefix("http://")
    download(f"{files.url}/file", target, access=replace(access, http_auth=f"basic:{host}:me:pässwörd☃"))
    assert files.headers("Authorization") == [basic("me", "pässwörd☃")]


@pytest.mark.parametrize("login", [None, ("me", "pass")])
def test_nginx(tmp_path: Path, target: Path, access: Access, nginx: Path, login: tuple[str, str] | None) -> None:
    """A real server, with a password and without."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/file").write_bytes(CONTENT)
    with nginx_server(nginx, tmp_path / "files", tmp_path, login) as url:
        if login:
            with pytest.raises(RepositoryError, match="401 Unauthorized"):
                download(f"{url}/file", target, access=access)
            access = replace(access, http_auth=f"basic:{url.removeprefix('http://')}:me:pass")
        download(f"{url}/file", target, access=access)
    assert target.read_bytes() == CONTENT
