"""What is known of each YAML file, worked out once for its content: on all processors at first sight, and kept between runs.

A reading is one line: a JSON array on the file, a tab, and a JSON array on the nodes of its target (nothing where these were not
asked for). It holds as long as the file and all files that it looked for have the content that they had; a line that does not
hold, or that is damaged, is read anew. What cannot be read leaves no line, so that its error comes each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from buildgraph.errors import BgError
from buildgraph.graph.model import LocalPackage, Node
from buildgraph.keys.digest import Digest, digest_bytes
from buildgraph.keys.document import Entry
from buildgraph.plan.nodes import Described, describe
from buildgraph.recipes.builtins import Builtins, Table
from buildgraph.recipes.values import Need, NetworkReason, PinnedSource, Written
from buildgraph.recipes.yamltext import MAX_BYTES, Scalar
from buildgraph.recipes.yamltext import Mapping as YamlMapping
from buildgraph.structs import Struct, field, from_json, to_json
from buildgraph.workspace import discovery
from buildgraph.workspace.discovery import RecipeFile, Target
from buildgraph.workspace.labels import Label
from buildgraph.workspace.workspace import Workspace

# So many files are worth the start of processes; fewer are read sooner than these are there.
_WORTH_PROCESSES = 150
_CHUNK = 40
_MOST_PROCESSES = 8
_WORTH_KEEPING = 0.75  # of the bytes of kept readings, if so many are still in use

# The digest of a file of the workspace, None for one that is not there.
Digests = Callable[[str], Digest | None]


class Lines(MutableMapping[str, bytes]):
    """Readings by path, as a run left them for the next, ``data``; empty where they rest on other ``premises``.

    A line of JSON says what they rest on and where in the bytes behind it each of them lies. Few are asked for in most runs, and
    only these are cut out; new ones go to the end, and what they replace stays until it is a quarter of all.
    """

    def __init__(self, data: bytes = b"", premises: str = "") -> None:
        self._data, self._start, self._kept = b"", 0, dict[str, tuple[int, int]]()
        self._new: dict[str, bytes] = {}
        start = data.find(b"\n") + 1
        with suppress(ValueError, TypeError):
            known, spans = from_json(data[:start])
            if known == premises:
                self._data, self._start, self._kept = data, start, spans

    def __getitem__(self, path: str) -> bytes:
        if path in self._new:
            return self._new[path]
        begin, length = self._kept[path]
        return self._data[self._start + begin : self._start + begin + length]

    def __setitem__(self, path: str, line: bytes) -> None:
        self._kept.pop(path, None)
        self._new[path] = line

    def __delitem__(self, path: str) -> None:
        if self._new.pop(path, None) is None:
            del self._kept[path]

    def __contains__(self, path: object) -> bool:
        return path in self._kept or path in self._new

    def __iter__(self) -> Iterator[str]:
        yield from self._kept
        yield from self._new

    def __len__(self) -> int:
        return len(self._kept) + len(self._new)

    def to_bytes(self, premises: str, paths: Collection[str]) -> bytes:
        """What the next run takes: the readings of some files."""
        spans = {path: span for path, span in self._kept.items() if path in paths}
        blob: bytes | memoryview = memoryview(self._data)[self._start :]
        new = {path: line for path, line in self._new.items() if path in paths}
        if sum(length for _, length in spans.values()) < _WORTH_KEEPING * len(blob):
            new, spans, blob = {path: self[path] for path in spans} | new, {}, b""
        end = len(blob)
        for path, line in new.items():
            spans[path] = end, len(line)
            end += len(line)
        return b"".join([to_json([premises, spans]), b"\n", blob, *new.values()])


class Readings(Struct):
    """The readings of a workspace. ``bare`` is the workspace without recipes; ``lines`` are by path, kept ones and new ones.

    ``digest`` gives the digest of a file, ``learn`` is told those that other processes found.
    """

    bare: Workspace
    wanted: tuple[str, ...]
    digest: Digests
    builtins: Builtins = field(default_factory=Table)
    learn: Callable[[str, Digest], None] = lambda _path, _digest: None
    lines: Lines = field(default_factory=Lines)
    fresh: set[str] = field(default_factory=set)
    _checked: dict[str, list[Any] | None] = field(default_factory=dict)

    def premises(self) -> str:
        """What readings rest on besides files: where it is the same, the lines of one workspace serve another."""
        manifest = self.bare.manifest
        told = {label: (given.options, given.vars_file, given.env_files) for label, given in manifest.targets.items()}
        return repr((self.wanted, self.builtins.version, manifest.recipes, manifest.pipelines, told))

    def prepare(self, paths: Sequence[str]) -> None:
        """Reads all of these files that have no reading, if there are many on several processors."""
        missing = [path for path in paths if self._known(path) is None]
        processes = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
        if len(missing) < _WORTH_PROCESSES or processes < 2:  # noqa: PLR2004 - one process is this one
            return
        reader = _Reader(self.bare, self.wanted, self.digest, self.builtins)
        # Neighbours in the alphabet are alike, also in size: every process gets some of each.
        chunks = [missing[start :: max(1, len(missing) // _CHUNK)] for start in range(max(1, len(missing) // _CHUNK))]
        for read in _on_processes(reader, chunks, processes):
            for path, line in read.items():
                own, looked_for, head = _file_part(line)
                for other, digest in ((path, own), *looked_for.items()):
                    if digest is not None:
                        self.learn(other, digest)
                self._keep(path, line)
                self._checked[path] = [own, looked_for, head]

    def recipe_file(self, path: str) -> RecipeFile | None:
        """The recipe in a file, None where it is none. Raises RecipeError as ``discovery.read_recipe``."""
        known = self._known(path)
        if known is not None:
            return _head_from_json(self.bare, path, known[2])
        recipe = discovery.read_recipe(self.bare.root, path)
        self._keep(path, _line(self.digest(path), (), self.digest, recipe, None if recipe else []))
        return recipe

    def describe(self, target: Target) -> list[Described]:
        """The nodes of a target. Raises RecipeError for a recipe that cannot be understood."""
        path = target.recipe.path
        if self._known(path) is not None:
            # Only the file may be known, not its nodes.
            with suppress(ValueError, KeyError, TypeError, IndexError):
                return nodes_in(self.lines[path], target)
        made = describe(target, self.bare, self.wanted, self.builtins)
        self._keep(path, _line(self.digest(path), _looked_for(made), self.digest, target.recipe, made))
        return made

    def _keep(self, path: str, line: bytes) -> None:
        self.lines[path] = line
        self.fresh.add(path)
        self._checked.pop(path, None)

    def _known(self, path: str) -> list[Any] | None:
        """The first half of a reading that holds."""
        if path not in self._checked:
            self._checked[path] = self._check(path)
        return self._checked[path]

    def _check(self, path: str) -> list[Any] | None:
        line = self.lines.get(path)
        if line is None:
            return None
        try:
            own, looked_for, head = known = _file_part(line)
            holds = self.digest(path) == own and all(self.digest(other) == digest for other, digest in looked_for.items())
        except (ValueError, TypeError, AttributeError):
            holds = False
        if not holds:
            del self.lines[path]
            return None
        return known if head is None or isinstance(head, list) else None

    def forget(self, paths: Collection[str]) -> None:
        """Drops the readings made in this run that rest on some files."""
        for path in self.fresh & self.lines.keys() if paths else ():
            _, looked_for, _ = _file_part(self.lines[path])
            if path in paths or not looked_for.keys().isdisjoint(paths):
                del self.lines[path]


class _Reader(Struct, frozen=True):
    """Reads files from nothing, in a process of its own."""

    bare: Workspace
    wanted: tuple[str, ...]
    digest: Digests
    builtins: Builtins

    def read(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The readings of some files, without those that cannot be read."""
        found = {}
        for path in paths:
            try:
                found[path] = self._read(path)
            except BgError:
                continue  # the first process reads it again, and says what is wrong if it matters
        return found

    def _read(self, path: str) -> bytes:
        data = discovery.read_bytes(self.bare.root, path)
        own = digest_bytes(data) if len(data) <= MAX_BYTES else self.digest(path)
        recipe = discovery.recipe_in(data, self.bare.root, path)
        if recipe is None:
            return _line(own, (), self.digest, None, [])
        target = Target(discovery.label_of(recipe, self.bare.manifest.recipes), recipe)
        made = describe(target, self.bare, self.wanted, self.builtins)
        return _line(own, _looked_for(made), self.digest, recipe, made)


