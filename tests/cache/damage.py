"""What becomes of a database's file, or of any other, and of a process that writes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def cut(share: float) -> Damage:
    """Only the first part of the file is left."""
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def overwrite(start: int, data: bytes) -> Damage:
    """From some byte on the file has these."""

    def change(path: Path) -> None:
        with path.open("r+b") as stream:
            stream.seek(start)
            stream.write(data)

    return change


_PUTS = """
records = Records(root)
for number in range(1_000_000):
    records.put("killed", f"{sys.argv[2]}-{number}", {"n": number, "pad": "x" * int(sys.argv[3])})
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def put_until_killed(spawn: Callable[..., subprocess.Popen[str]], attempt: int, chance: random.Random, pad: int = 0) -> int:
    """Has a process put records ``killed/ATTEMPT-0`` and on until it is killed; the last number that it said to have put."""
    with spawn(_PUTS, attempt, pad) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        return ([0, *map(int, process.stdout.read().split("\n")[:-1])])[-1]
