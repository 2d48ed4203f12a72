"""The caches on other machines as one run uses them: opened from the manifest, told about at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildgraph import __version__
from buildgraph.cache.cas import Cas
from buildgraph.errors import UsageError
from buildgraph.execute.credentials import docker_helper, own
from buildgraph.keys import ed25519
from buildgraph.plan.archive import Believed, Seal
from buildgraph.remote import connect
from buildgraph.remote.level import summaries
from buildgraph.remote.sealing import believed, sealer
from buildgraph.remote.shared import Author, SharedCache
from buildgraph.remote.trust import Trust, is_tier
from buildgraph.report.console import seconds
from buildgraph.structs import replace
from buildgraph.web.access import Access, Own
from buildgraph.workspace.credentials import FILE_NAME as CREDENTIALS
from buildgraph.workspace.credentials import find_entry, load_credentials
from buildgraph.workspace.manifest import Manifest

if TYPE_CHECKING:
    from buildgraph.cli.settings import Settings

_MAY_BE_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{40,}")  # a key with another prefix, or none: not to be shown
TIMEOUT = 20.0  # seconds without a byte, after which building is likely to be faster
# What CI says of a run, by the variables of GitHub and GitLab.
_COMMIT = ("GITHUB_SHA", "CI_COMMIT_SHA")
_PROJECT = ("GITHUB_REPOSITORY", "CI_PROJECT_PATH")
_RUN = ("GITHUB_RUN_ID", "CI_PIPELINE_ID")


def tier_of(environment: Mapping[str, str]) -> str:
    """The tier of this run, as BG_CACHE_TIER says. Raises UsageError."""
    tier = environment.get("BG_CACHE_TIER") or "local"
    if not is_tier(tier):
        message = f"BG_CACHE_TIER is `{tier}`, which is no tier"
        raise UsageError(message, hint="`trusted`, `local`, or `pr/` and the number of the pull request")
    return tier


def keys_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The private keys that results are signed with, as BG_CACHE_KEY has them: keys, or files with them. Raises UsageError."""
    found = []
    for given in environment.get("BG_CACHE_KEY", "").split():
        text = given
        if not given.startswith(ed25519.PREFIX):
            try:
                text = Path(given).read_text("utf-8").strip()
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no text"
                named = "the file" if _MAY_BE_SECRET.search(given) and not os.path.exists(given) else given  # noqa: PTH110 - raises nothing
                message = f"cannot read {named} that BG_CACHE_KEY names: {reason}"
                raise UsageError(message, hint="it is a key as `bg keygen --results` makes them, or a file with one") from error
        if not ed25519.is_key(text):
            told = f"the file {given} that BG_CACHE_KEY names has" if text != given else "what BG_CACHE_KEY says is"
            raise UsageError(f"{told} no key to sign results with", hint="`bg keygen --results` makes one")
        found.append(text)
    return tuple(found)


def _warn_of_exposed_keys(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Says which files with keys to sign results with might get to others."""
    files = [given for given in environment.get("BG_CACHE_KEY", "").split() if not given.startswith(ed25519.PREFIX)]
    if not files:
        return
    from buildgraph.outputs.keys import exposure  # it loads much

    for file in files:
        if warning := exposure(Path(file), environment, "the key of results"):
            say(warning)


def open_remotes(
    manifest: Manifest, settings: Settings, cas: Cas, say: Callable[[str], None], cancelled: Callable[[], bool]
) -> SharedCache:
    """The caches that the manifest names. Raises ManifestError."""
    access = replace(Access.of(settings.environment), timeout=TIMEOUT, helper=docker_helper(settings.environment))
    trust = connect.trust(manifest, settings.tier)
    entries = load_credentials(settings.user_config / CREDENTIALS)

    def known(url: str) -> Own | None:
        entry = find_entry(entries, url)
        return own(entry, settings.environment) if entry else None

    levels = connect.levels(manifest.remotes, settings.root, access, known, reads=settings.reads_remotes)
    silent = _why_nothing_is_sent(settings, trust)
    _warn_of_exposed_keys(settings.environment, say)
    for level in levels:
        if level.writes and not level.unsigned and silent:
            level.writes = False
            say(f"cache  {level.name}: nothing is sent there, since {silent}")
        if level.reads and not level.unsigned and not trust.writers:
            say(f"cache  {level.name}: nothing is taken from there, since `trust:` in the manifest names no key")
    return SharedCache(levels, trust, author_of(settings), cas, cancelled)


def author_of(settings: Settings) -> Author:
    """Who signs what this run makes."""
    return Author(settings.result_keys, settings.tier, _builder(settings.environment))


def seal_of(manifest: Manifest, settings: Settings, cas: Cas, say: Callable[[str], None]) -> Seal:
    """What signs the results that go into an archive. Raises ManifestError."""
    trust = connect.trust(manifest, settings.tier)
    silent = _why_nothing_is_sent(settings, trust)
    _warn_of_exposed_keys(settings.environment, say)
    if silent and trust.writers:
        say(f"cache  what was built here is not signed, since {silent}: who has this manifest will not take it")
    return sealer(Author() if silent and trust.writers else author_of(settings), cas)


def believed_of(manifest: Manifest, settings: Settings) -> Believed:
    """Whose results are taken from an archive. Raises ManifestError."""
    return believed(connect.trust(manifest, settings.tier))


def _why_nothing_is_sent(settings: Settings, trust: Trust) -> str:
    """Why nobody would believe what this run sends; empty where somebody may."""
    if not settings.result_keys:
        return "BG_CACHE_KEY has no key to sign results with"
    own = {ed25519.public(key) for key in settings.result_keys}
    if any(writer.key in own and writer.may_write(settings.tier) for writer in trust.writers.values()):
        return ""
    return f"`trust:` does not let the key in BG_CACHE_KEY write the tier `{settings.tier}`"


def _builder(environment: Mapping[str, str]) -> dict[str, str]:
    """What is said of who built something."""
    said = {
        name: next((value for variable in variables if (value := environment.get(variable))), "")
        for name, variables in (("commit", _COMMIT), ("project", _PROJECT), ("run", _RUN))
    }
    return {"bg": __version__} | {name: value for name, value in said.items() if value}


def finish(shared: SharedCache, say: Callable[[str], None]) -> None:
    """Waits for uploads and says what the caches elsewhere gave and got."""
    shared.finish(say)
    for line in summaries(shared.levels):
        say(line)
    if shared.seconds_elsewhere:
        took = seconds(shared.seconds_elsewhere)
        say(f"cache  at least {took} of building saved by what came from elsewhere")  # what that needed is not asked for
    for reason, count in sorted(shared.lost.items()):
        say(f"cache  {count} not sent: {reason}")
