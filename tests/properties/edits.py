"""Edits of the small workspace of ``twins``: everything that people, editors and git do to files, with small numbers to choose.

Each edit gets the workspace and two numbers. What it cannot do there it leaves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.properties.twins import KEY, MANIFEST, SIMPLE, Image, Recipe, Twins

Edit = Callable[[Twins, int, int], None]
_Item = TypeVar("_Item")

NAMES = ("a", "b", "c", "libq", "c-dev", "libq>=1.5", "libq<3", "virtual", "puller", "old", "late", "so:scanned", "nothing")
PROVIDES = ("virtual", "virtual=2", "libq=9", "so:scanned")
IGNORES = ("", "*.txt\n", "*\n", "a/\n", "a\n", "*\n!*/\n!*.yaml\n", "/packages/b.yaml\n", "more\n", "c.yaml\n")
IGNORING = ("", "recipes/", "recipes/packages/", "recipes/packages/a/")
MANIFESTS = (
    "", "salt: x\n", "targets:\n  //packages:a: {options: [extra]}\n", "targets:\n  //packages:a: {sources: [vendor]}\n",
    "targets:\n  //packages:b: {sources: [recipes/packages/a, mirror/os/repo.rsa.pub]}\n", "pipelines: [more-pipelines]\n",
    "targets:\n  //images:base: {}\n", "network: 'on'\n", "exclude: ['b.yaml']\n", "tag: other\n",
    "targets:\n  //libs/libq:libq: {root: true}\n",
)  # fmt: skip
NEW = (
    ("new.txt", "new\n"), ("new.yaml", Recipe("new").text()), ("new.yaml", Image(["a"]).text()), ("new.yaml", "just: yaml\n"),
    ("data.txt", "one\n"), ("extra.yaml", "package: [\n"), ("new.yaml", Recipe("new", provides=["virtual=3"]).text()),
)  # fmt: skip


def _some(items: Sequence[_Item], number: int) -> _Item:
    return items[number % len(items)]


def _toggle(items: list[str], item: str) -> None:
    if item in items:
        items.remove(item)
    else:
        items.append(item)


def _unlink(path: Path) -> None:
    if path.is_file() or path.is_symlink():
        path.unlink()


def _files(twins: Twins) -> list[str]:
    """The files below the recipes, and those of the outer folders."""
    found = [path for folder in ("recipes", "pipelines", "vendor") for path in (twins.root / folder).rglob("*")]
    return sorted(str(path.relative_to(twins.root)) for path in found if path.is_file() or path.is_symlink())


def _folders(twins: Twins) -> list[str]:
    found = [path for path in (twins.root / "recipes").rglob("*") if path.is_dir() and not path.is_symlink()]
    return ["recipes", *sorted(str(path.relative_to(twins.root)) for path in found)]


def recipe(twins: Twins, which: int, how: int) -> None:  # noqa: C901 - one case for each field
    """A field of a melange recipe."""
    path = _some(sorted(twins.recipes), which)
    recipe = twins.recipes[path]
    kind, number = how % 12, how // 12
    match kind:
        case 0:
            recipe.version = _some(("1.0", "2.0", "0.5", "bad version"), number)
        case 1:
            recipe.epoch += 1
        case 2:
            _toggle(recipe.needs, _some(NAMES, number))
        case 3:
            _toggle(recipe.runtime, _some(NAMES, number))
        case 4:
            _toggle(recipe.provides, _some(PROVIDES, number))
        case 5:
            recipe.sub = None if recipe.sub is not None and not number % 2 else [_some(PROVIDES, number)]
        case 6:
            recipe.uses = _some(("", "step", "outer", "nested"), number)
        case 7:
            recipe.comment = _some(("", "short", "long"), number) * (number % 3)
        case 8:
            recipe.script = _some(("echo made", "echo same", "curl https://x.example/"), number)
        case 9:
            recipe.architectures = _some(([], ["x86_64"], ["aarch64"], ["riscv64"]), number)
        case 10:
            recipe.name = _some((recipe.name, "renamed", "libq", "a"), number)
        case _:
            recipe.priority, recipe.option = number % 2, bool(number % 2)
    twins.write_if_there(path, recipe.text())


def image(twins: Twins, which: int, how: int) -> None:
    """A field of an image."""
    path = _some(sorted(twins.images), which)
    image, number = twins.images[path], how // 4
    match how % 4:
        case 0:
            _toggle(image.packages, _some(NAMES, number))
        case 1:
            image.include = _some(("", "images/base.yaml", "images/gone.yaml"), number)
        case 2:
            image.architectures = _some(([], ["x86_64"], ["amd64", "arm64"], ["riscv64"]), number)
        case _:
            image.comment = _some(("", "comment"), number)
    twins.write_if_there(path, image.text())


def base(twins: Twins, which: int, how: int) -> None:
    """The file that an image includes."""
    keys = _some(([KEY], [KEY, "keys/own.rsa.pub"], ["https://repo.example/os/gone.rsa.pub"]), which)
    more = _some(("", "  packages: [tool]\n", "  packages: [a]\n", "  # comment\n"), how)
    twins.write_if_there("recipes/images/base.yaml", f"contents:\n  keyring: {keys}\n{more}")


def pipeline(twins: Twins, which: int, how: int) -> None:
    """A local pipeline, at one of the places where it is looked for, comes, goes or changes."""
    path = _some(("recipes/pipelines/step.yaml", "pipelines/outer.yaml", "recipes/packages/pipelines/step.yaml",
                  "more-pipelines/step.yaml", "recipes/pipelines/nested.yaml"), which)  # fmt: skip
    text = _some(
        ("pipeline:\n  - runs: echo one\n", "pipeline:\n  - runs: echo two\n", "pipeline:\n  - uses: step\n", "# c\n", ""), how
    )
    if text:
        twins.write_if_possible(path, text)
    else:
        _unlink(twins.root / path)


def same_size(twins: Twins, which: int, how: int) -> None:
    """Other content of the same size, the time set back."""
    path = twins.root / _some(_files(twins), which)
    if path.is_file():
        before, data = path.stat(), path.read_bytes()
        place = how % (len(data) or 1)
        other = bytes(byte ^ 1 for byte in data[place : place + 1] if chr(byte).isalnum())
        path.write_bytes(data[:place] + other + data[place + len(other) :])
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(twins: Twins, which: int, how: int) -> None:
    """Two files change their names."""
    one, two = (twins.root / _some(_files(twins), number) for number in (which, how))
    if one != two:
        one.rename(twins.folder / "aside")
        two.rename(one)
        (twins.folder / "aside").rename(two)


def link(twins: Twins, which: int, how: int) -> None:
    """A file becomes a symbolic or hard link: to itself elsewhere, to another one, to a folder, to nothing."""
    path, other = (twins.root / _some(_files(twins), number) for number in (which, how // 5))
    aside = twins.folder / f"aside-{which}"
    match how % 5:
        case 0:
            path.replace(aside)
            path.symlink_to(aside)
        case 1 if path != other and other.is_file():
            path.unlink()
            path.hardlink_to(other.resolve())
        case 2:
            path.unlink()
            path.symlink_to(twins.root / "recipes/packages/a")
        case 3:
            path.unlink()
            path.symlink_to("nowhere")
        case _:
            if path.is_symlink() and path.is_file():
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(data)


def mode(twins: Twins, which: int, how: int) -> None:
    """A file may be executed, or not any more."""
    path = twins.root / _some(_files(twins), which)
    if path.is_file():
        path.chmod(_some((0o755, 0o644, 0o600), how))


def come(twins: Twins, which: int, how: int) -> None:
    """A file comes, or becomes something else."""
    name, text = _some(NEW, how)
    twins.write_if_possible(f"{_some(_folders(twins), which)}/{name}", text)


def go(twins: Twins, which: int, how: int) -> None:
    """A file or a folder goes."""
    if how % 4:
        (twins.root / _some(_files(twins), which)).unlink()
    elif len(_folders(twins)) > 1:
        shutil.rmtree(twins.root / _some(_folders(twins)[1:], which))


def move(twins: Twins, which: int, how: int) -> None:
    """A file or a folder gets another name."""
    names = _files(twins) if how % 2 else _folders(twins)[1:]
    path = twins.root / _some(names or ["recipes"], which)
    target = path.with_name(_some(("moved.yaml", "moved.txt", "moved", "a", "melange.yaml"), how // 2))
    if not os.path.lexists(target) and path.name != "recipes":
        path.rename(target)


def turn(twins: Twins, which: int, how: int) -> None:
    """A file becomes a folder, a folder a file, or a link to a folder a folder."""
    path = twins.root / _some(_files(twins) if how % 2 else _folders(twins)[1:] or ["recipes/x"], which)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        path.write_text("was a folder\n")
    elif os.path.lexists(path):
        path.unlink()
        path.mkdir()
        (path / "x.txt").write_text("x\n")


def ignore(twins: Twins, which: int, how: int) -> None:
    """What git ignores changes."""
    path, text = f"{_some(IGNORING, which)}.gitignore", _some(IGNORES, how)
    if text:
        twins.write_if_possible(path, text)
    elif (twins.root / path).is_file():
        (twins.root / path).unlink()


def tag(twins: Twins, which: int, _how: int) -> None:
    """A folder becomes a cache of somebody's, or is none any more."""
    path = twins.root / _some(_folders(twins), which) / "CACHEDIR.TAG"
    if path.exists():
        path.unlink()
    else:
        path.write_text("Signature: 8a477f597d28d172789f06886806bc55")


