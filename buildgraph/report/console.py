"""The progress of a run on a terminal or in a log: one line when something starts or ends, none for what needed nothing."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from buildgraph.execute.events import Event, Finished, Notice, Started, Waiting
from buildgraph.structs import Struct, field

_BOLD, _RED, _GREEN, _DIM, _OFF = "\033[1m", "\033[31m", "\033[32m", "\033[2m", "\033[0m"
MOST_REASONS = 3


def colours_wanted(stream: TextIO, environment_says_no: bool) -> bool:  # noqa: FBT001 - two facts, one answer
    """Whether to colour: a terminal, and NO_COLOR (no-color.org) not set."""
    return stream.isatty() and not environment_says_no


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"  # noqa: PLR2004 - a minute


class Console(Struct):
    """Writes events to a stream; called from several threads."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    coloured: bool = False
    quiet: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        line = self._line(event)
        if line and not (self.quiet and not (isinstance(event, Finished) and event.outcome == "failed")):
            with self._guard:
                self.stream.write(line + "\n")
                self.stream.flush()

    def say(self, text: str) -> None:
        """Shows a line of progress."""
        self(Notice(text))

    def _line(self, event: Event) -> str:  # noqa: PLR0911 - one return for each kind of event
        match event:
            case Started(node, reasons):
                shown = "; ".join(reasons[:MOST_REASONS])
                more = f"; and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
                return f"{self._paint(_BOLD, 'build ')} {label(node)}  {self._paint(_DIM, shown + more)}"
            case Finished(node, "ran", took, same):
                same_text = ", the content is the same as before" if same else ""
                return f"{self._paint(_GREEN, 'done  ')} {label(node)}  in {seconds(took)}{same_text}"
            case Finished(node, "spared"):
                return f"{self._paint(_GREEN, 'spared')} {label(node)}  what it depends on came out the same"
            case Finished(node, "shared"):
                return f"{self._paint(_GREEN, 'done  ')} {label(node)}  by another bg"
            case Finished(node, "skipped"):
                return f"{self._paint(_DIM, 'skip  ')} {label(node)}  something it needs was not built"
            case Finished(node, "failed", message=message):
                told = message.removeprefix("error: ")  # of an error without a place in a file, which names the target
                return f"{self._paint(_RED, 'failed')} {message if told == message else f'{label(node)}  {told}'}"
            case Waiting(node, why):
                return f"wait   {label(node)}  {why}"
            case Notice(text):
                return text
            case _:
                return ""

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if self.coloured else text


def label(node: str) -> str:
    """A node's id as people want it: the architecture only matters where there are several."""
    return node
