"""Short histories by hand, each the least that it takes to catch one kind of wrong build. ``test_correct`` plays them too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.properties.model import External, Input, Package, Target, World
from tests.properties.worlds import Step

Story = tuple[World, list[Step]]


def recipe(name: str, *packages: Package, world: tuple[str, ...] = (), folder: str = "") -> Target:
    """A package target with one source file."""
    return Target(folder, name, "package", packages, world)


def image(name: str, *world: str) -> Target:
    """An image target."""
    return Target("", name, "image", (), world)


def step(*edits: Callable[[World], World], jobs: int = 2) -> Step:
    """Builds everything after some edits."""
    return Step(edits, (), (), jobs, keep_going=False)


def source(number: int, item: Input) -> Callable[[World], World]:
    """Changes the source file of a target."""
    return lambda world: _with(world, number, replace(world.targets[number], inputs=(item,)))


def moved(number: int, folder: str) -> Callable[[World], World]:
    """Moves a target to another folder."""
    return lambda world: _with(world, number, replace(world.targets[number], folder=folder))


def added(target: Target) -> Callable[[World], World]:
    """Adds a target."""
    return lambda world: replace(world, targets=(*world.targets, target))


def pool(*entries: External) -> Callable[[World], World]:
    """Puts another pool in place."""
    return lambda world: replace(world, externals=entries)


def _with(world: World, number: int, target: Target) -> World:
    return replace(world, targets=(*world.targets[:number], target, *world.targets[number + 1 :]))


# A library, a program that is built with it, an image of the program.
CHAIN = World(
    (
        recipe("lib", Package("p0", exports=("so:s0=1",))),
        recipe("program", Package("p1", links=("so:s0",)), world=("p0",)),
        image("picture", "p1"),
    )
)

# A script whose interpreter no recipe names: the scan finds it, and whoever is built with the script has it in its box.
SCRIPT = World(
    (
        recipe("script", Package("p0", calls=("cmd:c0",))),
        recipe("program", Package("p1"), world=("p0",)),
        image("picture", "p1"),
    ),
    (External("e1", provides=("cmd:c0",)),),
)

# The library's bytes change, its name and version do not.
CONTENT: Story = CHAIN, [step(source(0, Input("1")))]
# A comment changes: the library is built again, nothing above it.
COMMENT: Story = CHAIN, [step(source(0, Input("0", "x")))]
# A file becomes executable.
MODE: Story = CHAIN, [step(source(0, Input(executable=True)))]
# The library's recipe moves: the same bytes, made by another target.
MOVE: Story = CHAIN, [step(moved(0, "lib"))]
# The first build already: the library is in the image's box only because the program was found to need it.
DISCOVERY: Story = CHAIN, [step()]
# The interpreter gets an update: the program, and the image above it, which never heard of the interpreter.
UPDATE: Story = SCRIPT, [step(pool(External("e1", build=1, provides=("cmd:c0",))))]
# The workspace gets an interpreter of its own, which is meant from now on.
NEWCOMER: Story = SCRIPT, [step(added(recipe("own", Package("p3", provides=("cmd:c0",)))))]
# The pool gets a package that comes in where a library is, which only building shows.
CONDITION: Story = CHAIN, [step(pool(External("e2", install_if=("so:s0",))))]
# Two scripts need each other's interpreter: no recipe says so, and neither can be built first.
DEADLOCK: Story = (
    World(
        (
            recipe("one", Package("p0", calls=("cmd:c0",))),
            recipe("two", Package("p1", provides=("cmd:c0",)), world=("p2",)),
            recipe("three", Package("p2"), world=("p0",)),
        )
    ),
    [step()],
)
# A failure on the way: what does not depend on it may still be built.
FAILURE: Story = (
    World((replace(recipe("bad", Package("p0")), fails=True), *(recipe(f"good{n}", Package(f"p{n}")) for n in range(1, 6)))),
    [step(*(source(number, Input("1")) for number in range(1, 6)), jobs=1)],
)

ALL = (CONTENT, COMMENT, MODE, MOVE, DISCOVERY, UPDATE, NEWCOMER, CONDITION, DEADLOCK, FAILURE)
