"""What the functions of the query language name."""

from __future__ import annotations

import re

import pytest

from buildgraph.errors import BgError, TargetError, UsageError
from buildgraph.graph.model import EDGE_KINDS
from buildgraph.graph.query import ATTRIBUTES, FUNCTIONS
from buildgraph.graph.traverse import Links
from tests.graph.graphs import ask, graph, image, made, names, package

# Two images on a few packages; `lone` stands alone.
SHOP = graph(
    "API = server",
    "API = @baselayout",
    "TOOLS = label",
    "server > lib",
    "server . config",
    "server > @busybox",
    "lib > @make",
    "label > @busybox",
    more=[package("lone")],
)
# gcc and libc need each other; the edge from gcc to libc was cut. `hello` needs gcc.
TOOLCHAIN = graph("hello > gcc", "libc > gcc", "gcc > libc x", "libc > @make", more=[package("lone")], cycles=("gcc libc",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("//...", "API TOOLS config label lib lone server"),
        ("//os/...", "config label lib lone server"),
        ("//images:all", "API TOOLS"),
        (":lib", "lib"),
        ("//os:lib@x86_64", "lib"),
        ("//...@x86_64", "API TOOLS config label lib lone server"),
        ("@busybox", "@busybox"),
        ("set(:lib @make //images:API)", "API lib @make"),
        ("set()", ""),
        (":lib + :lone", "lib lone"),
        ("//... ^ :lib", "lib"),
        ("//os:all - :lib - :label", "config lone server"),
        (":lib + :lone ^ :lone", "lone"),
        (":lib + (:lone ^ :lone)", "lib lone"),
        (":lib - :lib + :lib", "lib"),
        ("let x = :lib + :lone in $x - :lib", "lone"),
        ("let x = :lib in let x = $x + :lone in $x", "lib lone"),
        ("(let x = :lib in $x) + let x = :lone in $x", "lib lone"),
        ("deps(//images:API)", "API config lib server"),
        ("deps(//images:API, 0)", "API"),
        ("deps(//images:API, 1)", "API server"),
        ("deps(//images:API, 2)", "API config lib server"),
        ("deps(:lib + :label)", "label lib"),
        ("deps(@make)", "@make"),
        ("rdeps(//..., :lib)", "API lib server"),
        ("rdeps(//..., :lib, 1)", "lib server"),
        ("rdeps(//images:TOOLS, :lib)", ""),
        ("rdeps(//images:TOOLS + :server, :lib)", "lib server"),
        ("rdeps(//..., @busybox)", "API TOOLS label server @busybox"),
        ("rdeps(//..., @busybox, 1)", "label server @busybox"),
        ("rdeps(:label, @make)", ""),
        ("allrdeps(:lib)", "API lib server"),
        ("allrdeps(@make, 2)", "lib server @make"),
        ("allpaths(//images:API, :lib)", "API lib server"),
        ("allpaths(//images:API, :lib + :config)", "API config lib server"),
        ("allpaths(//images:all, @busybox)", "API TOOLS label server @busybox"),
        ("allpaths(:lib, //images:API)", ""),
        ("allpaths(:lib, :lib)", "lib"),
        ("somepath(//images:all, :lib)", "API server lib"),
        ("somepath(//images:all, @make)", "API server lib @make"),
        ("somepath(:lib, :lone)", ""),
        ("somepath(:lib + :lone, :lone)", "lone"),
        ("kind(image, //...)", "API TOOLS"),
        ("kind('^pack', //images:API + :lib)", "lib"),
        ("kind(external, @make + :lib)", "@make"),
        ("filter('^//images:', //...)", "API TOOLS"),
        ("filter(l, //os/... + @baselayout)", "label lib lone @baselayout"),
        ("labels(runtime, :server)", "config"),
        ("labels(build, :server)", "lib"),
        ("labels(image, //...)", "label server"),
        ("some(//...)", "API"),
        ("some(//... , 3)", "API TOOLS config"),
        ("some(:lib, 3)", "lib"),
        ("siblings(//images:API)", "API TOOLS"),
        ("siblings(@make)", ""),
        ("cycles(//...)", ""),
        ("external(:server)", "@busybox"),
        ("external(deps(//images:API))", "@baselayout @busybox @make"),
        ("external(@make)", ""),
        ("deps(kind(image, rdeps(//..., :lib))) except //images/...", "config lib server"),
    ],
)
def test_what_a_query_names(text: str, expected: str) -> None:
    """Sorted, targets before external packages; a path in its order."""
    assert names(text, SHOP) == expected


@pytest.mark.parametrize(
    ("text", "cut", "expected"),
    [
        ("deps(:hello)", False, "gcc hello"),
        ("deps(:hello)", True, "gcc hello libc"),
        ("rdeps(//..., :libc)", False, "libc"),
        ("rdeps(//..., :libc)", True, "gcc hello libc"),
        ("external(:gcc)", False, "@libc"),
        ("external(:gcc)", True, ""),
        ("rdeps(//..., @libc)", False, "gcc hello libc @libc"),
        ("somepath(:hello, :libc)", False, ""),
        ("somepath(:hello, :libc)", True, "hello gcc libc"),
        ("labels(build, :gcc)", False, ""),
        ("labels(build, :gcc)", True, "libc"),
        ("cycles(//...)", False, "gcc libc"),
        ("cycles(:libc)", False, "gcc libc"),
        ("cycles(:hello + :lone)", False, ""),
        ("cycles(deps(:hello))", True, "gcc libc"),
    ],
)
def test_an_edge_that_was_cut_leads_to_an_external_package(text: str, cut: bool, expected: str) -> None:
    """Unless it is asked for; a cycle is whole in any case."""
    assert names(text, TOOLCHAIN, Links(TOOLCHAIN, cut=cut)) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [("image", "API server"), ("image build", "API lib server"), ("image runtime", "API config server"), ("build", "API")],
)
def test_only_some_kinds_of_edges(kinds: str, expected: str) -> None:
    """What is not followed leads nowhere."""
    chosen = [kind for kind in EDGE_KINDS if kind in kinds.split()]
    assert names("deps(//images:API)", SHOP, Links(SHOP, chosen)) == expected


