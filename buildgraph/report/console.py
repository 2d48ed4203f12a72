"""The progress of a run on a terminal or in a log: one line when something starts or ends, none for what needed nothing.

What runs for long gives a sign of life: a terminal has a last line that says what is running and for how long; a log gets a line
for each minute.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from buildgraph.errors import legible
from buildgraph.execute.events import Event, Finished, Notice, Started, Waiting
from buildgraph.structs import Struct, field

_BOLD, _RED, _GREEN, _DIM, _OFF = "\033[1m", "\033[31m", "\033[32m", "\033[2m", "\033[0m"
_ERASE = "\r\033[K"
_MINUTE = 60.0
_COLUMNS = 80
MOST_REASONS = 3


def colours_wanted(stream: TextIO, environment_says_no: bool) -> bool:  # noqa: FBT001 - two facts, one answer
    """Whether to colour: a terminal, and NO_COLOR (no-color.org) not set."""
    return stream.isatty() and not environment_says_no


def seconds(value: float) -> str:
    """A duration for people."""
    return f"{value:.1f} s" if value < _MINUTE else f"{int(value // _MINUTE)} min {int(value % _MINUTE)} s"


class Console(Struct):
    """Writes events to a stream; called from several threads. ``live`` says that it is a terminal whose last line may change."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    coloured: bool = False
    quiet: bool = False
    live: bool = False
    clock: Callable[[], float] = time.monotonic
    interval: float = 1.0  # seconds between signs of life
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _running: dict[str, float] = field(default_factory=dict)  # since when, by node
    _minutes: dict[str, int] = field(default_factory=dict)  # that a log has been told of
    _drawn: bool = False  # whether the last line is there
    _ended: threading.Event | None = None  # of the thread that gives signs of life

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        with self._guard:
            self._follow(event)
            line = self._line(event)
            if line and not (self.quiet and not (isinstance(event, Finished) and event.outcome == "failed")):
                self.stream.write(f"{self._erased()}{line}\n")
                self._show_running()
                self.stream.flush()

    def say(self, text: str) -> None:
        """Shows a line of progress."""
        self(Notice(text))

    def tick(self) -> None:
        """Gives a sign of life of what is running, if it is time for one."""
        if self.quiet:
            return
        with self._guard:
            if self.live:
                self._show_running()
            for node, since in () if self.live else self._running.items():
                minutes = int((self.clock() - since) // _MINUTE)
                if minutes > self._minutes.get(node, 0):
                    self._minutes[node] = minutes
                    self.stream.write(f"still running  {label(node)}  for {minutes} min\n")
            self.stream.flush()

    def rest(self) -> None:
        """Nothing runs any more, however it ended."""
        with self._guard:
            self._running.clear()
            if self._ended is not None:
                self._ended.set()
                self._ended = None
                self.stream.write(self._erased())
                self.stream.flush()

    def _follow(self, event: Event) -> None:
        if isinstance(event, Started):
            self._running[event.node] = self.clock()
            self._minutes.pop(event.node, None)
            if self._ended is None and not self.quiet:
                self._ended = threading.Event()
                threading.Thread(target=self._beat, args=(self._ended,), name="signs of life", daemon=True).start()
        elif isinstance(event, Finished):
            self._running.pop(event.node, None)

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(self.interval):
            self.tick()

    def _show_running(self) -> None:
        """The last line of a terminal: what has run for longest first, as much as has room."""
        if not self.live or self.quiet:
            return
        now = self.clock()
        shown = ", ".join(f"{label(node)} {_whole(now - since)}" for node, since in self._running.items())
        text = f"{len(self._running)} running: {shown}" if shown else ""
        room = _columns(self.stream) - 1
        if len(text) > room:
            ending = f"... {_whole(now - min(self._running.values()))}"
            text = f"{text[: max(0, room - len(ending))]}{ending}"
        if text or self._drawn:
            self.stream.write(f"{self._erased()}{self._paint(_DIM, text)}")
            self._drawn = bool(text)

    def _erased(self) -> str:
        """What takes the last line away if it is there."""
        erase, self._drawn = _ERASE if self._drawn else "", False
        return erase

    def _line(self, event: Event) -> str:  # noqa: PLR0911 - one return for each kind of event
        match event:
            case Started(node, reasons):
                shown = legible("; ".join(reasons[:MOST_REASONS]))
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
                message = legible(message)
                told = message.removeprefix("error: ")  # of an error without a place in a file, which names the target
                return f"{self._paint(_RED, 'failed')} {message if told == message else f'{label(node)}  {told}'}"
            case Waiting(node, why):
                return f"wait   {label(node)}  {legible(why)}"
            case Notice(text):
                return legible(text)
            case _:
                return ""

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_OFF}" if self.coloured and text else text


def _whole(value: float) -> str:
    return f"{int(value)} s" if value < _MINUTE else seconds(value)


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):  # no terminal, or none that says
        return _COLUMNS


def label(node: str) -> str:
    """A node's id as people want it: the architecture only matters where there are several."""
    return legible(node)