def manifest(twins: Twins, which: int, how: int) -> None:
    """The manifest says something else; the option that it may name is there, or not."""
    text = MANIFEST if which % 3 else MANIFEST.replace("[x86_64, aarch64]", "[x86_64]")
    twins.write(
        "buildgraph.yaml", (text if which % 5 else text.replace("recipes: recipes", "recipes: ''")) + _some(MANIFESTS, how)
    )
    path = "recipes/packages/a.yaml"
    if "options" in _some(MANIFESTS, how) and which % 4 and path in twins.recipes:
        twins.recipes[path].option = True
        twins.write_if_possible(path, twins.recipes[path].text())


def vendor(twins: Twins, which: int, how: int) -> None:
    """What the manifest may name comes and goes."""
    path = twins.root / "vendor"
    match which % 3:
        case 0:
            shutil.rmtree(path, ignore_errors=True)
            _unlink(path)
        case 1:
            twins.write_if_possible(_some(("vendor/x.txt", "vendor/y.txt"), how), f"{how % 3}\n")
        case _:
            twins.write_if_possible("vendor", "a file\n")


def lock(twins: Twins, which: int, how: int) -> None:
    """A line of the lock goes or comes, all change their version, or the lock is damaged or goes."""
    match which % 5:
        case 0 | 1:
            _toggle(twins.locked, _some(SIMPLE, how))
            twins.write_lock()
        case 2:
            twins.lock_version = _some(("1-r0", "2-r0"), how)
            twins.write_lock()
        case 3:
            _unlink(twins.root / "buildgraph.lock")
        case _:
            twins.write("buildgraph.lock", "no lock\n")


