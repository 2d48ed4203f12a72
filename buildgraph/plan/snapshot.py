"""The graph of the last run with its keys, kept: so that a run after few changes neither makes it anew nor reads it whole.

It is the graph of now as long as the same files are there and every file that changed leaves what the graph rests on as it
was: names, dependencies, environments. Nodes, packages and who provides what are then looked up one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from buildgraph.apk.pool import Pool
from buildgraph.apk.version import Requirement
from buildgraph.graph.build import edges_of
from buildgraph.graph.model import Graph, LocalPackage, Node
from buildgraph.graph.resolve import Locals, Offer, split_provide
from buildgraph.keys.digest import Digest
from buildgraph.plan.nodes import Described, Nodes
from buildgraph.structs import Raw, Struct, from_json, reader, to_json
from buildgraph.workspace.discovery import RecipeFile, Target
from buildgraph.workspace.labels import Label
from buildgraph.workspace.workspace import Workspace

_Value = TypeVar("_Value")
_read_offers = reader(tuple[dict[str, dict[str, Raw]], dict[str, Raw]])


def with_dependents(restored: Restored, names: Iterable[str]) -> set[str]:
    """Some nodes and all that depend on them."""
    ids: list[str] = restored.data["nodes"]
    wanted = set(names)
    found = {number for number, name in enumerate(ids) if name in wanted}
    for number, below in enumerate(restored.data["below"]) if found else ():  # what is depended on comes first
        if not found.isdisjoint(below):
            found.add(number)
    return {ids[number] for number in found}


class Lazy(Mapping[str, _Value], Generic[_Value]):
    """A mapping whose values are made when they are first asked for."""

    def __init__(self, keys: Iterable[str], make: Callable[[str], _Value]) -> None:
        self._keys = dict.fromkeys(keys)
        self._make = make
        self._made: dict[str, _Value] = {}

    def __getitem__(self, key: str) -> _Value:
        if key not in self._made:
            if key not in self._keys:
                raise KeyError(key)
            self._made[key] = self._make(key)
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class Restored(Struct, frozen=True):
    """What a snapshot gives: the targets, the nodes, the graph, who provides what, and the deep keys that it knows.

    ``users`` are the nodes whose own inputs a file is among; ``recipes`` all recipes, targets or not; ``path_of`` a node's
    recipe, ``target_of`` the target of a recipe, ``data`` the first part itself.
    """

    recipes: dict[str, RecipeFile]
    targets: dict[Label, tuple[Target, ...]]
    left_out: dict[Label, str]
    nodes: Nodes
    graph: Graph
    local: Mapping[str, Locals]
    offers: Offers
    keys: dict[str, Digest]
    users: Mapping[str, list[str]]
    path_of: Mapping[str, str]
    target_of: Mapping[str, Target]
    data: dict[str, Any]


def take(
    workspace: Workspace, nodes: Nodes, graph: Graph, keys: Mapping[str, Digest], sources: Callable[[str], Iterable[str]]
) -> dict[str, bytes]:
    """The parts of the state file that hold a graph. ``keys`` are the deep keys that are known, ``sources`` a node's files."""
    place = {name: number for number, name in enumerate(graph.order)}
    others = [[path, recipe.kind] for path, recipe in workspace.recipes.items()]
    targets = [
        [label.folder, label.name, path, [place[name] for name in nodes.by_target.get(path, ())], nodes.left_out.get(path)]
        for label, same in sorted(workspace.targets.items())
        for path in (target.recipe.path for target in same)
    ]
    users: dict[str, list[int]] = {}
    for name in graph.order:
        for path in _files(nodes.described[name], sources(name)):
            users.setdefault(path, []).append(place[name])
    content = {
        "targets": targets,
        "recipes": others,
        "left_out": [[label.folder, label.name, why] for label, why in workspace.left_out.items()],
        "nodes": list(graph.order),
        "architectures": [list(nodes.described[name].node.architectures) for name in graph.order],
        "below": [[place[other] for other in graph.dependencies[name]] for name in graph.order],
        "cycles": [[place[name] for name in cycle] for cycle in graph.cycles],
        "users": users,
        "keys": [keys.get(name) for name in graph.order],
    }
    return {"graph": to_json(content), "offers": _offers(graph, place)}


