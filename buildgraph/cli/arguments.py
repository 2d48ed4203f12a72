"""The command line: what can be said, and what it means. Loads nothing but the parser."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from buildgraph.errors import UsageError, did_you_mean

DESCRIPTION = (
    "Builds apk packages and OCI images with melange and apko: only what is stale, in the right order, shared through a cache."
)
EPILOG = "TARGET is //folder:name, a pattern such as //... or //images:all, or relative to the folder you are in."


class Parser(argparse.ArgumentParser):
    """A parser whose errors are bg's, with a suggestion for what was misspelt."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        hint = f"`{self.prog} --help` lists what can be said"
        if "invalid choice: '" in message:
            name = message.split("invalid choice: '", 1)[1].split("'", 1)[0]
            hint = did_you_mean(name, COMMANDS) or hint
            message = f"there is no command `{name}`"
        raise UsageError(message, hint=hint)


_HIDDEN = "\0"
COMMANDS = {
    "init": "look at a repository, say what is there, and write the smallest manifest that it needs",
    "build": "bring targets up to date",
    "plan": "show what a build would run, and why",
    "list": "list targets",
    "graph": "show what needs what",
    "explain": "show what a target's key is made of, or what changed in it since its last build",
    "lock": "complete buildgraph.lock, or move external packages to newer versions",
    "run": "build an image and run it, without a container runtime; what follows -- goes to its entrypoint",
    "clean": "remove outputs, and with --cache the cache",
    "keygen": "make a key that package repositories are signed with",
    "version": "show the versions of bg and its tools",
}


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
        command = commands.add_parser(
            name, help=summary, description=summary.capitalize() + ".", epilog=EPILOG, allow_abbrev=False
        )
        if name == named:
            _OPTIONS[name](command)
    end = list(arguments).index("--") if named == "run" and "--" in arguments else len(arguments)
    # argparse takes a pattern to leave out (-//x) for an option: hide its dash.
    said = [_HIDDEN + word[1:] if word.startswith("-//") else word for word in arguments[:end]]
    options = parser.parse_args(said)
    if "targets" in options:
        options.targets = [word.replace(_HIDDEN, "-", 1) for word in options.targets]
    if named == "run":
        options.arguments = list(arguments[end + 1 :])
    if not options.command:
        parser.print_help()
        raise SystemExit(0)
    return options


def _targets(parser: argparse.ArgumentParser, default: str = "") -> None:
    many = "*" if default else "+"
    parser.add_argument(
        "targets", nargs=many, metavar="TARGET", default=[default] if default else None, help="labels and patterns"
    )


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def _building(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-j", "--jobs", type=_natural, default=0, metavar="N", help="actions at once (default: as many as cores)")
    parser.add_argument("-k", "--keep-going", action="store_true", help="after a failure build what does not depend on it")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    _planning(parser)


def _planning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sandbox", choices=("on", "off"), default="on", help="off: without the box, where user namespaces are forbidden"
    )
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


def _build(parser: argparse.ArgumentParser) -> None:
    _targets(parser)
    _building(parser)
    _json(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="show the plan and stop")


def _plan(parser: argparse.ArgumentParser) -> None:
    _targets(parser, "//...")
    _planning(parser)
    _json(parser)
    parser.add_argument("-a", "--all", action="store_true", help="show what is cached too")


def _list(parser: argparse.ArgumentParser) -> None:
    _targets(parser, "//...")
    _json(parser)
    parser.add_argument("--kind", choices=("package", "image"), default="", help="only these")


def _graph(parser: argparse.ArgumentParser) -> None:
    _targets(parser, "//...")
    _json(parser)
    parser.add_argument("--format", choices=("text", "dot", "mermaid", "json"), default="text", help="how to write it")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a label")
    _planning(parser)
    _json(parser)
    parser.add_argument("--key", action="store_true", help="list everything that the key is made of")


def _lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        default=None,
        help="move these packages, or all, to what the repositories have now",
    )
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is missing")
    _json(parser)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="an image")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable")
    parser.add_argument("--entrypoint", default="", metavar="PATH", help="run this instead of the image's entrypoint")
    _building(parser)


def _clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", action="store_true", help="remove the cache too")


def _keygen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default="", metavar="FILE.rsa", help="where to (default: the user's key)")


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="", metavar="DIR", help="the top of the repository (default: here)")
    parser.add_argument("-n", "--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--force", action="store_true", help="write over a manifest that is there")
    parser.add_argument("--gitignore", action="store_true", help="add what .gitignore lacks")
    _json(parser)


_OPTIONS = {
    "init": _init,
    "build": _build,
    "plan": _plan,
    "list": _list,
    "graph": _graph,
    "explain": _explain,
    "lock": _lock,
    "run": _run,
    "clean": _clean,
    "keygen": _keygen,
    "version": _json,
}
