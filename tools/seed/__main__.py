"""``python -m tools.seed``: make the seed, or find it made.

Says on stderr what it does; the only line on stdout is the folder of the repository. The exit code is 0, or that of the
error (buildgraph/errors.py).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildgraph.errors import BgError, Interrupted, OutputError, ToolError
from buildgraph.structs import Struct
from tools.seed.names import OLDER, SETS
from tools.seed.store import Store, make_link, signing_key

if TYPE_CHECKING:
    from tools.seed import debian, plan

_HERE = Path(__file__).resolve().parent
_ARCHITECTURES = ("x86_64", "aarch64")


class Options(Struct, frozen=True):
    """The command line, with defaults filled in."""

    set_name: str
    only: tuple[str, ...]
    arches: tuple[str, ...]
    store: Path
    link: Path | None
    key_dir: Path
    jobs: int
    offline: bool
    refresh: bool

    def request(self) -> str:
        """Digest over what decides which repository this run gives, the maker's code included, but for Debian's packages."""
        digest = hashlib.sha256()
        for path in sorted({*_HERE.glob("*.py"), *(_HERE.parents[1] / "buildgraph" / "apk").glob("*.py")}):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        parts = [digest.hexdigest(), self.set_name, *self.only, "", *self.arches]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The options; argparse ends the process (code 2) where they make no sense."""
    home = Path(environment.get("HOME") or "~").expanduser()
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "buildgraph" / "seed"
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "buildgraph" / "seed-key"
    parser = argparse.ArgumentParser(
        prog="python -m tools.seed",
        description="Make an apk repository from this Debian 12 machine's packages, under Wolfi's names.",
    )
    parser.add_argument("--set", choices=sorted(SETS), default="small", dest="set_name", help="which packages (default: small)")
    parser.add_argument("--only", default="", metavar="NAMES", help="only these packages, with commas, and what they depend on")
    parser.add_argument("--arch", default="x86_64", help=f"with commas, of {', '.join(_ARCHITECTURES)} (default: x86_64)")
    parser.add_argument("--store", type=Path, default=cache, metavar="DIR", help=f"where to work and keep (default: {cache})")
    parser.add_argument("--link", type=Path, metavar="PATH", help="make this a symbolic link to the repository")
    parser.add_argument(
        "--key-dir", type=Path, default=config, metavar="DIR", help=f"the signing key's folder (default: {config})"
    )
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 4), metavar="N", help="packages made at a time")
    parser.add_argument("--offline", action="store_true", help="fetch nothing: what is needed must be in the store")
    parser.add_argument("--refresh", action="store_true", help="fetch Debian's lists again, even if the seed is made already")
    given = parser.parse_args(arguments)
    arches = tuple(sorted({*filter(None, given.arch.split(","))}))
    if not arches or not set(arches) <= set(_ARCHITECTURES):
        parser.error(f"--arch {given.arch}: choose from {', '.join(_ARCHITECTURES)}")
    if given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: at least 1")
    if given.offline and given.refresh:
        parser.error("--refresh fetches, --offline forbids it")
    return Options(
        set_name=given.set_name,
        only=tuple(sorted({*filter(None, given.only.split(","))})),
        arches=arches,
        store=given.store.expanduser().absolute(),
        link=given.link.expanduser().absolute() if given.link else None,
        key_dir=given.key_dir.expanduser().absolute(),
        jobs=given.jobs,
        offline=given.offline,
        refresh=given.refresh,
    )


def say(text: str) -> None:
    """A line for the person who waits."""
    print(f"seed: {text}", file=sys.stderr, flush=True)


def make(options: Options) -> Path:
    """Make the seed that was asked for, or find it made; give its folder. Raises BgError."""
    store = Store(options.store)
    folder = _found(store, options)
    if folder is None:
        with store.locked(say):
            folder = _found(store, options)  # by the run that was waited for
            if folder is None:
                folder = _make(store, options)
    if options.link:
        make_link(options.link, folder)
        say(f"link: {options.link} -> {folder}")
    return folder


def _found(store: Store, options: Options) -> Path | None:
    if options.refresh:
        return None
    folder = store.made_before(options.request())
    if folder is None or not store.is_signed(folder, options.key_dir):
        return None
    say("nothing to do: it is made (--refresh looks for newer Debian packages)")
    return folder


def _make(store: Store, options: Options) -> Path:
    try:
        from tools.seed import check, debian, plan, wrap
    except ModuleNotFoundError as error:
        what = f"the Python package that has `{error.name}` is not installed"
        raise ToolError(
            what, hint="pip install 'pyelftools' 'cryptography', or install the project with its dev extra"
        ) from error
    start = time.monotonic()
    debian.check_tools()
    wanted = plan.wanted_names(options.set_name, options.only)
    items: list[plan.Item] = []
    for arch in options.arches:
        apt = debian.Apt(store.root / f"apt-{arch}", debian.ARCHITECTURES[arch], say)
        items += _download(store, options, apt, arch, wanted)
    wrapped = wrap.wrap_all(items, wrap.Bench(store.debs, store.apks, options.jobs), say)
    for arch in options.arches:
        check.check([done.made for done in wrapped if done.entry.arch == arch])
    key = signing_key(options.key_dir, say)
    folder = store.publish(options.set_name, dict(zip(items, wrapped, strict=True)), key)
    store.note_made(options.request(), folder)
    store.prune(wrapped)
    size, installed = sum(done.entry.size for done in wrapped), sum(done.entry.installed_size for done in wrapped)
    seconds = time.monotonic() - start
    say(f"made: {len(wrapped)} packages, {size / 1e6:.0f} MB, {installed / 1e6:.0f} MB installed, in {seconds:.1f} s")
    return folder


def _download(store: Store, options: Options, apt: debian.Apt, arch: str, wanted: Sequence[str]) -> list[plan.Item]:
    """Plan for one architecture and have what the plan needs; plans again if the mirror has moved on since the lists."""
    from tools.seed import debian, npm, plan

    apt.make_fresh(offline=options.offline, refresh=options.refresh)
    older = {name: apt.of_release(OLDER[name], store.root / f"apt-{OLDER[name]}-{arch}") for name in plan.older_debs(wanted)}
    for other in older.values():
        other.make_fresh(offline=options.offline, refresh=options.refresh)
    while True:
        start = time.monotonic()
        lists = apt.lists()
        for name, other in older.items():
            lists.add(name, other.lists())
        items = plan.Planner(lists, arch).closure(wanted)
        debs = {deb.filename: deb for item in items for deb in item.debs}
        say(f"plan: {len(items)} packages for {arch} from {len(debs)} of Debian's, {time.monotonic() - start:.1f} s")
        source = apt
        try:
            for source in (apt, *older.values()):
                its = [debs[name] for name in sorted(debs) if older.get(debs[name].name, apt) is source]
                source.download(its, store.debs, offline=options.offline)
        except debian.Stale as stale:
            say(f"download: {stale} of the lists is gone from the mirror")
            source.update()
        else:
            break
    for tarball in {item.npm.name: item.npm for item in items if item.npm}.values():
        npm.download(tarball, store.debs, say, offline=options.offline)
    return items


def main() -> int:
    """Run the command line; give the exit code."""
    options = parse(sys.argv[1:], os.environ)
    try:
        print(make(options))
    except BgError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(OutputError(f"{place}{error.strerror or error}").render(), file=sys.stderr)
        return OutputError.exit_code
    except KeyboardInterrupt:
        say("interrupted: what is downloaded and made stays; run it again to go on")
        return Interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
