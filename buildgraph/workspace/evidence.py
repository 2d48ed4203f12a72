"""How people build their recipes so far: what Makefiles, scripts and CI pass to melange and apko. Nothing is run.

The flags are those of melange v0.59.1 (pkg/cli/build.go) and apko v1.2.37 (internal/cli/build.go).
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from buildgraph.errors import RecipeError
from buildgraph.recipes import yamltext
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.recipes.yamltext import Node, Scalar
from buildgraph.recipes.yamltext import Sequence as YamlSequence
from buildgraph.structs import Struct, field
from buildgraph.workspace.shelltext import Command, Script, Word, read_script
from buildgraph.workspace.stats import Tree

_MAX_BYTES = 1 << 20
_MAKE = ("Makefile", "makefile", "GNUmakefile", "Makefile.*", "*.mk")
_SHELL = ("*.sh", "*.bash", "justfile", "Justfile", ".justfile", "*.just", "Dockerfile*", "Containerfile*", "Jenkinsfile*")
_CI = (
    ".github/*.y*ml", ".gitea/*.y*ml", ".forgejo/*.y*ml", ".gitlab-ci.y*ml", ".gitlab/*.y*ml", ".circleci/*.y*ml",
    ".buildkite/*.y*ml", ".woodpecker.y*ml", ".woodpecker/*.y*ml", ".drone.y*ml", "azure-pipelines*.y*ml",
    "bitbucket-pipelines.y*ml", "cloudbuild*.y*ml", ".tekton/*.y*ml", "[Tt]askfile*.y*ml", "*/[Tt]askfile*.y*ml",
)  # fmt: skip
_EXECUTABLE = 0o111

_VERBS = {
    "melange": {"build", "compile"},
    "apko": {"build", "publish", "lock", "show-packages", "build-minirootfs", "build-cpio"},
}
_SHORT = {"r": "repository-append", "k": "keyring-append", "b": "build-repository-append", "p": "package-append", "C": "workdir"}
_WITH_VALUE = frozenset({
    "annotations", "apk-cache-dir", "arch", "build-date", "build-option", "build-repository-append", "cache-dir", "cache-source",
    "cpu", "disk", "env-file", "format", "git-commit", "git-repo-url", "image-refs", "include-paths", "keyring-append", "license",
    "lockfile", "log-level", "log-policy", "memory", "namespace", "out-dir", "override-host-triplet-libc-substitution-flavor",
    "package-append", "pipeline-dir", "pipeline-dirs", "repository-append", "runner", "sbom-formats", "sbom-path", "signing-key",
    "source-dir", "stage-tags", "tag-suffix", "timeout", "vars-file", "workdir", "workspace-dir",
})  # fmt: skip
_SPLIT_AT_COMMAS = frozenset({"arch", "repository-append", "keyring-append", "build-repository-append", "build-option"})
_TOOL = re.compile(r"\b(?:which|command -v|type -[pP])\s+(melange|apko)\)?$")
_TOOL_VARIABLE = re.compile(r"\$\{(melange|apko)(?:_?(?:bin|cmd|path|exe))?\}", re.IGNORECASE)
# The actions that run the tools in GitHub's workflows, and what they call their flags.
_ACTION = re.compile(r"(?:^|/)(melange|apko)-(?:build|publish|snapshot)(?:-pkg)?(?:@|$)")
_ACTION_FLAGS = {"archs": "arch", "signing-key-path": "signing-key", "multi-config": "config", "keyring": "keyring-append"}
_NAME = re.compile(r"\$\{([^}%#]+)([%#]+[^}]*)?\}")
_OPEN = re.compile(_NAME.pattern + r"|\$\((?:[^()]|\([^()]*\))*\)")


class Flag(Struct, frozen=True):
    """A flag as it is passed: its long name, its value (``${x}`` where it stays open), and where that is written."""

    name: str
    value: str
    path: str
    line: int

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.path}:{self.line}"


class Invocation(Struct, frozen=True):
    """A run of melange or apko that a file describes.

    ``recipes`` are its arguments as written; ``folders`` the folders that they may be relative to, the likeliest first.
    """

    tool: str
    recipes: tuple[str, ...]
    flags: tuple[Flag, ...]
    folders: tuple[str, ...]
    path: str
    line: int
    loops: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def values(self, *names: str) -> list[Flag]:
        """The flags of these names, in their order."""
        return [flag for flag in self.flags if flag.name in names]

    def matches(self, paths: Iterable[str]) -> dict[str, Match]:
        """The recipes among ``paths`` that this builds."""
        known = list(paths)
        for folder in self.folders:
            found: dict[str, Match] = {}
            for written in self.recipes:
                for text in _inside(written):
                    pattern, names = _pattern(posixpath.normpath(posixpath.join(folder, text)), self.loops)
                    for path in known:
                        match = pattern.fullmatch(path)
                        if match:
                            found.setdefault(path, Match(folder, dict(zip(names, match.groups(), strict=True))))
            if found:
                return found
        return {}


class Match(Struct, frozen=True):
    """How an invocation fits a recipe: the folder that it runs in, and what its open names stand for."""

    folder: str
    names: Mapping[str, str]

    def paths(self, text: str) -> list[str]:
        """The paths in the workspace that a value may mean, likeliest first; empty where it stays open."""
        value = _NAME.sub(self._closed, text)
        value = re.sub(r"\$\(dirname ([^()]+)\)", lambda found: posixpath.dirname(found[1].strip()) or ".", value)
        value = re.sub(r"\$\(basename ([^() ]+)(?: ([^() ]+))?\)", _basename, value)
        if "$" in value:
            return []
        return [posixpath.normpath(posixpath.join(self.folder, inner)) for inner in _inside(value)]

    def _closed(self, found: re.Match[str]) -> str:
        value = self.names.get(found[1].strip())
        if value is None:
            return found[0]
        change = found[2] or ""
        if change.startswith("%"):
            ending = change.lstrip("%")
            return posixpath.dirname(value) if ending == "/*" else value.removesuffix(ending)
        return posixpath.basename(value) if change.startswith("#") else value


def read_evidence(root: Path, tree: Tree) -> list[Invocation]:
    """What the files of a tree pass to melange and apko, in the order of their paths."""
    found: list[Invocation] = []
    for path in sorted(tree.files):
        kind = _kind(root, path, tree.files[path][0])
        if not kind or tree.files[path][1] > _MAX_BYTES:
            continue
        data = (root / path).read_bytes()
        if b"melange" not in data and b"apko" not in data:
            continue
        text = data.decode("utf-8", "replace")
        if kind == "ci":
            found += sorted(_in_yaml(data, text, path), key=lambda one: one.line)
        else:
            script = read_script(enumerate(text.splitlines(), 1), "make" if kind == "make" else "shell")
            found += _in_script(script, path, own_folder_first=kind == "make", every_line_alone=kind == "make")
    return found


def _kind(root: Path, path: str, mode: int) -> str:
    name = posixpath.basename(path)
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _MAKE):
        return "make"
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _SHELL):
        return "shell"
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in _CI):
        return "ci"
    if "." not in name and mode & _EXECUTABLE:
        with (root / path).open("rb") as stream:
            return "shell" if stream.read(2) == b"#!" else ""
    return ""


def _in_yaml(data: bytes, text: str, path: str) -> Iterator[Invocation]:
    """The commands in the texts of a YAML file, whatever its keys are called, and the actions that run the tools."""
    lines = text.splitlines()
    try:
        tree = yamltext.parse(data, path)
    except RecipeError:
        # Tags of the CI's own: its lines are read as they stand.
        numbered = ((number, re.sub(r"^\s*(?:-\s+)?(?:\w+:\s+)?", "", line)) for number, line in enumerate(lines, 1))
        yield from _in_script(read_script(numbered, "shell"), path)
        return
    variables: dict[str, str] = {}
    pending: list[tuple[Node, str]] = [(tree, "")]
    texts: list[tuple[Scalar, str]] = []
    while pending:
        node, folder = pending.pop()
        if isinstance(node, Scalar):
            texts.append((node, folder))
            continue
        if isinstance(node, YamlSequence):
            pending += [(item, folder) for item in reversed(node.items)]
            continue
        variables.update(_environment(node))
        where = node.items.get("working-directory")
        folder = where.text if isinstance(where, Scalar) else folder
        yield from _action(node, path)
        pending += [(value, folder) for value in reversed(node.items.values())]
    for scalar, folder in texts:
        if re.search("melange|apko", scalar.text, re.IGNORECASE):
            script = read_script(_numbered(scalar, lines), "shell", variables)
            yield from _in_script(script, path, folder=folder)


def _environment(node: YamlMapping) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in ("env", "environment", "variables", "vars"):
        inner = node.items.get(key)
        for name, value in inner.items.items() if isinstance(inner, YamlMapping) else ():
            if isinstance(value, Scalar):
                found |= {name: value.text, f"{key}.{name}": value.text}
    return found


def _numbered(scalar: Scalar, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The lines of a text with those of the file that they stand in, as far as they can be told."""
    at = scalar.line
    for line in scalar.text.splitlines():
        stripped = line.strip()
        following = (number for number in range(max(at, 1), len(lines) + 1) if stripped and stripped in lines[number - 1])
        at = next(following, at)
        yield at, line


