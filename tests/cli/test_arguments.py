"""Commands by the names that other tools have."""

from __future__ import annotations

import pytest

from buildgraph.cli.arguments import COMMANDS, ELSEWHERE, parse


@pytest.mark.parametrize("command", sorted(set(ELSEWHERE.values())))
def test_what_does_it_here_is_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever types it as the hint has it gets further."""
    with pytest.raises(SystemExit) as done:
        parse([*command.split(), "--help"])
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: bg {command.partition(' --')[0]} ")


def test_names_of_elsewhere_are_none_of_here() -> None:
    """A command is never told that another one does it."""
    assert ELSEWHERE.keys().isdisjoint(COMMANDS)
