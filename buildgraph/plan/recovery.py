"""What of the journal counts when records are made again from it: those that say something, and whose files are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildgraph.cache.cas import Cas
from buildgraph.keys.digest import Digest, new_hasher, parse_digest
from buildgraph.plan.inventory import FETCHED, digests_in, is_newer
from buildgraph.plan.record import deep_from_json, record_from_json
from buildgraph.plan.roots import WANTED, wanted_from_json
from buildgraph.plan.store import ACTION, DEEP, LAST, last_from_json

NO_RECORD = "of another form than records of their kind"
NO_FILES = "without their files"
NO_RESULT = "leading to no result"


class Judge:
    """Says why a record is left out, nothing where it counts. Actions are to be asked about before what leads to them.

    Records of kinds and forms that only a later bg knows count.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cas: Cas | None = None
        self._actions: set[Digest] = set()

    def __call__(self, kind: str, key: str, value: Mapping[str, Any]) -> str:
        """The reason. Raises CacheError where the system refuses."""
        if is_newer(value):
            return ""
        if kind == ACTION:
            return self._of_action(key, value)
        if kind == DEEP:
            deep = deep_from_json(value) if parse_digest(key) else None
            if deep is None:
                return NO_RECORD
            return "" if deep.action in self._actions else NO_RESULT
        if kind in FETCHED:
            digests = list(digests_in(value))
            return "" if digests and all(map(self._has, digests)) else NO_FILES
        known = {LAST: last_from_json, WANTED: wanted_from_json}.get(kind)
        return NO_RECORD if known is not None and known(value) is None else ""

    def _of_action(self, key: str, value: Mapping[str, Any]) -> str:
        action = parse_digest(key)
        record = record_from_json(value, action) if action else None
        if record is None:
            return NO_RECORD
        if not self._has(record.document) or not all(self._has(output.digest, output.size) for output in record.outputs):
            return NO_FILES
        self._actions.add(record.action)
        return ""

    def _has(self, digest: str, size: int | None = None) -> bool:
        self._cas = self._cas or Cas(self._root, new_hasher)
        return self._cas.has(digest, size=size)
