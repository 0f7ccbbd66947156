"""The one place that opens a transaction, leaves the Trio thread or sees a database error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Concatenate, NoReturn, ParamSpec, Protocol, TypeVar

import attrs
import sqlalchemy as sa
import trio

from backburner.backoff import Backoff
from backburner.changes import Changes
from backburner.errors import BackburnerError, StorageReadOnly, StorageUnavailable, Vanished, WriteRefused
from backburner.storage import postgresql, sqlite
from backburner.storage.notifications import CHANGED
from backburner.storage.urls import parse_url

P = ParamSpec("P")
T = TypeVar("T")

#: What a storage verb takes first.
Tx = sa.Connection

RETRIES = 5  # of a transaction that the database asks to run again
RETRY_WAITS = Backoff(first=0.02, cap=1.0, low=0.0)


class Offload(Protocol):
    """Runs blocking work for a task."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


async def inline(work: Callable[[], T], /) -> T:
    """On the Trio thread: for virtual clocks, which would jump over a thread at work."""
    await trio.lowlevel.checkpoint()
    return work()


@attrs.frozen
class Threads:
    """In worker threads of its own, so that other blocking work cannot starve the database's."""

    limiter: trio.CapacityLimiter

    async def __call__(self, work: Callable[[], T], /) -> T:
        # Never abandoned: a cancelled task waits, so that no transaction is half seen.
        return await trio.to_thread.run_sync(work, limiter=self.limiter)


@attrs.frozen(kw_only=True)
class PoolSettings:
    """The PostgreSQL connection pool. Times in seconds."""

    size: int = 25
    overflow: int = 10
    timeout: float = 30.0
    recycle: float = 1800.0


@attrs.define(eq=False)
class Writability:
    """Whether the database takes writes, as the last one has shown."""

    refusal: str | None = None  #: why not


@attrs.frozen(kw_only=True)
class Database:
    """A database and how its blocking calls are run.

    Raises StorageUnavailable when the database is away or busy, its subclass StorageReadOnly when it takes no writes
    (sessions that were open by then are not used again), WriteRefused for values that it does not take,
    and Vanished, a NotFound, when a row that had to be there is gone. Other database errors are bugs and pass.
    """

    url: sa.URL
    writing: sa.Engine
    reading: sa.Engine
    offload_write: Offload
    offload_read: Offload
    #: On SQLite every writer passes this gate, first come, first served. On PostgreSQL there is none.
    gate: trio.Lock | None
    random: Random
    #: Hears of every job that a transaction says it has changed, when that has committed.
    changes: Changes = attrs.field(factory=Changes)
    writability: Writability = attrs.field(factory=Writability)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    async def write(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call work(tx, …) and commit; any exception rolls back. Cancellation waits for the transaction's end."""
        for failures in range(1, RETRIES):
            try:
                return await self._write_once(work, *args, **kwargs)
            except RunAgain:
                await trio.sleep(RETRY_WAITS.wait(failures, self.random))
        try:
            return await self._write_once(work, *args, **kwargs)
        except RunAgain as error:
            raise StorageUnavailable(str(error)) from error

    async def read(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call work(tx, …), which changes nothing.

        On SQLite it sees one snapshot; on PostgreSQL each of its statements sees one.
        """

        def transaction() -> T:
            with translated(), self.reading.connect() as tx:
                return work(tx, *args, **kwargs)

        try:
            if self.reading is not self.writing or self.gate is None:
                return await self.offload_read(transaction)
            async with self.gate:  # one connection in all: an in-memory database
                return await self.offload_read(transaction)
        except RunAgain as error:
            raise StorageUnavailable(str(error)) from error

    async def _write_once(
        self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        changed: list[str] = []

        def transaction() -> T:
            with translated(), self.writing.begin() as tx:
                tx.info[CHANGED] = changed
                return work(tx, *args, **kwargs)

        refused: StorageReadOnly | None = None
        try:
            if self.gate is None:
                outcome = await self.offload_write(transaction)
            else:
                async with self.gate:
                    outcome = await self.offload_write(transaction)
        except StorageReadOnly as error:
            refused = error
        if refused is not None:
            await self._refused(refused)
        self.writability.refusal = None
        self.changes.changed(changed)
        return outcome

    async def _refused(self, error: StorageReadOnly) -> NoReturn:
        self.writability.refusal = str(error)
        if error.by_session:
            await self.forget_sessions()
        raise error

    async def forget_sessions(self) -> None:
        """Let whoever comes next have a new session: after a switch-over the old ones may be read-only for good."""
        if not self.is_sqlite:
            await self.offload_write(self.writing.dispose)

    def close(self) -> None:
        """Close every connection. On SQLite the last one folds the WAL into the file."""
        self.reading.dispose()
        self.writing.dispose()


class RunAgain(BackburnerError):
    """The database asks to run the transaction again; nothing of it was committed."""


@contextmanager
def translated() -> Iterator[None]:
    """Foreign errors become the domain's here and nowhere else."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _domain_error(error) from error
    except sa.exc.StatementError as error:  # a value that has no form in the database, before it was asked
        raise WriteRefused(str(error.orig)) from error
    except sa.exc.NoResultFound as error:  # what a decision rests on was deleted meanwhile
        raise Vanished from error
    except sa.exc.TimeoutError as error:
        raise StorageUnavailable("Every database connection is in use.") from error


def _domain_error(error: sa.exc.DBAPIError) -> Exception:
    if isinstance(error.orig, sqlite.Error):
        return sqlite.translate(error)
    return RunAgain(str(error.orig)) if postgresql.is_retryable(error) else postgresql.translate(error)


def open_database(
    url: str,
    *,
    random: Random,
    pool: PoolSettings | None = None,
    in_threads: bool = True,
    operating: bool = False,
) -> Database:
    """Make the engines; nothing is connected yet. With `in_threads=False` every call runs on the Trio thread.

    `operating` is for commands of a person: their statements may take as long as they take.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        writing, reading = sqlite.engines(parsed)
        gate = trio.Lock()
        write_threads, read_threads = 1, sqlite.READERS
    else:
        pool = pool or PoolSettings()
        writing, reading = postgresql.engines(
            parsed,
            size=pool.size,
            overflow=pool.overflow,
            timeout=pool.timeout,
            recycle=pool.recycle,
            operating=operating,
        )
        gate = None
        write_threads = read_threads = pool.size + pool.overflow
    return Database(
        url=parsed,
        writing=writing,
        reading=reading,
        offload_write=Threads(trio.CapacityLimiter(write_threads)) if in_threads else inline,
        offload_read=Threads(trio.CapacityLimiter(read_threads)) if in_threads else inline,
        gate=gate,
        random=random,
    )
