"""The rules of the cache's folder as a whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3

from buildgraph.cache.cas import Cas
from buildgraph.cache.layout import prepare
from buildgraph.errors import CacheError


def test_a_new_cache_says_what_it_is(root: Path) -> None:
    """Backup tools and git skip it, and its format has a number."""
    prepare(root)

    assert (root / "FORMAT").read_text() == "1\n"
    assert (root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert (root / ".gitignore").read_text() == "*\n"
    assert len(list(root.iterdir())) == 3


def test_a_cache_is_used_again(root: Path) -> None:
    """Opening a second time changes nothing."""
    digest = Cas(root, blake3).put_bytes(b"hello")
    (root / ".gitignore").write_text("# mine\n")

    assert Cas(root, blake3).read(digest) == b"hello"
    assert (root / ".gitignore").read_text() == "# mine\n"


def test_many_may_make_the_cache_at_once(root: Path) -> None:
    """Nobody takes another's half-made cache for a foreign folder."""
    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(lambda number: Cas(root, blake3).put_bytes(b"%d" % number), range(64)))) == 64


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("2\n", "a newer bg wrote it"),
        ("0\n", "remove the folder"),
        ("", "remove the cache folder"),
        ("x" * 100, "remove the cache"),
    ],
)
def test_another_format_is_refused_with_a_hint(root: Path, text: str, hint: str) -> None:
    """A cache that this bg does not know is left alone."""
    root.mkdir()
    (root / "FORMAT").write_text(text)

    with pytest.raises(CacheError) as caught:
        prepare(root)
    assert caught.value.hint.startswith(hint)


def test_a_folder_with_other_things_is_not_made_a_cache(root: Path) -> None:
    """A mistaken BG_CACHE_DIR must not lead to sweeping somebody's `tmp`."""
    (root / "tmp").mkdir(parents=True)
    (root / "thesis.tex").touch()

    with pytest.raises(CacheError, match=r"is not a cache: it holds thesis\.tex and 1 more") as caught:
        prepare(root)
    assert "BG_CACHE_DIR" in caught.value.hint
    assert sorted(path.name for path in root.iterdir()) == ["thesis.tex", "tmp"]


def test_hidden_files_do_not_make_a_folder_foreign(root: Path) -> None:
    """A folder that git keeps for the cache has a `.gitkeep`."""
    root.mkdir()
    (root / ".gitkeep").touch()

    prepare(root)


def test_a_file_in_place_of_the_cache_is_an_error(root: Path) -> None:
    """The message names it."""
    root.touch()

    with pytest.raises(CacheError, match=str(root)):
        prepare(root)


def test_a_cache_that_cannot_be_made_is_an_error_with_a_hint(
    tmp_path: Path, run: Callable[..., str], mounts: Callable[[str], tuple[str, ...]]
) -> None:
    """Where nothing can be written there is nothing to read either."""
    output = run(
        """
try:
    Cas(root, blake3)
except CacheError as error:
    print(error.what, "|", error.hint)
""",
        within=mounts(f"mount --bind '{tmp_path}' '{tmp_path}'\nmount -o remount,bind,ro '{tmp_path}'"),
    )

    assert "read-only file system | make the folder writable" in output
