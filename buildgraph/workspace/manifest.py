"""``buildgraph.yaml``: what recipes cannot say. Every key has a default; an empty file is a whole manifest.

The keys and their meaning are listed in docs/manual.md; ``KEYS`` is what the reader accepts.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from buildgraph.errors import ManifestError, Place, RecipeError, did_you_mean
from buildgraph.recipes import yamltext
from buildgraph.recipes.values import LOGIN_HINT, carries_login
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence
from buildgraph.structs import Struct, field
from buildgraph.workspace import sharing
from buildgraph.workspace.amounts import parse_size
from buildgraph.workspace.root import Root
from buildgraph.workspace.sharing import Remote, TrustedKey

FILE_NAME = "buildgraph.yaml"
LOCK_NAME = "buildgraph.lock"
CACHE = "cache"
OUT = "out"
OUTPUTS = ("oci", "sbom", "provenance", "packages")  # the folders of `OUT`
EPOCH_1980 = 315532800  # zip archives cannot tell earlier times

KEYS = (
    "recipes", "exclude", "cache", "out", "architectures", "repositories", "keyring", "mirrors", "source-mirrors", "pipelines",
    "network", "source-date-epoch", "salt", "tag", "jobs", "memory", "signing-key", "tools", "remotes", "trust",
    "cache-size",
    "targets",
)  # fmt: skip
TARGET_KEYS = ("sources", "network", "root", "options", "tag", "vars-file", "env-file", "reproducible")
NETWORK_MODES = ("as-needed", "on", "off")
TOOLS = ("pinned", "path")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)  # the distribution specification's


_Text = TypeVar("_Text", bound=str)


class TargetSettings(Struct, frozen=True):
    """What the manifest says about one target.

    ``sources``: folders and files of its own, relative to the workspace, None for the usual rule; ``network``: None for
    the workspace's mode; ``root``: run as the host's real root (for recipes that must change owners); ``options``,
    ``vars_file`` and ``env_files``: what melange gets by ``--build-option``, ``--vars-file`` and ``--env-file``;
    ``reproducible``: whether a second build is expected to give the same bytes.
    """

    sources: tuple[str, ...] | None = None
    network: str | None = None
    root: bool = False
    options: tuple[str, ...] = ()
    tag: str | None = None
    vars_file: str = ""
    env_files: tuple[str, ...] = ()
    reproducible: bool = True
    place: str = ""

    def files(self) -> tuple[str, ...]:
        """The files and folders that these settings name."""
        return (*(self.sources or ()), *self.env_files, *([self.vars_file] if self.vars_file else ()))


class Manifest(Struct, frozen=True):
    """The manifest with its defaults filled in; folders are relative to the workspace, with slashes ("" is itself)."""

    root: Root
    recipes: str = ""
    exclude: tuple[str, ...] = ()
    cache: str = CACHE
    cache_size: int = 0
    out: str = OUT
    architectures: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    keyring: tuple[str, ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()
    source_mirrors: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    network: str = "as-needed"
    source_date_epoch: int = EPOCH_1980
    salt: str = ""
    tag: str = "latest"
    jobs: int = 0
    memory: int = 0
    signing_key: str = ""
    tools: str = "pinned"
    remotes: tuple[Remote, ...] = ()
    trust: dict[str, TrustedKey] = field(default_factory=dict)
    targets: dict[str, TargetSettings] = field(default_factory=dict)

    def __repr__(self) -> str:
        # Of two workspaces with the same settings it is the same.
        return f"Manifest({[getattr(self, name) for name in self.__struct_fields__ if name != 'root']})"

    def without_excluded(self, paths: Iterable[str]) -> list[str]:
        """The files among ``paths`` that may be recipes; ``exclude`` has the patterns of a .gitignore for those that are none."""
        if not self.exclude:
            return list(paths)
        from buildgraph.workspace.ignore import IgnoreRules

        rules = IgnoreRules.none().below("", "\n".join(self.exclude))
        return [path for path in paths if not rules.ignores(path, is_folder=False)]

    def settings(self, label: str) -> TargetSettings:
        """What is said of a target, given as ``//folder:name``."""
        return self.targets.get(label, _NO_SETTINGS)

    def mirrored(self, address: str) -> str:
        """``address`` with the longest matching mirror prefix replaced; itself where none matches."""
        fitting = [(source, mirror) for source, mirror in self.mirrors if address == source or address.startswith(source + "/")]
        if not fitting:
            return address
        source, mirror = max(fitting, key=lambda pair: len(pair[0]))
        return mirror + address[len(source) :]


