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
    assert list(fetching_commands(script))


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
    assert not list(fetching_commands(script))


def test_the_line_is_that_of_the_command() -> None:
    """Continued lines count from their first."""
    assert list(fetching_commands("make\n\nfoo \\\n  bar\ncurl x\n")) == [("curl", 4)]


@given(st.text(max_size=300))
def test_any_script_can_be_searched(script: str) -> None:
    """A script is a text like any other."""
    list(fetching_commands(script))
