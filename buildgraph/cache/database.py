"""The database of the records: SQLite by way of diskcache, of which this is the only door, or read as it is.

diskcache itself would unpickle rows that say so (CVE-2025-69872) and read and remove files that rows name; `_inline_disk` does
neither. What changes a record changes the journal too, within one transaction.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from buildgraph.cache.journal import Journal, Noted
from buildgraph.cache.rows import MAX_BYTES
from buildgraph.errors import CacheError

if TYPE_CHECKING:
    import sqlite3

_OVERHEAD = 1 << 16  # what a row has besides its value
_MOST = MAX_BYTES + 9  # a value with its check
_BUSY_SECONDS = 60.0
# What `PRAGMA user_version` says of a database whose every change is in the journal; one that was just made says 0.
_JOURNALLED = 1
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


class Store(Protocol):
    """A database that is open. Methods raise `database_errors`, and those that write CacheError where it cannot be written."""

    identity: tuple[int, int] | None

    @property
    def is_journalled(self) -> bool:
        """Whether the journal has every change; not so where the database was just made, or by a bg that has no journal."""

    def read(self, names: Sequence[str]) -> dict[str, object]:
        """The values of those of some rows that may be records, by name."""

    def listing(self) -> list[tuple[str, float]]:
        """The names of the rows that may be records, and when they were stored (seconds since 1970), oldest first."""

    def rows(self) -> Iterator[Noted]:
        """These rows with their values."""

    def odd(self) -> list[str]:
        """The names of rows of another form; empty for those whose names are none."""

    def is_whole(self) -> bool:
        """Whether SQLite finds nothing wrong; reads all of it."""

    def write(self, rows: Mapping[str, bytes]) -> None:
        """Stores some rows: all of them or, where that fails, none."""

    def restore(self, rows: Iterable[Noted]) -> None:
        """Stores some rows as of when they were stored first, and writes the journal anew: from here on it has every change."""

    def remove(self, names: Sequence[str]) -> None:
        """Removes some rows: all that there are or, where that fails, none."""

    def remove_odd(self) -> int:
        """Removes the rows of another form, and says how many they were."""

    def close(self) -> None:
        """Ends this thread's connection."""


def open_database(folder: Path, journal: Journal) -> Store:
    """The database in a folder, made where it is missing, whose changes go into a journal too. Raises `database_errors`."""
    return _Database(folder, journal)


def open_to_read(folder: Path, refusal: CacheError) -> Store:
    """The database in a folder as it is, which refuses to be written. Raises `database_errors`."""
    return _Snapshot(folder, refusal)


def open_for_a_look(folder: Path, refusal: CacheError) -> Store:
    """The same while others may write it, without diskcache, which takes several times as long to load and to open."""
    return _Snapshot(folder, refusal, shared=True)


def refusing(folder: Path, refusal: CacheError) -> Store:
    """A database that could not be opened."""
    return _Refusing(refusal, identity_of(folder))


