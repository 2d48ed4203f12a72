"""The Debian side: what the machine's apt sources offer, and packages downloaded from them.

apt works in a state of its own below the store, so that nothing of the system is changed and no root is needed; only its
sources, keys and proxy settings are the system's. apt checks the lists' signatures, the lists give every package's SHA-256.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from buildgraph.errors import BgError, RepositoryError, ToolError
from buildgraph.structs import Struct
from tools.seed.files import Say, has_digest
from tools.seed.names import CODENAME

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""apk's name of an architecture -> Debian's."""

STALE_AFTER = 24 * 3600.0
"""Seconds after which lists are fetched again before something is made: packages of older lists may be gone."""

BATCH = 24
"""Packages that one run of apt-get downloads: small enough to show progress."""

LOCK_PATIENCE = 60.0
"""Seconds to wait for an apt-get that an interrupted run left behind."""

_APT_CONF = """\
Dir::State "{state}";
Dir::State::lists "lists";
Dir::State::status "{state}/status";
Dir::Cache "{state}/cache";
Dir::Log "{state}/log";
{sources}APT::Architecture "{arch}";
#clear APT::Architectures;
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "";
APT::Get::List-Cleanup "true";
#clear APT::Update;
APT::Update::Error-Mode "any";
Acquire::Retries "2";
Acquire::Languages {{ "none"; }};
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages {{
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages"; flatMetaKey "Packages"; ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages"; Optional "0";
}};
"""


