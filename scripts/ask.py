"""Asks a server that is just starting and prints its JSON answer: ``ask.py PID ADDRESS``; exit code 1 if it gives none.

``ask.py --gone ADDRESS`` waits until nothing listens there any more; exit code 1 if something still does.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 120.0  # seconds; the image may have to be unpacked first
GRACE = 10.0  # seconds

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    """Runs the command line; the exit code."""
    process, address = sys.argv[1:]
    return gone(address) if process == "--gone" else ask(int(process), address)


def ask(process: int, address: str) -> int:
    """Prints the first answer of the server whose process is given."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with opener.open(address, timeout=5) as answer:
                print(json.dumps(json.load(answer), indent=2, ensure_ascii=False))
                return 0
        except (urllib.error.HTTPError, ValueError) as error:
            print(f"{address}: {error}", file=sys.stderr)
            return 1
        except OSError:
            time.sleep(0.1)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            print(f"{address}: the server has ended", file=sys.stderr)
            return 1
    print(f"{address}: no answer within {PATIENCE:.0f} s", file=sys.stderr)
    return 1


def gone(address: str) -> int:
    """Waits for the end of a server."""
    end = time.monotonic() + GRACE
    while time.monotonic() < end:
        try:
            opener.open(address, timeout=5).close()
        except OSError:
            return 0
        time.sleep(0.1)
    print(f"{address}: still answers", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
