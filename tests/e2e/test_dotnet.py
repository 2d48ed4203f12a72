"""examples/dotnet: from the SDK of npm's registry to an ASP.NET service that answers, offline and with the same digest again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildgraph.cli.places import user_cache
from buildgraph.execute.tools import Toolbox
from buildgraph.outputs.rootfs import read_image, unpack
from tests.e2e.ordinary import ordinary_workspace
from tests.e2e.workspace import ROOT, Workspace

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXAMPLE = ROOT / "examples/dotnet"
UNREACHABLE = re.compile(r"^error: (.*(?:could not be downloaded|apt-get update failed|no registry is set).*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def dotnet_seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .NET seed in the user's store: made if need be, where npm's registry and Debian's packages can be reached."""
    link = tmp_path_factory.mktemp("seed") / "seed"
    command = [sys.executable, "-m", "tools.seed", "--set", "dotnet", "--link", str(link)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    unreachable = UNREACHABLE.search(done.stderr)
    if unreachable:
        pytest.skip(f"the .NET SDK cannot be had here: {unreachable[1]}")
    assert done.returncode == 0, done.stderr
    return link


def clone(folder: Path, tools: Path, home: Path, seed: Path) -> Workspace:
    """The example in a folder of its own, with nothing built."""
    root = folder / "dotnet"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("out", "cache", "seed", "buildgraph.lock"))
    (root / "seed").symlink_to(seed.resolve())
    shutil.copytree(home, folder / "home")
    return Workspace(root, folder / "home", tools)


def test_the_service_is_built_offline_answers_and_has_one_digest(
    dotnet_seed: Path, tools_on_path: Path, some_home: Path, toolbox: Toolbox, tmp_path: Path
) -> None:
    """Two clean builds in different folders, the second by an ordinary user and without any network; the image then runs."""
    first = clone(tmp_path / "one", tools_on_path, some_home, dotnet_seed)
    no_network = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    with ordinary_workspace(first, toolbox, [dotnet_seed.resolve()]) as second:
        second.within[:0] = no_network
        again = second.build("//images:till")
    built = first.build("//images:till")

    assert built.ran == again.ran == {"//packages:till", "//images:till"}
    assert built.digests() == again.digests()

    layout = first.root / "out/oci/images/till"
    config, layers = read_image(layout, "amd64")
    unpack(layers, tmp_path / "root")
    commands = {path.name for path in (tmp_path / "root/usr/bin").iterdir()}
    published = {path.name for path in (tmp_path / "root/usr/share/till").iterdir()}
    assert config.user == "65532"
    assert commands == {"dotnet"}
    assert published == {"till.dll", "till.deps.json", "till.runtimeconfig.json"}

    cache = tmp_path / "user/buildgraph"  # for ./bg, which has what it needs installed in the user's own
    cache.mkdir(parents=True)
    for name in ("env", "tools"):
        (cache / name).symlink_to(Path(user_cache(os.environ), name))
    environment = first.env({"XDG_CACHE_HOME": str(cache.parent)})
    ask = [sys.executable, "-I", str(ROOT / "scripts/ask.py"), str(first.root), "//images:till"]
    paths = ["/", "/v1/change?due=7.35&given=20"]
    asked = subprocess.run([*ask, *paths], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert asked.returncode == 0, asked.stderr
    said = re.sub(r"\s+", "", asked.stdout)
    assert '{"service":"till","runtime":".NETCore3.1.2","user":65532}' in said
    assert '{"change":12.65,"coins":[10,2,0.5,0.1,0.05]}' in said
    assert asked.stdout.endswith("stopped\n")


def test_without_the_seed_the_recipe_asks_for_the_current_dotnet_of_wolfi(tools_on_path: Path, tmp_path: Path) -> None:
    """The manifest's lines for the seed taken out, the recipe's own variables count."""
    workspace = Workspace(tmp_path / "ws", tmp_path / "home", tools_on_path)
    shutil.copytree(EXAMPLE, workspace.root, ignore=shutil.ignore_patterns("out", "cache", "seed", "buildgraph.lock"))
    asks = "attr(needs, '^dotnet-10-sdk$', //...) ^ attr(depends, '^aspnet-10-runtime$', //...)"

    assert workspace.bg("query", asks).out == ""

    (workspace.root / "buildgraph.yaml").write_text("network: off\n")

    assert workspace.bg("query", asks).out == "//packages:till\n"
