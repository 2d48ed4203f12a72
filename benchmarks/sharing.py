"""`python -m benchmarks.sharing`: a thousand results and their blobs from bazel-remote over loopback, beside what curl does.

curl fetches the same files, side by side too, and looks at none of them; bg checks signatures and digests, and keeps what it got.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from buildgraph.cache.cas import Cas
from buildgraph.keys import ed25519
from buildgraph.keys.digest import Digest, digest_text, new_hasher
from buildgraph.plan.record import DeepRecord, Output, Record
from buildgraph.remote import result as results
from buildgraph.remote.bazel import BazelStore
from buildgraph.remote.level import Level
from buildgraph.remote.shared import Author, SharedCache
from buildgraph.remote.trust import Trust, Writer
from buildgraph.web.access import Access
from tests.remote.programs import find_bazel_remote, store_folder
from tests.remote.servers import bazel_remote

COUNT = 1000
RUNS = 3
SIZES = {"4 KiB": 4 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}


def main() -> int:
    """Prints JSON: for each size of blob the seconds of bg and of curl, and what part of curl's speed bg has."""
    curl = shutil.which("curl")
    if curl is None:
        print("there is no curl to compare with")
        return 0
    program = find_bazel_remote(store_folder())
    found = {}
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="bg-sharing-") as folder, bazel_remote(program, Path(folder)) as server:
            found[name] = measured(server.http, Path(folder), size, curl)
    print(json.dumps(found, indent=2))
    return 0


def measured(address: str, folder: Path, size: int, curl: str) -> dict[str, float]:
    """The medians of some runs, bg and curl in turn."""
    key = ed25519.generate()
    trust = Trust("local", {"me": Writer(ed25519.public(key), ("local",))})
    keys, urls = give(address, folder / "origin", size, key, trust)
    mine, theirs = [], []
    for run in range(RUNS):
        cas = Cas(folder / f"run{run}", new_hasher)
        shared = sharing(address, cas, trust)
        started = time.perf_counter()
        records = [found.record for found in shared.look_up("deep", keys)]
        whole = shared.bring_all(records)
        mine.append(time.perf_counter() - started)
        sure(len(records) == COUNT and all(whole), "bg got everything")
        shared.finish(lambda _: None)
        target = folder / f"curl{run}"
        target.mkdir()
        config = "\n".join(f'url = "{url}"\noutput = "{target}/{number}"' for number, url in enumerate(urls))
        started = time.perf_counter()
        subprocess.run(
            [curl, "--silent", "--parallel", "--parallel-max", "50", "--config", "-"], input=config, text=True, check=True
        )
        theirs.append(time.perf_counter() - started)
        sure(sum(path.stat().st_size for path in target.iterdir()) >= COUNT * size, "curl got everything")
        shutil.rmtree(target)
        shutil.rmtree(folder / f"run{run}")
    bg, other = statistics.median(mine), statistics.median(theirs)
    return {"bg": round(bg, 2), "curl --parallel": round(other, 2), "of curl's speed": round(other / bg, 2)}


def give(address: str, folder: Path, size: int, key: str, trust: Trust) -> tuple[list[Digest], list[str]]:
    """Puts results into the cache; their deep keys, and the addresses of the same files for curl."""
    cas = Cas(folder, new_hasher)
    shared = sharing(address, cas, trust, key)
    keys, urls = [], []
    document = Digest(cas.put_bytes(b"a document"))
    for number in range(COUNT):
        data = number.to_bytes(4, "big") * (size // 4)
        output = Output(f"x86_64/p{number}-1-r0.apk", Digest(cas.put_bytes(data)), size)
        action, deep_key = digest_text(f"action {number}"), digest_text(f"deep {number}")
        record = Record(action, f"//:p{number}@x86_64", document, (output,))
        shared.share(record, deep_key, DeepRecord(action, document, {}, {}))
        keys.append(deep_key)
        urls.append(f"{address}/ac/{results.place('deep', deep_key, 'local')}")
        urls.append(f"{address}/cas/{sha256(data)}")
    shared.finish(lambda _: None)
    sure(shared.levels[0].results_sent == 2 * COUNT, "everything was sent")
    return keys, urls


def sharing(address: str, cas: Cas, trust: Trust, *keys: str) -> SharedCache:
    """One machine's part in the cache."""
    level = Level("bazel-remote", BazelStore(address, Access()), writes=bool(keys))
    return SharedCache([level], trust, Author(keys, "local"), cas)


def sure(fact: bool, what: str) -> None:  # noqa: FBT001 - as an assertion
    """Ends the benchmark where something is not so: it would measure nothing."""
    if not fact:
        sys.exit(f"it is not so that {what}")


def sha256(data: bytes) -> str:
    """The name of some bytes on the wire."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