def _on_processes(reader: _Reader, chunks: Sequence[Sequence[str]], processes: int) -> Iterable[dict[str, bytes]]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Forked, so that nothing has to be sent there; no thread runs yet.
    with ProcessPoolExecutor(processes, mp_context=get_context("fork"), initializer=_begin, initargs=(reader,)) as pool:
        yield from pool.map(_read_chunk, chunks)


_reader: list[_Reader] = []


def _begin(reader: _Reader) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _reader[:] = [reader]


def _read_chunk(paths: Sequence[str]) -> dict[str, bytes]:
    return _reader[0].read(paths)


def _looked_for(made: Iterable[Described]) -> tuple[str, ...]:
    return tuple(sorted({path for described in made for path in described.looked_for}))


def _line(
    own: Digest | None, looked_for: Iterable[str], digest: Digests, recipe: RecipeFile | None, made: Iterable[Described] | None
) -> bytes:
    others = {path: digest(path) for path in looked_for}
    head = None if recipe is None else _head_to_json(recipe)
    nodes = b"" if made is None else to_json([_to_json(described) for described in made])
    return b"%b\t%b" % (to_json([own, others, head]), nodes)


def _file_part(line: bytes) -> Any:
    """The first half of a reading. Raises ValueError."""
    return from_json(line.partition(b"\t")[0])


