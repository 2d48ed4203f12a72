"""How much memory a process took."""

from __future__ import annotations

import re
from pathlib import Path


def peak() -> int:
    """The MiB of this process that were resident at a time, at most so far.

    As proc(5) has it: what getrusage(2) says begins with what the parent had, so that a child of a large test run never grows.
    """
    found = re.search(r"VmHWM:\s*([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) >> 10
