"""What can be said to `bg cache`."""

from __future__ import annotations

import argparse

from buildgraph.cli.arguments import Parser, add_json, add_targets, share

COMMANDS = {
    "stats": "show what the cache holds",
    "gc": "make room: remove what was not used for longest",
    "verify": "read everything and say what is wrong",
    "repair": "drop what is wrong, and nothing else",
    "pin": "keep targets' results whatever their age; without a target: show which are kept",
    "unpin": "keep targets' results no longer",
    "ls": "list results, with their age, size and last use",
    "rm": "remove the results of targets",
    "export": "write results into one file",
    "import": "take in what another bg has exported",
    "push": "send results to caches on other machines that lack them",
}


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Adds the commands of `bg cache`, and what each takes."""
    commands = parser.add_subparsers(dest="operation", metavar="CACHE_COMMAND", parser_class=Parser, required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".", allow_abbrev=False)
        _OPTIONS.get(name, add_json)(command)


def _gc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-size",
        type=_bytes,
        default=None,
        metavar="SIZE",
        help="what may stay, such as 10G (default: `cache-size`)",
    )
    parser.add_argument(
        "--older-than", type=_age, default=None, metavar="AGE", help="remove what was not used for so long, such as 30d or 12h"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="remove nothing, only say what would go")
    add_json(parser)


def _verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample", type=share, default=1.0, metavar="P", help="read only a share of the files, drawn at random: 10%% or 0.1"
    )
    parser.add_argument("--seed", default="", metavar="TEXT", help="draw the same share as a run that named it")
    add_json(parser)


def _some_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=[], help="labels and patterns (default: all)")
    add_json(parser)


def _rm(parser: argparse.ArgumentParser) -> None:
    add_targets(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="remove nothing, only say what would go")
    add_json(parser)


def _file(text: str) -> str:
    if text.startswith("//"):
        message = f"`{text}` is a label; the archive's name goes before the targets"
        raise argparse.ArgumentTypeError(message)
    return text


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=_file, metavar="FILE", help="a tar archive, with gzip where the name ends in .gz or .tgz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=[], help="labels and patterns (default: all)")
    since = parser.add_mutually_exclusive_group()
    since.add_argument("--since-run", action="store_true", help="only what was stored since the last `bg cache import`")
    since.add_argument("--used", action="store_true", help="only what was stored or used since the last `bg cache import`")
    since.add_argument("--since", default="", metavar="FILE", help="only what was stored since FILE was written")
    add_json(parser)


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what `bg cache export` wrote")
    parser.add_argument(
        "--max-size",
        type=_bytes,
        default=None,
        metavar="SIZE",
        help="how much may be added (default: all that there is room for)",
    )
    add_json(parser)


def _push(parser: argparse.ArgumentParser) -> None:
    _some_targets(parser)
    parser.add_argument(
        "--to", default="", metavar="STORE", help="the name or address of one of `remotes:` (default: all that may be written)"
    )


_OPTIONS = {
    "gc": _gc,
    "verify": _verify,
    "pin": _some_targets,
    "unpin": _some_targets,
    "ls": _some_targets,
    "rm": _rm,
    "export": _export,
    "import": _import,
    "push": _push,
}


def _bytes(text: str) -> int:
    from buildgraph.workspace.amounts import parse_size

    size = parse_size(text)
    if size is None:
        message = f"`{text}` is no size: 10G and 512M are"
        raise argparse.ArgumentTypeError(message)
    return size


def _age(text: str) -> float:
    from buildgraph.workspace.amounts import parse_age

    age = parse_age(text)
    if age is None:
        message = f"`{text}` is no age: 30d and 12h are"
        raise argparse.ArgumentTypeError(message)
    return age
