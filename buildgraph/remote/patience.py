"""How long a store may take: what a server that says nothing may take, and more for what is large.

A server may be silent for ``timeout`` seconds, the setting of ``web.access.Access``; a transfer must get a certain amount done in
each such time. With 20 seconds that is 64 KiB a second, a slow line that several transfers share.
"""

from __future__ import annotations

AT_LEAST = 1280 << 10  # bytes in the time that a silent server has


def patience(timeout: float, size: int) -> float:
    """The seconds that a request of ``size`` bytes may take in all."""
    return timeout * (1 + size / AT_LEAST)
