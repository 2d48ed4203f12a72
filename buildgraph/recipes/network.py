"""Which steps of a recipe fetch something: what is known of built-in pipelines, and of commands in ``runs:``.

A guess by text, on the side of opening the network: what it misses fails in the sealed box with a hint, and the manifest's
``network:`` overrules it either way.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

# Built-in pipelines whose commands download (melange pkg/build/pipelines): sources, modules, crates, wheels' build tools.
FETCHING_PIPELINES = frozenset({
    "fetch", "git-checkout", "go/build", "go/build/v2", "go/install", "go/bump", "go/covdata", "cargo/build", "npm/install",
    "maven/pombump", "python/build", "python/build-wheel", "python/install",
})  # fmt: skip

# A command and its subcommands that download; None: any use does. The third part are options that keep it offline.
_COMMANDS: tuple[tuple[str, str | None, str], ...] = (
    ("npm", "ci|i|install|install-ci-test|add|update|exec|x|create|init|pack|rebuild", "--offline"),
    ("pnpm", "i|install|add|fetch|dlx|exec|update", "--offline"),
    ("yarn", "install|add|dlx|up|upgrade|import", "--offline"),
    # Without a subcommand these install.
    (r"(?:yarn|bundle|bundler)(?=\s*$|\s*[;&|)]|\s+-)", None, "--offline|--local|--version"),
    ("bun", "i|install|add|x|update|create", ""),
    ("npx|bunx|corepack|bower|deno|curl|wget|wget2|aria2c|svn|rsync|scp|ftp|lftp|rustup|conan|vcpkg|skopeo|oras|crane", None, ""),
    (r"pip[0-9.]*|python[0-9.]*\s+-m\s+pip", "install|download|wheel", "--no-index"),
    (r"python[0-9.]*\s+-m\s+build|pyproject-build", None, "--no-isolation|-n|-nx|-xn"),
    (r"python[0-9.]*\s+setup\.py", "install|build|develop|test|bdist_wheel", ""),
    ("uv", "sync|add|lock|run|tool|build|pip|python|export|venv", "--offline"),
    ("uvx|pipx|pipenv|tox|nox", None, ""),
    ("poetry", "install|add|update|lock|build|export|self", ""),
    ("pdm|hatch", None, ""),
    ("go", r"build|install|get|run|test|generate|vet|list|mod\s+(?:download|tidy|vendor|verify|graph)|work\s+(?:sync|vendor)",
     "-mod[= ]vendor"),
    ("goreleaser|ko|xcaddy|gobump|omnibump", None, ""),
    ("cargo", "build|b|install|fetch|test|t|run|r|check|c|update|vendor|auditable|cbuild|cinstall|xtask|metadata|rustc",
     "--offline|--frozen"),
    ("maturin|wasm-pack|trunk", None, "--offline|--frozen"),
    ("dotnet", "restore|build|publish|pack|test|run|tool|add|workload|msbuild|nuget", "--no-restore"),
    ("nuget", "install|restore|update", ""),
    ("git", "clone|fetch|pull|ls-remote|remote\\s+update|submodule\\s+(?:update|add)|lfs\\s+(?:fetch|pull)", ""),
    ("hg|bzr", "clone|pull|branch", ""),
    ("bundle|bundler", "install|update|lock|add", "--local"),
    ("gem", "install|fetch|update", "--local|-l"),
    ("composer", "install|update|require|create-project|global", ""),
    ("pecl|pear|luarocks|opam|apk|apt|apt-get|dnf|helm|docker|podman|nerdctl|raco|julia|conda|mamba|micromamba",
     "install|add|update|upgrade|download|fetch|pull|build|dep|dependency|repo|create|pkg", ""),
    ("cpan|cpanm|cpm", None, ""),
    ("mvn|mvnw|mvnd|gradle|gradlew|sbt|lein|clojure|clj|mill|bazel|bazelisk", None, "--offline|-o|--help|--version"),
    ("stack", "build|install|setup|update|exec|test", ""),
    ("cabal", "build|install|update|get|fetch|v2-build|v2-install", "--offline"),
    ("mix|rebar3", r"deps\.get|local\.hex|local\.rebar|get-deps|compile|escriptize|as|release|do", ""),
    ("dart|flutter", "pub|build|test|run", "--offline"),
    ("swift", r"build|package|test|run", ""),
    ("spago|elm|nimble|shards|dub|zig|terraform|tofu|buf|pulumi", "install|build|init|fetch|get|make|mod|dep|generate", ""),
    ("meson", r"subprojects\s+(?:download|update)|wrap\s+(?:install|update)", ""),
)  # fmt: skip


def _pattern(command: str, subcommands: str | None) -> str:
    # Between a command and its subcommand stand options: `git -C dir clone`, `npm --prefix x ci`, `cargo +nightly build`.
    options = r"(?:\s+[-+]\S+(?:\s+(?![-+])\S+(?=\s))?)*?"
    return rf"(?:{command}){options}\s+(?:{subcommands})(?![\w.:/])" if subcommands else rf"(?:{command})(?![\w.:/=-])"


@cache
def _known() -> dict[str, list[tuple[str, str]]]:
    """Patterns of commands, with those of options that keep them offline, by the letters that they begin with.

    They are compiled when a script has such letters, since a run that reads one recipe needs few of them.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for command, subcommands, offline in _COMMANDS:
        kept = rf"(?:^|\s)(?:{offline})(?:[\s=]|$)" if offline else ""
        for letters in dict.fromkeys(_ALTERNATIVE.findall(command)):
            found.setdefault(letters, []).append((_pattern(command, subcommands), kept))
    return found