RICH = graph(
    more=[
        package("java", "lang", provides=("jdk=21", "cmd:java=21"), depends=("libc>=2",), needs=("openssl-dev", "build-base")),
        package("lib", "lang"),
        image("java", "lang"),
    ]
)


@pytest.mark.parametrize(
    ("attribute", "regex", "expected"),
    [
        ("name", "^java$", {"//lang:java", "//lang:java@x86_64"}),
        ("folder", "^lang$", {"//lang:java", "//lang:java@x86_64", "//lang:lib@x86_64"}),
        ("file", r"lang/lib\.yaml", {"//lang:lib@x86_64"}),
        ("kind", "image", {"//lang:java"}),
        ("arch", "aarch64", set()),
        ("package", "^lib$", {"//lang:lib@x86_64"}),
        ("version", "", {"//lang:java@x86_64", "//lang:lib@x86_64"}),
        ("provides", "^jdk=", {"//lang:java@x86_64"}),
        ("provides", "^cmd:", {"//lang:java@x86_64"}),
        ("depends", "libc", {"//lang:java@x86_64"}),
        ("needs", "^openssl-dev$", {"//lang:java@x86_64"}),
    ],
)
def test_attributes(attribute: str, regex: str, expected: set[str]) -> None:
    """A regular expression that matches a part of one of the values; what lacks the attribute never matches."""
    assert set(ask(f"attr({attribute}, '{regex}', //...)", RICH)) == expected


SEVERAL = graph(
    "A = lib",
    "A = lib@aarch64",
    "lib > tool",
    "lib@aarch64 > tool@aarch64",
    more=[package("intel"), image("B", architectures=("aarch64",))],
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":lib", "lib@aarch64 lib"),
        ("//os:lib@aarch64", "lib@aarch64"),
        ("//...@aarch64", "B lib@aarch64 tool@aarch64"),
        ("deps(:lib@aarch64)", "lib@aarch64 tool@aarch64"),
        ("attr(arch, x86_64, //...)", "A intel lib tool"),
    ],
)
def test_architectures(text: str, expected: str) -> None:
    """A label means its nodes on all architectures; with one behind it, those that are for it."""
    assert names(text, SEVERAL) == expected


@pytest.mark.parametrize(
    ("text", "error", "caret", "message", "hint"),
    [
        ("deps(//os:lob)", TargetError, (6, 8), "no target `//os:lob`", "did you mean `//os:lib`"),
        (":lib + //image/...", TargetError, (8, 11), "no target matches `//image/...`", "did you mean `//images/...`?"),
        ("deps(../../x)", UsageError, (6, 7), "points outside the recipes folder", ""),
        ("deps(@busibox)", TargetError, (6, 8), "no target asks for an external package `busibox`", "did you mean `@busybox`?"),
        ("attr(nane, x, :lib)", UsageError, (6, 4), "there is no attribute `nane`", "did you mean `name`?"),
        ("attr(license, x, :lib)", UsageError, (6, 7), "there is no attribute `license`", "the attributes are name, folder,"),
        ("labels(biuld, :lib)", UsageError, (8, 5), "`biuld` is no kind of edge", "did you mean `build`?"),
        ("kind('[', :lib)", UsageError, (6, 3), "`[` is not a regular expression: unterminated character set", ""),
        ("kind('a{9999999999999}', :lib)", UsageError, (6, 18), "is not a regular expression", ""),
        (":lib + some(:lib - :lib)", TargetError, (8, 17), "there is nothing here to take some of", ""),
        ("//os:lib+lone", TargetError, (10, 4), None, "put the name into quotes"),
    ],
)
def test_what_names_nothing_is_told_with_its_place(
    text: str, error: type[BgError], caret: tuple[int, int], message: str | None, hint: str
) -> None:
    """Exit code by the kind of mistake, a caret below it, and a suggestion."""
    of = graph("API = lib", "lib > @busybox") if message else graph("API = lib")
    with pytest.raises(error) as caught:
        ask(text, of)
    assert caught.value.where is not None
    assert (caught.value.where.column, caught.value.where.length) == caret
    assert message is None or message in caught.value.what
    assert hint in caught.value.hint


def test_a_regex_that_may_change_its_meaning_is_no_error() -> None:
    """Python warns of `[[`, and Bazel's users write such things."""
    assert names("filter('[[]x|lib', //...)", SHOP) == "lib"


def test_nothing_depends_on_the_order_of_edges() -> None:
    """The same edges in another order give the same answers, but for which of the shortest paths is shown."""
    turned = made(SHOP.nodes.values(), SHOP.edges[::-1])
    for text in ("deps(//images:API)", "rdeps(//..., @busybox)", "allpaths(//images:all, @busybox)", "some(deps(:server), 2)"):
        assert ask(text, turned) == ask(text, SHOP)


def test_every_function_says_what_it_means_and_each_attribute_is_read() -> None:
    """The tables are complete, and their texts fit a terminal."""
    for name, function in FUNCTIONS.items():
        assert re.fullmatch(rf"{name}\(\w+(, \w+)*(\[, \w+\])?\)", function.signature.usage(name))
        assert 0 < len(function.meaning) < 50
    for node in RICH.nodes.values():
        assert all(isinstance(text, str) for read in ATTRIBUTES.values() for text in read(node))
