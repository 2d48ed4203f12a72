"""`bg build`, `bg run`, and the plan behind them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from buildgraph.cli import commands, quick, upkeep
from buildgraph.cli.planning import planned
from buildgraph.cli.session import Session
from buildgraph.errors import BuildError, Interrupted, TargetError, ToolError, UsageError
from buildgraph.execute import git, process, scheduler
from buildgraph.execute.actions import Executor, MemoryBudget
from buildgraph.execute.collect import LAYOUT
from buildgraph.execute.runner import LocalRunner
from buildgraph.execute.scheduler import Result
from buildgraph.keys.digest import Digest, parse_digest
from buildgraph.outputs import export, provenance, rootfs
from buildgraph.outputs.keys import DEFAULT_NAME, exposure, load_key, user_key
from buildgraph.outputs.provenance import Subject
from buildgraph.plan.record import Record
from buildgraph.recipes.architecture import to_apk, to_oci
from buildgraph.report import views
from buildgraph.report.console import seconds

MOST_ROWS = 40  # of outputs that are printed one by one
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#]+")  # RFC 3986, without the fragment that tells a builder's modes apart


MakeRunner = Callable[[Session], LocalRunner]


def build(options: argparse.Namespace, session: Session, make_runner: MakeRunner | None = None) -> int:
    """`bg build`; ``make_runner`` gives what runs the actions, melange and apko in boxes if nothing else is said."""
    if options.dry_run:
        plan, refusal = planned(options.targets, session)
        commands.show([views.to_json(views.plan_json(plan))] if options.json else views.plan_lines(plan))
        if refusal:
            raise refusal
        return 0
    started = time.monotonic()
    if session.manifest.signing_key and any(
        session.nodes.described[name].node.kind == "package" for name in session.selection.nodes(options.targets)
    ):
        load_key(signing_key_path(session))  # what cannot be signed is not built first
    wanted, result = execute(options.targets, options, session, make_runner or local_runner)
    stamps, rows = export_results(wanted, result, session)
    text = _answer(rows, result, options)
    summary = _summary(result, time.monotonic() - started)
    if not result.failures:
        nothing_to_do = _summary(Result(dict.fromkeys(result.outcomes, "hit")), 0.0)
        quiet_result = Result(dict.fromkeys(wanted, "hit"), result.records)
        answer = _answer(rows, quiet_result, options) if options.json else f"{text}{nothing_to_do}\n"
        asked = quick.asked(options.said, str(session.settings.here), session.settings.environment)
        session.remember(asked, stamps, answer)
    sys.stdout.write(text if options.json else f"{text}{summary}\n")
    sys.stdout.flush()
    upkeep.after_build(session, wanted, result)
    if result.failures:
        raise _failure(result)
    return 0


def execute(
    patterns: Sequence[str], options: argparse.Namespace, session: Session, make_runner: MakeRunner
) -> tuple[list[str], Result]:
    """Brings targets up to date; the wanted nodes and how it went."""
    wanted = session.selection.nodes(patterns)
    session.cas.sweep()
    session.locks.sweep()
    session.locker.complete(wanted, tolerant=options.keep_going)
    runner = make_runner(session)
    try:
        with session.uninterrupted():
            result = scheduler.run(
                wanted,
                session.rebuilder,
                runner,
                jobs=options.jobs or session.manifest.jobs or os.cpu_count() or 1,
                listener=session.console,
                keep_going=options.keep_going,
                expected_seconds=lambda: runner.expected_seconds(session.graph.nodes),
                cancelled=session.cancelled,
            )
    finally:
        session.console.rest()
    if session.cancelled.is_set():
        message = "interrupted"
        raise Interrupted(message)
    runner.finish(result)
    return wanted, result


def local_executor(session: Session) -> Executor:
    """What runs actions on this machine."""
    return Executor(
        workspace=session.settings.root,
        cas=session.cas,
        store=session.store,
        locks=session.locks,
        repositories=session.repositories,
        sources=session.sources,
        tools=session.tools,
        materials=session.inputs.materials,
        lock=lambda: session.lock,
        apk_cache=session.cache_folder / "apk",
        budget=MemoryBudget(session.manifest.memory or _half_of_free_memory()),
        cancelled=session.cancelled,
        sealed=session.settings.sealed,
        builder=_builder(session),
        say=session.console.say,
        commit=cache(partial(_commit, session)),
    )


def local_runner(session: Session) -> LocalRunner:
    """Runs actions on this machine and keeps their records."""
    executor = local_executor(session)
    if not session.settings.sealed:
        session.console.say("sandbox off: recipes can see this machine, and their results are kept apart from sealed ones")
    return LocalRunner(executor, session.store, session.rebuilder, session.explainer, session.locker.extend)


def _half_of_free_memory() -> int:
    """Half of what Linux says could be used now, in bytes; 0 where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 // 2
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def export_results(
    wanted: Sequence[str], result: Result, session: Session
) -> tuple[dict[str, dict[str, list[int]]], list[dict[str, Any]]]:
    """Puts the wanted nodes' outputs in place; the stats of the files and of the signing key, and a row on each node."""
    nodes = session.graph.nodes
    done = [name for name in wanted if name in result.records]
    packages = {name: result.records[name] for name in done if nodes[name].kind == "package"}
    present: list[Path] = []
    rows: list[dict[str, Any]] = []
    out = session.out_folder
    folders = export.PackageFolders(nodes)
    attest = attester(session)
    with session.locks.hold("outputs", on_wait=lambda: None, cancelled=session.cancelled.is_set):
        if packages:
            present += export.export_packages(packages, nodes, out, _signing_key(session), session.cas, attest)
        for name in done:
            label = session.nodes.described[name].target.label
            record = result.records[name]
            row: dict[str, Any] = {"target": nodes[name].label, "node": name}
            if nodes[name].kind == "image":
                present += export.export_image(record, out, label.folder, label.name, session.cas, attest)
                row |= {"path": str(export.image_folder(out, label.folder, label.name)), "digest": _image_digest(record, session)}
            else:
                repository = out / "packages" / folders.of(name)
                row |= {"packages": [{"path": str(repository / o.path), "digest": f"blake3:{o.digest}"} for o in record.outputs]}
            rows.append(row)
        # Before another bg may put others in their place.
        stamps = quick.stamps_of([*present, signing_key_path(session)])
    return stamps, rows


