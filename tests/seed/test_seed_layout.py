"""Where the files of a Debian package come to lie: Wolfi's merged /usr, recomputed links, update-alternatives' links."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.seed.debian import Deb
from tools.seed.layout import Tree, add_alternatives, alternatives, file, link, moved, moved_target, place, read_deb, select

MakeDeb = Callable[..., Deb]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bin/ls", "usr/bin/ls"),
        ("sbin", "usr/bin"),
        ("usr/sbin/chroot", "usr/bin/chroot"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-x86-64.so.2"),
        ("lib/x86_64-linux-gnu/libz.so.1", "usr/lib/x86_64-linux-gnu/libz.so.1"),
        ("usr/lib64/x", "usr/lib/x"),
        ("binary/x", "binary/x"),
        ("usr/bin/ls", "usr/bin/ls"),
    ],
)
def test_paths_move_to_the_merged_layout(old: str, new: str) -> None:
    """Whole folder names move, wherever Wolfi has links; the triplet's folder keeps its name."""
    assert moved(old) == new


@pytest.mark.parametrize(
    ("path", "target", "new"),
    [
        ("usr/lib/x86_64-linux-gnu/libz.so", "/lib/x86_64-linux-gnu/libz.so.1", "/usr/lib/x86_64-linux-gnu/libz.so.1"),
        ("lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld.so", "x86_64-linux-gnu/ld.so"),
        ("lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2.13", "libz.so.1.2.13"),
        ("usr/sbin/a", "../bin/b", "b"),
        ("usr/bin/a", "../lib/a/./a", "../lib/a/./a"),
        ("sbin/a", "../etc/alternatives/a", "../../etc/alternatives/a"),
        ("bin/a", "../../../etc/x", "../../etc/x"),
    ],
)
def test_links_say_where_their_target_has_moved(path: str, target: str, new: str) -> None:
    """Relative stays relative, absolute stays absolute, and text that still holds is not touched."""
    assert moved_target(path, target) == new


NAMES = st.sampled_from(["bin", "sbin", "usr", "lib", "lib64", "etc", "x86_64-linux-gnu", "a"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(PATHS, PATHS, st.booleans(), st.integers(0, 5))
def test_a_moved_link_finds_its_moved_target(path: str, target: str, absolute: bool, ups: int) -> None:
    """Resolving the new text from the new place gives the moved place of what the old text meant in the old place."""
    text = "/" + target if absolute else "../" * ups + target
    meant = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), text))

    new_text = moved_target(path, text)

    found = posixpath.normpath(posixpath.join("/", posixpath.dirname(moved(path)), new_text))
    assert found.lstrip("/") == moved(meant.lstrip("/"))


def test_files_win_over_links_and_links_to_themselves_vanish() -> None:
    """What merged-/usr machines had as a pair of file and link is one file."""
    tree: Tree = {}
    place(tree, "bin/a", link("/usr/bin/a"))
    place(tree, "usr/bin/b", file("b"))
    place(tree, "bin/b", link("../usr/lib/b"))
    place(tree, "bin/c", link("../usr/lib/c"))
    place(tree, "usr/bin/c", file("c"))

    assert tree == {"usr/bin/b": file("b"), "usr/bin/c": file("c")}


def test_a_package_is_read_without_what_only_debian_needs(make_deb: MakeDeb, debs: Path) -> None:
    """Documentation goes, the rest moves; a hard link becomes a symbolic one."""
    files = {
        "bin/a": b"program",
        "sbin/b": "== bin/a",
        "usr/share/doc/a/copyright": "c",
        "lib/systemd/system/a": "x",
        "etc/a": "conf",
    }
    deb = make_deb("a", files, postinst="#!/bin/sh\ntrue\n")

    tree, postinst = read_deb(debs / deb.filename)

    assert {path: entry for path, entry in tree.items() if entry.kind != "dir"} == {
        "usr/bin/a": file(b"program", 0o755),
        "usr/bin/b": link("a"),
        "etc/a": file("conf"),
    }
    assert postinst == "#!/bin/sh\ntrue\n"


AUTOMAKE = """\
#!/bin/sh
ver=1.16
if [ "$1" = configure ]; then
    update-alternatives --install /usr/bin/automake automake /usr/bin/automake-${ver} 20 \\
        --slave /usr/bin/aclocal aclocal "/usr/bin/aclocal-$ver" \\
        --slave /usr/share/man/man1/automake.1.gz automake.1.gz /usr/share/man/man1/automake-1.16.1.gz
    update-alternatives --install /bin/low low /bin/worse 10; update-alternatives --install /bin/low low /bin/better 50
    update-alternatives --install /bin/low low /bin/worst 1
    for tool in a b; do update-alternatives --install /usr/bin/$tool $tool /usr/bin/$tool.real 1; done
    update-alternatives --remove gone /usr/bin/gone
fi
"""


def test_alternatives_are_read_from_the_script() -> None:
    """Continued lines, slaves, plain variables and priorities count; what needs a shell, and manual pages, do not."""
    assert alternatives(AUTOMAKE) == {
        "/usr/bin/automake": "/usr/bin/automake-1.16",
        "/usr/bin/aclocal": "/usr/bin/aclocal-1.16",
        "/bin/low": "/bin/better",
    }


def test_alternatives_become_links_where_they_can() -> None:
    """Relative links in the merged layout; not over a file, not to what the package does not have."""
    tree: Tree = {"usr/bin/better": file("x"), "usr/bin/taken": file("y")}

    add_alternatives(
        tree, {"/bin/low": "/bin/better", "/etc/low": "/bin/better", "/bin/taken": "/bin/better", "/bin/none": "/bin/gone"}
    )

    assert tree == {
        "usr/bin/better": file("x"),
        "usr/bin/taken": file("y"),
        "usr/bin/low": link("better"),
        "etc/low": link("../usr/bin/better"),
    }


def test_selecting_keeps_matches_and_leaves_out_the_rest() -> None:
    """``only`` keeps what matches, ``leave`` takes away from it."""
    tree: Tree = {"usr/lib/a.so": file("a"), "usr/lib/b.a": file("b"), "etc/c": file("c")}

    assert sorted(select(tree, (), ("*.a",))) == ["etc/c", "usr/lib/a.so"]
    assert sorted(select(tree, ("usr/lib/*",), ("*.so",))) == ["usr/lib/b.a"]
