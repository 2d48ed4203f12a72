"""The command line of stock-worker."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from stock_worker import report, settings, source

MESSAGES = Path("/usr/share/stock/messages")
SETTINGS = Path("/etc/stock/worker.ini")


def run_once(chosen: settings.Settings, messages_folder: Path) -> str:
    """Writes one report and returns its text. Raises SourceError, MessagesError, OSError."""
    messages = report.load_messages(messages_folder, chosen.language)
    items = source.from_api(chosen.api) if chosen.api else source.from_spool(chosen.spool)
    text = report.compose(items, messages)
    report.save(text, chosen.report)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the worker; the result is the exit status."""
    parser = argparse.ArgumentParser(prog="stock-worker", description="Reports the items that the shop should order.")
    parser.add_argument("--once", action="store_true", help="write one report, print it, and end")
    parser.add_argument("--settings", type=Path, default=SETTINGS, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--messages", type=Path, default=MESSAGES, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        chosen = settings.load(options.settings, os.environ)
        if options.once:
            sys.stdout.write(run_once(chosen, options.messages))
            return 0
    except (settings.SettingsError, source.SourceError, report.MessagesError, OSError) as error:
        print(f"stock-worker: {error}", file=sys.stderr)
        return 1
    return _run_until_stopped(chosen, options.messages)


def _run_until_stopped(chosen: settings.Settings, messages_folder: Path) -> int:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    while not stopped.is_set():
        try:
            run_once(chosen, messages_folder)
            print(f"stock-worker: wrote {chosen.report}", file=sys.stderr)
        except (source.SourceError, report.MessagesError, OSError) as error:
            print(f"stock-worker: {error}; next try in {chosen.every} s", file=sys.stderr)
        stopped.wait(chosen.every)
    return 0