def _head_to_json(recipe: RecipeFile) -> list[Any]:
    package, contents = recipe.head.items.get("package"), recipe.head.items.get("contents")
    name = package.items.get("name") if isinstance(package, YamlMapping) else None
    include = recipe.head.items.get("include")
    return [
        recipe.kind,
        _scalar(name),
        list(recipe.head.keys.get("package", (0, 0))),
        list(contents.items) if isinstance(contents, YamlMapping) else None,
        _scalar(include),
        [key for key in recipe.head.items if key not in {"package", "contents"}],
    ]


def naming_of(recipe: RecipeFile) -> list[Any]:
    """What of a recipe decides whether it is a target, and what the target is called."""
    return _naming(_head_to_json(recipe))


def naming_in(line: bytes) -> list[Any] | None:
    """The same from a reading; None for one of no recipe. Raises ValueError."""
    _, _, head = _file_part(line)
    return None if head is None else _naming(head)


def _naming(head: list[Any]) -> list[Any]:
    kind, name, _, contents, include, others = head
    return [kind, name and name[:2], contents, include and include[:2], others]


def _scalar(node: object) -> list[Any] | None:
    return [node.text, node.plain, node.line, node.column] if isinstance(node, Scalar) else None


def _head_from_json(workspace: Workspace, path: str, data: list[Any] | None) -> RecipeFile | None:
    if data is None:
        return None
    kind, name, place, contents, include, others = data
    head = YamlMapping()
    if kind == "melange":
        head.put("package", YamlMapping({"name": Scalar(*name)} if name else {}, *place), (place[0], place[1]))
    if contents is not None:
        head.items["contents"] = YamlMapping({key: Scalar("") for key in contents})
    head.items.update({key: Scalar("") for key in others})
    if "include" in others:
        head.items["include"] = Scalar(*include) if include else YamlMapping()
    return RecipeFile(workspace.root, path, kind, head)


def _to_json(described: Described) -> list[Any]:
    node = described.node
    return [
        list(node.architectures),
        [
            [
                package.name, package.version, package.line, list(package.provides), package.priority,
                [[need.text, need.line] for need in package.depends],
            ]
            for package in node.packages
        ],
        [
            [need.text, need.line, need.column, need.via, *([] if need.path == node.path else [need.path])]
            for need in node.world
        ],
        [[reason.what, reason.path, reason.line] for reason in described.network],
        [
            [source.address, source.digest, source.ref, source.depth, source.path, source.line, source.is_tip]
            for source in described.sources
        ],
        list(described.repositories),
        [[line.text, line.path, line.line, line.column] for line in described.keyring],
        [list(entry) for entry in described.texts],
        [list(pair) for pair in described.pipelines],
        list(described.includes),
        list(described.looked_for),
    ]  # fmt: skip


def nodes_in(line: bytes, target: Target) -> list[Described]:
    """The nodes of a target that a reading has. Raises ValueError, KeyError, TypeError or IndexError for what is none."""
    label, path = target.label, target.recipe.path
    return [_from_json(item, label, path, target) for item in from_json(line.partition(b"\t")[2])]


def _from_json(data: Sequence[Any], label: Label, path: str, target: Target) -> Described:
    architectures, packages, world, network, sources, repositories, keyring, texts, pipelines, includes, looked_for = data
    is_package = target.kind == "package"
    identity = f"{label}@{architectures[0]}" if is_package else str(label)
    node = Node(
        identity,
        str(label),
        "package" if is_package else "image",
        tuple(architectures),
        label.folder,
        path,
        tuple(_package(item, identity, label.folder, path) for item in packages),
        tuple(
            Need(item[0], item[4] if len(item) > 4 else path, item[1], item[2], item[3])  # noqa: PLR2004 - where it is elsewhere
            for item in world
        ),
    )
    return Described(
        node=node,
        target=target,
        network=tuple(NetworkReason(*item) for item in network),
        sources=tuple(PinnedSource(*item) for item in sources),
        repositories=tuple(repositories),
        keyring=tuple(Written(*item) for item in keyring),
        texts=tuple(Entry(*item) for item in texts),
        pipelines=tuple((name, found) for name, found in pipelines),
        includes=tuple(includes),
        looked_for=tuple(looked_for),
    )


def _package(data: Sequence[Any], node: str, folder: str, path: str) -> LocalPackage:
    name, version, line, provides, priority, depends = data
    needs = tuple(Need(text, path, at, via="dependencies") for text, at in depends)
    return LocalPackage(name, version, node, folder, needs, tuple(provides), path, line, priority)
