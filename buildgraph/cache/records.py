"""Records: small JSON objects by kind and key, in an SQLite database that diskcache keeps; the only door to diskcache.

`rows` has the form of a row; what has another form is a miss. diskcache itself would unpickle rows that say so
(CVE-2025-69872) and read and remove files that rows name; `_inline_disk` does neither.

Losing a record costs one action that runs again, so reading never fails: whatever is wrong is a miss. Every committed record
outlives a kill; a power cut may cost the last ones and leaves the database whole (WAL with ``synchronous=NORMAL``).
"""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from buildgraph.cache.files import fault, faults, open_lock, try_lock
from buildgraph.cache.layout import prepare
from buildgraph.cache.rows import MAX_BYTES, decode, encode, is_kind, row_key, row_name
from buildgraph.errors import CacheError

if TYPE_CHECKING:
    import sqlite3

_Result = TypeVar("_Result")

_OVERHEAD = 1 << 16  # what a row has besides its value
_LOCK_SECONDS = 60.0  # two hundred processes on two processors that are busy otherwise need a while
_BUSY_SECONDS = 60.0
_AT_ONCE = 500  # rows of one question; SQLite before 3.32 takes 999
_SETTINGS = {
    # Nothing is ever evicted here: the collector of the cache decides what goes.
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 1 << 62,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_journal_mode": "wal",
    "sqlite_synchronous": 1,
    # With a memory map, a file that somebody truncates would kill the process (SIGBUS) instead of giving an error.
    "sqlite_mmap_size": 0,
    "sqlite_cell_size_check": 1,
    "sqlite_trusted_schema": 0,
}
# Primary result codes of SQLite (https://www.sqlite.org/rescode.html): the file is at fault (ERROR: a table or column is
# missing) ...
_ERROR, _CORRUPT, _MISMATCH, _CONSTRAINT, _FORMAT, _NOTADB = 1, 11, 20, 19, 24, 26
_DAMAGE = frozenset({_ERROR, _CORRUPT, _MISMATCH, _CONSTRAINT, _FORMAT, _NOTADB})
# ... or the system is (PERM, READONLY, IOERR, FULL, CANTOPEN, AUTH), or another process (BUSY, LOCKED, PROTOCOL).
_SYSTEM = {3: errno.EACCES, 8: errno.EROFS, 10: errno.EIO, 13: errno.ENOSPC, 14: errno.EACCES, 23: errno.EACCES}
_BUSY = frozenset({5, 6, 15})


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

    ``notice`` gets a sentence for people when a damaged database was moved aside. Methods that read never fail; those that
    write raise CacheError where the system refuses. A kind is a word of lower-case letters, digits and dashes (ValueError).
    """

    def __init__(self, root: Path, *, notice: Callable[[str], None] = lambda _: None) -> None:
        self._root = root.absolute()
        self._folder = self._root / "records"
        self._notice = notice
        self._store: _Store | None = None
        self._guard = RLock()

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The record, or None where there is no sound one."""
        return self.get_many(kind, (key,)).get(key)

    def get_many(self, kind: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Those of the records that there are, by key."""
        names = {row_name(kind, key): key for key in keys}
        rows = self._read(list(names))
        return {key: record for name, key in names.items() if (record := decode(name, rows.get(name))) is not None}

    def put(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Store a record in place of the one that was there. It must be JSON (TypeError, ValueError) of at most 16 MiB."""
        self.put_many(kind, {key: value})

    def put_many(self, kind: str, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Store some records in one transaction: all of them or, where that fails, none."""
        rows = {(name := row_name(kind, key)): encode(name, value) for key, value in values.items()}
        if rows:
            self._run(lambda store: store.write(rows))
            self._mark()

    def delete(self, kind: str, key: str) -> None:
        """Remove a record if there is one."""
        self.delete_many([(kind, key)])

    def delete_many(self, keys: Iterable[tuple[str, str]]) -> None:
        """Remove some records, given by kind and key, in one transaction: all that there are or, where that fails, none."""
        names = [row_name(kind, key) for kind, key in keys]
        if names:
            self._run(lambda store: store.remove(names))
            self._mark()

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
        return self._run(lambda store: store.odd())

    @property
    def changed(self) -> Path:
        """A file whose times change whenever a record is stored or removed."""
        return self._root / "records.changed"

    def _mark(self) -> None:
        with suppress(OSError):
            self.changed.touch()
            now = time.time_ns()  # the file system's own clock ticks too slowly to tell two changes apart
            os.utime(self.changed, ns=(now, now))

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
                with suppress(*_database_errors()):
                    store.close()

    def _read(self, names: Sequence[str]) -> dict[str, object]:
        """The values of some rows, as far as they can be read."""
        found: dict[str, object] = {}
        for some in (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)):
            try:
                found |= self._run(lambda store, some=some: store.read(some))  # type: ignore[misc]  # mypy takes no default here
            except CacheError:
                if len(some) > 1:  # one of them may be at fault
                    for name in some:
                        found |= self._read([name])
        return found

    def _run(self, action: Callable[[_Store], _Result]) -> _Result:
        """Do one thing with the database; with a new one where the old one is damaged or gone. Raises CacheError."""
        with self._guard:
            for last in (False, True):
                store = self._current()
                try:
                    return action(store)
                except _database_errors() as error:
                    replaced = store.identity != _identity(self._folder)
                    if last or not (replaced or _is_damage(error)):
                        raise self._refusal(error) from error
                    self._set_aside(store)
            raise AssertionError  # the second round returns or raises

    def _current(self) -> _Store:
        """The open database, unless somebody replaced or removed it: what went into that one would be lost."""
        store = self._store
        if store is None or store.identity != _identity(self._folder):
            self.close()
            store = self._store = self._open()
        return store

    def _open(self) -> _Store:
        """The database; where it cannot be opened a store that refuses, so that a fault that takes a while is met once."""
        try:
            return self._open_to_write()
        except CacheError as refusal:
            return _Refusing(refusal, _identity(self._folder))

    def _open_to_write(self) -> _Store:
        prepare(self._root)
        if os.path.expandvars(self._folder) != str(self._folder):
            hint = "choose a cache folder without `$` in its name"
            raise CacheError(f"{self._root} would be taken for another folder", hint=hint)
        try:
            descriptor = open_lock(self._root / "records.lock")
        except OSError as error:
            return self._open_to_read(error)
        with self._locked(descriptor):
            for last in (False, True):
                if not _is_sane(self._folder):
                    self._move_aside()
                try:
                    return _Database(self._folder)
                except _database_errors() as error:
                    if last or not _is_damage(error):
                        return self._open_to_read(error)
                    self._move_aside()
        raise AssertionError  # the second round returns

    def _open_to_read(self, cause: BaseException) -> _Store:
        refusal = self._refusal(cause)
        try:
            return _Snapshot(self._folder, refusal)
        except _database_errors():
            raise refusal from cause

    def _set_aside(self, store: _Store) -> None:
        """Drop a store that failed, and its files unless another process did so before."""
        self.close()
        with faults(f"repair the records in {self._root}"):
            descriptor = open_lock(self._root / "records.lock")
        with self._locked(descriptor):
            if store.identity == _identity(self._folder):
                self._move_aside()

    def _move_aside(self) -> None:
        number = 1
        while os.path.lexists(aside := self._root / f"records.corrupt-{number}"):
            number += 1
        with faults(f"move damaged records to {aside}"):
            self._folder.rename(aside)
        self._notice(f"the records of the cache were damaged: moved to {aside}, begun anew")

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
        code = _code(error)
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


class _Store(Protocol):
    """A database that is open; methods raise `_database_errors`, and CacheError where it cannot be written."""

    identity: tuple[int, int] | None

    def read(self, names: Sequence[str]) -> dict[str, object]: ...

    def listing(self) -> list[tuple[str, float]]: ...

    def odd(self) -> int: ...

    def write(self, rows: Mapping[str, bytes]) -> None: ...

    def remove(self, names: Iterable[str]) -> None: ...

    def remove_odd(self) -> int: ...

    def close(self) -> None: ...


class _Database:
    """The database by way of diskcache, with a connection for each thread."""

    def __init__(self, folder: Path) -> None:
        from diskcache import Cache  # type: ignore[import-untyped]

        self._cache = Cache(str(folder), timeout=_BUSY_SECONDS, disk=_inline_disk(), **_SETTINGS)
        self.identity = _identity(folder)

    def read(self, names: Sequence[str]) -> dict[str, object]:
        _limit(self._cache._con)  # noqa: SLF001 - diskcache has no way to bound what one row may load, nor to read many
        return _values(self._cache._con, names)  # noqa: SLF001 - as above

    def write(self, rows: Mapping[str, bytes]) -> None:
        now = time.time()
        with self._cache.transact():
            # As diskcache's own `set`, which takes several statements for each row.
            self._cache._con.executemany(_WRITE, [(name, now, now, value) for name, value in rows.items()])  # noqa: SLF001

    def listing(self) -> list[tuple[str, float]]:
        _limit(self._cache._con)  # noqa: SLF001 - as above
        return _listing(self._cache._con)  # noqa: SLF001 - as above

    def odd(self) -> int:
        return _odd(self._cache._con)  # noqa: SLF001 - as above

    def remove(self, names: Iterable[str]) -> None:
        with self._cache.transact():
            for name in names:
                self._cache.delete(name)

    def remove_odd(self) -> int:
        with self._cache.transact():
            return int(self._cache._con.execute(f"DELETE FROM Cache WHERE NOT ({_FORM})").rowcount)  # noqa: S608, SLF001 - a constant

    def close(self) -> None:
        self._cache.close()


class _Refusing:
    """A database that could not be opened."""

    def __init__(self, refusal: CacheError, identity: tuple[int, int] | None) -> None:
        self._refusal = refusal
        self.identity = identity

    def read(self, names: Sequence[str]) -> dict[str, object]:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def write(self, rows: Mapping[str, bytes]) -> None:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def listing(self) -> list[tuple[str, float]]:
        raise self._refusal

    def odd(self) -> int:
        raise self._refusal

    def remove(self, names: Iterable[str]) -> None:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def remove_odd(self) -> int:
        raise self._refusal

    def close(self) -> None:
        """Nothing is open."""


class _Snapshot(_Refusing):
    """The database of a cache that cannot be written, read as it is; diskcache always writes when it opens one."""

    def __init__(self, folder: Path, refusal: CacheError) -> None:
        import sqlite3

        # Without a journal beside it nobody writes, so SQLite need not make the files that it shares with writers.
        immutable = "" if (folder / "cache.db-wal").exists() else "&immutable=1"
        super().__init__(refusal, _identity(folder))
        self._connection = sqlite3.connect(
            f"file:{quote(str(folder / 'cache.db'))}?mode=ro{immutable}", uri=True, check_same_thread=False
        )
        try:
            _limit(self._connection)
            self._connection.execute("SELECT key, raw, mode, value FROM Cache LIMIT 1").fetchall()
        except sqlite3.Error:
            self._connection.close()
            raise

    def read(self, names: Sequence[str]) -> dict[str, object]:
        return _values(self._connection, names)

    def listing(self) -> list[tuple[str, float]]:
        return _listing(self._connection)

    def odd(self) -> int:
        return _odd(self._connection)

    def close(self) -> None:
        self._connection.close()


# The form of a row. No part of it can be unknown (NULL) to SQLite; a key that is no ASCII could not be read.
_FORM = (
    "raw IS 1 AND typeof(key) = 'text' AND key NOT GLOB '*[^ -~]*' AND mode IS 1 AND filename IS NULL AND typeof(value) = 'blob'"
)


_WRITE = """
    INSERT INTO Cache (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value)
    VALUES (?, 1, ?, NULL, ?, 0, NULL, 0, 1, NULL, ?)
    ON CONFLICT (key, raw) DO UPDATE SET
        store_time = excluded.store_time, expire_time = NULL, access_time = excluded.access_time, access_count = 0, tag = NULL,
        size = 0, mode = 1, filename = NULL, value = excluded.value
"""


def _values(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, object]:
    """The values of those rows that there are, by name."""
    marks = ", ".join("?" * len(names))
    query = f"SELECT key, value FROM Cache WHERE key IN ({marks}) AND raw = 1 AND mode = 1 AND filename IS NULL"  # noqa: S608
    return dict(connection.execute(query, names))


def _listing(connection: sqlite3.Connection) -> list[tuple[str, float]]:
    """The names of rows and when they were stored, oldest first."""
    rows = connection.execute(f"SELECT key, store_time FROM Cache WHERE {_FORM} ORDER BY rowid")  # noqa: S608 - a constant
    return [(name, stored_at if isinstance(stored_at, int | float) else 0.0) for name, stored_at in rows]


def _odd(connection: sqlite3.Connection) -> int:
    return int(connection.execute(f"SELECT count(*) FROM Cache WHERE NOT ({_FORM})").fetchone()[0])  # noqa: S608 - a constant


@functools.cache
def _inline_disk() -> type:
    """A disk class for diskcache that takes text keys and byte values, keeps both in the database and trusts no row."""
    from diskcache import Disk, core

    class InlineDisk(Disk):  # type: ignore[misc]
        def put(self, key: str) -> tuple[str, bool]:
            return key, True

        def get(self, key: object, raw: object) -> str | None:
            return key if raw == 1 and isinstance(key, str) else None

        def store(self, value: bytes, read: bool, key: object = None) -> tuple[int, int, None, bytes]:  # noqa: FBT001, ARG002 - diskcache's signature
            return 0, core.MODE_RAW, None, value

        def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:  # noqa: FBT001, ARG002 - as above
            if mode == core.MODE_RAW and filename is None and isinstance(value, bytes):
                return value
            raise OSError(errno.EINVAL, "not a record")  # diskcache takes this for a miss

        def remove(self, file_path: object) -> None:
            """Remove nothing: no record has a file, and a row that names one would have bg remove it."""

    return InlineDisk


@functools.cache
def _database_errors() -> tuple[type[Exception], ...]:
    """What diskcache and SQLite raise; the built-in ones where a database has strange settings."""
    import sqlite3

    from diskcache import Timeout

    return (sqlite3.Error, Timeout, OSError, MemoryError, TypeError, ValueError, AttributeError, LookupError, AssertionError)


def _is_damage(error: BaseException) -> bool:
    """Whether the database is at fault, and not the system or another process."""
    import sqlite3

    from diskcache import Timeout

    if isinstance(error, (sqlite3.Error, Timeout)):
        return _code(error) in _DAMAGE
    return not isinstance(error, (OSError, MemoryError))


def _code(error: BaseException) -> int | None:
    """The primary result code of SQLite; None where a row, and not the database, could not be read.

    diskcache hides the error that came first behind its own Timeout, or behind a rollback that SQLite had already done.
    """
    import sqlite3

    while isinstance(error.__context__, sqlite3.Error):
        error = error.__context__
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _limit(connection: sqlite3.Connection) -> None:
    """Have SQLite refuse rows that are bigger than a record, before they are in memory."""
    import sqlite3

    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES + _OVERHEAD)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        info = os.stat(folder / "cache.db")
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _is_sane(folder: Path) -> bool:
    """Whether the database is missing or a plain file; SQLite would wait for ever on a named pipe."""
    database = folder / "cache.db"
    if folder.is_dir():
        return database.is_file() or not os.path.lexists(database)
    return not os.path.lexists(folder)