def attester(session: Session) -> export.Attest:
    """What states the provenance of outputs, from the cache and the lock."""

    def external(checksum: str) -> tuple[str, Digest | None]:
        locked = session.lock.source_of(checksum)
        known = session.records.get("external", checksum) or {}
        address = f"{locked.repository}/{locked.entry.arch}/{locked.entry.filename}" if locked else ""
        return address, parse_digest(known.get("digest"))

    def attest(record: Record, subjects: Iterable[Subject]) -> bytes | None:
        document = session.store.document(record.document)
        return provenance.to_bytes(provenance.statement(record, document, subjects, external)) if document else None

    return attest


def _builder(session: Session) -> str:
    """Who runs the actions, as a URI."""
    named = session.settings.environment.get("BG_BUILDER_ID", "")
    if named and not _URI.fullmatch(named):
        message = f"BG_BUILDER_ID is `{named}`, which is no URI"
        raise UsageError(message, hint="such as https://ci.example.org/builders/release")
    return named


def _commit(session: Session) -> str:
    """What the workspace is checked out from, as far as git can tell."""
    root = session.settings.root
    with suppress(ToolError, ValueError):  # no git, a repository of another user's, links
        repository = git.find_repository(root, session.settings.environment)
        if repository is not None and repository.top is not None:
            made = (folder for folder in (session.out_folder, session.cache_folder) if folder.is_relative_to(repository.top))
            return repository.state(root, *made)
    return ""


def signing_key_path(session: Session) -> Path:
    """The private key that package repositories are signed with, whether or not it is there yet."""
    named = session.manifest.signing_key
    return session.settings.root / named if named else session.settings.user_config / f"{DEFAULT_NAME}.rsa"


def _signing_key(session: Session) -> export.SigningKey:
    named = session.manifest.signing_key
    if named:
        path = session.settings.root / named
        key = load_key(path)
        warning = exposure(path, session.settings.environment)
        if warning:
            session.console.say(warning)
        return key
    key, made = user_key(session.settings.user_config)
    if made:
        session.console.say(f"made the key {session.settings.user_config}/{key.name}.rsa to sign package repositories with")
    return key