class Deb(Struct, frozen=True):
    """One binary package of the lists. ``size`` in bytes, ``sha256`` in hex, ``depends`` as written (Pre-Depends included)."""

    name: str
    version: str
    arch: str
    size: int
    sha256: str
    depends: str
    description: str

    @property
    def filename(self) -> str:
        """The name under which ``apt-get download`` leaves it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.arch}.deb"


class Lists:
    """The packages on offer for one architecture; of several versions of one name the newest counts."""

    def __init__(self, stanzas: Iterable[str]) -> None:
        self._stanzas: dict[str, list[str]] = {}
        self._virtual: dict[str, list[str]] = {}
        self._debs: dict[str, Deb] = {}
        for stanza in stanzas:
            if not stanza.startswith("Package: "):
                continue
            name = stanza[9 : stanza.find("\n")]
            self._stanzas.setdefault(name, []).append(stanza)
            if "\nProvides: " in stanza:
                for provided in _field(stanza, "Provides").split(","):
                    self._virtual.setdefault(provided.split()[0], []).append(name)

    def __contains__(self, name: str) -> bool:
        return name in self._stanzas

    def __getitem__(self, name: str) -> Deb:
        if name not in self._debs:
            newest = self._stanzas[name][0]
            for other in self._stanzas[name][1:]:
                if _is_newer(_field(other, "Version"), _field(newest, "Version")):
                    newest = other
            self._debs[name] = _parse(newest)
        return self._debs[name]

    def providers(self, name: str) -> list[str]:
        """The packages that provide a virtual name, sorted."""
        return sorted(set(self._virtual.get(name, ())))

    def add(self, name: str, other: Lists) -> None:
        """Take a package from other lists, those of another release."""
        self._stanzas[name] = other._stanzas.get(name, [])
        if not self._stanzas[name]:
            what = f"the release that is to have {name} does not"
            raise RepositoryError(what, hint="tools/seed/names.py is to follow it")


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", stanza, re.MULTILINE)
    return found[1] if found else ""


def _parse(stanza: str) -> Deb:
    clauses = [_field(stanza, name) for name in ("Pre-Depends", "Depends")]
    return Deb(
        name=_field(stanza, "Package"),
        version=_field(stanza, "Version"),
        arch=_field(stanza, "Architecture"),
        size=int(_field(stanza, "Size")),
        sha256=_field(stanza, "SHA256"),
        depends=", ".join(filter(None, clauses)),
        description=_field(stanza, "Description"),
    )


def _is_newer(version: str, than: str) -> bool:
    return version != than and subprocess.run(["dpkg", "--compare-versions", version, "gt", than], check=False).returncode == 0


def check_tools() -> None:
    """Raise ToolError unless apt and dpkg are there."""
    for tool in ("apt-get", "dpkg-deb", "dpkg"):
        if shutil.which(tool) is None:
            what = f"`{tool}` is not on PATH: the seed is made from the packages of a Debian 12 machine"
            raise ToolError(what, hint="run it on Debian 12 (or in its container image), with apt and dpkg installed")


class Apt(Struct):
    """apt-get for one Debian architecture with its state in ``state``. ``fresh`` says that this run fetched the lists.

    ``sources`` is the text of a sources.list, for a release that is not among the machine's own sources.
    """

    state: Path
    arch: str
    say: Say
    codename: str = CODENAME
    sources: str = ""
    fresh: bool = False

    def __post_init__(self) -> None:
        for folder in ("lists/partial", "cache/archives/partial", "log"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        sources = ""
        if self.sources:
            (self.state / "sources.list").write_text(self.sources)
            sources = f'Dir::Etc::SourceList "{self.state.resolve()}/sources.list";\nDir::Etc::SourceParts "-";\n'
        self._conf.write_text(_APT_CONF.format(state=self.state.resolve(), arch=self.arch, sources=sources))

    @property
    def _conf(self) -> Path:
        return self.state / "apt.conf"

    def of_release(self, codename: str, state: Path) -> Apt:
        """The same for another release's main suite, from the place and with the keys that the machine's sources have."""
        done = self._run("indextargets", "--format", "$(CREATED_BY)|$(CODENAME)|$(REPO_URI)|$(SIGNED_BY)", "Component: main")
        found = re.search(rf"^Packages\|{self.codename}\|([^|]*)\|(.*)$", done.stdout, re.MULTILINE)
        if found is None:
            raise wrong_distribution([])
        place, key = found.groups()
        signed = f"[signed-by={key}] " if key.startswith("/") else ""
        return Apt(state, self.arch, self.say, codename, f"deb {signed}{place} {codename} main\n")

    def _run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            ["apt-get", "-q", "-c", str(self._conf), *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def update(self) -> None:
        """Fetch the lists; raise RepositoryError with apt's own words if that does not work."""
        start = time.monotonic()
        self.say(f"lists: fetching {self.codename} for {self.arch}")
        done = self._run("update")
        while "Could not get lock" in done.stderr and time.monotonic() - start < LOCK_PATIENCE:
            time.sleep(0.5)  # apt-get of a run that was killed ends by itself
            done = self._run("update")
        if done.returncode != 0:
            what = "apt-get update failed, so there is no list of Debian's packages"
            raise RepositoryError(what, details=_complaints(done.stderr), hint="is the network up, and do apt's sources work?")
        self.fresh = True
        (self.state / "updated").touch()
        self.say(f"lists: fetched in {time.monotonic() - start:.1f} s")

    def age(self) -> float | None:
        """Seconds since the lists were fetched, None if they never were."""
        try:
            return time.time() - (self.state / "updated").stat().st_mtime
        except FileNotFoundError:
            return None

    def make_fresh(self, *, offline: bool, refresh: bool) -> None:
        """Fetch the lists where they are missing, stale or asked for; old ones serve when the network does not."""
        age = self.age()
        if offline:
            if age is None:
                what = f"no lists of {self.codename} for {self.arch} are in the store, and --offline forbids fetching them"
                raise RepositoryError(what, hint="run once without --offline")
            return
        if age is not None and age < STALE_AFTER and not refresh:
            return
        try:
            self.update()
        except RepositoryError as error:
            if age is None or refresh:
                raise
            self.say(f"warning: {error.what}; using lists that are {age / 3600:.0f} hours old")

    def lists(self) -> Lists:
        """The packages of the release's own suites; raise RepositoryError if the sources have none of them."""
        done = self._run("indextargets", "--format", "$(CREATED_BY)|$(CODENAME)|$(FILENAME)")
        targets = re.findall(r"^(\w+)\|([^|]*)\|(.*)$", done.stdout, re.MULTILINE)
        packages = [(codename, filename) for kind, codename, filename in targets if kind == "Packages"]
        suites = (self.codename, f"{self.codename}-updates", f"{self.codename}-security")
        wanted = sorted(filename for codename, filename in packages if codename in suites)
        if not wanted:
            raise wrong_distribution(sorted({codename for codename, _ in packages if codename}))
        texts = []
        for filename in wanted:
            done = subprocess.run(
                ["/usr/lib/apt/apt-helper", "cat-file", filename], capture_output=True, text=True, errors="replace", check=False
            )
            if done.returncode != 0:
                what = f"apt's list {filename} cannot be read"
                raise RepositoryError(what, details=_complaints(done.stderr), hint="fetch the lists again with --refresh")
            texts.append(done.stdout)
        return Lists(stanza for text in texts for stanza in text.split("\n\n"))

    def download(self, debs: Sequence[Deb], folder: Path, *, offline: bool) -> None:
        """Leave every package in ``folder``, each checked by its SHA-256; what is there and right stays.

        Raises RepositoryError naming what is missing. A package that the mirror no longer has makes apt's lists be
        fetched, once; the caller then plans again (``Stale``).
        """
        folder.mkdir(parents=True, exist_ok=True)
        missing = [deb for deb in debs if not is_whole(folder / deb.filename, deb)]
        if not missing:
            self.say(f"download: all {len(debs)} packages are there")
            return
        if offline:
            names = ", ".join(deb.name for deb in missing)
            what = f"{len(missing)} of {len(debs)} Debian packages are not in the store, and --offline forbids downloading them"
            raise RepositoryError(what, details=names, hint="run once without --offline")
        total, start, done = sum(deb.size for deb in missing), time.monotonic(), 0
        self.say(f"download: {len(missing)} of {len(debs)} packages, {total / 1e6:.1f} MB")
        for first in range(0, len(missing), BATCH):
            batch = missing[first : first + BATCH]
            self._download_batch(batch, folder)
            done += len(batch)
            self.say(f"download: {done}/{len(missing)}, {time.monotonic() - start:.1f} s")

    def _download_batch(self, batch: Sequence[Deb], folder: Path) -> None:
        incoming = folder / ".incoming"  # the store is locked; what a killed run left goes
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        try:
            done = self._run("download", *(f"{deb.name}:{self.arch}={deb.version}" for deb in batch), cwd=incoming)
            for deb in batch:
                got = incoming / deb.filename
                if not is_whole(got, deb):
                    if not self.fresh:
                        raise Stale(deb.name)
                    what = f"{deb.name} {deb.version} could not be downloaded"
                    raise RepositoryError(what, details=_complaints(done.stderr), hint="run it again: what is there stays")
                got.replace(folder / deb.filename)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)


class Stale(Exception):  # noqa: N818 - not an error: the lists are to be fetched and the plan made again
    """The mirror no longer has a package of lists that are not of this run."""


def is_whole(path: Path, deb: Deb) -> bool:
    """Whether the file is that package, byte for byte."""
    return has_digest(path, deb.size, "sha256", deb.sha256)


def wrong_distribution(codenames: Sequence[str]) -> BgError:
    """The error for a machine whose apt sources are not Debian 12's."""
    try:
        pairs = [line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line]
        system = {key: value.strip('"') for key, value in pairs}.get("PRETTY_NAME", "an unnamed system")
    except OSError:
        system = "an unnamed system"
    found = f"{system}, apt sources of {', '.join(codenames) if codenames else 'no suite'}"
    what = f"this seed is mapped for Debian 12 ({CODENAME}) package names; found {found}"
    return RepositoryError(what, hint=f"run it on Debian 12, or add a source for {CODENAME} to apt")


def _complaints(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    return "\n".join(lines[-8:] or stderr.splitlines()[-4:])
