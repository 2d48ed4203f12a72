"""What `bg verify` found, as text for people and as JSON-able values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from buildgraph.execute.actions import Surroundings
from buildgraph.outputs.compare import MOST, Difference
from buildgraph.structs import Struct, asdict

# declared: it differs, and the manifest says that it may; not-cached: there is nothing to compare with.
Verdict = Literal["same", "differs", "declared", "failed", "not-cached"]
_WORDS: dict[Verdict, str] = {
    "same": "same",
    "differs": "differs",
    "declared": "differs",
    "failed": "failed",
    "not-cached": "skip",
}
_SHOWN = 10  # differences of one node


class Finding(Struct, frozen=True):
    """What became of one node.

    ``note`` says why, where that is not told by the differences; ``damaged``: that the cache's own files are not what they were.
    """

    node: str
    verdict: Verdict
    before: Surroundings | None = None
    again: Surroundings | None = None
    differences: tuple[Difference, ...] = ()
    note: str = ""
    damaged: bool = False


def finding_lines(finding: Finding) -> list[str]:
    """A finding for people."""
    head = f"{_WORDS[finding.verdict]:7} {finding.node}"
    lines = [f"{head}  {finding.note}" if finding.note else head]
    if finding.before and finding.again and finding.verdict in {"differs", "declared"}:
        lines.append(f"  built {_where(finding.before)}; again {_where(finding.again)}")
    for difference in finding.differences[:_SHOWN]:
        lines += _difference_lines(difference)
    if len(finding.differences) > _SHOWN:
        more = len(finding.differences) - _SHOWN
        lines.append(f"  and {more}{' or more' if len(finding.differences) == MOST else ''} other differences (--json has them)")
    return lines


def _where(seen: Surroundings) -> str:
    scratch = {"memory": "in memory", "disk": "on disk"}.get(seen.scratch, "somewhere")
    count = f"{seen.processors or '?'} processor{'' if seen.processors == 1 else 's'}"
    return f"{scratch}, {count}, host `{seen.host_name}`, in {seen.folder}"


def _difference_lines(difference: Difference) -> list[str]:
    place = ", ".join(filter(None, (" > ".join(difference.where), difference.at)))
    lines = [f"  {place}: {difference.what}"]
    if difference.before or difference.again:
        lines += [f"    - {_shown(difference.before)}", f"    + {_shown(difference.again)}"]
    if difference.suspects:
        lines.append(f"    perhaps {', or '.join(difference.suspects)}")
    return lines


def _shown(text: str) -> str:
    """A value from inside an artefact; what it has in it must not steer the terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def summary(findings: Sequence[Finding]) -> str:
    """How many there were of each."""
    count = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in _WORDS}
    parts = [f"{count['same']} the same"]
    parts += [f"{count['differs']} different"] if count["differs"] else []
    parts += [f"{count['declared']} different as declared"] if count["declared"] else []
    parts += [f"{count['failed']} failed"] if count["failed"] else []
    parts += [f"{count['not-cached']} not in the cache"] if count["not-cached"] else []
    return f"{len(findings) - count['not-cached']} built again: {', '.join(parts)}"


def findings_json(findings: Sequence[Finding], seed: str) -> Mapping[str, Any]:
    """All findings for machines."""
    return {"seed": seed, "nodes": [asdict(finding) for finding in findings]}
