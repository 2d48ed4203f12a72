"""`bg clean --cache` beside others."""

from __future__ import annotations

import subprocess

from buildgraph.cache.cas import Cas
from buildgraph.cache.locks import UseLock
from buildgraph.cache.records import Records
from buildgraph.keys.digest import new_hasher
from tests.e2e.workspace import Workspace


def test_what_another_bg_relies_on_stays_until_it_is_done(bare: Workspace) -> None:
    """What it has stored is there as long as it uses the cache; what waited meanwhile finds a cache, though an empty one."""
    root = bare.root / "cache"
    cas, records, lock = Cas(root, new_hasher), Records(root), UseLock(root)
    with lock.shared(on_wait=lambda: None, cancelled=lambda: False):
        digest = cas.put_bytes(b"a blob")
        records.put("last", "key", {})
        cleaning = subprocess.Popen(
            bare.command("clean", "--cache"), cwd=bare.root, env=bare.env(), stderr=subprocess.PIPE, text=True
        )
        assert cleaning.stderr is not None
        assert cleaning.stderr.readline() == "wait   another bg uses the cache\n"
        assert cas.has(digest)
        assert records.get("last", "key") == {}
    cleaning.communicate()
    assert cleaning.returncode == 0
    assert not cas.has(digest)
    assert cas.has(cas.put_bytes(b"of one that waited"))
    assert bare.bg("cache", "stats", "--json").answer["blobs"]["count"] == 1


def test_a_kill_on_the_way_leaves_a_cache(bare: Workspace) -> None:
    """What says that the folder is a cache goes last, with nothing left but the lock that those who wait for it hold on to."""
    root = bare.root / "cache"
    Cas(root, new_hasher)
    (root / "users.lock").touch()
    (root / "FORMAT").unlink()
    assert bare.bg("cache", "stats").code == 0
    assert (root / "FORMAT").read_text() == "1\n"
