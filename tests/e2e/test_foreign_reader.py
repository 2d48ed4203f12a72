"""Another program reads a cache: what it knows is docs/format.md, and nothing of bg is imported here but to build."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from blake3 import blake3

from tests.e2e import tiny
from tests.e2e.workspace import Workspace

pytestmark = pytest.mark.e2e

Rows = dict[str, dict[str, Any]]
# The table of "The cache".
FILES = re.compile(
    r"FORMAT|CACHEDIR\.TAG|\.gitignore|blobs(/[0-9a-f]{2}(/[0-9a-f]{64})?)?|records(/cache\.db(-wal|-shm)?)?"
    r"|records\.(journal|changed|lock)|locks|users\.lock|pins|run|tmp(/gate)?|apk(/.*)?|keys(/[0-9a-f]{16}(/[^/]+)?)?"
)


@pytest.fixture
def built(empty: Workspace) -> Workspace:
    """Packages and an image, built, changed and built again, one of them pinned, the results of another removed."""
    tiny.chain(empty)
    empty.build("//...")
    empty.edit("recipes/two.yaml", "echo two", "echo 2")
    empty.build("//...")
    assert empty.bg("cache", "pin", "//:one").code == 0
    assert empty.bg("cache", "rm", "//:five").code == 0
    return empty


def blobs(cache: Path) -> dict[str, bytes]:
    """The content of each blob, of which b3sum prints the name."""
    paths = sorted((cache / "blobs").glob("*/*"))
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o444}
    assert all(path.name.startswith(path.parent.name) for path in paths)
    printed = subprocess.run(["b3sum", *paths], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [f"{path.name}  {path}" for path in paths]
    return {path.name: path.read_bytes() for path in paths}


def record(key: str, value: bytes) -> dict[str, Any]:
    """The JSON object of a row, whose check is right."""
    check, _, text = value.partition(b" ")
    assert check.decode() == f"{zlib.crc32(key.encode() + text):08x}"
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def rows(cache: Path) -> Rows:
    """The rows of the database."""
    database = sqlite3.connect(f"file:{cache}/records/cache.db?mode=ro", uri=True)
    try:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        found = database.execute("SELECT key, value FROM Cache WHERE raw = 1 AND mode = 1 AND filename IS NULL").fetchall()
    finally:
        database.close()
    return {key: record(key, value) for key, value in found}


def journal(cache: Path) -> Rows:
    """What the journal says of each key last."""
    head, *lines = (cache / "records.journal").read_bytes().split(b"\n")
    assert re.fullmatch(rb"buildgraph-records 1 \d{16}", head)
    last: Rows = {}
    for line in lines:
        sign, time, key, rest = line.decode().split(" ", 3)
        assert re.fullmatch(r"\d+\.\d{6}", time)
        if sign == "+":
            last[key] = record(key, rest.encode())
        else:
            assert (sign, rest) == ("-", f"{zlib.crc32(key.encode()):08x}")
            last.pop(key, None)
    return last


def key_of(document: bytes) -> str:
    """The key of a key document."""
    lines = [json.loads(line)[:3] for line in document.splitlines()]
    return blake3(json.dumps([1, lines], separators=(",", ":")).encode()).hexdigest()


def test_the_cache_is_what_the_page_says(built: Workspace) -> None:
    """Every file has its line in the table; blobs, rows, keys, results and pins are as they are described."""
    cache = built.root / "cache"
    assert (cache / "FORMAT").read_text() == "1\n"
    inside = sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*"))
    assert [path for path in inside if not FILES.fullmatch(path)] == []

    found, content = rows(cache), blobs(cache)
    kinds: dict[str, Rows] = {}
    for name, row in found.items():
        kind, _, key = name.partition("/")
        kinds.setdefault(kind, {})[unquote(key)] = row
    assert set(kinds) == {"action", "deep", "last", "external", "wanted"}
    for key, row in kinds["action"].items():
        assert (row["action"], key_of(content[row["document"]])) == (key, key)
        assert [len(content[digest]) for _, digest, _ in row["outputs"]] == [size for *_, size in row["outputs"]]
        assert row["log"] in content
    for key, row in kinds["deep"].items():
        assert key_of(content[row["document"]]) == key
        assert row["action"] in kinds["action"]
    assert all(row["digest"] in content for row in kinds["external"].values())
    (pin,) = map(json.loads, (cache / "pins").read_text().splitlines())
    assert (pin["target"], pin["path"]) == ("//:one", str(built.root))
    assert pin["workspace"] == blake3(bytes(built.root)).hexdigest()[:16]
    lasts = {key.partition(":")[2]: row for key, row in kinds["last"].items()}
    for node in ("//:one@x86_64", "//:all"):
        outputs = kinds["action"][lasts[node]["action"]]["outputs"]
        assert lasts[node]["content"] == blake3("\n".join(f"{digest} {path}" for path, digest, _ in outputs).encode()).hexdigest()


def test_the_journal_says_what_the_database_says(built: Workspace) -> None:
    """Line by line, the last one of each key counting."""
    assert journal(built.root / "cache") == rows(built.root / "cache")  # written as a whole by what removed something
    built.edit("recipes/one.yaml", "echo one", "echo 1")
    built.build("//...")
    assert journal(built.root / "cache") == rows(built.root / "cache")


def test_an_archive_is_what_the_page_says(built: Workspace, tmp_path: Path) -> None:
    """Its index, then the blobs in that order, each once."""
    assert built.bg("cache", "export", str(tmp_path / "all.tar")).code == 0
    with tarfile.open(tmp_path / "all.tar", "r:") as archive:
        index, *rest = [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
        assert all(member.isreg() and member.mode == 0o444 and member.mtime == 0 for member in archive)
    head, *lines = map(json.loads, index[1].splitlines())
    count = head["blobs"]
    total = sum(len(data) for _, data in rest)
    assert (index[0], head) == ("index.jsonl", {"buildgraph-cache": 1, "blobs": len(rest), "bytes": total})
    assert lines[:count] == sorted([blake3(data).hexdigest(), len(data)] for _, data in rest)
    assert [f"blobs/{digest}" for digest, _ in lines[:count]] == [name for name, _ in rest]
    found = rows(built.root / "cache")
    results = {f"{kind}/{key}": one for kind, key, one in lines[count:]}
    assert results == {key: row for key, row in found.items() if key.split("/")[0] in {"action", "deep"}}
