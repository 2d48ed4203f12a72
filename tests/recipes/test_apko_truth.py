"""The real apko agrees with what is read and merged here: on images made at random, with every field and up to two includes.

`apko show-config` prints what apko makes of an image and its includes. It wants a repository and key files that are there, and
fetches what is remote, so repositories and keys are local here.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest

from buildgraph.errors import RecipeError
from buildgraph.recipes import yamltext
from buildgraph.recipes.apko import merged_apko, read_apko
from buildgraph.recipes.architecture import to_apk
from buildgraph.recipes.values import ApkoRecipe, Source
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence

Make: TypeAlias = Callable[[], Node]

IMAGES = 2000 if os.environ.get("BG_TRUTH") == "all" else 120
NAMES = ("top.yaml", "mid.yaml", "base.yaml")
# What only `apko build` refuses; docs/reading.md.
STRICTER = ("is not a layering strategy", "is not a type of path")


class Images:
    """Makes images; all choices come from one source of chance."""

    def __init__(self, random: Random) -> None:
        self.random = random
        names = {"build_repositories", "runtime_repositories", "runtime_keyring"}
        repositories = self.listed(self.text("./other", "./packages/", "@local ./packages", "@x /y/", "/abs/p//"))
        contents = self.struct(
            {
                **dict.fromkeys(sorted(names - {"runtime_keyring"}), repositories),
                "repositories": repositories,
                "keyring": self.listed(lambda: Scalar(random.choice(("k.pub", "./l.pub")))),
                "runtime_keyring": self.listed(self.always({"name": self.text("a.pub", "b.pub"), "content": self.text("x")}), 1),
                "packages": self.listed(self.text("a", "b=1.0", "c>=2", "d~3@local", "e@local", "!f", "g<2"), 4),
            }
        )
        user = self.always({"username": self.text("u", "v"), "uid": self.number}, {"gid": self.number, "shell": self.text("/s")})
        group = self.always({"groupname": self.text("g"), "gid": self.number}, {"members": self.listed(self.text("u"))})
        path = self.always(
            {"path": self.text("/p"), "type": self.text("directory", "symlink", "permissions", "empty-file", "hardlink")},
            {**dict.fromkeys(("uid", "gid", "permissions"), self.number), "source": self.text("/s"), "recursive": self.bool},
        )
        certificate = self.always({"name": self.text("ca", "cb"), "content": self.text("pem")})
        self.fields: dict[str, Make] = {
            "contents": contents,
            "entrypoint": self.struct(
                {
                    "type": self.text("service-bundle", "x"),
                    "command": self.text("/a", "/b c"),
                    "shell-fragment": self.text("x"),
                    "services": self.free(self.text("y")),
                }
            ),
            **{key: self.text("a", "b") for key in ("cmd", "stop-signal", "work-dir", "vcs-url")},
            "accounts": self.struct(
                {"run-as": self.text("65532", "root"), "users": self.listed(user, 2), "groups": self.listed(group, 2)}
            ),
            "archs": self.listed(self.text("x86_64", "amd64", "aarch64", "arm64", "armv7", "riscv64", "all")),
            "environment": self.free(self.text("e", "f")),
            "annotations": self.free(self.text("e", "f")),
            "volumes": self.listed(self.text("/v", "/w")),
            "paths": self.listed(path, 2),
            "layering": self.struct({"strategy": self.text("origin"), "budget": self.number}),
            "certificates": self.struct({"additional": self.listed(certificate, 1), "providers": self.listed(self.text("q"))}),
        }

    def image(self, name: str, include: str | None) -> Mapping:
        """An image with about half of all fields."""
        image = Mapping({key: make() for key, make in self.fields.items() if self.random.random() < 0.45})
        if name == NAMES[0]:
            contents = image.items.get("contents")
            own = contents.items if isinstance(contents, Mapping) else {}
            image.items["contents"] = Mapping({**own, "repositories": Sequence([Scalar("./r/")])})
        if include is not None:
            image.items["include"] = Scalar(include)
        return image

    def text(self, *choices: str) -> Make:
        odd = [Scalar(text, plain=True) for text in ("~", "", "1", "true")] + [Scalar("")]
        return lambda: Scalar(self.random.choice(choices)) if self.random.random() < 0.95 else self.random.choice(odd)

    def number(self) -> Node:
        return Scalar(self.random.choice(("1", "1000", "0o755", "0755", "65532", "0x10", "1e3", "08")), plain=True)

    def bool(self) -> Node:
        return self.random.choice((*(Scalar(text, plain=True) for text in ("true", "false", "~")), Scalar("yes")))

    def listed(self, make: Make, most: int = 3) -> Make:
        return lambda: Sequence([make() for _ in range(self.random.randrange(most + 1))])

    def struct(self, fields: dict[str, Make]) -> Make:
        return lambda: (
            Mapping({key: make() for key, make in fields.items() if self.random.random() < 0.6})
            if self.random.random() < 0.95
            else Scalar("~", plain=True)
        )

    def always(self, fields: dict[str, Make], sometimes: dict[str, Make] | None = None) -> Make:
        some = (sometimes or {}).items()
        return lambda: Mapping(
            {key: make() for key, make in fields.items()} | {key: make() for key, make in some if self.random.random() < 0.4}
        )

    def free(self, make: Make) -> Make:
        return lambda: Mapping({self.random.choice("ABCD"): make() for _ in range(self.random.randrange(3))})


def load(folder: Path, name: str) -> Source | None:
    path = folder / name
    return Source(name, yamltext.parse(path.read_bytes(), name), path.read_text()) if path.is_file() else None


def written(folder: Path, random: Random) -> Path:
    """An image with its includes, and the files that apko looks for."""
    folder.mkdir()
    for key in ("k.pub", "l.pub"):
        (folder / key).write_text(key)
    chain = NAMES[: random.randrange(len(NAMES)) + 1]
    for name, include in zip(chain, [*chain[1:], None], strict=True):
        (folder / name).write_text(yamltext.emit(Images(random).image(name, include)))
    return folder


def shown(apko: Path, folder: Path, name: str) -> tuple[str, str]:
    """What `apko show-config` prints but for the include, and what it says of an error."""
    command = [str(apko), "show-config", name]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, text=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("include:")]
    return "\n".join(lines), done.stderr if done.returncode else ""


def said(config: Node, *keys: str) -> list[str]:
    for key in keys:
        config = config.items[key] if isinstance(config, Mapping) and key in config.items else Sequence()
    return [item.text for item in config.items if isinstance(item, Scalar)] if isinstance(config, Sequence) else []


def differences(apko: Path, folder: Path) -> list[str]:
    """Where apko and bg disagree about an image; empty where they do not."""
    theirs, refusal = shown(apko, folder, NAMES[0])
    text = (folder / NAMES[0]).read_text()
    tree = yamltext.parse_mapping(text.encode(), NAMES[0])
    try:
        recipe = read_apko(tree, NAMES[0], text, load_include=lambda name, _: load(folder, name))
        merged = merged_apko(tree, NAMES[0], text, load_include=lambda name, _: load(folder, name))
    except RecipeError as error:
        placed = error.where is not None and error.where.line
        agreed = placed and (refusal or any(reason in error.what for reason in STRICTER))
        return [] if agreed else [f"{folder.name}: only bg refuses it: {error.render()}"]
    if refusal:
        return [f"{folder.name}: only apko refuses it: {refusal}"]
    (folder / "merged.yaml").write_text(yamltext.emit(merged))
    ours, _ = shown(apko, folder, "merged.yaml")
    found = [] if ours == theirs else [f"{folder.name}: apko merges to\n{theirs}\nbg to\n{ours}"]
    config = yamltext.parse(theirs.encode(), "shown")
    return found + [
        f"{folder.name}: {key}: apko {said(config, *keys)}, bg {here}"
        for key, (keys, here) in said_here(recipe).items()
        if [to_apk(text) for text in said(config, *keys)] != here
    ]


def said_here(recipe: ApkoRecipe) -> dict[str, tuple[tuple[str, ...], list[str]]]:
    return {
        "packages": (("contents", "packages"), [need.text for need in recipe.packages]),
        "repositories": (("contents", "repositories"), [line.text for line in recipe.repositories]),
        "build_repositories": (("contents", "build_repositories"), [line.text for line in recipe.build_repositories]),
        "runtime_repositories": (("contents", "runtime_repositories"), [line.text for line in recipe.runtime_repositories]),
        "keyring": (("contents", "keyring"), [line.text for line in recipe.keyring]),
        "archs": (("archs",), list(recipe.architectures)),
    }


@pytest.mark.slow
def test_apko_reads_and_merges_likewise(apko: Path, tmp_path: Path) -> None:
    """Everything that `show-config` prints of an image is the same for the tree that bg merges; what apko refuses is refused."""
    folders = [written(tmp_path / str(number), Random(number)) for number in range(IMAGES)]
    with ThreadPoolExecutor(2) as workers:
        found = [line for lines in workers.map(lambda folder: differences(apko, folder), folders) for line in lines]

    assert not found, "\n".join(found)
