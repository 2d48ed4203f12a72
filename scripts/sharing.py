"""Two CI machines and a pull request on one bazel-remote: the second machine runs nothing, the pull request cannot write.

``python -m scripts.sharing`` builds the example repository; each machine has a folder, a home and a cache of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from buildgraph.cli.places import user_cache
from buildgraph.keys import ed25519
from buildgraph.structs import Struct
from tests.remote.programs import find_bazel_remote, store_folder
from tests.remote.servers import bazel_remote

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "only protected branches have it"  # noqa: S105 - of a server that lives for a minute
IMAGE = "//images:api"


class Machine(Struct, frozen=True):
    """A machine with a checkout, and what its job was given."""

    name: str
    folder: Path
    given: dict[str, str]

    def build(self) -> dict[str, Any]:
        """What ``bg build`` answers; what it said of the cache is shown."""
        home = self.folder / "home"
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CACHE_HOME": user_cache(os.environ).rpartition("/")[0]}
        command = [str(ROOT / "bg"), "-C", str(self.folder / "ws"), "build", "--json", IMAGE]
        done = subprocess.run(command, env=env | self.given, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.name}: the build failed\n{done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        print(f"{self.name}: {answer['actions']} actions, {answer['targets'][0]['digest']}")
        print("".join(f"    {line}\n" for line in done.stderr.splitlines() if line.startswith("cache")), end="")
        return answer


def main() -> int:
    """Plays it; 1 where something is not as it should be."""
    release, fork = ed25519.generate(), ed25519.generate()
    program = find_bazel_remote(store_folder())
    with tempfile.TemporaryDirectory(prefix="bg-sharing-") as name:
        top = Path(name)
        users = top / "users"
        users.write_text(f"ci:{{SHA}}{base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()}\n")  # noqa: S324 - htpasswd's
        (top / "store").mkdir()
        options = ("--htpasswd_file", str(users), "--allow_unauthenticated_reads")
        with bazel_remote(program, top / "store", *options) as server:
            trust = (
                f"trust:\n  releases: {{key: '{ed25519.public(release)}', tiers: [trusted]}}\n"
                f"  forks: {{key: '{ed25519.public(fork)}', tiers: ['pr/*']}}\n"
            )
            manifest = f"remotes: [{{url: '{server.http}', mode: read-write, name: cache}}]\n{trust}"
            login = {"HTTP_AUTH": f"basic:{server.http.removeprefix('http://')}:ci:{PASSWORD}"}
            branch = {"BG_CACHE_TIER": "trusted"}
            first = Machine("first machine ", top / "first", branch | login | {"BG_CACHE_KEY": release})
            second = Machine("second machine", top / "second", branch)
            # The pull request has a key of its own, and no password: it may sign, and cannot write.
            pull = Machine("pull request  ", top / "pull", {"BG_CACHE_TIER": "pr/1", "BG_CACHE_KEY": fork})
            for machine in (first, second, pull):
                check_out(machine, manifest)
            return 1 if mistakes(first, second, pull) else 0


def mistakes(first: Machine, second: Machine, pull: Machine) -> list[str]:
    """Plays the three; what is not as it should be."""
    one, two = first.build(), second.build()
    source = pull.folder / "ws/recipes/packages/libstock/stock.c"
    source.write_text(source.read_text().replace("#include", "/* a pull request */\n#include", 1))
    three = pull.build()
    shutil.rmtree(second.folder / "ws/cache")
    again = second.build()
    facts = {
        "the first machine builds everything": one["actions"] > 0,
        "the second machine runs nothing": two["actions"] == 0 and two["targets"] == moved(one, first, second),
        "the pull request takes what did not change": 0 < three["actions"] < one["actions"],
        "what it built reaches nobody": again["actions"] == 0 and again["targets"] == two["targets"],
    }
    wrong = [fact for fact, holds in facts.items() if not holds]
    for fact in facts:
        print(f"{'WRONG' if fact in wrong else 'ok   '} {fact}")
    return wrong


def moved(answer: dict[str, Any], old: Machine, new: Machine) -> Any:
    """An answer as another machine would give it."""
    return json.loads(json.dumps(answer["targets"]).replace(str(old.folder), str(new.folder)))


def check_out(machine: Machine, manifest: str) -> None:
    """Gives a machine the example repository."""
    workspace = machine.folder / "ws"
    (machine.folder / "home").mkdir(parents=True)
    shutil.copytree(ROOT / "recipes", workspace / "recipes")
    seed = (ROOT / ".seed").resolve()
    mirror = f"recipes: recipes\nmirrors: {{'https://packages.wolfi.dev/os': '{seed}'}}\n"
    (workspace / "buildgraph.yaml").write_text(mirror + manifest)


if __name__ == "__main__":
    sys.exit(main())
