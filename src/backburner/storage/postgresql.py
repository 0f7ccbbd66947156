"""What is particular to PostgreSQL: how it is opened, and what its errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from backburner.errors import StorageReadOnly, StorageUnavailable, StorageUnusable, WriteRefused
from backburner.storage.urls import libpq_parameters

if TYPE_CHECKING:
    import psycopg

    from backburner.storage.sessions import Session, Use

#: SQLSTATEs after which the same transaction may succeed when it is run again at once: serialization, deadlock,
#: our own idle time-outs, a link that was found dead before the transaction began.
_RETRYABLE = frozenset({"40001", "40P01", "25P03", "57P05"})
#: Classes that mean "not now": connection, resources, operator intervention, and single states of others.
_AWAY_CLASSES = ("08", "53", "57")
_AWAY = frozenset({"55P03", *_RETRYABLE})
_READ_ONLY = "25006"  # a transaction of a session that is older than the demotion of its server
_FULL = "53100"  # the disk

_CANNOT_WRITE = sa.text("SELECT current_setting('transaction_read_only') = 'on', pg_is_in_recovery()")


def engines(
    url: sa.URL, *, size: int, overflow: int, timeout: float, recycle: float, operating: bool = False
) -> tuple[sa.Engine, sa.Engine]:
    """One for writing and one for reading, on one pool: readers and writers do not wait for each other here.

    Each statement of a reader is a transaction of its own, which sees what it would see in READ COMMITTED, without the
    two further round trips of BEGIN and ROLLBACK. Behind a pooler it needs them, for its limits.
    """
    sessions = _sessions()
    pool = {"pool_size": size, "max_overflow": overflow, "pool_timeout": timeout, "pool_recycle": recycle}
    engine = _engine(url, sessions.OPERATING if operating else sessions.SERVING, pool_pre_ping=True, **pool)
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @sa.event.listens_for(reading, "engine_connect")
    def give_a_transaction(connection: sa.Connection) -> None:
        if _session(connection).pooled:
            connection.execution_options(isolation_level="READ COMMITTED")

    return engine, reading


def operating_engine(url: sa.URL) -> sa.Engine:
    """For migrations: one session at a time, without the limits of a server's."""
    return _engine(url, _sessions().OPERATING, poolclass=sa.NullPool)


def _engine(url: sa.URL, use: Use, **pool: Any) -> sa.Engine:
    opener = _sessions().Sessions(use=use)
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # they may be secrets, and errors are logged
        isolation_level="READ COMMITTED",
        **pool,
    )
    statement, values = _sessions().setting_statement(use.local_settings(libpq_parameters(url)))

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> Session:
        session: Session = opener.open(parameters)
        return session

    @sa.event.listens_for(engine, "begin")
    def set_limits(connection: sa.Connection) -> None:
        if _session(connection).pooled:
            connection.exec_driver_sql(statement, values)

    return engine


def _session(connection: sa.Connection) -> Session:
    return cast("Session", connection.connection.driver_connection)


def begin_to_stream(tx: sa.Connection) -> None:
    """Let this reader have a transaction after all: a cursor that stays at the server lives in one."""
    if tx.dialect.name == "postgresql" and not tx.in_transaction():
        tx.execution_options(isolation_level="READ COMMITTED")


def _driver() -> ModuleType:
    """psycopg. A server on SQLite starts a tenth of a second sooner without it."""
    import psycopg  # noqa: PLC0415

    return psycopg


def _sessions() -> ModuleType:
    from backburner.storage import sessions  # noqa: PLC0415  # it loads the driver

    return sessions


def conninfo(url: sa.URL) -> str:
    """The URL as libpq takes it."""
    text: str = _driver().conninfo.make_conninfo("", **libpq_parameters(url))
    return text


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


def write_refusal(tx: sa.Connection) -> str | None:
    """Why this session takes no writes, by what the server says of it."""
    read_only, in_recovery = tx.execute(_CANNOT_WRITE).one()
    if in_recovery:
        return "PostgreSQL: the server is a standby"
    return "PostgreSQL: the session is read-only" if read_only else None


def translate(error: sa.exc.DBAPIError) -> Exception:
    """The domain's error for a database error, or the error itself where it is a bug."""
    if isinstance(error.orig, _driver().errors.InsufficientPrivilege):
        return StorageUnusable(f"PostgreSQL: {_first_line(error)}.")
    state = getattr(error.orig, "sqlstate", None)
    if state in (_READ_ONLY, _FULL):
        return StorageReadOnly(f"PostgreSQL: {_first_line(error)}", by_session=state == _READ_ONLY)
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
