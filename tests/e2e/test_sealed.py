"""An action sees what its key covers and nothing else: recipes that look for more find nothing.

Each probe is a shell line that succeeds where it finds what it looks for. It is run on the host too, where it must succeed:
a probe that finds nothing anywhere would prove nothing.
"""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.tiny import package
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e

SECRET = "the-secret-of-the-host"


def refuses(workspace: Workspace, probe: str, *, needs: tuple[str, ...] = ()) -> None:
    """A recipe that fails when its probe finds something is built."""
    workspace.write("recipes/probe.yaml", package("probe", f"if {probe}; then echo FOUND IT; exit 7; fi", needs=needs))
    workspace.build("//:probe")


def finds(probe: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """On the host the same probe finds what it looks for."""
    subprocess.run(
        ["sh", "-c", probe], env={"PATH": "/usr/bin:/bin", **(env or {})}, cwd=cwd, check=True, stdout=subprocess.DEVNULL
    )


def test_the_home_folder_and_other_places_of_the_host(empty: Workspace, tmp_path: Path) -> None:
    """Files of the user and of others, wherever they lie."""
    for place in (empty.home, tmp_path, empty.root, Path("/var/tmp")):
        path = place / f"{SECRET}-{os.getpid()}"
        path.write_text(SECRET)
        try:
            probe = f"grep -q {SECRET} {path}"
            finds(probe)
            refuses(empty, probe)
            refuses(empty, f"find / -name '{path.name}' 2>/dev/null | grep -q .")
        finally:
            path.unlink()


def test_the_environment_of_the_host(empty: Workspace) -> None:
    """Nothing of it reaches a step."""
    probe = f"env | grep -q {SECRET}"
    finds(probe, {"TOKEN": SECRET})
    empty.environment["TOKEN"] = SECRET
    refuses(empty, probe)
    refuses(empty, f"cat /proc/*/environ 2>/dev/null | grep -q {SECRET}")


def test_neighbours_and_the_cache(empty: Workspace) -> None:
    """Another recipe's sources, its package, and the cache that holds both."""
    empty.write("recipes/other.yaml", package("other", 'echo other >"$OUT/usr/share/other-file"'))
    empty.write(f"recipes/other/{SECRET}", "x")
    empty.build("//:other")
    probe = f"find / -name '{SECRET}' 2>/dev/null | grep -q ."
    finds(f"find {empty.root} -name '{SECRET}' | grep -q .")
    refuses(empty, probe)
    refuses(empty, "find / -name 'other*.apk' -o -name other-file 2>/dev/null | grep -q .")
    refuses(empty, f"test -e {empty.root}/cache || test -e /bg || test -e /apk-cache")
    refuses(empty, "find / -name 'stock-*' -path '*blobs*' 2>/dev/null | grep -q .")


def test_an_undeclared_package_is_not_there(empty: Workspace) -> None:
    """What is installed is what the recipe names: a declared one is, an undeclared one is not."""
    empty.write("recipes/other.yaml", package("other", 'echo other >"$OUT/usr/share/other-file"'))
    refuses(empty, "test -e /usr/share/other-file")
    empty.write("recipes/probe.yaml", package("probe", "test -e /usr/share/other-file", needs=("other",)))
    empty.build("//:probe")


def test_the_processes_of_the_host(empty: Workspace) -> None:
    """No process of the host shows."""
    probe = "cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -q 'buildgrap[h]'"
    finds(f"sh -c 'sleep 1; : buildgraph' & {probe}")
    refuses(empty, probe)


@pytest.fixture
def server() -> Iterator[int]:
    """A server on the host's loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


def fetch(port: int) -> str:
    return (
        f'python3 -c \'import socket; s = socket.create_connection(("127.0.0.1", {port}), 5);'
        f' s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n"); print(s.makefile().read())\' 2>/dev/null | grep -q {SECRET}'
    )


def test_the_network(empty: Workspace, server: int) -> None:
    """Not there, unless the manifest grants it to the target; the plan says so."""
    finds(fetch(server))
    refuses(empty, fetch(server), needs=("python3",))
    refuses(empty, "test $(ls /sys/class/net | grep -vc '^lo$') -gt 0 && ip route | grep -q default", needs=())

    manifest = (empty.root / "buildgraph.yaml").read_text()
    empty.write("buildgraph.yaml", manifest + "targets:\n  //:probe: {network: on}\n")
    empty.write("recipes/probe.yaml", package("probe", fetch(server), needs=("python3",)))
    assert "network: network: on (buildgraph.yaml:" in empty.bg("plan", "//:probe").out
    empty.build("//:probe")


def test_the_host_s_pipelines(empty: Workspace) -> None:
    """melange would take /usr/share/melange/pipelines before its own."""
    folder = Path("/usr/share/melange/pipelines")
    if os.geteuid() != 0 or folder.parent.exists():
        pytest.skip("only root can plant a pipeline there, and only where there is nothing")
    folder.mkdir(parents=True)
    try:
        (folder / "strip.yaml").write_text("name: evil\npipeline:\n  - runs: exit 7\n")
        recipe = package("probe", "true", needs=()) + "  - uses: strip\n"
        empty.write("recipes/probe.yaml", recipe)
        empty.build("//:probe")
    finally:
        (folder / "strip.yaml").unlink()
        folder.rmdir()
        folder.parent.rmdir()


def test_the_user_and_the_name_of_the_machine_are_the_same_everywhere(empty: Workspace) -> None:
    """One user, one host name, one clock base, one umask."""
    script = (
        'test "$(hostname)" = bg && test "$(umask)" = 0022 && test "$SOURCE_DATE_EPOCH" = 315532800 && test "$(id -u)" = 1000'
        ' && test "$(date +%Z)" = UTC'
    )
    empty.write("recipes/probe.yaml", package("probe", script))
    empty.build("//:probe")


DECLARED = "targets:\n  //:probe: {root: true}\n"
NEEDS_ROOT = package("probe", 'touch "$OUT/usr/share/x"; chown 7:7 "$OUT/usr/share/x"')


def test_changing_owners_takes_a_declaration(empty: Workspace) -> None:
    """The one user of the box may not change owners; a recipe that is declared to need it runs as real root."""
    empty.write("recipes/probe.yaml", NEEDS_ROOT)
    assert empty.bg("build", "//:probe").code == 1
    if os.geteuid() != 0:
        pytest.skip("only root can build what needs root")
    empty.write("buildgraph.yaml", (empty.root / "buildgraph.yaml").read_text() + DECLARED)
    empty.build("//:probe")


def test_real_root_is_refused_to_who_is_not_root(ordinary: Workspace) -> None:
    """A recipe that is declared to need it cannot be built by an ordinary user."""
    ordinary.write("buildgraph.yaml", (ordinary.root / "buildgraph.yaml").read_text() + DECLARED)
    ordinary.write("recipes/probe.yaml", NEEDS_ROOT)
    done = ordinary.bg("build", "//:probe")
    assert done.code == 10, done.err
    assert "root" in done.err
