"""Programs that keep passwords for docker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from buildgraph.errors import RepositoryError, ToolError
from buildgraph.execute.credentials import docker_helper
from buildgraph.web.access import Helper, Login
from buildgraph.web.docker import registry_login

PROGRAM = """#!/bin/sh
read -r registry
case "$1 $registry" in
"get known.example") echo '{"ServerURL": "known.example", "Username": "somebody", "Secret": "a secret: word"}' ;;
"get tokens.example") echo '{"Username": "<token>", "Secret": "a secret"}' ;;
"get odd.example") echo 'a secret' ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    """One such program, called `test`, on PATH."""
    program = tmp_path / "docker-credential-test"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return docker_helper({"PATH": f"{tmp_path}:{os.environ['PATH']}"})


def config(folder: Path, **content: object) -> Path:
    """docker's file."""
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def test_one_for_a_registry_and_one_for_all_others(helper: Helper, tmp_path: Path) -> None:
    known = Login("somebody", "a secret: word")
    assert registry_login(config(tmp_path, credHelpers={"known.example": "test"}), "known.example", helper) == known
    assert registry_login(config(tmp_path, credHelpers={"known.example": "test"}), "other.example", helper) is None
    assert registry_login(config(tmp_path, credsStore="test"), "known.example", helper) == known


@pytest.mark.parametrize("host", ["other.example", "tokens.example"])
def test_what_it_does_not_know_the_file_may(helper: Helper, tmp_path: Path, host: str) -> None:
    """Nor is a token taken for a password."""
    path = config(tmp_path, credsStore="test", auths={host: {"auth": "dXNlcjp3b3Jk"}})
    assert registry_login(path, host, helper) == Login("user", "word")
    assert registry_login(config(tmp_path, credsStore="test", auths={host: {}}), host, helper) is None


def test_what_it_says_is_not_shown(helper: Helper, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError) as odd:
        registry_login(config(tmp_path, credsStore="test"), "odd.example", helper)
    assert odd.value.what == "docker-credential-test does not answer as such programs do"


def test_a_program_that_is_not_there(helper: Helper, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="docker-credential-none"):
        registry_login(config(tmp_path, credsStore="none"), "known.example", helper)
