"""Small worlds to build: targets, external packages, what a build makes of them, and edits. Values only, no cache, no order.

``act`` is the physics of these worlds: what an action gives is a function of its inputs and of what is in its box. Comments in
inputs count for keys but not for content, so that a rebuilt dependency often comes out as it was. As melange does, an action
finds requirements that no recipe states: ``links`` where its box offers them, ``calls`` whatever is in the box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from buildgraph.keys.digest import Digest, digest_text


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a recipe. ``exports``, ``links`` and ``calls`` are what only a build shows of it; ``reads`` says whether
    its content depends on the box."""

    name: str
    version: str = "1-r0"
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    reads: bool = True


@dataclass(frozen=True, slots=True)
class Input:
    """A source file; its comment never reaches the content."""

    text: str = "0"
    comment: str = ""
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A recipe. An image has no packages; ``fails`` lets its action fail, always."""

    folder: str
    name: str
    kind: Literal["package", "image"]
    packages: tuple[Package, ...] = ()
    world: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = (Input(),)
    fails: bool = False

    @property
    def label(self) -> str:
        return f"//{self.folder}:{self.name}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}.yaml".lstrip("/")


@dataclass(frozen=True, slots=True)
class External:
    """A package of the pool; ``build`` tells builds of one version apart."""

    name: str
    version: str = "1-r0"
    build: int = 0
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    install_if: tuple[str, ...] = ()

    @property
    def checksum(self) -> str:
        return digest_text(repr(self))[:8]


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a build may depend on."""

    targets: tuple[Target, ...]
    externals: tuple[External, ...] = ()
    architectures: tuple[str, ...] = ("x86_64",)

    def nodes(self) -> Iterator[tuple[str, Target, tuple[str, ...]]]:
        """Each node's id, target and architectures."""
        for target in self.targets:
            if target.kind == "image":
                yield target.label, target, self.architectures
            else:
                for architecture in self.architectures:
                    yield f"{target.label}@{architecture}", target, (architecture,)


@dataclass(frozen=True, slots=True)
class Made:
    """A package as it was built: its metadata and the digest of its file."""

    name: str
    version: str
    depends: tuple[str, ...]
    provides: tuple[str, ...]
    digest: Digest

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.apk"


@dataclass(frozen=True, slots=True)
class Box:
    """What one architecture's box holds: local packages by name, each with its node; external ones by file name."""

    local: Mapping[str, tuple[str, Made]]
    external: Mapping[str, External]

    def digests(self) -> list[str]:
        """The content of everything in it, in no order of names that a wrong key could hide."""
        return sorted([made.digest for _, made in self.local.values()] + [entry.checksum for entry in self.external.values()])

    def offers(self) -> set[str]:
        """The names that something in it provides."""
        provides = [text for _, made in self.local.values() for text in made.provides]
        provides += [text for entry in self.external.values() for text in entry.provides]
        return {name_of(text) for text in provides}


class ActionFailedError(Exception):
    """An action that fails: always, since it depends on nothing but its inputs."""


def name_of(provide: str) -> str:
    """The name in a provide."""
    return provide.partition("=")[0]


def act(target: Target, boxes: Mapping[str, Box]) -> tuple[list[tuple[str, Digest]], list[Made]]:
    """One action: the outputs (path and digest) and the packages; ActionFailedError where it fails."""
    if target.fails:
        raise ActionFailedError(target.label)
    inputs = [(item.text, item.executable) for item in target.inputs]
    if target.kind == "image":
        layers = [(architecture, box.digests()) for architecture, box in sorted(boxes.items())]
        return [("layout/index.json", digest_text(repr((target.name, inputs, layers))))], []
    ((architecture, box),) = boxes.items()
    exported = {name_of(text) for package in target.packages for text in (*package.exports, *package.provides)}
    made = []
    for package in target.packages:
        links = tuple(text for text in package.links if text in box.offers() and text not in exported)
        depends = (*package.depends, *links, *package.calls)
        provides = (*package.provides, *package.exports)
        seen = box.digests() if package.reads else []
        digest = digest_text(repr((package.name, package.version, depends, provides, inputs, seen)))
        made.append(Made(package.name, package.version, depends, provides, digest))
    return [(f"{architecture}/{item.filename}", item.digest) for item in made], made


def discoveries(made: Sequence[Made], box: Box) -> dict[str, tuple[str, str]]:
    """Which node and package in the box met each requirement that has a kind (``so:``), as the executor notes it."""
    offered: dict[str, tuple[str, str]] = {}
    for name, (node, package) in sorted(box.local.items()):
        for provide in package.provides:
            offered.setdefault(name_of(provide), (node, name))
    own = {name_of(provide) for package in made for provide in package.provides}
    asked = {text for package in made for text in package.depends if ":" in text}
    return {text: offered[name_of(text)] for text in sorted(asked) if name_of(text) in offered and name_of(text) not in own}
