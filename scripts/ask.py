"""Asks a server that is just starting, and prints its JSON answer: ``ask.py PID ADDRESS``; exit code 1 if it gives none."""

# ruff: noqa: INP001, S310, T201, TID251 - a program of its own: it reads its command line, asks 127.0.0.1 and prints

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 120.0  # seconds; the image may have to be unpacked first


def main() -> int:
    """Runs the command line; the exit code."""
    process, address = int(sys.argv[1]), sys.argv[2]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
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


if __name__ == "__main__":
    sys.exit(main())
