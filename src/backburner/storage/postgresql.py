"""What is particular to PostgreSQL: how it is opened, and what its errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from backburner.errors import StorageUnavailable, WriteRefused

if TYPE_CHECKING:
    import psycopg

#: Bound how long a frozen instance can hold up others, the next leader first of all.
_SESSION = (
    "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=5s "
    "-c timezone=UTC -c default_transaction_isolation=read\\ committed"
)

#: SQLSTATEs after which the same transaction may succeed when it is run again at once: serialization, deadlock,
#: our own idle time-outs, a link that was found dead before the transaction began.
_RETRYABLE = frozenset({"40001", "40P01", "25P03", "57P05"})
#: Classes that mean "not now": connection, resources, operator intervention, and single states of others.
_AWAY_CLASSES = ("08", "53", "57")
_AWAY = frozenset({"55P03", "25006", *_RETRYABLE})


def engines(url: sa.URL, *, size: int, overflow: int, timeout: float, recycle: float) -> tuple[sa.Engine, sa.Engine]:
    """One for writing and one for reading, on one pool: readers and writers do not wait for each other here.

    Each statement of a reader is a transaction of its own, which sees what it would see in READ COMMITTED, without the
    two further round trips of BEGIN and ROLLBACK.
    """
    engine = sa.create_engine(
        normalized(url),
        pool_size=size,
        max_overflow=overflow,
        pool_timeout=timeout,
        pool_recycle=recycle,
        pool_pre_ping=True,
        hide_parameters=True,  # they may be secrets, and errors are logged
        isolation_level="READ COMMITTED",
        connect_args={"options": _SESSION, "application_name": "backburner", "connect_timeout": 5},
    )
    return engine, engine.execution_options(isolation_level="AUTOCOMMIT")


def begin_to_stream(tx: sa.Connection) -> None:
    """Let this reader have a transaction after all: a cursor that stays at the server lives in one."""
    if tx.dialect.name == "postgresql" and not tx.in_transaction():
        tx.execution_options(isolation_level="READ COMMITTED")


def _driver() -> ModuleType:
    """psycopg. A server on SQLite starts a tenth of a second sooner without it."""
    import psycopg  # noqa: PLC0415

    return psycopg


def normalized(url: sa.URL) -> sa.URL:
    """The URL with the driver that is used here, whichever spelling it came in."""
    return url.set(drivername="postgresql+psycopg")


def conninfo(url: sa.URL) -> str:
    """The URL as libpq takes it."""
    return normalized(url).set(drivername="postgresql").render_as_string(hide_password=False)


def insert_many(tx: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    """Insert the rows that are not there yet; return how many were."""
    save = tx.begin_nested()
    try:
        try:
            _copy(tx, table, columns, rows)
        except _driver().errors.UniqueViolation:
            save.rollback()
            return _insert_missing(tx, table, columns, rows)
    except _driver().Error as error:  # the driver is used directly here
        raise sa.exc.DBAPIError(None, None, error) from error
    save.commit()
    return len(rows)


def _copy(tx: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    connection = cast("psycopg.Connection[Any]", tx.connection.driver_connection)
    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)


def _insert_missing(tx: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    marks = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608  # own names
    connection = cast("psycopg.Connection[Any]", tx.connection.driver_connection)
    with connection.cursor() as cursor:
        cursor.executemany(statement.encode(), rows)
        return cursor.rowcount


def translate(error: sa.exc.DBAPIError) -> Exception:
    """The domain's error for a database error, or the error itself where it is a bug."""
    if _is_away(error):
        return StorageUnavailable(f"PostgreSQL: {_first_line(error)}")
    if isinstance(error.orig, _driver().IntegrityError | _driver().DataError):
        return WriteRefused(f"PostgreSQL: {_first_line(error)}")
    return error


def _is_away(error: sa.exc.DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return isinstance(error.orig, _driver().OperationalError | _driver().InterfaceError)
    return error.connection_invalidated or state in _AWAY or state.startswith(_AWAY_CLASSES)


def is_retryable(error: sa.exc.DBAPIError) -> bool:
    """Whether the whole transaction may simply be run again: it is certain that nothing of it was committed."""
    return getattr(error.orig, "sqlstate", None) in _RETRYABLE


def _first_line(error: sa.exc.DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0]
