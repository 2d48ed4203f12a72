"""`bg verify`: builds again what the cache has, elsewhere, and compares. The cache stays as it is."""

from __future__ import annotations

import argparse
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from buildgraph.cache.cas import Cas
from buildgraph.cli.building import local_executor
from buildgraph.cli.commands import show
from buildgraph.cli.session import Session
from buildgraph.errors import Interrupted, TargetError, VerifyError
from buildgraph.execute import verification
from buildgraph.execute.actions import Surroundings
from buildgraph.execute.verification import Second
from buildgraph.keys.digest import Digest, new_hasher
from buildgraph.outputs.compare import Difference, compare
from buildgraph.outputs.suspects import Build, Clues
from buildgraph.plan.cached import Cached, Holdings, holdings
from buildgraph.plan.record import Output
from buildgraph.report.verification import Finding, finding_lines, findings_json, summary
from buildgraph.report.views import to_json
from buildgraph.structs import replace


def verify(options: argparse.Namespace, session: Session) -> int:
    """`bg verify`."""
    wanted = session.selection.nodes(options.targets)
    held = holdings(wanted, session.rebuilder)
    if not held.found:
        message = "nothing of this can be built again: the cache has no result for it"
        raise TargetError(message, details=_reasons(held, wanted), hint=f"`bg build {' '.join(options.targets)}` first")
    seed = options.seed or secrets.token_hex(4)
    names = verification.sample(held.found, options.sample, seed)
    findings = [] if options.sample < 1 else [Finding(name, "not-cached", note=why) for name, why in held.absent.items()]
    say = (lambda _: None) if options.json else show
    for finding in findings:
        say(finding_lines(finding))
    if options.sample < 1:
        session.console.say(f"verify {len(names)} of {len(held.found)}, drawn with --seed {seed}")
    findings += _findings({name: held.found[name] for name in names}, options, session, say)
    show([to_json(findings_json(findings, seed))] if options.json else [summary(findings)])
    failed = [finding.node for finding in findings if finding.verdict in {"differs", "failed"}]
    if failed:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        message = f"a second build of {failed[0]}{more} did not give what the cache has"
        raise VerifyError(message, hint=_hint(findings))
    return 0


def _hint(findings: list[Finding]) -> str:
    if any(finding.verdict == "differs" and not finding.damaged for finding in findings):
        return "where a recipe cannot do better, `reproducible: false` for its target in the manifest says so"
    return "`bg build` makes again what was damaged" if any(finding.damaged for finding in findings) else ""


def _reasons(held: Holdings, wanted: list[str]) -> str:
    return "\n".join(f"{name}: {held.absent[name]}" for name in wanted if name in held.absent)


def _findings(
    chosen: dict[str, Cached], options: argparse.Namespace, session: Session, say: Callable[[list[str]], None]
) -> list[Finding]:
    """Builds again and compares, saying each finding as it is made."""
    found = []
    jobs = options.jobs or session.manifest.jobs or os.cpu_count() or 1
    with session.uninterrupted(), session.cas.scratch() as scratch:
        kept = Cas(scratch / "again", new_hasher)
        # What apko has unpacked for earlier builds is believed by it: another build is to unpack for itself.
        executor = replace(local_executor(session), apk_cache=scratch / "apk")
        seconds = verification.build_again(
            chosen,
            executor,
            kept,
            jobs=jobs,
            cancelled=session.cancelled,
            begin=lambda name: session.console.say(f"again  {name}"),
        )
        for name, second in seconds:
            finding = _finding(name, chosen[name], second, session, kept)
            found.append(finding)
            say(finding_lines(finding))
            if second.damaged:  # and gone from the cache by now, which no answer of an earlier run knows
                session.state.answers.clear()
    if session.cancelled.is_set():
        message = "interrupted"
        raise Interrupted(message)
    return found


def _finding(name: str, cached: Cached, second: Second, session: Session, kept: Cas) -> Finding:
    before = verification.first_surroundings(cached.record)
    declared = not session.manifest.settings(session.graph.nodes[name].label).reproducible
    if second.damaged:
        differences = tuple(Difference((path,), "damaged in the cache") for path in second.damaged)
        return Finding(name, "differs", before, second.surroundings, differences, damaged=True)
    if second.error is not None or second.surroundings is None:
        return Finding(name, "failed", before, note=second.error.render() if second.error else "")
    if second.is_same(cached.record):
        note = "although the manifest says `reproducible: false`" if declared else ""
        return Finding(name, "same", before, second.surroundings, note=note)
    clues = Clues(_clues(before, cached.record.built_at), _clues(second.surroundings, time.time()))
    files = _files(cached.record.outputs, session.cas), _files(second.outputs, kept)
    differences = tuple(compare(*files, clues))
    note = "as the manifest says: `reproducible: false`" if declared else ""
    return Finding(name, "declared" if declared else "differs", before, second.surroundings, differences, note)


def _files(outputs: tuple[Output, ...], cas: Cas) -> dict[str, Path]:
    return {output.path: cas.path(Digest(output.digest)) for output in outputs}


def _clues(seen: Surroundings, ended: float) -> Build:
    return Build(ended, seen.host_name, seen.processors, (seen.folder,))
