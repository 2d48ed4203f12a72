"""What the log of a failed action tells: which step of the recipe it was, what that said, and what to try."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from buildgraph.plan.materials import Materials
from buildgraph.recipes.steps import Step, is_meant
from buildgraph.structs import Struct

MOST_LINES = 40
_PREFIX = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (?:(?:INFO|WARN)(?: |$))?")
_CHATTER = re.compile(r" INFO (?:installing \S+ \(|auth configured for)")
_STEP = re.compile(r'running step "(.*)"$')
_SUBPACKAGE = re.compile(r"running pipeline for subpackage (\S+)$")
# melange wraps the error of a step once for each `pipeline:` that it stands in (build/pipeline.go), then names the package.
_VERDICT = re.compile(
    r"unable to run (?P<kind>package|subpackage) (?P<name>\S+) pipeline: (?P<depth>(?:unable to run pipeline: )+)(?P<how>.*)$"
)
_UNABLE = "unable to run pipeline: "
_WANTS_NETWORK = re.compile(
    r"Could not resolve host|Temporary failure in name resolution|Network is unreachable|no such host|bad address|"
    r"getaddrinfo|ENETUNREACH|EAI_AGAIN|connect: network is unreachable",
    re.IGNORECASE,
)
_WANTS_TAGS = re.compile(r"fatal: No (?:names found|tags can describe)")

# What is said where it matters not what the action was given, and what to try.
_HINTS = {
    re.compile(
        r"CERTIFICATE_VERIFY_FAILED|certificate signed by unknown authority|unable to get local issuer certificate|"
        r"SSL certificate problem|certificate is not trusted"
    ): "a step trusts the certificates in its packages alone: `ca-certificates-bundle` has those of public servers, and those of"
    " a proxy must come with a package too",
    re.compile(
        "no space left on device", re.IGNORECASE
    ): "a disk is full: the cache's, or scratch space, which is in memory as far as `memory:` in the manifest allows",
    re.compile("Exec format error"): "this machine cannot run programs of that architecture: build on one that can, or have the"
    " kernel run them by an emulator (qemu-user-static and binfmt_misc; docs/manual.md, Several architectures)",
    re.compile("chown.*Operation not permitted|Operation not permitted.*chown"): "the box has one user: a recipe that must change"
    " owners needs `root: true` for its target in the manifest",
}


class FailedStep(Struct, frozen=True):
    """The step that failed: ``candidates`` are those that it may have been, for melange logs no step that has no name.

    ``how`` is how its program ended; ``lines`` is what it said, or all that was said since the log named a step, or since the
    environment was there.
    """

    candidates: tuple[Step, ...]
    how: str
    lines: tuple[str, ...]


def failed_step(lines: Sequence[str], steps: Sequence[Step]) -> FailedStep | None:
    """Finds the failed step in the log of a melange build; None where it was no step that failed."""
    ends = [(number, found) for number, line in enumerate(lines) if (found := _VERDICT.search(line))]
    if not ends:
        return None
    end, verdict = ends[-1]
    start = _prepared(lines[:end])
    if verdict["kind"] == "subpackage":
        start = max((number + 1 for number, line in enumerate(lines[:end]) if _SUBPACKAGE.search(line)), default=start)
        own = [step for step in steps if step.subpackage and is_meant(step.subpackage, verdict["name"])]
    else:
        own = [step for step in steps if not step.subpackage]
    last, began = -1, start
    for number in range(start, end):
        logged = _STEP.search(lines[number])
        # Steps within what a step uses are logged too, and are none of the recipe's.
        after = logged and next((at for at in range(last + 1, len(own)) if is_meant(own[at].name, logged[1])), None)
        if after is not None:
            last, began = after, number + 1
    candidates = _candidates(own, last, verdict["depth"].count(_UNABLE))
    return FailedStep(tuple(candidates), verdict["how"], tuple(lines[began:end])) if candidates else None


def _prepared(lines: Sequence[str]) -> int:
    """The number of the line after those in which melange tells of the environment, whose packages it installs at last."""
    first = next((number for number, line in enumerate(lines) if _CHATTER.search(line)), 0)
    return next((number for number in range(first, len(lines)) if not _CHATTER.search(lines[number])), len(lines))


def _candidates(own: Sequence[Step], last: int, depth: int) -> list[Step]:
    """The last step that was named and those after it without a name, as far as they fit the depth of the failure."""
    found = list(own[last : last + 1]) if last >= 0 else []
    for step in own[last + 1 :]:
        if step.name:
            break
        found.append(step)
    fitting = [step for step in found if (step.runs and step.depth == depth) or (step.uses and step.depth <= depth)]
    return fitting or found


def excerpt(lines: Iterable[str], most: int = MOST_LINES) -> list[str]:
    """The part of a log to show: its first line and its last ones, ``most`` in all, without melange's own chatter."""
    kept = [_PREFIX.sub("", line) for line in lines if not _CHATTER.search(line)]
    return kept if len(kept) <= most else [kept[0], f"... {len(kept) - most} lines ...", *kept[1 - most :]]


def hint_for(lines: Iterable[str], materials: Materials) -> str:
    """What to try after a failure, as far as the log tells."""
    for line in lines:
        if materials.fetched and _WANTS_TAGS.search(line):
            return "bg gives a checkout no tag but the one that the recipe names; with `network: on` git fetches what there is"
        if not materials.network and _WANTS_NETWORK.search(line):
            return "the step wanted the network: `network: on` for this target in the manifest grants it"
        for said, hint in _HINTS.items():
            if said.search(line):
                return hint
    return ""