def _action(node: YamlMapping, path: str) -> Iterator[Invocation]:
    uses, given = node.items.get("uses"), node.items.get("with")
    found = _ACTION.search(uses.text) if isinstance(uses, Scalar) else None
    if found is None or not isinstance(given, YamlMapping):
        return
    recipes: list[str] = []
    flags: list[Flag] = []
    for key, value in given.items.items():
        name = _ACTION_FLAGS.get(key, key)
        for text in value.text.replace(",", "\n").split("\n") if isinstance(value, Scalar) else ():
            if name == "config":
                recipes += [text.strip()] if text.strip() else []
            elif text.strip():
                flags.append(Flag(name, text.strip(), path, value.line))
    yield Invocation(found[1], tuple(recipes), tuple(flags), ("",), path, node.line)


def _in_script(
    script: Script, path: str, *, folder: str = "", own_folder_first: bool = False, every_line_alone: bool = False
) -> Iterator[Invocation]:
    own = posixpath.dirname(path)
    starts = tuple(dict.fromkeys((own, "") if own_folder_first else (folder, own)))
    folders = starts
    for commands in script.lines:
        if every_line_alone:
            folders = starts
        for command in commands:
            if len(command) > 1 and command[0].text in {"cd", "pushd"}:
                folders = _moved(command[1].text, folders, own)
                continue
            for inner in _with_inner(command):
                found = _invocation(inner, path, folders, script.loops)
                if found:
                    yield found


