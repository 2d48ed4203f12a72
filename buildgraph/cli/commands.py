"""The commands that neither build nor look at the graph, and what all share: the session, the console, how they are found."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path

from buildgraph import __version__
from buildgraph.cli import quick
from buildgraph.cli.places import user_cache, user_config
from buildgraph.cli.session import Session
from buildgraph.cli.settings import Settings, tools_folder
from buildgraph.errors import BgError, Place, UsageError, legible
from buildgraph.plan.record import LOCAL
from buildgraph.report import views
from buildgraph.report.console import Console, colours_wanted
from buildgraph.workspace.manifest import find_workspace

Command = Callable[[argparse.Namespace, Session], int]


def run(options: argparse.Namespace, environment: Mapping[str, str], look: quick.Look | None = None) -> int:
    """Runs a command; its exit code. ``look`` is what was seen of the workspace before."""
    console = Console(
        coloured=colours_wanted(sys.stderr, bool(environment.get("NO_COLOR"))),
        quiet=getattr(options, "quiet", False),
        live=sys.stderr.isatty() and environment.get("TERM", "dumb") != "dumb",
    )
    if options.command == "version":
        return version(options, environment, console)
    if options.command == "keygen":
        return keygen(options, environment)
    if options.command == "init":
        from buildgraph.cli.init import init

        return init(options)
    session = Session(settings(options, environment), console, look=look)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, session.stop)
    sys.unraisablehook = _telling_unless(session.cancelled)
    with session.closing:
        try:
            return _command(options.command)(options, session)
        except BgError as error:
            if error.where is not None and _leads_out(session.settings.root, error.where.path):
                raise _without_content(error, error.where) from None
            raise
        finally:
            session.finish_sharing()
            session.save_state()  # what was learnt holds after an error too


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    if name in _MODULES:
        module, function = _MODULES[name]
        found: Command = getattr(import_module(f"buildgraph.cli.{module}"), function)
        return found
    from buildgraph.cli import queries

    return queries.COMMANDS[name]


# Where commands are that load more than others need.
_MODULES = {
    "build": ("building", "build"),
    "run": ("building", "run_image"),
    **{name: (name, name) for name in ("affected", "cache", "clean", "explain", "fetch", "inspect", "lock", "log", "verify")},
}


def _leads_out(root: Path, path: str) -> bool:
    """Whether a file of the workspace is elsewhere by a link: neither there nor in the repository that the workspace is in.

    Absolute paths are those of the user's own files.
    """
    if os.path.isabs(path):  # noqa: PTH117 - a text
        return False
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    return not (root / path).resolve().is_relative_to(top.resolve())


def _without_content(error: BgError, where: Place) -> BgError:
    """An error that shows nothing of the file that it is about: whoever made the link may read the message, and not the file."""
    shown = BgError(
        "this file is a link to one outside of the repository, which cannot be used", where=Place(where.path, where.line)
    )
    shown.exit_code = error.exit_code
    return shown


def _telling_unless(cancelled: threading.Event) -> Callable[[sys.UnraisableHookArgs], object]:
    """Says nothing of an interrupt that came where Python drops exceptions, nor of a file that one left open.

    The session knows of it, and ends at its next step.
    """

    def tell(lost: sys.UnraisableHookArgs) -> None:
        if not (cancelled.is_set() and isinstance(lost.exc_value, KeyboardInterrupt | ResourceWarning)):
            sys.__unraisablehook__(lost)

    return tell


def settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """What the command line and the environment decide."""
    here = Path(os.path.abspath(options.directory or "."))  # noqa: PTH100 - links stay as the user named them
    if not here.is_dir():
        message = f"there is no folder {here}"
        raise UsageError(message)
    cache = environment.get("BG_CACHE_DIR", "")
    tier, result_keys = LOCAL, tuple[str, ...]()
    if environment.get("BG_CACHE_TIER") or environment.get("BG_CACHE_KEY"):
        from buildgraph.cli import sharing

        tier, result_keys = sharing.tier_of(environment), sharing.keys_of(environment)
    return Settings(
        root=find_workspace(here),
        here=here,
        environment=environment,
        user_cache=Path(user_cache(environment)),
        user_config=Path(user_config(environment)),
        cache=Path(cache).absolute() if cache else None,
        sealed=getattr(options, "sandbox", "on") == "on",
        locked=getattr(options, "locked", None),
        offline=getattr(options, "offline", False),
        tier=tier,
        result_keys=result_keys,
        reads_remotes=not getattr(options, "no_remote_read", False),
        stand_ins=getattr(options, "stand_ins", False),
    )


def show(lines: list[str]) -> None:
    """Prints lines of a command's result."""
    sys.stdout.write(printed(lines))


def printed(lines: Iterable[str]) -> str:
    """What ``show`` prints."""
    return legible("".join(f"{line}\n" for line in lines))


def plan(options: argparse.Namespace, session: Session) -> int:
    """`bg plan`. Raises what a build would fail with before it starts."""
    from buildgraph.cli.planning import planned

    found, refusal = planned(options.targets, session)
    lines = [views.to_json(views.plan_json(found))] if options.json else views.plan_lines(found, everything=options.all)
    show(lines)
    if refusal:
        raise refusal
    # What caches elsewhere have or lack today they may lack or have tomorrow, which no stat tells.
    here = not session.store.elsewhere_only and all(decision.kind == "hit" for decision in found.decisions.values())
    if session.elsewhere is None or here:
        asked = quick.asked(options.said, str(session.settings.here), session.settings.environment)
        session.remember(asked, session.cache_seen, printed(lines))
    return 0


def keygen(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`bg keygen`."""
    from buildgraph.outputs.keys import DEFAULT_NAME, GITIGNORE, RESULTS_NAME, new_key, new_results_key

    if options.results:
        path = Path(options.path).absolute() if options.path else Path(user_config(environment), RESULTS_NAME)
        public, told = new_results_key(path, environment)
        show([f"private key {path}", "for the manifests of those who believe it, under `trust:`, with a name of yours:"])
        show([f'  NAME: {{key: "{public}", tiers: [local]}}'])
        show([f"{path.with_name(GITIGNORE)} now has git ignore the private key"] if told else [])
        return 0
    path = Path(options.path).absolute() if options.path else Path(user_config(environment), f"{DEFAULT_NAME}.rsa")
    if path.suffix != ".rsa":
        message = f"`{path.name}` must end in .rsa: apk looks for the key by that name"
        raise UsageError(message, hint=f"{path.name}.rsa")
    told = new_key(path, environment)
    show([f"private key {path}", f"public key  {path}.pub"])
    show([f"{path.with_name(GITIGNORE)} now has git ignore the private key"] if told else [])
    return 0


def version(options: argparse.Namespace, environment: Mapping[str, str], console: Console) -> int:
    """`bg version`."""
    from buildgraph.execute.tools import find_tools

    tools = find_tools(environment, tools_folder(), Path(user_cache(environment)), console.say)
    found = {"bg": __version__, "melange": tools.melange_version, "apko": tools.apko_version, "python": sys.version.split()[0]}
    paths = {"melange": str(tools.melange), "apko": str(tools.apko), "bwrap": str(tools.bwrap), "python": sys.executable}
    if options.json:
        show([views.to_json({"versions": found, "paths": paths})])
    else:
        show(views.table([(name, found.get(name, ""), paths.get(name, "")) for name in {**found, **paths}]))
    return 0


COMMANDS: dict[str, Command] = {
    "plan": plan,
}