def mend(twins: Twins, _which: int, _how: int) -> None:
    """Everything is as it was at first."""
    shutil.rmtree(twins.root)
    twins.make()


def key(twins: Twins, which: int, how: int) -> None:
    """A public key changes, comes or goes."""
    path = _some(("mirror/os/repo.rsa.pub", "mirror/os/repo.rsa.pub", "keys/own.rsa.pub", "recipes/keys/own.rsa.pub"), which)
    if how % 3:
        twins.write_if_possible(path, f"key {how % 3}\n")
    else:
        _unlink(twins.root / path)


def cache(twins: Twins, which: int, how: int) -> None:
    """The cache gets what a build would leave in it, is emptied, or is another one."""
    match which % 4:
        case 0 | 1:
            twins.pretend(_some(("//...", "//packages:c", "//images:one"), how))
        case 2:
            twins.forget()
        case _:
            twins.cache = _some(("cache", "other"), how)


def tool(twins: Twins, which: int, _how: int) -> None:
    """melange is linked with another apko."""
    path = twins.folder / "tools/melange"
    text = path.read_text().partition("#!linked")[0]
    path.write_text(f"{text}#!linked dep\tchainguard.dev/apko\tv0.0.{which % 3}\n")


EDITS: tuple[Edit, ...] = (
    recipe, recipe, recipe, image, base, pipeline, same_size, swap, link, mode, come, go, move, turn, ignore, tag, manifest,
    vendor, lock, mend, key, cache, cache, tool,
)  # fmt: skip
