"""A small workspace, and bg asked twice about it: with what earlier runs left behind, and from nothing.

bg runs in this process, with programs on PATH that only tell the pinned versions: nothing here builds with them. ``pretend``
fills the real cache with the records that a build would leave.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from buildgraph.apk.index import IndexEntry
from buildgraph.cli import commands
from buildgraph.cli.arguments import parse
from buildgraph.cli.main import main
from buildgraph.cli.session import Session
from buildgraph.cli.settings import tools_folder
from buildgraph.errors import INTERNAL_ERROR, BgError
from buildgraph.execute.tools import pinned_versions
from buildgraph.keys.digest import Digest
from buildgraph.plan.rebuild import Action, Suspended
from buildgraph.plan.record import Discovered, Output, Record
from buildgraph.plan.store import Last
from buildgraph.report.console import Console
from buildgraph.workspace.lockfile import Lock, Locked, write_lock

ARCHITECTURES = ("x86_64", "aarch64")
REPOSITORY = "https://repo.example/os"
KEY = f"{REPOSITORY}/repo.rsa.pub"
MANIFEST = f"""\
recipes: recipes
architectures: [x86_64, aarch64]
repositories: [{REPOSITORY}]
keyring: [{KEY}]
mirrors:
  https://repo.example: mirror
"""
FILES = {
    "buildgraph.yaml": MANIFEST,
    "mirror/os/repo.rsa.pub": "a key\n",
    "recipes/packages/a.yaml": "",
    "recipes/packages/a/data.txt": "one\n",
    "recipes/packages/a/more/deep.txt": "two\n",
    "recipes/packages/b.yaml": "",
    "recipes/packages/b/data.txt": "six\n",
    "recipes/packages/c.yaml": "",
    "recipes/libs/libq/melange.yaml": "",
    "recipes/libs/libq/src.c": "int\n",
    "recipes/images/base.yaml": f"contents:\n  keyring: [{KEY}]\n  repositories: ['{REPOSITORY}']\n",
    "recipes/images/one.yaml": "",
    "recipes/images/two/apko.yaml": "",
    "recipes/pipelines/step.yaml": "pipeline:\n  - runs: echo step\n",
}


@dataclass
class Recipe:
    """A melange recipe of a few lines, to be changed part by part."""

    name: str
    version: str = "1.0"
    epoch: int = 0
    needs: list[str] = field(default_factory=list)
    runtime: list[str] = field(default_factory=list)
    provides: list[str] = field(default_factory=list)
    priority: int = 0
    architectures: list[str] = field(default_factory=list)
    sub: list[str] | None = None  # what a subpackage provides, if there is one
    uses: str = ""
    script: str = "echo made"
    option: bool = False
    comment: str = ""

    def text(self) -> str:
        """The recipe as YAML."""
        lines = [
            *([f"# {self.comment}"] if self.comment else []),
            "package:",
            f"  name: {self.name}",
            f"  version: '{self.version}'",
            f"  epoch: {self.epoch}",
            *([f"  target-architecture: {_list(self.architectures)}"] if self.architectures else []),
            "  dependencies:",
            f"    runtime: {_list(self.runtime)}",
            f"    provides: {_list(self.provides)}",
            f"    provider-priority: {self.priority}",
            "environment:",
            "  contents:",
            f"    packages: {_list(['busybox', *self.needs])}",
            "pipeline:",
            f"  - runs: {self.script}",
            *([f"  - uses: {self.uses}"] if self.uses else []),
        ]
        if self.sub is not None:
            lines += ["subpackages:", f"  - name: {self.name}-dev", "    dependencies:", f"      provides: {_list(self.sub)}"]
        if self.option:
            lines += ["options:", "  extra:", "    environment:", "      contents:", "        packages: {add: [tool]}"]
        return "".join(f"{line}\n" for line in lines)


@dataclass
class Image:
    """An apko image of a few lines."""

    packages: list[str] = field(default_factory=list)
    include: str = ""
    architectures: list[str] = field(default_factory=list)
    comment: str = ""

    def text(self) -> str:
        """The image as YAML."""
        lines = [
            *([f"# {self.comment}"] if self.comment else []),
            *([f"include: {self.include}"] if self.include else []),
            "contents:",
            f"  packages: {_list(['busybox', *self.packages])}",
            *([f"archs: {_list(self.architectures)}"] if self.architectures else []),
        ]
        return "".join(f"{line}\n" for line in lines)


def _list(items: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{item}'" for item in items) + "]"


# What recipes may ask for besides local packages: ``puller`` asks for a local package, ``old`` for one in a version.
EXTERNALS = {
    "busybox": (), "tool": (), "puller": ("libq",), "old": ("libq>=1.0-r0",), "late": ("c-dev",), "so:scanned": (),
}  # fmt: skip


def lock_of(names: Sequence[str], version: str = "1-r0") -> Lock:
    """A lock with some of the external packages, for both architectures."""
    return Lock.of(
        Locked(
            IndexEntry(name, version, arch, f"Q1{f'{number}{version}'.translate(_LETTERS):A<27.27}=", depends=EXTERNALS[name]),
            REPOSITORY,
        )
        for number, name in enumerate(EXTERNALS)
        for arch in ARCHITECTURES
        if name in names
    )


_LETTERS = {ord("."): "d", ord("-"): "m"}
SIMPLE = tuple(name for name in EXTERNALS if ":" not in name)


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


class Twins:
    """A workspace in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "ws"
        self.recipes: dict[str, Recipe] = {}
        self.images: dict[str, Image] = {}
        self.locked: list[str] = []
        self.lock_version = ""
        self.cache = "cache"
        self._count = itertools.count()
        self._tools()
        self.make()

    def make(self) -> None:
        """Writes all files as they are at first."""
        self.locked, self.lock_version = list(SIMPLE), "1-r0"
        for path, text in FILES.items():
            self.write(path, text)
        self.recipe("recipes/packages/a.yaml", Recipe("a", needs=["libq"]))
        self.recipe("recipes/packages/b.yaml", Recipe("b", needs=["a"], runtime=["libq"], uses="step"))
        self.recipe("recipes/packages/c.yaml", Recipe("c", needs=["puller"], sub=[]))
        self.recipe("recipes/libs/libq/melange.yaml", Recipe("libq"))
        self.image("recipes/images/one.yaml", Image(["b"], "images/base.yaml"))
        self.image("recipes/images/two/apko.yaml", Image(["c"]))
        self.write_lock()

    def _tools(self) -> None:
        tools = self.folder / "tools"
        tools.mkdir(parents=True)
        for name, version in {**pinned_versions(tools_folder()), "bwrap": "v1"}.items():
            (tools / name).write_text(f"#!/bin/sh\necho GitVersion: {version}\n")
            (tools / name).chmod(0o755)

    def write(self, path: str, text: str) -> None:
        """Writes a file of the workspace."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def write_if_there(self, path: str, text: str) -> None:
        """Writes over a file, if it still is one."""
        if (self.root / path).is_file():
            self.write(path, text)

    def write_if_possible(self, path: str, text: str) -> None:
        """Writes a file unless something else has its name or that of a folder of it."""
        target = self.root / path
        above = [folder for folder in target.parents if folder.is_relative_to(self.root) and os.path.lexists(folder)]
        if all(folder.is_dir() for folder in above) and not target.is_dir():
            self.write(path, text)

    def recipe(self, path: str, recipe: Recipe) -> None:
        """Writes a recipe, and remembers it for edits."""
        self.recipes[path] = recipe
        self.write(path, recipe.text())

    def image(self, path: str, image: Image) -> None:
        """Writes an image, and remembers it for edits."""
        self.images[path] = image
        self.write(path, image.text())

    def write_lock(self) -> None:
        """Writes the lock."""
        write_lock(self.root / "buildgraph.lock", lock_of(self.locked, self.lock_version))

    def environment(self, state: str) -> dict[str, str]:
        """Where bg keeps what it keeps, and finds its tools."""
        return {
            "PATH": f"{self.folder / 'tools'}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / state),
            "BG_CACHE_DIR": str(self.folder / self.cache),
        }

    @property
    def state_file(self) -> Path:
        """What earlier runs left behind."""
        return next((self.folder / "kept/buildgraph/state").glob("*.state"))

    def kept(self, *arguments: str) -> Answer:
        """What bg says with what earlier runs left behind."""
        return self._ask("kept", arguments)

    def fresh(self, *arguments: str) -> Answer:
        """What bg says from nothing (but for the versions of the tools, so that they are not asked each time)."""
        state = f"fresh-{next(self._count)}"
        seen = self.folder / "kept/buildgraph/tools/seen.json"
        if seen.is_file():
            (self.folder / state / "buildgraph/tools").mkdir(parents=True)
            shutil.copy(seen, self.folder / state / "buildgraph/tools/seen.json")
        try:
            return self._ask(state, arguments)
        finally:
            shutil.rmtree(self.folder / state)

    def _ask(self, state: str, arguments: Sequence[str]) -> Answer:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["-C", str(self.root), *arguments], self.environment(state))
        assert code != INTERNAL_ERROR, err.getvalue()
        return Answer(code, out.getvalue(), err.getvalue())

    def compare(self, *arguments: str) -> Answer:
        """Asks both ways; the answers must be the same."""
        kept, fresh = self.kept(*arguments), self.fresh(*arguments)
        assert kept == fresh, f"bg {' '.join(arguments)}"
        return kept

    def pretend(self, *targets: str) -> None:
        """Puts into the cache what a build of some targets would leave there, where bg would build them at all."""
        state = f"fresh-{next(self._count)}"
        options = parse(["-C", str(self.root), "plan", "--locked", *targets])
        try:
            session = Session(commands.settings(options, self.environment(state)), Console(io.StringIO()))
            _Pretender(session).build(session.selection.nodes(targets))
        except BgError:
            pass  # of what is wrong nothing is built
        finally:
            shutil.rmtree(self.folder / state, ignore_errors=True)

    def forget(self) -> None:
        """Empties the cache."""
        shutil.rmtree(self.folder / self.cache, ignore_errors=True)


@dataclass
class _Pretender:
    """Leaves records and blobs as if every action had run; what a package holds depends on its name and version alone.

    Packages of libraries provide a ``so:`` that no recipe declares, and what is made in a box with one of them needs it.
    """

    session: Session
    done: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)

    def build(self, names: Sequence[str]) -> None:
        for name in names:
            self._build(name)

    def _all(self, names: Sequence[str]) -> bool:
        return False not in [self._build(name) for name in names]

    def _build(self, name: str) -> bool:
        if name in self.begun:
            return name in self.done
        self.begun.add(name)
        rebuilder = self.session.rebuilder
        if not self._all(self.session.graph.dependencies[name]):
            return False
        action = rebuilder.action(name)
        while isinstance(action, Suspended):
            if not self._all(action.nodes):
                return False
            action = rebuilder.action(name)
        if isinstance(action, Action):
            rebuilder.known[name] = self._record(name, action)
            self.done.add(name)
        return name in self.done

    def _record(self, name: str, action: Action) -> Record:
        cas, store, rebuilder = self.session.cas, self.session.store, self.session.rebuilder
        held = rebuilder.deep_hit(name) or store.record(action.key)
        record = held or self._made(name, action)
        store.put(record)
        led, deep = rebuilder.deep_record(name, action), rebuilder.deep(name)
        document = Digest(cas.put_bytes(deep.document.to_bytes()))
        for text in self.session.inputs.texts(name).values():
            cas.put_bytes(text.encode())
        if led is not None:
            store.put_deep(deep.key, led)
        store.put_last(name, Last(action.key, document, document, 1.0))
        return record

    def _made(self, name: str, action: Action) -> Record:
        cas, node = self.session.cas, action.node
        box = {item.name: item for found in action.resolutions.values() for item in found.packages.values()}
        libraries = [item for item in box.values() if item.name.startswith("lib")]
        packages = [
            IndexEntry(
                package.name,
                package.version,
                node.architectures[0],
                "Q1",
                depends=(*(need.text for need in package.depends), *(f"so:{item.name}" for item in libraries)),
                provides=(*package.provides, *([f"so:{package.name}"] if package.name.startswith("lib") else [])),
            )
            for package in node.packages
        ]
        contents = {f"{entry.arch}/{entry.filename}": f"{entry}".encode() for entry in packages} or {"layout/index.json": b"{}"}
        return Record(
            action=action.key,
            node=name,
            document=Digest(cas.put_bytes(action.document.to_bytes())),
            outputs=tuple(Output(path, Digest(cas.put_bytes(data)), len(data)) for path, data in sorted(contents.items())),
            packages=tuple(packages),
            discovered=tuple(Discovered(f"so:{item.name}", item.node, item.name) for item in libraries),
        )
