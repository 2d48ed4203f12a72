"""What a checkout makes of a file that git keeps in another form."""

from __future__ import annotations

import pytest

from tests.affected.checkout import WITH_LIB, Checkout


@pytest.mark.parametrize(
    ("attributes", "setting"),
    [
        ("* text=auto", "x.y=z"),
        ("*.c text", "core.eol=crlf"),
        ("*.c eol=crlf", "x.y=z"),
        ("", "core.autocrlf=true"),
        ("", "core.autocrlf=input"),
    ],
)
def test_line_ends(checkout: Checkout, attributes: str, setting: str) -> None:
    """What counts are the bytes that a checkout writes, not those that git keeps: each of these writes the same files again."""
    checkout.git("config", *setting.split("="))
    checkout.commit({".gitattributes": attributes, "lib/lib.c": "one\ntwo\n"})
    checkout.git("rm", "-q", "-r", ".")
    checkout.git("reset", "-q", "--hard")
    assert checkout.affected() == set()
    other = (checkout.root / "lib/lib.c").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    other = other.replace(b"\r\n", b"\n") if other == (checkout.root / "lib/lib.c").read_bytes() else other
    (checkout.root / "lib/lib.c").write_bytes(other)
    checkout.git("add", "-A")
    assert checkout.affected() == WITH_LIB


def test_attributes_that_change(checkout: Checkout) -> None:
    """A commit is checked out with its own attributes: other line ends are other bytes, though git keeps the same."""
    checkout.commit({".gitattributes": "*.c text eol=crlf\n"})
    assert checkout.affected() == WITH_LIB  # the work tree still has what was checked out before
    (checkout.root / "lib/lib.c").unlink()
    checkout.git("checkout", "-q", "--", "lib/lib.c")
    assert checkout.affected() == set()
    assert checkout.affected("--since", "HEAD~") == WITH_LIB


def test_a_filter(checkout: Checkout) -> None:
    """What differs goes through its program; what is the same does not, so that no large file is fetched for nothing."""
    counted = checkout.top.parent / "smudged"
    checkout.git("config", "filter.upper.clean", "tr a-z A-Z")
    checkout.git("config", "filter.upper.smudge", f"sh -c 'echo x >>{counted}; tr A-Z a-z'")
    checkout.commit({".gitattributes": "*.big filter=upper -text\n", "lib/one.big": "one\n", "lib/two.big": "two\n"})
    counted.unlink(missing_ok=True)
    assert checkout.affected() == set()
    assert not counted.exists()
    checkout.commit({"lib/one.big": "three\n"})
    counted.unlink(missing_ok=True)
    rows = checkout.rows("--since", "HEAD~")
    assert rows["//:lib"]["reasons"] == ["lib/one.big changed"]
    assert counted.read_text() == "x\n"
    checkout.write({"lib/one.big": "one\n"})
    assert checkout.affected("--since", "HEAD~") == set()


def test_export_ignore_means_nothing(checkout: Checkout) -> None:
    """It is about archives, not checkouts."""
    checkout.commit({".gitattributes": "lib/* export-ignore\n*.yaml export-subst\n"})
    assert checkout.affected() == set()