def update(restored: Restored, keys: Mapping[str, Digest], dirty: Iterable[str]) -> bytes:
    """The first part again, of the same graph with other keys, and other files that count for the ``dirty`` nodes.

    Their sources are the same files as before, since the same files are there and are the same recipes.
    """
    data = restored.data
    place = {name: number for number, name in enumerate(data["nodes"])}
    users: dict[str, list[int]] = data["users"]
    for name in dirty:
        for path in _files(restored.nodes.described[name]):
            known = users.setdefault(path, [])
            if place[name] not in known:
                known.append(place[name])
    data["keys"] = [keys.get(name) for name in data["nodes"]]
    return to_json(data)


def _files(described: Described, sources: Iterable[str] = ()) -> set[str]:
    return {described.node.path, *described.looked_for, *sources}


def _offers(graph: Graph, place: Mapping[str, int]) -> bytes:
    """Who provides what, by architecture and name, and the versioned requirements on each name."""
    offers: dict[str, dict[str, list[list[Any]]]] = {}
    limits: dict[str, set[str]] = {}
    for name in graph.order:
        node = graph.nodes[name]
        for need in (*node.world, *(need for package in node.packages for need in package.depends)):
            requirement = Requirement.parse(need.text)
            if requirement.operator or requirement.negated:
                limits.setdefault(requirement.name, set()).add(need.text)
        for architecture in node.architectures:
            found = offers.setdefault(architecture, {})
            for package in node.packages:
                for offered in dict.fromkeys(offered for offered, _ in _offered(package)):
                    found.setdefault(offered, []).append([place[name], package.name])
    return to_json([offers, {name: sorted(texts) for name, texts in limits.items()}])


def _offered(package: LocalPackage) -> Iterator[tuple[str, str | None]]:
    yield package.name, package.version
    for provide in package.provides:
        name, version = split_provide(provide)
        if name != package.name:
            yield name, version


def restore(
    workspace: Workspace, graph_part: bytes, offers_part: Callable[[], bytes], describe: Callable[[Target], list[Described]]
) -> Restored:
    """What the parts hold that ``take`` made; raises ValueError, KeyError, TypeError or IndexError for others."""
    data = from_json(graph_part)
    names: list[str] = data["nodes"]
    place = {name: number for number, name in enumerate(names)}
    targets: dict[Label, tuple[Target, ...]] = {}
    by_path: dict[str, Target] = {}
    left_out: dict[str, str] = {}
    recipes = {path: RecipeFile(workspace.root, path, kind) for path, kind in data["recipes"]}
    by_target: dict[str, list[str]] = {}
    path_of: dict[str, str] = {}
    for folder, own_name, path, made_there, why in data["targets"]:
        label = Label(folder, own_name)
        by_path[path] = target = Target(label, recipes[path])
        targets[label] = (*targets.get(label, ()), target)
        if made_there:
            by_target[path] = [names[number] for number in made_there]
            path_of.update(dict.fromkeys(by_target[path], path))
        if why is not None:
            left_out[path] = why
    made: dict[str, list[Described]] = {}

    def described(name: str) -> Described:
        path = path_of[name]
        if path not in made:
            made[path] = describe(by_path[path])
        return next(found for found in made[path] if found.node.id == name)

    all_described = Lazy(names, described)
    nodes = Nodes(all_described, by_target, left_out, _Origins(all_described))
    graph_nodes: Lazy[Node] = Lazy(sorted(names), lambda name: all_described[name].node)
    offers = Offers(offers_part, names, graph_nodes)
    architectures = {architecture for several in data["architectures"] for architecture in several}
    local: Lazy[Locals] = Lazy(sorted(architectures), lambda architecture: _KeptLocals(offers, architecture, graph_nodes))
    graph = Graph(
        graph_nodes,
        tuple(names),
        Lazy(names, lambda name: tuple(names[number] for number in data["below"][place[name]])),
        lambda: edges_of(graph, local),
        tuple(tuple(names[number] for number in cycle) for cycle in data["cycles"]),
    )
    keys = {name: Digest(key) for name, key in zip(names, data["keys"], strict=True) if key}
    users = Lazy(data["users"], lambda path: [names[number] for number in data["users"][path]])
    reasons = {Label(folder, own_name): why for folder, own_name, why in data["left_out"]}
    return Restored(recipes, targets, reasons, nodes, graph, local, offers, keys, users, path_of, by_path, data)


