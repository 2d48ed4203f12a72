"""`python -m benchmarks.sharing`: a thousand results and their blobs from bazel-remote, beside what curl does.

The server is on this machine, and then seems to be 20 ms away (there and back), as one in another city is. curl fetches the same
files, as many at once as bg does, and looks at none of them. bg looks a thousand deep keys up, checks signatures and digests, and
keeps records and blobs, so that the next look-up of the same finds all of it here. Its time is that of a process that runs, from
the first look-up until then, into a cache that is new; curl's is that of the whole program.
"""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.line import HOST, line
from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.cli.main import COLLECT_AFTER
from buildgraph.keys import ed25519
from buildgraph.keys.digest import Digest, digest_text, new_hasher
from buildgraph.plan.record import DeepRecord, Output, Record
from buildgraph.plan.store import RecordStore
from buildgraph.remote import result as results
from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.level import Level
from buildgraph.remote.shared import Author, SharedCache
from buildgraph.remote.trust import Trust, Writer
from buildgraph.structs import Struct
from buildgraph.web.access import Access
from tests.remote.programs import find_bazel_remote, store_folder
from tests.remote.servers import bazel_remote

COUNT = 1000
RUNS = 5
SIZES = {"4 KiB": 4 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
FAR = ("4 KiB", "64 KiB")  # a mebibyte would measure the line's own speed
SECONDS = 0.01  # one way


def main() -> int:
    """Prints JSON: for each size of blob the seconds of bg and of curl, and what part of curl's speed bg has."""
    curl = shutil.which("curl")
    if curl is None:
        print("there is no curl to compare with")
        return 0
    gc.set_threshold(COLLECT_AFTER)  # as bg has it
    program = find_bazel_remote(store_folder())
    found = {}
    with tempfile.TemporaryDirectory(prefix="bg-sharing-") as base:
        for name, size in SIZES.items():
            folder = Path(base, name)
            folder.mkdir()
            with bazel_remote(program, folder) as server:
                given = give(server.http, folder / "origin", size)
                found[name] = measured(server.http, folder, given, curl)
                if name in FAR:
                    with line(int(server.http.rpartition(":")[2]), SECONDS) as port:
                        found[f"{name}, 20 ms away"] = measured(f"http://{HOST}:{port}", folder / "far", given, curl)
    print(json.dumps(found, indent=2))
    return 0


class Given(Struct, frozen=True):
    """What is at the server: by deep keys for those who trust its writer, and in places for curl, ``size`` bytes in all."""

    keys: Sequence[Digest]
    trust: Trust
    places: Sequence[str]
    size: int


def measured(address: str, folder: Path, given: Given, curl: str) -> dict[str, float]:
    """The medians of some runs, bg and curl in turn."""
    keys, mine, theirs = given.keys, [], []
    for run in range(RUNS):
        cas = Cas(folder / f"run{run}", new_hasher)
        shared = sharing(address, cas, given.trust, Author())
        store = RecordStore(cas, Records(folder / f"run{run}"), "benchmark", elsewhere=shared)
        started = time.perf_counter()
        store.prepare(keys)
        mine.append(time.perf_counter() - started)
        shared.finish(lambda _: None)
        sure(shared.levels[0].hits == COUNT, "the cache elsewhere had everything")
        here = RecordStore(cas, store.records, "benchmark")
        sure(all((led := here.deep(key)) and here.record(led.action) for key in keys), "everything is here")
        store.records.close()
        target = folder / f"curl{run}"
        target.mkdir(parents=True)
        config = "\n".join(
            f'url = "{address}/{place}"\noutput = "{target}/{number}"' for number, place in enumerate(given.places)
        )
        started = time.perf_counter()
        subprocess.run(
            [curl, "--silent", "--parallel", "--parallel-max", "50", "--config", "-"],
            input=config,
            text=True,
            check=True,
            stderr=subprocess.DEVNULL,  # its progress
        )
        theirs.append(time.perf_counter() - started)
        sure(sum(path.stat().st_size for path in target.iterdir()) >= given.size, "curl got everything")
        # Nothing is removed yet: ext4 is slow to make files for a while after many went.
    bg, other = statistics.median(mine), statistics.median(theirs)
    return {"bg": round(bg, 2), "curl --parallel": round(other, 2), "of curl's speed": round(other / bg, 2)}


def give(address: str, folder: Path, size: int) -> Given:
    """Puts results into the cache, as CI does."""
    cas = Cas(folder, new_hasher)
    key = ed25519.generate()
    author = Author((key,), "trusted")
    shared = sharing(address, cas, Trust("trusted"), author)
    keys, places = [], []
    document = Digest(cas.put_bytes(b"a document"))
    for number in range(COUNT):
        data = number.to_bytes(4, "big") * (size // 4)
        output = Output(f"x86_64/p{number}-1-r0.apk", Digest(cas.put_bytes(data)), size)
        action, deep_key = digest_text(f"action {number}"), digest_text(f"deep {number}")
        record = Record(action, f"//:p{number}@x86_64", document, (output,), tier=author.tier)
        shared.share(record, deep_key, DeepRecord(action, document, {}, {}, author.tier))
        keys.append(deep_key)
        places += [f"ac/{results.place('deep', deep_key, author.tier)}", f"cas/{sha256(data)}"]
    shared.finish(lambda _: None)
    sure(shared.levels[0].results_sent == 2 * COUNT, "everything was sent")
    return Given(keys, Trust("local", {"ci": Writer(ed25519.public(key), ("trusted",))}), places, COUNT * size)


def sharing(address: str, cas: Cas, trust: Trust, author: Author) -> SharedCache:
    """One machine's part in the cache."""
    level = Level("bazel-remote", BazelStore(address, Access()), writes=bool(author.keys))
    return SharedCache([level], trust, author, cas)


def sure(fact: bool, what: str) -> None:  # noqa: FBT001 - as an assertion
    """Ends the benchmark where something is not so: it would measure nothing."""
    if not fact:
        sys.exit(f"it is not so that {what}")


def sha256(data: bytes) -> str:
    """The name of some bytes on the wire."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
