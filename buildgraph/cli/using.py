"""How a run of bg uses the cache: with others, so that nothing goes meanwhile, or alone, to remove something."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from buildgraph.cache.locks import UseLock


class CacheUse:
    """The lock of the cache as a whole, as one run holds it. ``say`` tells that another bg is waited for."""

    def __init__(self, root: Path, say: Callable[[str], None], cancelled: threading.Event) -> None:
        self._lock, self._say, self._cancelled = UseLock(root), say, cancelled
        self._joined = ExitStack()

    def join(self) -> None:
        """Relies on what is in the cache from now on, until `leave`."""
        self._joined.enter_context(self.together())

    def leave(self) -> None:
        """Relies on nothing in the cache any more."""
        self._joined.close()

    def together(self) -> AbstractContextManager[None]:
        """Nobody removes anything during the block."""
        return self._lock.shared(on_wait=self.tell, cancelled=self._cancelled.is_set)

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else uses the cache during the block; what this run relied on until now it relies on no more."""
        self.leave()
        return self._lock.alone(on_wait=self.tell, cancelled=self._cancelled.is_set)

    def alone_if_unused(self) -> AbstractContextManager[bool]:
        """The same, if nobody uses it just now: the block's value."""
        return self._lock.alone_if_unused()

    def tell(self) -> None:
        """Says that another bg keeps this one waiting."""
        self._say("wait   another bg uses the cache")
