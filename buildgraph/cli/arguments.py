"""The command line: what can be said, and what it means. Loads nothing but the parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from buildgraph.errors import UsageError, did_you_mean

DESCRIPTION = (
    "Builds apk packages and OCI images with melange and apko: only what is stale, in the right order, shared through a cache."
)
EPILOG = "TARGET is //folder:name, a pattern such as //... or //images:all, or relative to the folder you are in."


class Parser(argparse.ArgumentParser):
    """A parser whose errors are bg's, with a suggestion for what was misspelt."""

    command: Parser | None = None  # the one that reads what stands after the command

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        reader = self.command or self
        hint = f"`{reader.prog} --help` lists what can be said"
        if "invalid choice: '" in message:
            option, _, rest = message.removeprefix("argument ").partition(": invalid choice: '")
            name, _, known = rest.partition("' (choose from ")
            if option == "COMMAND":
                hint = did_you_mean(name, COMMANDS) or hint
                message = f"there is no command `{name}`"
            else:
                options = known.rstrip(")").replace("'", "").split(", ")
                hint = did_you_mean(name, options) or (f"{reader.prog} has " + ", ".join(options) if option.isupper() else hint)
                message = f"there is no command `{reader.prog} {name}`" if option.isupper() else message
        elif message.startswith(_UNKNOWN):
            word = message.removeprefix(_UNKNOWN).split()[0].partition("=")[0]
            hint = did_you_mean(word, set(re.findall(r"--[a-z-]+", reader.format_help()))) or hint
        raise UsageError(message, hint=hint)


_UNKNOWN = "unrecognized arguments: "  # as argparse begins this error
_HIDDEN = "\0"
EDGE_KINDS = ("build", "runtime", "image")  # as graph.model has them, which --help need not load
COMMANDS = {
    "init": "look at a repository, say what is there, and write the smallest manifest that it needs",
    "build": "bring targets up to date",
    "plan": "show what a build would run, and why",
    "list": "list targets",
    "deps": "show what targets need, each with the line that makes it so",
    "rdeps": "show what needs targets, each with the line that makes it so",
    "path": "show how one target comes to need another",
    "query": "ask the graph in the language that Bazel's users know",
    "graph": "show what needs what, or draw it",
    "affected": "list the targets that differ from a commit: those whose keys do, not all whose files do",
    "explain": "show what a target's key is made of, or what changed in it since its last build",
    "inspect": "show what a built target is: packages, files, layers, licences, and where each came from",
    "log": "show what melange or apko said when a target was built, here or on another machine",
    "verify": "build again what the cache has, in other surroundings, and compare",
    "lock": "complete buildgraph.lock, or move external packages to newer versions",
    "fetch": "bring all that a build will need: external packages, pinned sources, keys and tools",
    "run": "build an image and run it, without a container runtime; what follows -- goes to its entrypoint",
    "cache": "look at the cache, make room in it, mend it, keep targets in it, and hand results on as a file",
    "clean": "remove outputs, and with --cache the cache",
    "keygen": "make a key that package repositories are signed with, or results in caches that machines share",
    "version": "show the versions of bg and its tools",
}

