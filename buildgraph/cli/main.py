"""The entry point: the quick answer where nothing changed, else the command, and every error as one message and exit code."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildgraph.cli.quick import Look

# Nearly all that bg makes lives until it ends, without circles: looking for garbage would take a fifth of its time. A build that
# lasts still has its circles collected.
COLLECT_AFTER = 1_000_000
INTERRUPTED = 130
ANSWERED = frozenset({"build", "plan"})  # commands whose answer may be known already


def entry() -> None:
    """Runs bg as a process."""
    gc.set_threshold(COLLECT_AFTER)
    _stand_in_for_closed_streams()
    try:
        code = main(sys.argv[1:], os.environ)
    except SystemExit as done:  # `--help` and `--version`
        code = int(done.code or 0)
    if (undelivered := _undelivered()) and not code:
        code = _told(undelivered)
    # At once: Python would take everything apart piece by piece first, and after an interruption it would wait for threads that
    # wait for servers which say nothing.
    os._exit(code)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs one command; its exit code (docs/manual.md lists them)."""
    try:
        if ANSWERED.isdisjoint(arguments):
            return _command(arguments, environment, None)
        from buildgraph.cli import quick

        with quick.Look(arguments, environment) as look:
            if look.answer is None:
                return _command(arguments, environment, look)
            sys.stdout.write(look.answer)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the last resort: all that is not the user's to mend
        return _told(error)
    return 0


def _command(arguments: Sequence[str], environment: Mapping[str, str], look: Look | None) -> int:
    from buildgraph.cli.arguments import parse

    options = parse(arguments)
    from buildgraph.cli import commands

    return commands.run(options, environment, look)


def _stand_in_for_closed_streams() -> None:
    """What is said to a stream that was closed before bg began goes nowhere, and no file of bg's gets the stream's number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _undelivered() -> Exception | None:
    """What keeps from standard output what was printed; None where it arrives, or where its reader has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        from buildgraph.errors import OutputError

        return OutputError(f"cannot write to standard output: {error.strerror or error}")
    return None


def _told(error: Exception) -> int:
    """Says on standard error what went wrong, after what was printed; the exit code, whether or not anybody hears it."""
    from buildgraph.errors import INTERNAL_ERROR, BgError, legible

    undelivered = _undelivered()
    if undelivered and isinstance(error, OSError):  # that of the attempt to print
        error = undelivered
    try:
        if isinstance(error, BgError):
            sys.stderr.write(legible(error.render()) + "\n")
        else:
            import traceback

            sys.stderr.write("bg: this is a defect of bg; please report it with the lines below\n")
            traceback.print_exception(error)
        sys.stderr.flush()
    except OSError:
        pass
    return error.exit_code if isinstance(error, BgError) else INTERNAL_ERROR
