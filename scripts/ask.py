"""Runs an image whose server listens at ``PORT``, prints what it answers, stops it: ``ask.py WORKSPACE IMAGE PATH...``.

The exit code is 1 if it gives no answer, or does not stop.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

BG = Path(__file__).resolve().parent.parent / "bg"
PATIENCE = 120.0  # seconds; the image may have to be unpacked first
GRACE = 10.0  # seconds

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    """Runs the command line; the exit code."""
    workspace, image, *paths = sys.argv[1:]
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [str(BG), "-C", workspace, "run", image, "-e", f"PORT={address.rpartition(':')[2]}"]
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as server:
        try:
            answered = all(ask(server, address + path) for path in paths)
        finally:
            stop(server)
        if not answered:
            said.seek(0)
            sys.stderr.write(said.read())
    return int(not (answered and gone(address)))


def end(number: int, _: FrameType | None) -> None:
    """Ends the run by an exception, so that the server is stopped first."""
    sys.exit(128 + number)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server as a container runtime does."""
    server.terminate()
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()


def ask(server: subprocess.Popen[bytes], address: str) -> bool:
    """Prints the first answer of a server that may be just starting."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with opener.open(address, timeout=5) as answer:
                print(f"GET {address}\n{json.dumps(json.load(answer), indent=2, ensure_ascii=False)}", flush=True)
                return True
        except (urllib.error.HTTPError, ValueError) as error:
            print(f"{address}: {error}", file=sys.stderr)
            return False
        except OSError:
            time.sleep(0.1)
        if server.poll() is not None:
            print(f"{address}: the server has ended", file=sys.stderr)
            return False
    print(f"{address}: no answer within {PATIENCE:.0f} s", file=sys.stderr)
    return False


def gone(address: str) -> bool:
    """Waits until nothing listens there any more."""
    end = time.monotonic() + GRACE
    while time.monotonic() < end:
        try:
            opener.open(address, timeout=5).close()
        except OSError:
            print("stopped")
            return True
        time.sleep(0.1)
    print(f"{address}: still answers", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(main())
