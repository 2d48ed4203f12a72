"""Records: small JSON objects by kind and key, in an SQLite database (`database`) with a journal beside it (`journal`).

`rows` has the form of a row; what has another form is a miss. A database that is lost or damaged is made again from the journal.

Losing a record costs one action that runs again, so reading never fails: whatever is wrong is a miss. Every committed record
outlives a kill; a power cut may cost the last ones and leaves the database whole (WAL with ``synchronous=NORMAL``).
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import methodcaller
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, TypeVar

from buildgraph.cache.database import (
    Store,
    code_of,
    database_errors,
    identity_of,
    is_damage,
    open_database,
    open_for_a_look,
    open_to_read,
    refusing,
)
from buildgraph.cache.files import fault, faults, open_lock, try_lock
from buildgraph.cache.journal import Journal, Noted
from buildgraph.cache.layout import prepare
from buildgraph.cache.rows import decode, encode, is_kind, is_sound, row_key, row_name
from buildgraph.errors import CacheError

_Result = TypeVar("_Result")

_LOCK_SECONDS = 60.0  # two hundred processes on two processors that are busy otherwise need a while
_AT_ONCE = 500  # rows of one question; SQLite before 3.32 takes 999
# Primary result codes of SQLite (https://www.sqlite.org/rescode.html): the system is at fault (PERM, READONLY, IOERR, FULL,
# CANTOPEN, AUTH) ...
_SYSTEM = {3: errno.EACCES, 8: errno.EROFS, 10: errno.EIO, 13: errno.ENOSPC, 14: errno.EACCES, 23: errno.EACCES}
# ... or another process (BUSY, LOCKED, PROTOCOL).
_BUSY = frozenset({5, 6, 15})

Judge = Callable[[str, str, Mapping[str, Any]], str]
"""Says of a record of the journal, by kind, key and content, why it is left out; nothing where it counts."""


class Row(NamedTuple):
    """A row as it stands in the database: its name, what that means, when it was stored (seconds since 1970), its bytes.

    ``value`` is None where there is no sound record in it.
    """

    name: str
    kind: str
    key: str
    stored_at: float
    size: int
    value: dict[str, Any] | None


class Records:
    """The records in ``root/records``; threads and processes share them. Nothing is opened before the first use.

    ``notice`` gets a sentence for people when a database was moved aside or made again; ``judge`` says what of the journal is
    left out then. Methods that read never fail; those that write raise CacheError where the system refuses. A kind is a word of
    lower-case letters, digits and dashes (ValueError).
    """

    def __init__(
        self, root: Path, *, notice: Callable[[str], None] = lambda _: None, judge: Judge = lambda _kind, _key, _value: ""
    ) -> None:
        self._root = root.absolute()
        self._folder = self._root / "records"
        self._journal = Journal(self._root / "records.journal")
        self._changed = self._root / "records.changed"
        self._notice = notice
        self._judge = judge
        self._is_mended = False
        self.made_again = 0  # records, from the journal
        self._store: Store | None = None
        self.looks_first = False  # whether a database is enough that is open for reading, until there is something to write
        self._looks = False  # whether the open one is such
        self._guard = RLock()
        self._ahead: dict[str, object] = {}

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The record, or None where there is no sound one."""
        name = row_name(kind, key)
        if name in self._ahead:
            raw = self._ahead.pop(name, None)
            record = decode(name, raw)
            if raw is None or record is not None:
                return record
        return self.get_many(kind, (key,)).get(key)

    def get_many(self, kind: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Those of the records that there are, by key."""
        names = {row_name(kind, key): key for key in keys}
        rows = self._read(list(names))
        found = {key: record for name, key in names.items() if (record := decode(name, rows.get(name))) is not None}
        damaged = [name for name, key in names.items() if key not in found and isinstance(rows.get(name), bytes)]
        if damaged and self._mend_once():
            rows = self._read(damaged)
            found |= {names[name]: record for name in damaged if (record := decode(name, rows.get(name))) is not None}
        return found

    def read_ahead(self, kind: str, keys: Iterable[str]) -> None:
        """Reads at once what `get` is about to be asked for one by one: what it then gives, once for each, is as of now."""
        names = [row_name(kind, key) for key in keys]
        found = self._read(names)
        self._ahead.update((name, found.get(name)) for name in names)

    def put(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Store a record in place of the one that was there. It must be JSON (TypeError, ValueError) of at most 16 MiB."""
        self.put_many(kind, {key: value})

    def put_many(self, kind: str, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Store some records in one transaction: all of them or, where that fails, none."""
        rows = {(name := row_name(kind, key)): encode(name, value) for key, value in values.items()}
        if rows:
            self._run(lambda store: store.write(rows))
            self._forget(rows)
            self._mark()

    def delete(self, kind: str, key: str) -> None:
        """Remove a record if there is one."""
        self.delete_many([(kind, key)])

    def delete_many(self, keys: Iterable[tuple[str, str]]) -> None:
        """Remove some records, given by kind and key, in one transaction: all that there are or, where that fails, none."""
        names = [row_name(kind, key) for kind, key in keys]
        if names:
            self._run(lambda store: store.remove(names))
            self._forget(names)
            self._mark()

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._ahead.pop(name, None)

    def rows(self) -> Iterator[Row]:
        """All rows, also those that are no sound records, oldest first, as of now. Raises CacheError."""
        for name, stored_at in self._run(lambda store: store.listing()):
            raw = self._read([name]).get(name)
            kind, _, _ = name.partition("/")
            key = row_key(name, f"{kind}/")
            value = decode(name, raw) if key is not None and is_kind(kind) else None
            yield Row(name, kind, key or "", stored_at, len(raw) if isinstance(raw, bytes) else 0, value)

    def drop_unsound(self) -> int:
        """Remove the rows that are no sound records, and return their number. Raises CacheError."""
        unsound = [row.name for row in self.rows() if row.value is None]
        if unsound:
            self._run(lambda store: store.remove(unsound))
        dropped = len(unsound) + self._run(lambda store: store.remove_odd())
        if dropped:
            self._mark()
        return dropped

    def odd(self) -> int:
        """How many rows have a form that `rows` does not even list: no text for a key, a file for a value. Raises CacheError."""
        return len(self._run(lambda store: store.odd()))

    def is_whole(self) -> bool:
        """Whether SQLite finds nothing wrong with the database, all of which is read. Raises CacheError."""
        return self._run(lambda store: store.is_whole())

    def differing(self) -> int:
        """How many records the journal lacks, has other than they are, or has although they are not there. Raises CacheError.

        That is so where it is damaged, and where a kill came between it and the database.
        """
        entries = self._journal.read()
        noted = {row.name: row.value for row in entries.rows.values()} if entries else {}

        def compare(store: Store) -> int:
            here = {row.name: noted.get(row.name) == row.value for row in store.rows() if is_sound(row.name, row.value)}
            return sum(not same for same in here.values()) + len(noted.keys() - here.keys())

        return self._run(compare)

    def renew_journal(self) -> None:
        """Write the journal anew, without what was removed or replaced. Raises CacheError."""
        self._run(lambda store: store.restore(()))

    def mend(self) -> None:
        """Make damaged records again from the journal, all where the database is damaged, and the journal from all that is there.

        Raises CacheError.
        """
        with self._guard:
            entries = self._journal.read()
            if entries and entries.rows and not self.is_whole():
                self._set_aside(self._current(looks=False))
            unsound = {row.name for row in self.rows() if row.value is None}
            unsound.update(self._run(lambda store: store.odd()))
            noted = entries.rows if entries else {}
            made, _ = self._judged(noted[name] for name in unsound & noted.keys())
            self._run(lambda store: store.restore(made))
            if made:
                self.made_again += len(made)
                self._mark()
                self._notice(f"records of the cache were damaged: {_told(len(made), {})}")

    def _mend_once(self) -> bool:
        """Whether a damaged record may be sound now; where one is, others may be, and one look at all of them is enough."""
        if self._is_mended:
            return False
        self._is_mended = True
        before = self.made_again
        with suppress(CacheError):
            self.mend()
        return self.made_again > before

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return self._journal.path

    @property
    def changed(self) -> Path:
        """A file whose times change whenever a record is stored or removed."""
        return self._changed

    def _mark(self) -> None:
        now = time.time_ns()  # the file system's own clock ticks too slowly to tell two changes apart
        with suppress(OSError):
            try:
                os.utime(self._changed, ns=(now, now))
            except FileNotFoundError:
                self._changed.touch()
                os.utime(self._changed, ns=(now, now))

    def iter(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """All sound records of a kind by key, oldest first, as of now; those removed meanwhile are left out."""
        prefix = row_name(kind, "")
        try:
            listing = self._run(lambda store: store.listing())
        except CacheError:
            return
        for name, _ in listing:
            key = row_key(name, prefix)
            record = self.get(kind, key) if key is not None else None
            if key is not None and record is not None:
                yield key, record

    def close(self) -> None:
        """Close this thread's connection (another thread's closes with the thread); the next use opens it again."""
        with self._guard:
            store, self._store = self._store, None
            if store is not None:
                with suppress(*database_errors()):
                    store.close()

    def _read(self, names: Sequence[str]) -> dict[str, object]:
        """The values of some rows, as far as they can be read."""
        found: dict[str, object] = {}
        for some in (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)):
            try:
                found |= self._run(methodcaller("read", some), looks=self.looks_first)
            except CacheError:
                if len(some) > 1:  # one of them may be at fault
                    for name in some:
                        found |= self._read([name])
        return found

    def _run(self, action: Callable[[Store], _Result], *, looks: bool = False) -> _Result:
        """Do one thing with the database; with a new one where the old one is damaged or gone. Raises CacheError.

        ``looks``: it only reads, for which a store is enough that is open for a look.
        """
        with self._guard:
            for last in (False, True):
                store = self._current(looks=looks)
                try:
                    return action(store)
                except database_errors() as error:
                    replaced = store.identity != identity_of(self._folder)
                    if last or not (replaced or is_damage(error)):
                        raise self._refusal(error) from error
                    self._set_aside(store)
            raise AssertionError  # the second round returns or raises

    def _current(self, *, looks: bool) -> Store:
        """The open database, unless somebody replaced or removed it: what went into that one would be lost."""
        store = self._store
        if store is None or store.identity != identity_of(self._folder) or (self._looks and not looks):
            self.close()
            store = self._open_for_a_look() if looks else None
            self._looks = store is not None
            store = self._store = store or self._open()
        return store

    def _open_for_a_look(self) -> Store | None:
        """The database for reading; None where it has to be made, or made good, first."""
        if not (self._folder / "cache.db").is_file():
            return None
        try:
            prepare(self._root)
            store = open_for_a_look(self._folder, CacheError("the records are open for a look"))
        except CacheError:
            return None
        except database_errors():
            return None
        if store.is_journalled:
            return store
        store.close()
        return None

    def _open(self) -> Store:
        """The database; where it cannot be opened a store that refuses, so that a fault that takes a while is met once."""
        try:
            return self._open_to_write()
        except CacheError as refusal:
            return refusing(self._folder, refusal)

    def _open_to_write(self) -> Store:
        prepare(self._root)
        if os.path.expandvars(self._folder) != str(self._folder):
            hint = "choose a cache folder without `$` in its name"
            raise CacheError(f"{self._root} would be taken for another folder", hint=hint)
        try:
            descriptor = open_lock(self._root / "records.lock")
        except OSError as error:
            return self._open_to_read(error)
        with self._locked(descriptor):
            return self._open_alone()

    def _open_alone(self, aside: Path | None = None) -> Store:
        """The database, made again where it is not there or no good; ``aside`` is where a damaged one went."""
        for last in (False, True):
            if not _is_sane(self._folder):
                aside = self._move_aside()
            try:
                database = open_database(self._folder, self._journal)
                if not database.is_journalled:
                    self._recover(database, aside)
            except database_errors() as error:
                if last or not is_damage(error):
                    return self._open_to_read(error)
                aside = self._move_aside()
            else:
                return database
        raise AssertionError  # the second round returns

    def _recover(self, database: Store, aside: Path | None) -> None:
        """Give a database that was just made the records of the journal; it keeps those that it has itself."""
        entries = self._journal.read()
        noted = entries.rows if entries else {}
        known = {name for name, _ in database.listing()}
        made, left_out = self._judged(noted[name] for name in noted.keys() - known)
        if entries and entries.damaged:
            left_out["damaged"] = entries.damaged
        database.restore(made)
        self.made_again += len(made)
        if noted or aside:
            self._mark()
        if noted or left_out or aside:
            what = (
                f"the records of the cache were damaged, and moved to {aside}" if aside else "records of the cache were missing"
            )
            self._notice(f"{what}: {_told(len(made), left_out)}")

    def _judged(self, rows: Iterable[Noted]) -> tuple[list[Noted], Counter[str]]:
        """Those of the journal's rows that count, oldest first, and how many are left out by reason."""
        made, left_out = [], Counter[str]()
        for row in sorted(rows):  # by name, so that kinds come in the order of their names
            kind, _, _ = row.name.partition("/")
            key = row_key(row.name, f"{kind}/")
            value = decode(row.name, row.value) if key is not None and is_kind(kind) else None
            reason = "no record" if key is None or value is None else self._judge(kind, key, value)
            if reason:
                left_out[reason] += 1
            else:
                made.append(row)
        return sorted(made, key=lambda row: row.stored_at), left_out

    def _open_to_read(self, cause: BaseException) -> Store:
        refusal = self._refusal(cause)
        try:
            return open_to_read(self._folder, refusal)
        except database_errors():
            raise refusal from cause

    def _set_aside(self, store: Store) -> None:
        """Drop a store that failed, and its files unless another process did so before."""
        self.close()
        with faults(f"repair the records in {self._root}"):
            descriptor = open_lock(self._root / "records.lock")
        with self._locked(descriptor):
            if store.identity == identity_of(self._folder):
                self._store, self._looks = self._open_alone(self._move_aside()), False

    def _move_aside(self) -> Path:
        number = 1
        while os.path.lexists(aside := self._root / f"records.corrupt-{number}"):
            number += 1
        with faults(f"move damaged records to {aside}"):
            self._folder.rename(aside)
        return aside

    @contextmanager
    def _locked(self, descriptor: int) -> Iterator[None]:
        """Be the only one who opens or replaces the database; closes the descriptor."""
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            with faults(f"lock the records in {self._root}"):
                while not try_lock(descriptor):
                    if time.monotonic() > deadline:
                        raise self._busy()
                    time.sleep(0.005)
            yield
        finally:
            os.close(descriptor)

    def _refusal(self, error: BaseException) -> CacheError:
        """The error to show where the database, or the system under it, refused."""
        if isinstance(error, OSError):
            return fault(error, f"use the records in {self._root}")
        code = code_of(error)
        if code in _BUSY:
            return self._busy()
        if code in _SYSTEM:
            number = _SYSTEM[code]
            return fault(OSError(number, os.strerror(number)), f"use the records in {self._root}")
        return CacheError(f"cannot use the records in {self._root}: {error}")

    def _busy(self) -> CacheError:
        return CacheError(
            f"cannot use the records in {self._root}: another process keeps them locked",
            hint="look for a bg that hangs or is stopped",
        )


def _is_sane(folder: Path) -> bool:
    """Whether the database is missing or a plain file; SQLite would wait for ever on a named pipe."""
    database = folder / "cache.db"
    if folder.is_dir():
        return database.is_file() or not os.path.lexists(database)
    return not os.path.lexists(folder)


def _told(made: int, left_out: Mapping[str, int]) -> str:
    """What came of a journal, in words."""
    result = f"{_counted(made)} made again from the journal" if made or left_out else "begun anew"
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    return f"{result}; left out: {reasons}" if reasons else result


def _counted(number: int) -> str:
    return f"{number} record{'' if number == 1 else 's'}"
