"""One entry of the plan -> one .apk in the store, made once for the same input whichever set asks for it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from buildgraph.apk.index import IndexEntry
from buildgraph.apk.writer import write_package
from buildgraph.errors import RepositoryError
from buildgraph.structs import Struct, asdict
from tools.seed.check import Made
from tools.seed.elf import scan
from tools.seed.fixups import FIXUPS, commands
from tools.seed.layout import Tree, add_alternatives, alternatives, read_deb, read_tarball, select
from tools.seed.plan import Item

_HERE = Path(__file__).resolve().parent
_MAKERS = [_HERE / f"{name}.py" for name in ("layout", "fixups", "elf", "wrap")]
_MAKERS += [_HERE.parents[1] / "buildgraph" / "apk" / f"{name}.py" for name in ("archive", "index", "pkginfo", "writer")]

_STEP = 24  # packages to a line of progress
LEVEL = 6
"""gzip level of the data segments: 1 makes them a tenth larger and saves a third of the time."""


class Wrapped(Struct, frozen=True):
    """An apk in the store: its index entry, the SHA-256 of the file, its debs, and what tells each path's content."""

    path: Path
    entry: IndexEntry
    sha256: str
    files: dict[str, str]

    @property
    def made(self) -> Made:
        """What the check of the set looks at."""
        return Made(self.entry, self.files)


class Bench(Struct, frozen=True):
    """Where packages are wrapped: the folders of what was downloaded and of apks, and how many at a time."""

    debs: Path
    apks: Path
    jobs: int


def maker_digest(sources: Iterable[Path] = tuple(_MAKERS)) -> str:
    """Digest over source files: those that decide an apk's bytes, if no others are named."""
    digest = hashlib.sha256()
    for path in sources:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def fingerprint(item: Item, maker: str) -> str:
    """Digest over all that decides the bytes of an item's apk; ``maker`` stands for the code that makes it."""
    debs = [(deb.name, deb.version, deb.sha256) for deb in item.debs]
    parts = (maker, zlib.ZLIB_RUNTIME_VERSION, LEVEL, debs, {**asdict(item), "debs": ()})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def build_tree(item: Item, debs: Path) -> Tree:
    """The files of an item's apk, from what is in the folder ``debs``; raises RepositoryError if that cannot be read."""
    tree = read_tarball(debs / item.npm.filename, "package/", f"{item.npm.place}/") if item.npm else {}
    links: dict[str, str] = {}
    for deb in item.debs:
        files, postinst = read_deb(debs / deb.filename)
        for path, entry in files.items():
            there = tree.get(path)
            if there is None or there.kind == "symlink" or entry.kind == "file":
                tree[path] = entry
        links |= alternatives(postinst)
    add_alternatives(tree, links)
    if item.name in FIXUPS:
        try:
            FIXUPS[item.name](tree)
        except KeyError as error:
            what = f"{item.name}: Debian's packages no longer have {error}"
            raise RepositoryError(what, hint="tools/seed/fixups.py is to follow them") from error
    return select(tree, item.only, item.leave)


def wrap(item: Item, debs: Path, destination: Path) -> Wrapped:
    """Make an item's apk at ``destination``, with a note of what is in it beside it.

    Safe to be killed at any time: the note appears last, and only what has one counts.
    """
    tree = build_tree(item, debs)
    provides, depends = scan(tree, item.version)
    provides |= {f"cmd:{name}={item.version}" for name in commands(item.name)}
    info = IndexEntry(
        name=item.name,
        version=item.version,
        arch=item.arch,
        description=item.description,
        origin=item.name,
        depends=tuple(sorted({*item.depends, *depends})),
        provides=tuple(sorted({*item.provides, *provides})),
    )
    entry = write_package(destination, info, tree, level=LEVEL)
    with destination.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    contents = {path: _content(path, tree) for path in sorted(tree) if tree[path].kind != "dir"}
    note = {"entry": asdict(entry), "sha256": sha256, "files": contents}
    scratch = destination.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(note))
    scratch.replace(_note(destination))
    return Wrapped(destination, entry, sha256, contents)


def _content(path: str, tree: Tree) -> str:
    entry = tree[path]
    return f"-> {entry.target}" if entry.kind == "symlink" else hashlib.sha256(entry.data).hexdigest()


def _note(apk: Path) -> Path:
    return apk.with_suffix(".json")


def recall(apk: Path) -> Wrapped | None:
    """What an earlier run left at ``apk``, if it is whole."""
    try:
        note = json.loads(_note(apk).read_text())
        lists = {key: tuple(value) for key, value in note["entry"].items() if isinstance(value, list)}
        entry = IndexEntry(**{**note["entry"], **lists})
        found = Wrapped(apk, entry, note["sha256"], note["files"])
        with apk.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == found.sha256
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if whole else None


def wrap_all(items: Sequence[Item], bench: Bench, say: Callable[[str], None]) -> list[Wrapped]:
    """Make every item's apk, the largest first; the result is in the items' order.

    Raises RepositoryError for the first that cannot be made.
    """
    bench.apks.mkdir(parents=True, exist_ok=True)
    maker = maker_digest()
    places = {item: bench.apks / f"{fingerprint(item, maker)}.apk" for item in items}
    wrapped = {item: found for item, place in places.items() if (found := recall(place)) is not None}
    todo = sorted(set(items) - wrapped.keys(), key=lambda item: (-_size(item), item.name))
    say(f"wrap: {len(todo)} of {len(items)} packages to make, {bench.jobs} at a time")
    if todo:
        wrapped |= _in_parallel({item: places[item] for item in todo}, bench, say)
    return [wrapped[item] for item in items]


def _size(item: Item) -> int:
    return sum(deb.size for deb in item.debs) + (item.npm.size if item.npm else 0)


def _die_quietly() -> None:
    """Ctrl-C also reaches the workers: they have nothing to tidy up, and nothing to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _in_parallel(todo: Mapping[Item, Path], bench: Bench, say: Callable[[str], None]) -> dict[Item, Wrapped]:
    # Spawned, not forked: a fork would hold the store's lock after this process was killed.
    pool = ProcessPoolExecutor(bench.jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_die_quietly)
    with pool:
        futures = {pool.submit(wrap, item, bench.debs, place): item for item, place in todo.items()}
        wrapped: dict[Item, Wrapped] = {}
        start = time.monotonic()
        try:
            for future in as_completed(futures):
                item = futures[future]
                wrapped[item] = future.result()
                if len(wrapped) % _STEP == 0 or len(wrapped) == len(futures):
                    say(f"wrap: {len(wrapped)}/{len(futures)}, {time.monotonic() - start:.1f} s")
        except BrokenProcessPool as error:
            what = "a process that wraps packages was killed"
            raise RepositoryError(what, hint="is there enough memory? --jobs 1 needs least; what is made stays") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return wrapped
