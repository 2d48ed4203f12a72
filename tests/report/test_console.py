"""Signs of life of what runs for long."""

from __future__ import annotations

import io
from dataclasses import dataclass

from buildgraph.execute.events import Finished, Notice, Started
from buildgraph.report.console import Console

ERASE = "\r\033[K"


@dataclass
class Clock:
    """A clock that stands still until it is told."""

    now: float = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@dataclass
class Screen:
    """A console, its clock, and what it has written since the last look."""

    console: Console
    stream: io.StringIO
    clock: Clock

    def said(self) -> str:
        """What is new."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text

    def after(self, seconds: float) -> str:
        """What is new after so many seconds more."""
        self.clock.now += seconds
        self.console.tick()
        return self.said()


def screen(*, live: bool = False, quiet: bool = False, coloured: bool = False) -> Screen:
    """A console that only the test wakes."""
    stream, clock = io.StringIO(), Clock()
    return Screen(Console(stream, coloured, quiet, live, clock, interval=3600), stream, clock)


def test_a_log_has_a_line_for_each_minute() -> None:
    """Of each node that runs, and nothing else; no control character, whatever happens."""
    log = screen()
    log.console(Started("//:a", ("never built here",)))
    assert log.after(59) == "build  //:a  never built here\n"
    assert log.after(1) == "still running  //:a  for 1 min\n"
    log.console(Started("//:b", ("b changed",)))
    assert log.after(59) == "build  //:b  b changed\n"
    assert log.after(30) == "still running  //:a  for 2 min\nstill running  //:b  for 1 min\n"
    log.console(Finished("//:a", "ran", 150.0))
    assert log.after(60) == "done   //:a  in 2 min 30 s\nstill running  //:b  for 2 min\n"
    log.console.rest()
    assert log.after(600) == ""


def test_a_terminal_has_a_last_line() -> None:
    """It says what is running, makes room for what is said, and goes."""
    terminal = screen(live=True)
    terminal.console(Started("//:a", ("never built here",)))
    assert terminal.said() == "build  //:a  never built here\n1 running: //:a 0 s"
    assert terminal.after(5) == f"{ERASE}1 running: //:a 5 s"
    terminal.console(Started("//:b", ("b changed",)))
    assert terminal.said() == f"{ERASE}build  //:b  b changed\n2 running: //:a 5 s, //:b 0 s"
    assert terminal.after(60) == f"{ERASE}2 running: //:a 1 min 5 s, //:b 1 min 0 s"
    terminal.console(Notice("something"))
    assert terminal.said() == f"{ERASE}something\n2 running: //:a 1 min 5 s, //:b 1 min 0 s"
    terminal.console(Finished("//:a", "ran", 65.0))
    terminal.console.rest()
    assert terminal.said() == f"{ERASE}done   //:a  in 1 min 5 s\n1 running: //:b 1 min 0 s{ERASE}"


def test_the_last_line_fits() -> None:
    """A line that wraps could not be taken back; what runs for longest is what is seen."""
    terminal = screen(live=True)
    for number in range(20):
        terminal.console(Started(f"//packages:number-{number}", ()))
    terminal.said()
    line = terminal.after(1).removeprefix(ERASE)
    assert line.startswith("20 running: //packages:number-0 1 s, //packages:number-1 1 s")
    assert len(line) == 79
    assert line.endswith("... 1 s")


def test_quiet_and_without_colour() -> None:
    """`-q` gives no sign of life; without colours the last line has none."""
    for live in (False, True):
        quiet = screen(quiet=True, live=live)
        quiet.console(Started("//:a", ("never built here",)))
        assert quiet.after(60) == ""
        quiet.console(Finished("//:a", "failed", message="it failed"))
        assert quiet.said() == "failed it failed\n"
    coloured = screen(live=True, coloured=True)
    coloured.console(Started("//:a", ()))
    assert coloured.said().endswith("\n\033[2m1 running: //:a 0 s\033[0m")
