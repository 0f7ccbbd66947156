"""The one database of a run: in memory, made from a template, and told of every commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import attrs
import msgspec
import sqlalchemy as sa

from backburner.api_keys import hash_key, shown_prefix
from backburner.clock import Clock
from backburner.errors import StorageUnavailable
from backburner.ids import Ids
from backburner.model import Term
from backburner.storage import accounts, migrate
from backburner.storage.database import Database, open_database
from backburner.storage.tables import metadata
from simulation.lives import Life

P = ParamSpec("P")
T = TypeVar("T")

#: An admin key of each organization. Constants, so that a seed is the same in every process.
KEYS = ("bb_sim_operator_key_of_the_first_organization", "bb_sim_key_of_the_second_organization")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

#: What a commit tells of: tables and their columns.
WATCHED = {
    "jobs": [
        "id", "public_id", "organization_id", "job_type", "status", "stop_reason", "stopping", "callback_url",
        "created_at", "completed_at", "items_total", "succeeded", "errored", "canceled", "expired", "input_tokens",
        "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "batches_total", "batches_ended",
        "batches_final", "version", "metadata", "retry_of", "agent", "handler", "result", "hold",
    ],
    "provider_batches": [
        "id", "public_id", "job_id", "round", "status", "first_idx", "last_idx", "item_count", "nonce", "epoch",
        "provider_batch_id", "succeeded", "errored", "canceled", "expired", "fill", "next_poll_at", "intent_at",
        "submitted_at", "ended_at", "error", "create_response",
    ],
    "results": ["job_id", "idx", "round", "batch_id", "status", "line"],
    "items": ["job_id", "idx", "custom_id"],
    "deliveries": ["id", "public_id", "job_id", "status", "number", "scheduled", "url", "body", "next_attempt_at"],
    "attempts": ["delivery_id", "number", "status_code", "error"],
    "conversations": ["job_id", "idx", "round", "state", "status", "stop_reason"],
    "tool_calls": ["job_id", "idx", "round", "position", "tool_use_id", "state", "attempt", "result", "is_error"],
    "work": ["job_id", "handler", "state", "attempt", "max_attempts", "token"],
    "leader_epoch": ["epoch", "term_id", "instance_id"],
}  # fmt: skip

Row = dict[str, Any]


@attrs.frozen(kw_only=True)
class Change:
    """One row that a commit has made, changed or removed. Values are as SQLite has them."""

    table: str
    old: Row | None
    new: Row | None


@attrs.frozen(kw_only=True)
class Commit:
    """A transaction that is in the database now."""

    verb: str
    term: Term | None  # that it claims to be written in
    life: Life | None
    changes: Sequence[Change]


@attrs.define(eq=False)
class Tag:
    """Whose transaction runs, and what it is called. Set from inside it; nothing else runs meanwhile."""

    verb: str = ""
    term: Term | None = None


@cache
def _shared() -> Database:
    """One engine serves all runs of a process, because statements are compiled once for each."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return attrs.evolve(open_database("sqlite://", random=Random(0), in_threads=False), writing=engine, reading=engine)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.executescript("PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;")


def _begin(connection: sa.Connection) -> None:
    # Past SQLAlchemy: a run has thousands of transactions, and nobody else is there to wait for.
    try:
        connection.connection.driver_connection.execute("BEGIN")  # type: ignore[union-attr]
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(str(error)) from error


@attrs.frozen
class _FirstOfJanuary:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@cache
def _template() -> sqlite3.Connection:
    """A database as a first start leaves it, with a second organization."""
    clock: Clock = _FirstOfJanuary()
    ids = Ids(clock, Random(0))
    database = open_database("sqlite://", random=Random(0), in_threads=False)
    migrate.prepare(database.writing, may_upgrade=False, now=clock.now(), sleep=lambda _: None)
    with database.writing.begin() as tx:
        accounts.bootstrap(
            tx, key_hash=hash_key(KEYS[0]), prefix=shown_prefix(KEYS[0]), webhook_secret=SECRET, now=clock.now(),
            ids=ids,
        )  # fmt: skip
        _second_organization(tx, clock, ids)
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    _raw(database).backup(copy)
    database.close()
    return copy