class _Database:
    """The database by way of diskcache, with a connection for each thread."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        from diskcache import Cache  # type: ignore[import-untyped]

        self._journal = journal
        self._cache = Cache(str(folder), timeout=_BUSY_SECONDS, disk=_inline_disk(), **_SETTINGS)
        self.identity = identity_of(folder)

    def read(self, names: Sequence[str]) -> dict[str, object]:
        _limit(self._cache._con)  # noqa: SLF001 - diskcache has no way to bound what one row may load, nor to read many
        return _values(self._cache._con, names)  # noqa: SLF001 - as above

    @property
    def is_journalled(self) -> bool:
        return _is_journalled(self._cache._con)  # noqa: SLF001 - as above

    def write(self, rows: Mapping[str, bytes]) -> None:
        now = time.time()
        with self._cache.transact():
            # As diskcache's own `set`, which takes several statements for each row.
            self._cache._con.executemany(_WRITE, [(name, now, now, value) for name, value in rows.items()])  # noqa: SLF001 - as above
            self._journal.note(rows, now, self.rows)

    def restore(self, rows: Iterable[Noted]) -> None:
        with self._cache.transact():
            # diskcache has no way to say when something was stored.
            self._cache._con.executemany(  # noqa: SLF001 - as above
                "INSERT OR REPLACE INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, 1, ?, ?, 1, ?)",
                ((row.name, row.stored_at, row.stored_at, row.value) for row in rows),
            )
            self._journal.renew(self.rows())
            self._cache._con.execute(f"PRAGMA user_version = {_JOURNALLED}")  # noqa: SLF001 - as above

    def rows(self) -> Iterator[Noted]:
        return _rows(self._cache._con)  # noqa: SLF001 - as above

    def is_whole(self) -> bool:
        return _is_whole(self._cache._con)  # noqa: SLF001 - as above

    def listing(self) -> list[tuple[str, float]]:
        _limit(self._cache._con)  # noqa: SLF001 - as above
        return _listing(self._cache._con)  # noqa: SLF001 - as above

    def odd(self) -> list[str]:
        return _odd(self._cache._con)  # noqa: SLF001 - as above

    def remove(self, names: Sequence[str]) -> None:
        with self._cache.transact():
            for name in names:
                self._cache.delete(name)
            self._journal.note(dict.fromkeys(names), time.time(), self.rows)

    def remove_odd(self) -> int:
        with self._cache.transact():
            return int(self._cache._con.execute(f"DELETE FROM Cache WHERE NOT ({_FORM})").rowcount)  # noqa: S608, SLF001 - a constant

    def close(self) -> None:
        self._journal.close()
        self._cache.close()


class _Refusing:
    """One that refuses everything."""

    is_journalled = True  # nobody can change that

    def __init__(self, refusal: CacheError, identity: tuple[int, int] | None) -> None:
        self._refusal = refusal
        self.identity = identity

    def read(self, names: Sequence[str]) -> dict[str, object]:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def write(self, rows: Mapping[str, bytes]) -> None:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def listing(self) -> list[tuple[str, float]]:
        raise self._refusal

    def odd(self) -> list[str]:
        raise self._refusal

    def is_whole(self) -> bool:
        raise self._refusal

    def rows(self) -> Iterator[Noted]:
        raise self._refusal

    def restore(self, rows: Iterable[Noted]) -> None:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def remove(self, names: Sequence[str]) -> None:  # noqa: ARG002 - the protocol's
        raise self._refusal

    def remove_odd(self) -> int:
        raise self._refusal

    def close(self) -> None:
        """Nothing is open."""


class _Snapshot(_Refusing):
    """The database as it is, never written; diskcache always writes when it opens one. ``shared``: others may write it."""

    def __init__(self, folder: Path, refusal: CacheError, *, shared: bool = False) -> None:
        import sqlite3

        # Without a journal beside it nobody writes, so SQLite need not make the files that it shares with writers.
        immutable = "" if shared or (folder / "cache.db-wal").exists() else "&immutable=1"
        super().__init__(refusal, identity_of(folder))
        self._connection = sqlite3.connect(
            f"file:{quote(str(folder / 'cache.db'))}?mode=ro{immutable}", uri=True, check_same_thread=False
        )
        try:
            _limit(self._connection)
            self._connection.execute("SELECT key, raw, mode, value FROM Cache LIMIT 1").fetchall()
            self.is_journalled = _is_journalled(self._connection)
        except sqlite3.Error:
            self._connection.close()
            raise

    def read(self, names: Sequence[str]) -> dict[str, object]:
        return _values(self._connection, names)

    def listing(self) -> list[tuple[str, float]]:
        return _listing(self._connection)

    def rows(self) -> Iterator[Noted]:
        return _rows(self._connection)

    def is_whole(self) -> bool:
        return _is_whole(self._connection)

    def odd(self) -> list[str]:
        return _odd(self._connection)

    def close(self) -> None:
        self._connection.close()


# The form of a row. No part of it can be unknown (NULL) to SQLite; a key that is no ASCII could not be read.
_FORM = (
    "raw IS 1 AND typeof(key) = 'text' AND key NOT GLOB '*[^!-~]*' AND mode IS 1 AND filename IS NULL AND typeof(value) = 'blob'"
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
    return [(name, _time(stored_at)) for name, stored_at in rows]


def _rows(connection: sqlite3.Connection) -> Iterator[Noted]:
    query = f"SELECT key, store_time, value FROM Cache WHERE {_FORM} AND length(value) <= {_MOST} ORDER BY rowid"  # noqa: S608 - constants
    for name, stored_at, value in connection.execute(query):
        yield Noted(name, _time(stored_at), value)


def _is_journalled(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] == _JOURNALLED)


def _is_whole(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")


def _time(stored: object) -> float:
    return float(stored) if isinstance(stored, int | float) else 0.0


def _odd(connection: sqlite3.Connection) -> list[str]:
    name = "CASE WHEN typeof(key) = 'text' AND key NOT GLOB '*[^!-~]*' THEN key ELSE '' END"
    return [str(found) for (found,) in connection.execute(f"SELECT {name} FROM Cache WHERE NOT ({_FORM})")]  # noqa: S608 - constants


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
def database_errors() -> tuple[type[Exception], ...]:
    """What diskcache and SQLite raise; the built-in ones where a database has strange settings."""
    import sqlite3

    from diskcache import Timeout

    return (sqlite3.Error, Timeout, OSError, MemoryError, TypeError, ValueError, AttributeError, LookupError, AssertionError)


def is_damage(error: BaseException) -> bool:
    """Whether the database is at fault, and not the system or another process."""
    import sqlite3

    from diskcache import Timeout

    if isinstance(error, (sqlite3.Error, Timeout)):
        return code_of(error) in _DAMAGE
    return not isinstance(error, (OSError, MemoryError))


def code_of(error: BaseException) -> int | None:
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


def identity_of(folder: Path) -> tuple[int, int] | None:
    """What tells the database in a folder from one that takes its place; None where there is none."""
    try:
        info = os.stat(f"{folder}/cache.db")  # asked before each use
    except OSError:
        return None
    return info.st_dev, info.st_ino