_compiled = cache(re.compile)


_ALTERNATIVE = re.compile(r"(?:^|\(\?:|\|)([a-z]+)")
_LETTERS = re.compile(r"(?<![\w.-])[a-z]+")
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
# Where a shell expects a command: at the start, after an operator or a keyword, behind assignments and a folder. The limits
# keep a hostile line from costing more than its length.
_START = re.compile(
    r"(?:^|[;&|({`!]|\b(?:then|do|else|elif|if|while|until|exec|time|command|xargs|env|eval|sudo|retry|timeout\s+\S+)\s)\s*"
    r"(?:[A-Za-z_]\w{0,80}=(?:\"[^\"]*\"|'[^']*'|[^\s;&|\"']*)\s+){0,16}(?:[\w.~$\{\}-]{0,80}/){0,16}(?=[a-z])"
)
_END = re.compile(r"[;&|)`]|$")
_LINE_LIMIT = 4000


@lru_cache(maxsize=1024)
def fetching_commands(script: str) -> tuple[str, ...]:
    """The commands of a shell script that download, such as ``npm ci``: each once, in the order of the script."""
    known = _known()
    if known.keys().isdisjoint(_LETTERS.findall(script)):
        return ()
    text = (_COMMENT.sub("", script) if "#" in script else script).replace("\\\n", "  ")
    found: dict[str, None] = {}
    end = -1
    for word in _LETTERS.finditer(text):
        if word.start() < end or word[0] not in known:
            continue
        begin = text.rfind("\n", 0, word.start()) + 1
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        line = text[begin : min(end, begin + _LINE_LIMIT)].split(" #", 1)[0]
        found |= dict.fromkeys(_command_at(line, start.end()) for start in _START.finditer(line))
    found.pop("", None)
    return tuple(found)


def _command_at(line: str, position: int) -> str:
    letters = _LETTERS.match(line, position)
    for pattern, offline in _known().get(letters[0], ()) if letters else ():
        match = _compiled(pattern).match(line, position)
        if match is None:
            continue
        end = _END.search(line, match.end())
        rest = line[position : end.start() if end else len(line)]
        if not (offline and _compiled(offline).search(rest)):
            return " ".join(match[0].split())
    return ""
