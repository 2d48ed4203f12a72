"""What is listed of a cache in which somebody has put anything."""

from __future__ import annotations

import pytest

from buildgraph.structs import replace
from tests.cache.stored import Filled
from tests.e2e.workspace import Workspace


@pytest.mark.parametrize("name", ["", "one\x1b]0;title\x07\x1b[2J\x9b31m", "one\nremoved", "one\ud800"], ids=range(4))
def test_the_name_of_a_record_may_be_anything(bare: Workspace, name: str) -> None:
    """It neither steers the terminal, nor is a line of its own, nor keeps others from being found."""
    filled = Filled(bare.root / "cache")
    filled.store.put(replace(filled.put("one", b"of one"), node=f"//:{name}@x86_64"))
    filled.put("two", b"of two")
    listed = bare.bg("cache", "ls").out
    assert len(listed.splitlines()) == 2
    assert all(character.isprintable() or character == "\n" for character in listed)
    names = [one["node"] for one in bare.bg("cache", "ls", "--json").answer]
    assert "//:two@x86_64" in names
    assert len(names) == 2
    assert bare.bg("cache", "rm", "//:two").code == 0
    assert len(bare.bg("cache", "ls").out.splitlines()) == 1
