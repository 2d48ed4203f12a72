"""Each command does what the manual says."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tiny import image, package
from tests.e2e.workspace import Workspace
from tests.waiting import wait_for

pytestmark = pytest.mark.e2e

COMMANDS = (
    "init",
    "build",
    "plan",
    "list",
    "deps",
    "rdeps",
    "path",
    "query",
    "graph",
    "explain",
    "inspect",
    "verify",
    "lock",
    "run",
    "clean",
    "keygen",
    "version",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(built_example: Workspace, command: str) -> None:
    """And it fits a terminal."""
    done = built_example.bg(command, "--help", env={"COLUMNS": "80"})
    assert done.code == 0
    assert done.out.startswith(f"usage: bg {command}")


def test_list_and_graph(built_example: Workspace) -> None:
    """As text, JSON, DOT and Mermaid, for all or a part."""
    listed = built_example.bg("list", "--json").answer
    assert [node["target"] for node in listed if node["kind"] == "image"] == [
        f"//images:{name}" for name in ("api", "debug", "tools", "worker")
    ]
    assert built_example.bg("list", "//images/...", "-//images:api").out.count("\n") == 3
    assert "//packages:libstock" in built_example.bg("list", "--kind", "package").out

    graph = built_example.bg("graph", "--json", "//images:api").answer
    assert {node["target"] for node in graph["nodes"]} == {
        "//images:api",
        "//packages:stock-api",
        "//packages:libstock",
        "//packages:stock-config",
    } - ({"//packages:stock-config"} if not any(edge["kind"] == "runtime" for edge in graph["edges"]) else set())
    edge = next(edge for edge in graph["edges"] if edge["requirement"] == "libstock-dev")
    assert (edge["kind"], edge["to"], edge["file"]) == ("build", "//packages:libstock@x86_64", "recipes/packages/stock-api.yaml")
    recipe = (built_example.root / edge["file"]).read_text().splitlines()
    assert "libstock-dev" in recipe[edge["line"] - 1]
    assert built_example.bg("graph", "--format", "dot").out.startswith("digraph buildgraph {")
    assert built_example.bg("graph", "--format", "mermaid").out.startswith("flowchart LR")
    assert "build   //packages:libstock  libstock-dev  (recipes/packages/stock-api.yaml:" in built_example.bg("graph").out


def test_plan_and_explain(example: Workspace) -> None:
    """What would run and why, without running it; what a key is made of."""
    assert example.bg("plan").out == "0 to build, 10 cached\n"
    example.edit("recipes/packages/libstock/stock.c", "#include", "/* why not */\n#include")
    plan = example.bg("plan", "--json").answer["nodes"]
    assert plan["//packages:libstock@x86_64"]["decision"] == "run"
    assert plan["//images:api"]["decision"] == "maybe"
    assert plan["//images:tools"]["decision"] == "hit"
    assert example.bg("build", "-n", "//images:api").out.endswith(
        "1 to build, 1 cached, 2 to build only if what they depend on changes\n"
    )
    assert example.bg("explain", "//packages:libstock").out == (
        "//packages:libstock@x86_64 has to be built:\n  recipes/packages/libstock/stock.c changed\n"
    )
    assert "tool     melange  v0.59.1" in example.bg("explain", "--key", "//packages:libstock").out
    assert example.build("//...").ran == {"//packages:libstock"}


def test_labels_from_where_one_stands(built_example: Workspace) -> None:
    """Relative labels, sub-folders, -C."""
    images = built_example.root / "recipes/images"
    assert built_example.bg("list", ":api", cwd=images).out.startswith("//images:api")
    assert built_example.bg("list", "../worker/...", cwd=images).out.startswith("//worker:stock-worker")
    assert built_example.bg("-C", str(images), "list", ":all", cwd=Path("/")).out.count("\n") == 4
    assert built_example.bg("list", "//packages:libstock-dev").out.startswith("//packages:libstock ")


def test_quiet_and_version(example: Workspace) -> None:
    """-q says nothing of progress; version names the tools."""
    example.edit("recipes/images/api.yaml", 'PORT: "8080"', 'PORT: "8081"')
    assert example.bg("build", "-q", "//images:api").err == ""
    assert example.bg("version", "--json").answer["versions"]["apko"] == "v1.2.37"


def test_clean(example: Workspace) -> None:
    """Outputs go and come back without running; with --cache everything runs again; what goes is said, and before it with -n."""
    (example.root / "cache/.gitkeep").touch()
    layout = [path.stat().st_size for path in (example.root / "out/oci").rglob("*") if path.is_file()]
    told = example.bg("clean", "-n").out.replace("would remove", "removed")
    assert f"removed out/oci: {len(layout)} files, {sum(layout) / (1 << 20):.1f} MiB\n" in told
    assert (example.root / "out/oci/images/api").is_dir()
    assert example.bg("clean").out == told
    assert not (example.root / "out").exists()
    assert example.bg("clean").out == "there is nothing to remove\n"
    assert example.build("//images:api").ran == set()
    gone = {row["path"]: row["files"] for row in example.bg("clean", "--cache", "--json").answer}
    assert set(gone) == {"out/oci", "out/sbom", "out/provenance", "cache"}
    assert gone["cache"] > gone["out/oci"]
    left = {".gitkeep", ".gitignore", "CACHEDIR.TAG", "FORMAT", "users.lock"}
    assert {path.name for path in (example.root / "cache").iterdir()} == left
    assert example.bg("clean", "--cache").out == "there is nothing to remove\n"
    assert "//images:api" in example.build("//images:api").ran


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(port: int, child: subprocess.Popen[str]) -> dict[str, Any]:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                found: dict[str, Any] = json.loads(reply.read())
                return found
        except OSError:
            assert child.poll() is None, "the server ended"
            time.sleep(0.1)
    pytest.fail("the server does not answer")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_serves_and_stops(
    example: Workspace, in_background: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    """The api image answers over HTTP as its own user, and leaves nothing when it is stopped."""
    port = free_port()
    command = example.command("run", "//images:api", "-e", f"PORT={port}")
    server = in_background(command, cwd=example.root, env=example.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = answer(port, server)
    assert (found["service"], found["user"]) == ("stock-api", 65532)
    pids = subprocess.run(["pgrep", "-f", "^/usr/bin/stock-api"], capture_output=True, text=True, check=True).stdout.split()
    mine = [pid for pid in pids if f"PORT={port}".encode() in Path(f"/proc/{pid}/environ").read_bytes()]
    assert mine
    for pid in mine:
        environment = dict(pair.split(b"=", 1) for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pair)
        assert set(environment) <= {b"PATH", b"PORT", b"STOCK_FILE", b"PWD", b"SSL_CERT_FILE"}, (
            "nothing of the host's environment"
        )
    server.send_signal(number)
    server.wait(timeout=60)
    wait_for(lambda: not [pid for pid in mine if Path(f"/proc/{pid}").exists()])
    assert [path.name for path in (example.root / "cache/tmp").iterdir() if path.is_dir()] == []


def test_run_passes_arguments_and_exit_codes(built_example: Workspace) -> None:
    """After --, to the entrypoint; its code is bg's."""
    done = built_example.bg("run", "-q", "//images:tools", "--", "Apples", "1.20")
    assert done.code == 0, done.err
    assert "Apples" in done.out
    assert built_example.bg("run", "-q", "//images:tools", "--", "--nonsense").code != 0


