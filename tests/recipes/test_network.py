"""Which commands need the network is told by the text of the script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildgraph.recipes.network import fetching_commands


@pytest.mark.parametrize(
    "script",
    [
        "npm ci", "npm --prefix web install", "cd web && npm ci", "FOO=bar npm ci", "pip install -r requirements.txt",
        "python3 -m pip install .", "python3 -m build", "go build ./...", "GOFLAGS='-x' go install .", "go mod download",
        "cargo build --release", "cargo auditable build", "dotnet restore", "dotnet publish -c Release",
        "curl -fsSL https://x/y | tar x",
        "wget -q https://x", "git clone https://x", "git -C sub submodule update --init", "if true; then curl x; fi",
        "x=$(curl -s y)",
        "bundle install", "gem install rake", "composer install", "mvn package", "./gradlew build", "./mvnw -B package",
        "yarn", "npx tsc",
        "uv sync", "env A=b cargo fetch", "make \\\n  && go build", "test -f x || wget x", "/usr/bin/curl x",
    ],
)  # fmt: skip
def test_fetching_commands_are_found(script: str) -> None:
    """Each of these downloads something in an empty cache."""
    assert fetching_commands(script)


@pytest.mark.parametrize(
    "script",
    [
        "make", "# npm ci", "echo done # curl x", "install -Dm755 curl /usr/bin/curl", "mv npm $x",
        "./configure --with-curl", "npm run build",
        "npm test", "pip install --no-index --find-links=wheels foo", "pip --version", "python3 -m build --no-isolation",
        "go version",
        "go build -mod=vendor ./...", "cargo build --offline", "cargo build --frozen", "dotnet build --no-restore",
        "git init", "git apply x.patch",
        "git rev-parse HEAD", "gem build x.gemspec", "gem install --local x.gem", "cp wget.1 /usr/share/man",
        "curl-config --version",
        "mvn -o package", "rm -rf go/build", "ls cargo-build", "cd curl",
    ],
)  # fmt: skip
def test_other_commands_are_not(script: str) -> None:
    """A word that looks like a tool is not yet a download."""
    assert not fetching_commands(script)


def test_each_command_is_named_once_in_the_order_of_the_script() -> None:
    """Continued lines are one; a comment is never continued."""
    script = "make \\\n  && npm \\\n  ci\n# no \\\ncurl x\nnpm ci; curl y\n"

    assert fetching_commands(script) == ("npm ci", "curl")


@given(st.text(max_size=300))
def test_any_script_can_be_searched(script: str) -> None:
    """A script is a text like any other."""
    fetching_commands(script)


@pytest.mark.parametrize(
    ("line", "commands"),
    [("curl-x; " + "{" * 3900, ()), ("npm x; " + "a/" * 1900, ("npm x",)), ("npm" + " -a +x" * 600, ()),
     ("a=b " * 16 + "npm ci", ("npm ci",)), ("curl " * 790, ("curl",)), ("curl-x " + ';a="' * 900, ()),
     ("npm;" + "sudo " * 700, ())],
)  # fmt: skip
def test_hostile_lines_do_not_take_hours(line: str, commands: tuple[str, ...]) -> None:
    """A file may hold thousands of lines that would take a careless expression seconds each."""
    assert fetching_commands(f"{line}\n" * 200) == commands