WITH_TARGETS = {"build", "plan", "list", "graph", "affected", "explain", "inspect", "log", "verify", "fetch", "run"}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed command line. Raises UsageError; ``--help`` and ``--version`` print and exit."""
    from buildgraph import __version__

    parser = Parser(prog="bg", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"bg {__version__}")
    parser.add_argument("-C", "--directory", metavar="DIR", default="", help="run as if started in DIR")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    # Only the command that is meant gets its options made: argparse is most of the time that `bg --help` takes.
    named = next((word for word in arguments if word in COMMANDS), "")
    for name, summary in COMMANDS.items():
        epilog = EPILOG if name in WITH_TARGETS else None
        command = commands.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=epilog, allow_abbrev=False
        )
        if name == named:
            _OPTIONS[name](command)
            parser.command = command
    end = list(arguments).index("--") if named == "run" and "--" in arguments else len(arguments)
    # argparse takes a pattern to leave out (-//x) for an option: hide its dash.
    said = [_HIDDEN + word[1:] if word.startswith("-//") else word for word in arguments[:end]]
    options = parser.parse_args(said)
    for name, value in vars(options).items():
        if name == "targets":
            options.targets = [word.replace(_HIDDEN, "-", 1) for word in value]
        elif isinstance(value, str):
            setattr(options, name, value.replace(_HIDDEN, "-", 1))
    if named == "run":
        options.arguments = list(arguments[end + 1 :])
    options.said = list(arguments)
    if not options.command:
        parser.print_help()
        raise SystemExit(0)
    return options


def add_targets(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Adds the targets that a command takes; with a ``default`` none need be named."""
    many = "*" if default else "+"
    parser.add_argument(
        "targets", nargs=many, metavar="TARGET", default=[default] if default else None, help="labels and patterns"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def _building(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-j", "--jobs", type=_positive, default=0, metavar="N", help="actions at once (default: one per core)")
    parser.add_argument("-k", "--keep-going", action="store_true", help="after a failure build what does not depend on it")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    _planning(parser)


def _planning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-remote-read",
        action="store_true",
        help="take nothing from caches on other machines; they are still given results",
    )
    parser.add_argument(
        "--sandbox", choices=("on", "off"), default="on", help="off: without the box, where user namespaces are forbidden"
    )
    parser.add_argument("--offline", action="store_true", help="fetch nothing: what is not at hand is an error (see `bg fetch`)")
    _locking(parser)


def _locking(parser: argparse.ArgumentParser) -> None:
    lock = parser.add_mutually_exclusive_group()
    lock.add_argument(
        "--locked",
        dest="locked",
        action="store_true",
        default=None,
        help="fail if buildgraph.lock would have to change (the default in CI)",
    )
    lock.add_argument("--unlocked", dest="locked", action="store_false", help="let buildgraph.lock grow, in CI too")


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        message = f"`{text}` is not a whole number"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _positive(text: str) -> int:
    number = _natural(text)
    if not number:
        message = "it must be at least 1"
        raise argparse.ArgumentTypeError(message)
    return number


def _build(parser: argparse.ArgumentParser) -> None:
    add_targets(parser)
    _building(parser)
    add_json(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="show the plan and stop")


def _plan(parser: argparse.ArgumentParser) -> None:
    add_targets(parser, "//...")
    _planning(parser)
    add_json(parser)
    parser.add_argument("-a", "--all", action="store_true", help="show what is cached too")


def _list(parser: argparse.ArgumentParser) -> None:
    add_targets(parser, "//...")
    add_json(parser)
    parser.add_argument("--kind", choices=("package", "image"), default="", help="only these")


def _following(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--edges",
        type=_edge_kinds,
        default=EDGE_KINDS,
        metavar="KINDS",
        help=f"follow only these, of {','.join(EDGE_KINDS)} (default: all)",
    )
    parser.add_argument(
        "--cut", action="store_true", help="follow edges that cycles were cut at too, which external packages meet in a build"
    )
    add_json(parser)


def _edge_kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    for kind in kinds:
        if kind not in EDGE_KINDS:
            message = f"`{kind}` is not one of {', '.join(EDGE_KINDS)}"
            raise argparse.ArgumentTypeError(message)
    return kinds


def _depth(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--depth", type=_natural, default=None, metavar="N", help="at most so many edges away")


def _deps(parser: argparse.ArgumentParser) -> None:
    _rdeps(parser)
    parser.add_argument("--external", action="store_true", help="show external packages too, as @name")


def _rdeps(parser: argparse.ArgumentParser) -> None:
    add_targets(parser)
    distance = parser.add_mutually_exclusive_group()
    _depth(distance)
    distance.add_argument("--direct", dest="depth", action="store_const", const=1, help="as --depth 1")
    _following(parser)


def _path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("start", metavar="FROM", help="a label or pattern")
    parser.add_argument("end", metavar="TO", help="a label or pattern, or @name for an external package")
    parser.add_argument("--all", action="store_true", help="show all paths, shortest first")
    parser.add_argument("--limit", type=_positive, default=20, metavar="N", help="with --all: stop after so many (default: 20)")
    _following(parser)


def _query(parser: argparse.ArgumentParser) -> None:
    from buildgraph.graph.query import FUNCTIONS

    written = {function.signature.usage(name): function.meaning for name, function in FUNCTIONS.items()}
    width = max(map(len, written))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        [
            "functions:",
            *(f"  {usage:{width}}  {meaning}" for usage, meaning in written.items()),
            "",
            "besides labels, patterns, @name for an external package, set(a b c),",
            "let x = ... in ... and the operators + ^ - (union, intersect, except)",
        ]
    )
    parser.add_argument("expression", metavar="EXPR", help="such as 'kind(image, rdeps(//..., //packages:libstock))'")
    parser.add_argument(
        "--output",
        choices=("label", "node", "file", "json", "graph"),
        default="",
        help="labels, node ids, recipes, JSON or DOT (default: labels; node ids where several architectures are planned)",
    )
    _following(parser)


def _graph(parser: argparse.ArgumentParser) -> None:
    add_targets(parser, "//...")
    formats = ("text", "dot", "mermaid", "json", "graphml")
    parser.add_argument("--format", choices=formats, default="text", help="how to write it")
    _depth(parser)
    parser.add_argument("--no-external", dest="external", action="store_false", help="leave external packages out")
    _following(parser)


def _affected(parser: argparse.ArgumentParser) -> None:
    add_targets(parser, "//...")
    parser.add_argument("--since", required=True, metavar="REF", help="a branch, a tag, or a commit such as HEAD^")
    parser.add_argument("--merge-base", action="store_true", help="compare with where HEAD parted from REF, not with REF itself")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=("text", "json", "matrix"), default="text", help="how to write it")
    form.add_argument("--why", action="store_true", help="say of each what changed; show targets that are gone too")
    form.add_argument("--json", dest="format", action="store_const", const="json", help="print JSON for machines")
    parser.add_argument(
        "--shards", type=_positive, default=0, metavar="N", help="with --format matrix: pack targets into N groups"
    )
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 if anything is affected")
    parser.set_defaults(offline=True, stand_ins=True)


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a label")
    _planning(parser)
    add_json(parser)
    parser.add_argument("--key", action="store_true", help="list everything that the key is made of")