def test_run_is_the_image_s_user_in_its_root(built_example: Workspace) -> None:
    """As 65532, with a root that may not be written to but where the image says so, and without the host's files."""
    script = "id -u; touch /usr/x 2>/dev/null && echo wrote; ls /work /root/.ssh 2>/dev/null; touch /tmp/x && echo tmp"
    done = built_example.bg("run", "-q", "//images:debug", "--entrypoint", "/bin/sh", "--", "-c", script)
    assert done.out == "65532\ntmp\n", done.err


def test_an_image_that_runs_as_nobody_it_knows(empty: Workspace) -> None:
    """apko lets it pass; no container runtime starts it, and bg does not start it as root."""
    empty.write("recipes/one.yaml", package("one", 'echo one >"$OUT/usr/share/one"'))
    for user, warned in (("nobody", False), ("nobodyy", True), ("65533", False)):
        empty.write("recipes/app.yaml", f"{image('one')}cmd: /bin/true\naccounts: {{run-as: '{user}'}}\n")
        said = empty.bg("build", "//:app").err
        told = f"note   //:app runs as `{user}`, and has no such account: container runtimes will not start it"
        assert (told in said) == warned
        if warned:
            refused = empty.bg("run", "//:app")
            assert refused.code == 12
            assert refused.err.endswith(
                "error: the image runs as `nobodyy`, and its /etc/passwd has no such user\n\nhint: did you mean `nobody`?\n"
            )