def _second_organization(tx: sa.Connection, clock: Clock, ids: Ids) -> None:
    tables = metadata.tables
    at = {"created_at": clock.now()}
    tx.execute(sa.insert(tables["organizations"]).values(public_id="org-second", name="second", **at))
    tx.execute(sa.insert(tables["users"]).values(public_id="user-second", organization_id=2, name="second", **at))
    tx.execute(sa.insert(tables["webhook_secrets"]).values(organization_id=2, secret=SECRET, **at))
    accounts.create_key(
        tx, user_id="user-second", key_hash=hash_key(KEYS[1]), prefix=shown_prefix(KEYS[1]), scopes=("write",),
        name="second", expires_at=None, within=None, now=clock.now(), ids=ids,
    )  # fmt: skip


def _raw(database: Database) -> sqlite3.Connection:
    connection = database.writing.raw_connection()
    try:
        return cast("sqlite3.Connection", connection.driver_connection)
    finally:
        connection.close()


@attrs.define(eq=False)
class Store:
    """What the instances of a run share. `on_commit` hears of every transaction that changed something."""

    on_commit: Callable[[Commit], None] = lambda _: None
    tag: Tag = attrs.field(factory=Tag)
    #: Held for the whole run: taking it from a pool for each transaction would take a tenth of the time.
    held: sa.Connection = attrs.field(init=False)
    _connection: sqlite3.Connection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._replace(_template())

    @property
    def database(self) -> Database:
        return _shared()

    @contextmanager
    def torn(self, after: int) -> Iterator[None]:
        """Within, a statement fails once, after so many instructions of SQLite's machine."""
        left = 1

        def interrupt() -> int:
            nonlocal left
            left -= 1
            return left == 0

        connection = self._connection
        connection.set_progress_handler(interrupt, after)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    def crash(self) -> None:
        """Keep exactly what is committed, as seen by SQLite's own backup."""
        kept = sqlite3.connect(":memory:")
        self._connection.backup(kept)
        self._replace(kept)
        kept.close()

    def _replace(self, content: sqlite3.Connection) -> None:
        _shared().writing.dispose()
        self.held = _shared().writing.connect()
        self._connection = _raw(_shared())
        content.backup(self._connection)
        self._connection.executescript(_watch_script())

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction; rolled back when something is raised, even by its commit."""
        try:
            with self.held.begin():
                yield self.held
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def reading(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call work(tx, …) in a transaction that changes nothing."""
        try:
            return work(self.held, *args, **kwargs)
        finally:
            self.held.rollback()

    def committed(self, life: Life | None) -> None:
        """To be called after each transaction that may have changed something."""
        rows = self._connection.execute("SELECT name, old, new FROM temp.changes ORDER BY rowid").fetchall()
        if rows:
            self._connection.execute("DELETE FROM temp.changes")
            changes = [Change(table=name, old=_row(name, old), new=_row(name, new)) for name, old, new in rows]
            self.on_commit(Commit(verb=self.tag.verb, term=self.tag.term, life=life, changes=changes))


def _row(table: str, text: str | None) -> Row | None:
    return None if text is None else dict(zip(WATCHED[table], msgspec.json.decode(text), strict=True))


@cache
def _watch_script() -> str:
    parts = ["CREATE TEMP TABLE changes (name TEXT, old TEXT, new TEXT);"]
    for table, columns in WATCHED.items():
        old, new = (f"json_array({', '.join(f'{side}.{column}' for column in columns)})" for side in ("OLD", "NEW"))
        for event, values in (("INSERT", f"NULL, {new}"), ("UPDATE", f"{old}, {new}"), ("DELETE", f"{old}, NULL")):
            parts.append(
                f"CREATE TEMP TRIGGER watch_{table}_{event} AFTER {event} ON main.{table} BEGIN "
                f"INSERT INTO changes VALUES ('{table}', {values}); END;"
            )
    return "\n".join(parts)