def _moved(text: str, folders: tuple[str, ...], own: str) -> tuple[str, ...]:
    """Where one is after ``cd``; a script that goes to its own folder or to git's root is known to do so."""
    if re.search(r"dirname|\$\{0|BASH_SOURCE", text):
        folders = (own,)
        text = text.rpartition(")" if ")" in text else "}")[2].strip("/")
    elif "$" in text or text.startswith("/"):
        return tuple(dict.fromkeys(("", *folders)))
    moved = (posixpath.normpath(posixpath.join(folder, text) or ".") for folder in folders)
    return tuple(dict.fromkeys("" if folder == "." else folder for folder in moved if not folder.startswith("..")))


def _with_inner(command: Command) -> Iterator[Command]:
    """A command, and those in a word of it: ``sh -c 'melange build ...'``."""
    yield command
    for word in command:
        if " " in word.text and re.search(r"\b(?:melange|apko)\s", word.text):
            for commands in read_script([(word.line, word.text)], "shell").lines:
                yield from commands


def _tool_of(text: str) -> str:
    found = _TOOL.search(text) or _TOOL_VARIABLE.fullmatch(text)
    if found:
        return found[1].lower()
    name = re.split("[:@]", posixpath.basename(text))[0]
    return name if name in _VERBS else ""


