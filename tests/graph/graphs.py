"""Small graphs for tests, written as arrows."""

from __future__ import annotations

from collections.abc import Iterable

from buildgraph.graph.model import Edge, EdgeKind, Graph, LocalPackage, Node
from buildgraph.graph.query import query
from buildgraph.graph.traverse import Links
from buildgraph.recipes.values import Need
from buildgraph.workspace.labels import Label, select

ARCHITECTURE = "x86_64"


def package(name: str, folder: str = "os", arch: str = ARCHITECTURE, **what: tuple[str, ...]) -> Node:
    """A package target that makes one package of its own name; ``what`` are provides, depends and needs."""
    label = f"//{folder}:{name}"
    needs = {key: tuple(Need(text, f"{name}.yaml", 9) for text in what.get(key, ())) for key in ("depends", "needs")}
    makes = LocalPackage(name, "1.0-r0", f"{label}@{arch}", folder, needs["depends"], what.get("provides", ()), f"{name}.yaml", 2)
    return Node(f"{label}@{arch}", label, "package", (arch,), folder, f"{folder}/{name}.yaml", (makes,), needs["needs"])


def image(name: str, folder: str = "images", architectures: tuple[str, ...] = (ARCHITECTURE,)) -> Node:
    """An image target."""
    label = f"//{folder}:{name}"
    return Node(label, label, "image", architectures, folder, f"{folder}/{name}.yaml")


def identity(name: str) -> str:
    """The id of the node that an arrow's end names: ``a`` is a package, ``a@arch`` the same elsewhere, ``I`` an image."""
    if name.isupper():
        return f"//images:{name}"
    return f"//os:{name}" if "@" in name else f"//os:{name}@{ARCHITECTURE}"


def node(name: str) -> Node:
    """The node that an arrow's end names."""
    if name.isupper():
        return image(name)
    base, _, arch = name.partition("@")
    return package(base, arch=arch or ARCHITECTURE)


def edge(arrow: str, line: int = 1) -> Edge:
    """The edge of an arrow: ``a > b`` is of kind build, ``a . b`` runtime, ``I = b`` image; ``> @b`` external, ``> b x`` cut."""
    source, sign, target, *cut = arrow.split()
    kind: EdgeKind = {">": "build", ".": "runtime", "=": "image"}[sign]  # type: ignore[assignment]
    external = target.startswith("@")
    name = target.removeprefix("@") if external else target.partition("@")[0]
    end = name if external else identity(target)
    return Edge(identity(source), end, kind, name, f"{source}.yaml", line, external=external, cut=bool(cut))


def graph(*arrows: str, more: Iterable[Node] = (), cycles: tuple[str, ...] = ()) -> Graph:
    """The graph of some arrows, of their ends and more; ``cycles`` are names, separated by spaces."""
    ends = [end for arrow in arrows for end in arrow.split()[::2][:2] if not end.startswith("@")]
    edges = [edge(arrow, number) for number, arrow in enumerate(arrows, 1)]
    return made([*map(node, ends), *more], edges, [tuple(sorted(map(identity, cycle.split()))) for cycle in cycles])


def made(nodes: Iterable[Node], edges: Iterable[Edge], cycles: Iterable[tuple[str, ...]] = ()) -> Graph:
    """A graph of these nodes and edges. What boxes hold is left out: queries go by the edges."""
    by_id, written = {one.id: one for one in nodes}, tuple(edges)
    return Graph(by_id, tuple(sorted(by_id)), dict.fromkeys(by_id, ()), lambda: written, tuple(cycles))


def match(of: Graph, word: str, here: str = "os") -> list[str]:
    """The node ids that a pattern names, as the command line finds them."""
    labels: dict[Label, list[str]] = {}
    for one in of.nodes.values():
        labels.setdefault(Label(one.folder, one.label.rpartition(":")[2]), []).append(one.id)
    return [name for label in select([word], labels, here) for name in labels[label]]


def ask(text: str, of: Graph, links: Links | None = None) -> list[str]:
    """What a query names."""
    return query(text, links or Links(of), lambda word: match(of, word))


def names(text: str, of: Graph, links: Links | None = None) -> str:
    """What a query names, in short: ``a b I @busybox``."""
    return " ".join(
        found if found.startswith("@") else found.rpartition(":")[2].removesuffix(f"@{ARCHITECTURE}")
        for found in ask(text, of, links)
    )
