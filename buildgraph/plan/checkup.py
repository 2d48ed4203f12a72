"""Whether a cache is sound, and mending it: what is wrong goes, everything else stays.

What goes costs at most an action that runs again. Blobs go to quarantine. Records of kinds and forms that only a later version of
bg knows are nobody's fault and are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import Literal

from buildgraph.cache.cas import Cas
from buildgraph.cache.records import Records
from buildgraph.keys.digest import digest_text
from buildgraph.plan.inventory import Inventory
from buildgraph.structs import Struct

Fault = Literal["blob", "record", "result", "fetched"]


class Finding(Struct, frozen=True):
    """Something wrong: a blob of other content than its name says, a record that is none, one whose blobs are not there.

    ``what`` names it; ``why`` says in a few words what is wrong; ``rows`` go to mend it.
    """

    fault: Fault
    what: str
    why: str
    rows: tuple[tuple[str, str], ...] = ()


def drawn(digests: Sequence[str], share: float, seed: str) -> list[str]:
    """A share of some digests, at least one if there are any: the same ones for the same ``seed``."""
    count = ceil(share * len(digests))
    return sorted(digests, key=lambda digest: digest_text(f"{seed} {digest}"))[:count]


def wrong_blobs(digests: Iterable[str], cas: Cas, note: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """The blobs among some whose content is wrong or cannot be read; ``note`` gets how many were looked at. Raises CacheError."""
    found = []
    for number, digest in enumerate(digests, 1):
        if not cas.is_sound(digest):
            found.append(Finding("blob", digest, "its content is not that of its name"))
        note(number)
    return found


def wrong_records(inventory: Inventory, records: Records, bad: Iterable[str], *, whole: bool) -> list[Finding]:
    """The records that are none, and those that name blobs which are not there, or are among the ``bad``.

    Results lack nothing by lacking files where caches elsewhere may have them; ``whole`` says that there are none. Raises
    CacheError.
    """
    found = [Finding("record", row.name, "it is no record of its kind") for row in inventory.wrong]
    if not records.is_whole():
        found.append(Finding("record", "the database", "SQLite finds it damaged"))
    odd = records.odd()
    if odd:
        found.append(Finding("record", f"{odd} row{'s' if odd > 1 else ''} of the database", "of another form than records have"))
    absent = set(bad)
    for held in inventory.held:
        if held.record is not None:
            lacking = [out.path for out in held.record.outputs if _lacks(out.digest, inventory, absent, out.size)]
            if lacking and (whole or any(out.digest in absent for out in held.record.outputs)):
                found.append(Finding("result", held.name, _lacking(lacking), held.rows))
        elif held.kind == "fetched" and any(_lacks(digest, inventory, absent) for digest in held.blobs):
            found.append(Finding("fetched", held.name, "its file is not there", held.rows))
    return found


def _lacks(digest: str, inventory: Inventory, bad: set[str], size: int | None = None) -> bool:
    blob = inventory.blobs.get(digest)
    return blob is None or digest in bad or size not in {None, blob.size}


def _lacking(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"it lacks {paths[0]}{more}"


def mend(findings: Iterable[Finding], inventory: Inventory, cas: Cas, records: Records) -> None:
    """Drops what was found; whoever does so must be alone in the cache. Raises CacheError."""
    rows: list[tuple[str, str]] = []
    for finding in findings:
        if finding.fault == "blob":
            cas.set_aside(finding.what)
        rows += finding.rows
    records.delete_many(rows)
    records.drop_unsound()
    records.delete_many((row.kind, row.key) for row in inventory.wrong if row.value is not None)
