"""Hypothesis strategies: worlds of a few targets, and histories of edits and builds over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.properties.model import External, Input, Package, Target, World

FOLDERS = ("", "lib", "lib/deep", "app")
VERSIONS = ("1-r0", "1-r1", "2-r0")
CONSTRAINTS = (*[""] * 20, ">=1", ">=1", "=1-r0", ">=2", "~1", "<2")
KINDS = ("so:s0", "so:s1", "cmd:c0", "cmd:c1")
VIRTUALS = ("v0", "v1")
EXTERNALS = ("e0", "e1", "e2", "e3")
BASE = External("e0", provides=("cmd:c0", "cmd:c1=1", "v0", "v1=2-r0"))  # it meets most, so that most worlds can be built


def _texts(strategy: st.SearchStrategy[str], most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(strategy, max_size=most, unique=True).map(tuple)


# Strategies are made once: to make and validate them anew for each world would be most of the time that drawing takes. So a
# requirement of a package that stands below is drawn as a number, and spelled once the names are known.
Drawn = str | tuple[int, str]
LOCAL = st.tuples(st.integers(0, 63), st.sampled_from(CONSTRAINTS))
OTHER = st.sampled_from([*VIRTUALS, "cmd:c0", "cmd:c1", "e0", "e1", "e1", "e2", "e2", "!p0", "!e1"])
REQUIREMENT: st.SearchStrategy[Drawn] = st.one_of(LOCAL, LOCAL, LOCAL, OTHER)
FEW, SOME = st.lists(REQUIREMENT, max_size=2), st.lists(REQUIREMENT, max_size=3)
AT_LEAST_ONE = st.lists(REQUIREMENT, min_size=1, max_size=3)
LIBRARIES = [kind for kind in KINDS if kind.startswith("so:")]
COMMANDS = [kind for kind in KINDS if kind.startswith("cmd:")]
PACKAGE = st.builds(
    Package,
    name=st.just(""),
    version=st.sampled_from(VERSIONS),
    provides=st.one_of(st.just(()), _texts(st.sampled_from([*VIRTUALS, "v0=1-r0", "cmd:c0", "so:s1=1"]), 1)),
    exports=_texts(st.sampled_from([f"{library}=1" for library in LIBRARIES] + COMMANDS), 2),
    links=_texts(st.sampled_from(LIBRARIES), 2),
    calls=st.one_of(st.just(()), st.just(()), _texts(st.sampled_from([*COMMANDS, "e0", "p0"]), 1)),
    reads=st.booleans(),
)
INPUT = st.builds(Input, text=st.sampled_from("01"), comment=st.sampled_from(["", "x"]), executable=st.booleans())
INPUTS = st.lists(INPUT, min_size=1, max_size=2).map(tuple)
FOLDER = st.sampled_from(FOLDERS)
ONE_IN_TEN = st.integers(0, 9).map(lambda number: number == 0)
ONE_IN_THIRTY = st.integers(0, 29).map(lambda number: number == 0)
ONE_IN_HUNDRED = st.integers(0, 99).map(lambda number: number == 99)


def spelled(drawn: Sequence[Drawn], below: Sequence[str]) -> tuple[str, ...]:
    """Requirements of what stands on packages of these names."""
    names = [*below, "e0"]
    texts = [item if isinstance(item, str) else f"{names[item[0] % len(names)]}{item[1]}" for item in drawn]
    return tuple(dict.fromkeys(texts))


@st.composite
def targets(draw: st.DrawFn, number: int, below: Sequence[str]) -> Target:
    """Package target ``number``, of one package or two, which ask only for what is below, as far as recipes and names tell."""
    name = f"p{number - 1}" if number and draw(ONE_IN_THIRTY) else f"p{number}"
    names = [name, f"{name}-dev"] if draw(st.booleans()) else [name]
    return Target(
        folder=draw(FOLDER),
        name=f"t{number}",
        kind="package",
        packages=tuple(replace(draw(PACKAGE), name=made, depends=spelled(draw(FEW), below)) for made in names),
        world=spelled(draw(SOME), below),
        inputs=draw(INPUTS),
        fails=draw(ONE_IN_HUNDRED),
    )


@st.composite
def images(draw: st.DrawFn, number: int, below: Sequence[str]) -> Target:
    return Target(draw(FOLDER), f"i{number}", "image", (), spelled(draw(AT_LEAST_ONE), below), (draw(INPUT),))


@cache
def externals(name: str) -> st.SearchStrategy[External]:
    """An external package; it may ask for local ones, and come in by itself."""
    asked = _texts(st.sampled_from(["e0", "e1", "e2", *VIRTUALS, *KINDS[2:], "p0", "!e3"]), 1)
    conditions = _texts(st.sampled_from(["e0", "p0", "p1", "e2>=2", "v0", "so:s0"]), 2)
    return st.builds(
        External,
        name=st.just(name),
        version=st.sampled_from(VERSIONS),
        build=st.integers(0, 1),
        depends=asked,
        provides=_texts(st.sampled_from([*KINDS, "v0", "so:s0=2"]), 1),
        install_if=st.one_of(st.just(()), conditions),
    )


MORE_EXTERNALS = st.lists(st.sampled_from(["e1", "e2", "e3", "p1", "p2"]), max_size=3)
ARCHITECTURES = st.sampled_from([("x86_64",), ("x86_64",), ("x86_64",), ("aarch64", "x86_64")])


@st.composite
def pools(draw: st.DrawFn) -> tuple[External, ...]:
    names = ["e1", "e2", *draw(MORE_EXTERNALS)]
    drawn = [BASE, *[draw(externals(name)) for name in names]]
    return tuple({(entry.name, entry.version): entry for entry in drawn}.values())


@st.composite
def worlds(draw: st.DrawFn, most: int = 9) -> World:
    """A world; now and then a target asks for what is above it."""
    made: list[Target] = []
    names: list[str] = []
    for number in range(draw(st.integers(1, most))):
        made.append(draw(targets(number, [*names, "p5", "p6"] if draw(ONE_IN_TEN) else names)))
        names += [package.name for package in made[-1].packages]
    pictures = [draw(images(number, names)) for number in range(draw(st.integers(0, 3)))]
    return World((*made, *pictures), draw(pools()), draw(ARCHITECTURES))


@dataclass(frozen=True, slots=True)
class Step:
    """Some edits, some losses, then a build. Numbers choose modulo what there is."""

    edits: tuple[Callable[[World], World], ...]
    losses: tuple[tuple[str, int], ...]
    wanted: tuple[int, ...]
    jobs: int
    keep_going: bool
    back: int = 0  # so many worlds back instead of edits

    def choose(self, world: World) -> list[str]:
        """The wanted nodes; all of them for no number."""
        names = [identity for identity, _, _ in world.nodes()]
        return list(dict.fromkeys(names[number % len(names)] for number in self.wanted)) or names


@dataclass(frozen=True, slots=True)
class Edit:
    """Replaces one field of one target, package, input or external package."""

    what: str
    which: int
    field: str
    value: Any

    def __call__(self, world: World) -> World:
        if self.what == "externals":
            return replace(world, externals=self._changed(world.externals, self._field))
        return replace(world, targets=self._changed(world.targets, self._target))

    def _target(self, target: Target) -> Any:
        if self.what == "inputs":
            return replace(target, inputs=self._changed(target.inputs, self._field))
        if self.what == "packages":
            return replace(target, packages=self._changed(target.packages, self._field))
        return self._field(target)

    def _field(self, item: Any) -> Any:
        return replace(item, **{self.field: self.value})

    def _changed(self, items: Sequence[Any], change: Callable[[Any], Any]) -> tuple[Any, ...]:
        if not items:
            return ()
        chosen = self.which % len(items)
        return tuple(change(item) if number == chosen else item for number, item in enumerate(items))


@dataclass(frozen=True, slots=True)
class Put:
    """Adds an external package, or takes the one of that name and version away."""

    entry: External
    away: bool

    def __call__(self, world: World) -> World:
        key = self.entry.name, self.entry.version
        others = tuple(entry for entry in world.externals if (entry.name, entry.version) != key)
        return replace(world, externals=others if self.away else (*others, self.entry))


def edits() -> st.SearchStrategy[Callable[[World], World]]:
    """One change to a world."""
    which = st.integers(0, 17)

    def change(what: str, name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Edit]:
        return st.builds(Edit, st.just(what), which, st.just(name), values)

    def asked(lists: st.SearchStrategy[list[Drawn]]) -> st.SearchStrategy[tuple[str, ...]]:
        return lists.map(lambda drawn: spelled(drawn, ("p0", "p1", "p2")))

    return st.one_of(
        change("inputs", "text", st.sampled_from("01")),
        change("inputs", "text", st.sampled_from("01")),
        change("inputs", "comment", st.sampled_from(["", "x", "y"])),
        change("inputs", "comment", st.sampled_from(["", "x", "y"])),
        change("inputs", "executable", st.booleans()),
        change("targets", "world", asked(SOME)),
        change("targets", "fails", st.sampled_from([False, False, False, True])),
        change("targets", "folder", st.sampled_from(FOLDERS)),
        change("packages", "depends", asked(FEW)),
        change("packages", "version", st.sampled_from(VERSIONS)),
        change("packages", "provides", _texts(st.sampled_from([*VIRTUALS, "cmd:c1", "so:s0=1"]), 1)),
        change("packages", "exports", _texts(st.sampled_from(["so:s0=1", "so:s1=1", "cmd:c1"]), 2)),
        change("packages", "links", _texts(st.sampled_from(["so:s0", "so:s1"]), 2)),
        change("packages", "calls", _texts(st.sampled_from(["cmd:c0", "cmd:c1", "p0", "e0"]), 1)),
        change("externals", "build", st.integers(0, 1)),
        change("externals", "version", st.sampled_from(VERSIONS)),
        st.builds(Put, st.sampled_from(["e1", "e2", "e3", "p0", "p1"]).flatmap(externals), st.booleans()),
    )


def steps() -> st.SearchStrategy[Step]:
    """One step of a history."""
    loss = st.tuples(st.sampled_from(["action", "deep", "blob"]), st.integers(-1, 11))
    return st.builds(
        Step,
        edits=st.lists(edits(), max_size=3).map(tuple),
        losses=st.one_of(st.just(()), st.lists(loss, max_size=3).map(tuple)),
        wanted=st.one_of(st.just(()), st.lists(st.integers(0, 14), min_size=1, max_size=3).map(tuple)),
        jobs=st.integers(1, 8),
        keep_going=st.booleans(),
        back=st.sampled_from([0, 0, 0, 1, 2, 3]),
    )


def histories() -> st.SearchStrategy[tuple[World, list[Step]]]:
    """A world and what happens to it."""
    return st.tuples(worlds(), st.lists(steps(), min_size=1, max_size=5))


def play(start: World, story: Sequence[Step], build: Callable[..., Any], lose: Callable[[str, int], None]) -> None:
    """Goes through a history: each step's losses and edits, then its build, and the same build once more."""
    past = [start]
    build(start, Step((), (), (), 1, keep_going=True).choose(start), 1, keep_going=True)
    for step in story:
        for loss in step.losses:
            lose(*loss)
        world = past[-min(step.back, len(past))] if step.back else past[-1]
        for edit in () if step.back else step.edits:
            edited = edit(world)
            world = edited if _apart(edited) else world
        past.append(world)
        wanted = step.choose(world)
        for _ in range(2):
            build(world, wanted, step.jobs, keep_going=step.keep_going)


def _apart(world: World) -> bool:
    """No two external packages of one name and version."""
    names = [(entry.name, entry.version) for entry in world.externals]
    return len(set(names)) == len(names)
