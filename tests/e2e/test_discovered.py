"""Dependencies that only melange's scan finds: a library that no recipe of its users names, and an image of a program alone."""

from __future__ import annotations

import pytest

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.keys.digest import new_hasher
from tests.e2e.test_outputs import layer_files
from tests.e2e.tiny import image
from tests.e2e.workspace import Ran, Workspace

pytestmark = pytest.mark.e2e

LIBRARY, PROGRAM, IMAGE = "//packages:libstock", "//packages:stock-api", "//images:one"
FILES = {"usr/bin/stock-api", "usr/lib/libstock.so.1"}


@pytest.fixture
def workspace(example: Workspace) -> Workspace:
    """The example, built, and an image that names the program only: its library is in no recipe but the library's own."""
    for recipe in ("packages/stock-api", "images/api"):
        text = (example.root / f"recipes/{recipe}.yaml").read_text()
        assert "- libstock\n" not in text
    assert "so:libstock" not in (example.root / "recipes/packages/libstock.yaml").read_text()
    example.write("recipes/images/one.yaml", image("stock-api"))
    return example


def has_both(workspace: Workspace) -> bool:
    return layer_files(workspace.root / "out/oci/images/one").keys() >= FILES


def forget(workspace: Workspace, target: str) -> None:
    """Takes what a target made out of the cache, as if it had been collected."""
    cas, records = Cas(workspace.root / "cache", new_hasher), Records(workspace.root / "cache")
    for _, record in records.iter("action"):
        if record["node"].split("@")[0] == target:
            for _, digest, _ in record["outputs"]:
                cas.path(digest).unlink(missing_ok=True)
    records.close()


def test_the_image_gets_the_library_on_the_first_build_and_from_the_cache(fresh: Workspace) -> None:
    """In one run with the library, which is then known; and in one where everything but the image is in the cache."""
    fresh.write("recipes/images/one.yaml", image("stock-api"))
    first = fresh.build(IMAGE)
    assert first.ran == {LIBRARY, PROGRAM, "//packages:stock-config", IMAGE}
    assert has_both(fresh)
    fresh.write("recipes/images/one.yaml", image("stock-api").replace("archs:", "work-dir: /usr\narchs:"))
    again = fresh.build(IMAGE)
    assert again.ran == {IMAGE}
    assert has_both(fresh)
    assert fresh.build(IMAGE).ran == set()


def waited(done: Ran) -> bool:
    return f"{IMAGE}  found through its dependencies: {LIBRARY}@x86_64" in done.err


def test_a_suspended_node_holds_no_job(workspace: Workspace) -> None:
    """The program comes from the cache, the library is no longer there: the image waits for it, with one job for both."""
    forget(workspace, LIBRARY)
    built = workspace.build("-j", "1", IMAGE)
    assert waited(built), built.err
    assert built.ran == {LIBRARY, IMAGE}
    assert has_both(workspace)


def test_a_change_of_the_library_rebuilds_what_it_must(workspace: Workspace) -> None:
    """The library, the program that was linked with it, and the image that nobody told of it; equal content spares both."""
    workspace.build(IMAGE)
    source = workspace.root / "recipes/packages/libstock/stock.c"
    text = source.read_text()
    source.write_text(f"{text}\n/* says nothing */\n")
    built = workspace.build(IMAGE)
    assert built.ran == {LIBRARY}
    assert built.outcome("spared") == {PROGRAM, IMAGE}
    source.write_text(f"{text}\nint stock_answer(void);\nint stock_answer(void) {{ return 42; }}\n")
    built = workspace.build(IMAGE)
    assert built.ran == {LIBRARY, PROGRAM, IMAGE}
    assert "the content of libstock-1.2.0-r0.apk changed" in built.reasons(IMAGE)
    source.write_text(text)
    assert workspace.build(IMAGE).ran == set()