def _inspect(parser: argparse.ArgumentParser) -> None:
    add_targets(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON for machines")
    form.add_argument("--provenance", action="store_true", help="print the in-toto statements of the outputs instead")


def _verify(parser: argparse.ArgumentParser) -> None:
    add_targets(parser)
    parser.add_argument(
        "--sample", type=share, default=1.0, metavar="P", help="only a share, drawn at random: 10%% or 0.1 (default: all)"
    )
    parser.add_argument("--seed", default="", metavar="TEXT", help="draw the same share as a run that named it")
    parser.add_argument("-j", "--jobs", type=_positive, default=0, metavar="N", help="actions at once (default: one per core)")
    parser.add_argument("--sandbox", choices=("on", "off"), default="on", help="off: what was built without the box")
    add_json(parser)


def share(text: str) -> float:
    """A share such as ``10%`` or ``0.1``. Raises ArgumentTypeError."""
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0
    if rest or not 0 < share <= 1:
        message = f"`{text}` is no share: 10% and 0.1 are"
        raise argparse.ArgumentTypeError(message)
    return share


def _lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        default=None,
        help="move these packages, or all, to what the repositories have now",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is missing")
    add_json(parser)
    parser.set_defaults(locked=False)  # who asks for it wants it, in CI too


def _fetch(parser: argparse.ArgumentParser) -> None:
    add_targets(parser, "//...")
    _locking(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    add_json(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="an image")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable")
    parser.add_argument("--entrypoint", default="", metavar="PATH", help="run this instead of the image's entrypoint")
    parser.add_argument("--arch", default="", metavar="ARCH", help="run the image of another architecture than this machine's")
    _building(parser)


def _cache(parser: argparse.ArgumentParser) -> None:
    from buildgraph.cli.cachearguments import add_commands

    add_commands(parser)


def _clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", action="store_true", help="remove the cache too")
    parser.add_argument("-n", "--dry-run", action="store_true", help="remove nothing, and say what would go")
    add_json(parser)


def _keygen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", default="", metavar="FILE", help="where to (default: the user's key), NAME.rsa for packages"
    )
    parser.add_argument(
        "--results", action="store_true", help="make a key that results are signed with in caches that machines share"
    )


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="", metavar="DIR", help="the top of the repository (default: here)")
    parser.add_argument("-n", "--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--force", action="store_true", help="write over a manifest that is there")
    parser.add_argument("--gitignore", action="store_true", help="add what .gitignore lacks")
    add_json(parser)


_OPTIONS = {
    "init": _init,
    "build": _build,
    "plan": _plan,
    "list": _list,
    "deps": _deps,
    "rdeps": _rdeps,
    "path": _path,
    "query": _query,
    "graph": _graph,
    "affected": _affected,
    "explain": _explain,
    "inspect": _inspect,
    "log": add_targets,
    "verify": _verify,
    "lock": _lock,
    "fetch": _fetch,
    "run": _run,
    "cache": _cache,
    "clean": _clean,
    "keygen": _keygen,
    "version": add_json,
}