_NO_SETTINGS = TargetSettings()


def find_workspace(start: Path) -> Path:
    """The nearest folder at or above ``start`` with a manifest; ManifestError where there is none."""
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    message = f"no {FILE_NAME} in {start} or any folder above it"
    raise ManifestError(message, hint="`bg init` at the top of your repository looks at it and writes one")


def load_manifest(root: Root) -> Manifest:
    """The manifest of the workspace ``root``.

    Raises ManifestError for a file that cannot be read, an unknown key, a wrong type, a folder outside the workspace.
    """
    path = root / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise ManifestError(message) from error
    return parse_manifest(root, data)


def parse_manifest(root: Root, data: bytes) -> Manifest:
    """The manifest that ``data`` is, for the workspace ``root``. Raises ManifestError."""
    if _says_nothing(data):
        return Manifest(root)
    try:
        tree = yamltext.parse(data, FILE_NAME)
    except RecipeError as error:
        raise ManifestError(error.what, where=error.where, hint=error.hint) from error
    return _Reader(data.decode("utf-8", "replace").splitlines()).manifest(root, tree)


def _says_nothing(data: bytes) -> bool:
    return all(not line.strip() or line.lstrip().startswith(b"#") for line in data.splitlines())


def place_of(root: Root, *keys: str) -> Place:
    """Where the manifest of ``root`` has what ``keys`` lead to, for an error.

    That is a value, an item of a list by its text, or the key of what is neither; of what is not there, as a default, the nearest
    above that is. Labels are given as ``Manifest.targets`` has them.
    """
    data = (root / FILE_NAME).read_bytes()
    reader, place = _Reader(data.decode("utf-8", "replace").splitlines()), Place(FILE_NAME)
    here: Node | None = None if _says_nothing(data) else yamltext.parse(data, FILE_NAME)
    for key in keys:
        if isinstance(here, Mapping):
            name = next((name for name in here.items if key in {name, _canonical(name)}), "")
            place = reader.place(*here.keys[name], len(name)) if name else place
            here = here.items.get(name)
        elif isinstance(here, Sequence):
            here = next((item for item in here.items if isinstance(item, Scalar) and item.text == key), None)
        if isinstance(here, Scalar):
            place = reader.error("", here).where or place
    return place


