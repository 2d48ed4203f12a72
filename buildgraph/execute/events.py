"""What happens during a run, as values; the report room turns them into text or JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from buildgraph.structs import Struct

Outcome = Literal["hit", "spared", "shared", "ran", "failed", "skipped"]


class Started(Struct, frozen=True):
    """An action began; ``reasons`` say why it has to run."""

    node: str
    reasons: tuple[str, ...]


class Finished(Struct, frozen=True):
    """A node is settled.

    ``hit``: its deep key was known; ``spared``: its dependencies changed but not their content; ``shared``: another process
    ran the same action meanwhile; ``ran``, ``failed``; ``skipped``: something it needs failed. ``same`` says that it ran and
    gave the same content as last time. ``message`` is the rendered error of a failure.
    """

    node: str
    outcome: Outcome
    seconds: float = 0.0
    same: bool = False
    message: str = ""


class Waiting(Struct, frozen=True):
    """A node waits: for another process that runs the same action, or for nodes that no recipe named."""

    node: str
    why: str


class Notice(Struct, frozen=True):
    """Something that the user should know."""

    text: str


Event = Started | Finished | Waiting | Notice
Listener = Callable[[Event], None]
