"""The commands that look at the graph: `bg list`, `deps`, `rdeps`, `path`, `query` and `graph`. None needs the lock or a tool."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from buildgraph.cli.commands import Command, show
from buildgraph.cli.naming import named
from buildgraph.cli.session import Session
from buildgraph.errors import UsageError
from buildgraph.graph.query import Names, query
from buildgraph.graph.traverse import Links, is_external
from buildgraph.report import graphs, pictures
from buildgraph.report.views import to_json


def list_targets(options: argparse.Namespace, session: Session) -> int:
    """`bg list`."""
    chosen = [target for target in session.selection.targets(options.targets) if options.kind in {"", target.kind}]
    nodes = [
        session.nodes.described[name].node for target in chosen for name in session.nodes.by_target.get(target.recipe.path, ())
    ]
    reasons = session.nodes.left_out
    left_out = [(target, reasons[target.recipe.path]) for target in chosen if target.recipe.path in reasons]
    if options.json:
        absent = [
            {"target": str(target.label), "kind": target.kind, "file": target.recipe.path, "left_out": reason}
            for target, reason in left_out
        ]
        show([to_json([*map(graphs.node_json, nodes), *absent])])
    else:
        show([*graphs.list_lines(nodes), *(f"{target.label}  left out: {reason}" for target, reason in left_out)])
        if options.targets == ["//..."] and not options.kind:
            show([f"{label}  left out: {why}" for label, why in sorted(session.workspace.left_out.items())])
    return 0


def deps(options: argparse.Namespace, session: Session) -> int:
    """`bg deps`."""
    links = _links(options, session)
    starts = named(options.targets, links, session.selection.matching)
    found = links.reach(starts, depth=options.depth)
    shown = {vertex: depth for vertex, depth in found.items() if options.external or not is_external(vertex)}
    hidden = len(found) - len(shown)
    notes = [f"{graphs.counted(hidden, 'external package')} (--external shows them)"] if hidden else []
    return _tree(options, links, shown, notes)


def rdeps(options: argparse.Namespace, session: Session) -> int:
    """`bg rdeps`."""
    links = _links(options, session)
    found = links.reach(named(options.targets, links, session.selection.matching), up=True, depth=options.depth)
    return _tree(options, links, found, [], up=True)


def _tree(options: argparse.Namespace, links: Links, found: Mapping[str, int], notes: Sequence[str], *, up: bool = False) -> int:
    if options.json:
        part = graphs.part_json(links.part(found))
        for node in part["nodes"]:
            node["depth"] = found[node["id"]]
        show([to_json(part)])
        return 0
    show(graphs.tree_lines(found, links.causes(found, up=up), graphs.naming(links.graph)))
    count = sum(depth > 0 and not is_external(vertex) for vertex, depth in found.items())
    cut = 0 if options.cut else sum(edge.cut and (edge.target if up else edge.source) in found for edge, _ in links.followed)
    cuts = [f"{graphs.counted(cut, 'requirement')} of cycles, cut (--cut follows them)"] if cut else []
    show([", ".join([graphs.counted(count, "target"), *notes, *cuts])])
    return 0


def path(options: argparse.Namespace, session: Session) -> int:
    """`bg path`."""
    links = _links(options, session)
    names = Names(links, session.selection.matching)
    starts, ends = names(options.start), names(options.end)
    found = links.simple_paths(starts, ends, options.limit + 1) if options.all else [links.path(starts, ends)]
    paths = list(filter(None, found[: options.limit]))
    more = len(found) > options.limit
    if options.json:
        steps = [{"nodes": path, "edges": list(map(graphs.edge_json, links.steps(path)))} for path in paths]
        show([to_json({"paths": steps, "more": more})])
        return 0
    name = graphs.naming(links.graph)
    for number, vertices in enumerate(paths):
        show([""] if number else [])
        show(graphs.path_lines(links.steps(vertices), name) or [f"{name(vertices[0])} is both ends"])
    if not paths:
        show([f"there is no path from {options.start} to {options.end}{_instead(options, session, names)}"])
    if more:
        show(["", f"and more: only the {options.limit} shortest are shown (--limit)"])
    return 0


def _instead(options: argparse.Namespace, session: Session, names: Names) -> str:
    """Where else there is a path, where there is none."""
    starts, ends = names(options.start), names(options.end)
    if Links(session.graph, options.edges, cut=options.cut).path(ends, starts):
        return "; there is one the other way"
    if Links(session.graph, cut=True).path(starts, ends):
        return "; there is one with all kinds of edges and --cut"
    return ""


def ask(options: argparse.Namespace, session: Session) -> int:
    """`bg query`."""
    if options.json and options.output not in {"", "json"}:
        message = f"--json and --output {options.output} contradict each other"
        raise UsageError(message)
    links = _links(options, session)
    found = query(options.expression, links, session.selection.matching)
    nodes = [session.graph.nodes[vertex] for vertex in found if not is_external(vertex)]
    form = "json" if options.json else options.output
    if form == "json":
        external = [vertex[1:] for vertex in found if is_external(vertex)]
        show([to_json({"nodes": list(map(graphs.node_json, nodes)), "external": external})])
        return 0
    name = graphs.naming(session.graph)
    match form:
        case "graph":
            show(pictures.dot(links.part(set(found)), name))
        case "file":
            show(list(dict.fromkeys(node.path for node in nodes)))
        case "node":
            show(found)
        case "label":
            show(list(dict.fromkeys(vertex if is_external(vertex) else session.graph.nodes[vertex].label for vertex in found)))
        case _:
            show(list(dict.fromkeys(map(name, found))))
    if not found:
        session.console.say("the query names nothing")
    return 0


def graph(options: argparse.Namespace, session: Session) -> int:
    """`bg graph`."""
    links = _links(options, session)
    found = links.reach(session.selection.nodes(options.targets), depth=options.depth)
    part = links.part({vertex for vertex in found if options.external or not is_external(vertex)})
    name = graphs.naming(session.graph)
    match "json" if options.json else options.format:
        case "json":
            show([to_json(graphs.part_json(part))])
        case "dot":
            show(pictures.dot(part, name))
        case "graphml":
            show(pictures.graphml(part))
        case "mermaid":
            lines = pictures.mermaid(part, name)
            show(lines)
            too_big = pictures.too_big_for_mermaid(part, lines)
            if too_big:
                session.console.say(too_big)
        case _:
            show(graphs.part_lines(part, name))
    return 0


def _links(options: argparse.Namespace, session: Session) -> Links:
    return Links(session.graph, options.edges, cut=options.cut)


COMMANDS: dict[str, Command] = {
    "list": list_targets,
    "deps": deps,
    "rdeps": rdeps,
    "path": path,
    "query": ask,
    "graph": graph,
}
