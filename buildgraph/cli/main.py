"""The entry point: the quick answer where nothing changed, else the command, and every error as one message and exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from buildgraph.errors import INTERNAL_ERROR, BgError

QUICK = frozenset({"build", "plan"})  # whose answer may be known already
# Nearly all that bg makes lives until it ends, without circles: looking for garbage would take a fifth of its time. A build that
# lasts still has its circles collected.
COLLECT_AFTER = 1_000_000


def entry() -> NoReturn:
    """Runs bg as a process."""
    gc.set_threshold(COLLECT_AFTER)
    code = main(sys.argv[1:], os.environ)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; what Python would flush at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs one command; its exit code (docs/manual.md lists them)."""
    try:
        from buildgraph.cli import arguments as command_line

        options = command_line.parse(arguments)
        if options.command in QUICK:
            from buildgraph.cli import quick

            answer = quick.answer(options, environment)
            if answer is not None:
                sys.stdout.write(answer)
                return 0
        from buildgraph.cli import commands

        return commands.run(options, environment)
    except BgError as error:
        sys.stdout.flush()
        sys.stderr.write(error.render() + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 - the last resort: a defect of bg, told as one
        import traceback

        sys.stderr.write("bg: this is a defect of bg; please report it with the lines below\n")
        traceback.print_exc()
        return INTERNAL_ERROR