class _Origins(Mapping[tuple[str, str], Label]):
    """The target of each package by folder and name, read from every node when first asked."""

    def __init__(self, described: Mapping[str, Described]) -> None:
        self._described = described
        self._found: dict[tuple[str, str], Label] | None = None

    def _all(self) -> dict[tuple[str, str], Label]:
        if self._found is None:
            self._found = {}
            for described in self._described.values():
                for package in described.node.packages:
                    self._found.setdefault((described.target.label.folder, package.name), described.target.label)
        return self._found

    def __getitem__(self, key: tuple[str, str]) -> Label:
        return self._all()[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Offers:
    """The second part, decoded name by name as it is asked for."""

    def __init__(self, read: Callable[[], bytes], names: Sequence[str], nodes: Mapping[str, Node]) -> None:
        self._read = read
        self._names = names
        self._nodes = nodes
        self._content: tuple[dict[str, dict[str, Raw]], dict[str, Raw]] | None = None

    def _decoded(self) -> tuple[dict[str, dict[str, Raw]], dict[str, Raw]]:
        if self._content is None:
            self._content = _read_offers(self._read())
        return self._content

    def times(self, name: str) -> int:
        """How many packages of one architecture have or provide a name, at most."""
        return max((len(from_json(known[name])) for known in self._decoded()[0].values() if name in known), default=0)

    def limits(self, name: str) -> list[str]:
        """The versioned requirements on a name."""
        limits = self._decoded()[1]
        return list(from_json(limits[name])) if name in limits else []

    def names(self, architecture: str) -> list[str]:
        """The names that are offered."""
        return list(self._decoded()[0].get(architecture, ()))

    def of(self, architecture: str, name: str) -> list[Offer]:
        """Each with its package, and the version as it is now."""
        found = []
        known = self._decoded()[0].get(architecture, {})
        for number, package_name in from_json(known[name]) if name in known else ():
            package = next(one for one in self._nodes[self._names[number]].packages if one.name == package_name)
            found += [Offer(package, version) for offered, version in _offered(package) if offered == name]
        return found


class _KeptLocals(Locals):
    """The local packages of one architecture, each made when it is asked for."""

    def __init__(self, offers: Offers, architecture: str, nodes: Mapping[str, Node]) -> None:
        super().__init__(())
        self.is_unique = False  # it is not known
        self._kept = offers
        self._architecture = architecture
        self._nodes = nodes
        self._known: dict[str, list[Offer]] = {}

    def names(self) -> list[str]:
        return self._kept.names(self._architecture)

    def package(self, node: str, name: str) -> LocalPackage | None:
        if node not in self._nodes or self._architecture not in self._nodes[node].architectures:
            return None
        return next((package for package in self._nodes[node].packages if package.name == name), None)

    def offers_of(self, name: str) -> Sequence[Offer]:
        if name not in self._known:
            self._known[name] = self._kept.of(self._architecture, name)
        return self._known[name]


# A name that a local package has or provides, with its versions before and now.
Bump = tuple[str, str | None, str | None]


def bumps(before: Sequence[Described], now: Sequence[Described], offers: Offers) -> set[Bump] | None:
    """The versions that are others after a target was read anew; None where the graph may be another.

    Versions may change as long as nothing in the workspace asks for one of them in particular, or is answered the same. What
    external packages ask for is the caller's to compare.
    """
    if [_interface(found) for found in before] != [_interface(found) for found in now]:
        return None
    packages = [
        pair for was, is_ in zip(before, now, strict=True) for pair in zip(was.node.packages, is_.node.packages, strict=True)
    ]
    changed = [(was, is_) for was, is_ in packages if (was.version, was.provides) != (is_.version, is_.provides)]
    if not changed:
        return set()
    found_bumps: set[Bump] = set()
    for was, is_ in changed:
        for (name, old), (_, new) in zip(_offered(was), _offered(is_), strict=True):
            if offers.times(name) > 1:
                return None  # a version may decide between them
            asked = map(Requirement.parse, offers.limits(name))
            if any(requirement.accepts(old) != requirement.accepts(new) for requirement in asked):
                return None
            found_bumps.add((name, old, new))
    return found_bumps


def asked_for(bumped: Collection[Bump], pools: Iterable[Pool]) -> bool:
    """Whether an external package asks for a local one in a version that it had before and has not now, or the other way."""
    names = tuple({name for name, _, _ in bumped})
    for text in {text for pool in pools for entry in pool.entries for text in entry.depends if text.startswith(names)}:
        requirement = Requirement.parse(text)
        if any(requirement.name == name and requirement.accepts(old) != requirement.accepts(new) for name, old, new in bumped):
            return True
    return False


def _interface(described: Described) -> list[Any]:
    """What of a node the graph rests on, but for the versions of its packages."""
    node = described.node
    return [
        node.id,
        node.architectures,
        [need.text for need in node.world],
        [
            (package.name, package.priority, [name for name, _ in _offered(package)], [need.text for need in package.depends])
            for package in node.packages
        ],
    ]