def _image_digest(record: Record, session: Session) -> str:
    index = next(output for output in record.outputs if output.path == f"{LAYOUT}/index.json")
    return str(json.loads(session.cas.read(index.digest))["manifests"][0]["digest"])


def _answer(rows: list[dict[str, Any]], result: Result, options: argparse.Namespace) -> str:
    if options.json:
        counts = {name: result.count(name) for name in ("ran", "spared", "shared", "hit", "failed", "skipped")}
        failures = [{"node": name, "error": error.render(), "exit_code": error.exit_code} for name, error in result.failures]
        nodes = {name: {"outcome": how, "reasons": list(result.reasons.get(name, ()))} for name, how in result.outcomes.items()}
        answer = {"actions": counts["ran"], "counts": counts, "targets": rows, "nodes": nodes, "failures": failures}
        return commands.printed([views.to_json(answer)])
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if "digest" in row:
            cells.append((row["target"], _near(row["path"]), row["digest"]))
        else:
            cells += [(row["target"], _near(package["path"]), "") for package in row["packages"]]
    if len(cells) > MOST_ROWS:
        return commands.printed([f"{len(cells)} outputs are up to date; `--json` lists them"])
    return commands.printed(views.table(cells))


def _near(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _summary(result: Result, took: float) -> str:
    ran, spared, cached = result.count("ran"), result.count("spared"), result.count("hit", "shared")
    if not ran and not spared and not result.failures:
        return "0 actions: everything is up to date"
    parts = [f"{ran} action{'s' if ran != 1 else ''} in {seconds(took)}"]
    parts += [f"{spared} spared"] if spared else []
    parts += [f"{cached} cached"] if cached else []
    parts += [f"{len(result.failures)} failed"] if result.failures else []
    parts += [f"{result.count('skipped')} not built"] if result.count("skipped") else []
    return ", ".join(parts)


def _failure(result: Result) -> BuildError:
    """The error to end with: its exit code is that of the first failure, whose message was shown when it happened."""
    name, first = result.failures[0]
    more = f", and {len(result.failures) - 1} more" if len(result.failures) > 1 else ""
    error = BuildError(f"{name} failed{more}")
    error.exit_code = first.exit_code
    return error


def run_image(options: argparse.Namespace, session: Session) -> int:
    """`bg run`."""
    variables = _pairs(options.env)
    images = [name for name in session.selection.nodes([options.target]) if session.graph.nodes[name].kind == "image"]
    if len(images) != 1:
        message = f"`{options.target}` is {len(images) or 'no'} image{'s' if images else ''}; run takes one"
        raise TargetError(message, hint="`bg list --kind image` shows the images")
    wanted, result = execute([session.graph.nodes[images[0]].label], options, session, local_runner)
    if result.failures:
        raise _failure(result)
    session.finish_sharing()  # the image may run for long
    with session.cas.scratch() as scratch:
        layout = scratch / "layout"
        for output in result.records[images[0]].outputs:
            if output.path.startswith(f"{LAYOUT}/"):
                target = scratch / output.path
                target.parent.mkdir(parents=True, exist_ok=True)
                # Not a hard link: that would change the blob's ctime, and with it the stat of the outputs that it is.
                target.symlink_to(session.cas.path(output.digest).absolute())
        config, layers = rootfs.read_image(layout, to_oci(to_apk(options.arch or platform.machine())))
        folders = rootfs.unpack(layers, scratch / "root")
        interactive = sys.stdin.isatty()
        launch = rootfs.Launch(tuple(options.arguments), variables, options.entrypoint, interactive)
        upkeep.after_build(session, wanted, result)
        command = rootfs.run_command(config, scratch / "root", folders, session.tools.bwrap, launch)
        return process.run_foreground(command, env={})


def _pairs(texts: Sequence[str]) -> Mapping[str, str]:
    for text in texts:
        if "=" not in text:
            message = f"`{text}` is not NAME=VALUE"
            raise UsageError(message, hint="-e NAME=VALUE sets a variable for the program")
    return dict(text.partition("=")[::2] for text in texts)