def _invocation(command: Command, path: str, folders: tuple[str, ...], loops: Mapping[str, Sequence[str]]) -> Invocation | None:
    for position, word in enumerate(command):
        tool = _tool_of(word.text)
        if not tool:
            continue
        flags, others = _arguments(command[position + 1 :], path)
        if not others or others[0].text not in _VERBS[tool]:
            continue
        recipes = [other.text for other in others[1:] if other.text.endswith((".yaml", ".yml"))]
        recipes = recipes or [other.text for other in others[1:2] if "$" in other.text]
        recipes = recipes or (["melange.yaml"] if tool == "melange" and not others[1:] else [])
        for flag in flags:
            if flag.name == "workdir" and "$" not in flag.value:
                folders = _moved(flag.value, folders, "")
        return Invocation(tool, tuple(recipes), tuple(flags), folders, path, others[0].line, loops)
    return None


def _arguments(words: Sequence[Word], path: str) -> tuple[list[Flag], list[Word]]:
    """The flags of a command line, and what is none."""
    flags: list[Flag] = []
    others: list[Word] = []
    pending = ""
    for word in words:
        if pending:
            flags += _flags(pending, word.text, path, word.line)
            pending = ""
        elif word.text.startswith("--"):
            name, equals, value = word.text[2:].partition("=")
            if equals:
                flags += _flags(name, value, path, word.line)
            elif name in _WITH_VALUE:
                pending = name
            else:
                flags.append(Flag(name, "", path, word.line))
        elif word.text.startswith("-") and word.text[1:2] in _SHORT:
            name, value = _SHORT[word.text[1]], word.text[2:].removeprefix("=")
            if value:
                flags += _flags(name, value, path, word.line)
            else:
                pending = name
        elif not word.text.startswith("-"):
            others.append(word)
    return flags, others


def _flags(name: str, value: str, path: str, line: int) -> list[Flag]:
    values = value.split(",") if name in _SPLIT_AT_COMMAS else [value]
    return [Flag(name, one, path, line) for one in values if one]


def _inside(text: str) -> list[str]:
    """A path, and if it is a container's, what it may be in the workspace that is mounted there."""
    if not text.startswith("/"):
        return [text]
    parts = text.strip("/").split("/")
    return ["/".join(parts[depth:]) for depth in range(min(4, len(parts)))]


def _pattern(text: str, loops: Mapping[str, Sequence[str]]) -> tuple[re.Pattern[str], list[str]]:
    """A pattern for paths with a group for each open name of ``text``, and these names."""
    names: list[str] = []
    parts: list[str] = []
    end = 0
    for found in _OPEN.finditer(text):
        parts.append(_glob(text[end : found.start()]))
        end = found.end()
        name = found[1].strip() if found[1] else found[0]
        if name in names:
            parts.append(f"(?:\\{names.index(name) + 1})")
        else:
            names.append(name)
            choices = [posixpath.normpath(word) for word in loops.get(name, ()) if "$" not in word]
            parts.append(f"({'|'.join(map(_glob, choices)) or '.+'})")
    return re.compile("".join([*parts, _glob(text[end:])])), names


def _glob(text: str) -> str:
    pieces = re.split(r"(\*\*/?|\*|\?)", text)
    kinds = {"*": "[^/]*", "?": "[^/]", "**": ".*", "**/": "(?:.*/)?"}
    return "".join(kinds.get(piece) or re.escape(piece) for piece in pieces)


def _basename(found: re.Match[str]) -> str:
    return posixpath.basename(found[1]).removesuffix(found[2] or "")