class _Reader:
    """Turns the manifest's YAML into values; knows the lines for excerpts."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def manifest(self, root: Root, tree: Node) -> Manifest:
        if isinstance(tree, Scalar) and tree.plain and tree.text in {"", "~", "null"}:
            return Manifest(root)
        top = self.mapping(tree, "the manifest", KEYS)
        values: dict[str, Any] = {key.replace("-", "_"): self._value(key, node) for key, node in top.items.items()}
        manifest = Manifest(root, **values)
        if manifest.recipes and not (root / manifest.recipes).is_dir():
            raise self.error(f"the recipes folder `{manifest.recipes}` is not there", top.items["recipes"])
        if _holds(manifest.out, manifest.recipes, root):
            hint = f"name a folder for outputs alone, such as `{OUT}`: `bg clean` removes what is in it"
            raise self.error("out must not hold the recipes", top.items.get("out") or top.items["recipes"], hint)
        return manifest

    def _value(self, key: str, node: Node) -> object:  # noqa: PLR0911 - one return for each kind of key
        match key:
            case "out" | "cache":
                text = self.text(node, key)
                return text if text.startswith("/") else self.folder(node, key)
            case "recipes":
                return self.folder(node, key)
            case "pipelines":
                return tuple(self.folder(item, "a pipeline folder") for item in self.items(node, key))
            case "architectures" | "exclude" | "repositories" | "keyring":
                read = self.address if key in {"repositories", "keyring"} else self.text
                return tuple(read(item, f"an entry of {key}") for item in self.items(node, key))
            case "mirrors" | "source-mirrors":
                return self._mirrors(node) if key == "mirrors" else self._source_mirrors(node)
            case "targets" | "remotes" | "trust":
                return self._structured(key, node)
            case "network" | "tools":
                return self.choice(node, key, NETWORK_MODES if key == "network" else TOOLS)
            case "memory" | "cache-size":
                return self.size(node, key)
            case "source-date-epoch" | "jobs":
                return self.number(node, key, least=1 if key == "jobs" else 0)
            case _:
                return self.tag(node) if key == "tag" else self.text(node, key)

    def _structured(self, key: str, node: Node) -> object:
        match key:
            case "targets":
                return self._targets(node)
            case "remotes":
                return tuple(self._remote(item) for item in self.items(node, key))
            case _:
                return {name: self._trusted(item, name) for name, item in self.mapping(node, key).items.items()}

    def _remote(self, node: Node) -> Remote:
        given = self.mapping(node, "a remote", sharing.REMOTE_KEYS).items
        if "url" not in given:
            raise self.error("a remote needs a `url`", node)
        return Remote(
            url=self.address(given["url"], "url"),
            mode=self.choice(given["mode"], "mode", sharing.MODES) if "mode" in given else "read",
            name=self.text(given["name"], "name") if "name" in given else "",
            unsigned="unsigned" in given and self.choice(given["unsigned"], "unsigned", ("true", "false")) == "true",
            line=given["url"].line,
        )

    def _trusted(self, node: Node, name: str) -> TrustedKey:
        given = self.mapping(node, f"the key `{name}`", sharing.TRUST_KEYS).items
        if given.keys() != set(sharing.TRUST_KEYS):
            raise self.error(f"the key `{name}` needs a `key` and `tiers`", node)
        tiers = tuple(self.tier(item) for item in self.items(given["tiers"], "tiers"))
        key = self.text(given["key"], "key")
        if not sharing.PUBLIC_KEY.fullmatch(key):
            raise self.error(
                f"the key `{name}` of `trust:` is none", given["key"], "`bg keygen --results` prints the line to put there"
            )
        return TrustedKey(key, tiers)

    def tier(self, node: Node) -> str:
        text = self.text(node, "a tier")
        if not sharing.TIER_PATTERN.fullmatch(text):
            known = ("trusted", "local", "pr/*")
            raise self.error(
                f"there is no tier `{text}`", node, did_you_mean(text, known) or "the tiers are trusted, local and pr/ID"
            )
        return text

    def _mirrors(self, node: Node) -> tuple[tuple[str, str], ...]:
        pairs = self.mapping(node, "mirrors").items.items()
        return tuple((source.rstrip("/"), self.address(mirror, "a mirror").rstrip("/")) for source, mirror in pairs)

    def _source_mirrors(self, node: Node) -> tuple[str, ...]:
        found = []
        for item in self.items(node, "source-mirrors"):
            text = self.address(item, "a source mirror")
            if "://" in text and not text.startswith(("https://", "http://", "git://")):
                raise self.error("a source mirror is a folder, or an address with https, http or git", item)
            found.append(text.rstrip("/"))
        return tuple(found)

    def _targets(self, node: Node) -> dict[str, TargetSettings]:
        found = {}
        for label, settings in self.mapping(node, "targets").items.items():
            if not label.startswith("//"):
                raise self.error(f"`{label}` is not a label", settings, "a label looks like //folder:name")
            found[_canonical(label)] = self._target(settings, label)
        return found

    def _target(self, node: Node, label: str) -> TargetSettings:
        values: dict[str, Any] = {"place": f"{FILE_NAME}:{node.line}"}
        for key, value in self.mapping(node, label, TARGET_KEYS).items.items():
            match key:
                case "sources":
                    values[key] = tuple(self.folder(item, "a source") for item in self.items(value, key))
                case "options":
                    values[key] = tuple(self.text(item, "an option") for item in self.items(value, key))
                case "network":
                    values[key] = self.choice(value, key, NETWORK_MODES)
                case "vars-file":
                    values["vars_file"] = self.folder(value, "a vars-file")
                case "env-file":
                    listed = self.items(value, key) if isinstance(value, Sequence) else [value]
                    values["env_files"] = tuple(self.folder(item, "an env-file") for item in listed)
                case "root" | "reproducible":
                    values[key] = self.choice(value, key, ("true", "false")) == "true"
                case _:
                    values[key] = self.tag(value)
        return TargetSettings(**values)

    def mapping(self, node: Node, what: str, known: tuple[str, ...] | None = None) -> Mapping:
        if not isinstance(node, Mapping):
            raise self.error(f"{what} must be a mapping", node)
        for key in node.items if known else ():
            if key not in (known or ()):
                line, column = node.keys[key]
                hint = did_you_mean(key, known or ()) or "the keys are " + ", ".join(known or ())
                raise ManifestError(f"unknown key `{key}`", where=self.place(line, column, len(key)), hint=hint)
        return node

    def items(self, node: Node, what: str) -> list[Node]:
        if not isinstance(node, Sequence):
            raise self.error(f"{what} must be a list", node)
        return list(node.items)

    def text(self, node: Node, what: str) -> str:
        if not isinstance(node, Scalar):
            raise self.error(f"{what} must be a text", node)
        return node.text

    def address(self, node: Node, what: str) -> str:
        text = self.text(node, what)
        if carries_login(text):  # not shown, so without an excerpt
            raise ManifestError(f"{what} with a user or password in it", where=Place(FILE_NAME, node.line), hint=LOGIN_HINT)
        return text

    def choice(self, node: Node, what: str, options: tuple[_Text, ...]) -> _Text:
        text = self.text(node, what)
        for option in options:
            if text == option:
                return option
        raise self.error(f"{what} must be one of {', '.join(options)}", node, did_you_mean(text, options))

    def number(self, node: Node, what: str, *, least: int) -> int:
        text = self.text(node, what)
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise self.error(f"{what} must be a whole number" + (f", {least} or more" if least else ""), node)
        return int(text)

    def tag(self, node: Node) -> str:
        text = self.text(node, "tag")
        if not _TAG.fullmatch(text):
            raise self.error("tag must be at most 128 letters, digits, `_`, `.` and `-`, none of the last two first", node)
        return text

    def size(self, node: Node, what: str) -> int:
        size = parse_size(self.text(node, what).strip())
        if size is None:
            raise self.error(f"{what} must be a size such as 4G or 512M", node)
        return size

    def folder(self, node: Node, what: str) -> str:
        text = posixpath.normpath(self.text(node, what) or ".")
        if text.startswith(("/", "../")) or text == "..":
            raise self.error(f"{what} must lie inside the workspace", node)
        return "" if text == "." else text

    def error(self, message: str, node: Node, hint: str = "") -> ManifestError:
        length = len(node.text.splitlines()[0]) if isinstance(node, Scalar) and node.text else 1
        return ManifestError(message, where=self.place(node.line, node.column, length), hint=hint)

    def place(self, line: int, column: int, length: int) -> Place:
        excerpt = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return Place(FILE_NAME, line, column, max(1, length), excerpt)


def _holds(out: str, recipes: str, root: Root) -> bool:
    """Whether the folder of outputs is the folder of the recipes, or one above it."""
    inner, outer = Path(os.path.normpath(root / recipes)), Path(os.path.normpath(root / out))
    return inner.is_relative_to(outer)


def _canonical(label: str) -> str:
    folder, colon, name = label[2:].partition(":")
    return f"//{folder}:{name if colon else posixpath.basename(folder)}"
