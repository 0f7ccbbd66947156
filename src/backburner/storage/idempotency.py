"""What was answered to a POST, kept so that its repetition is answered alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs
import msgspec
import sqlalchemy as sa

from backburner.errors import Conflict
from backburner.storage.tables import idempotency_keys as table
from backburner.storage.upsert import insert_new

P = ParamSpec("P")
T = TypeVar("T")

KEPT = timedelta(hours=72)
#: A request under way that has not been touched for that long is taken to have died with its process.
HELD = timedelta(seconds=30)


@attrs.frozen(kw_only=True)
class Use:
    """Who uses which key where."""

    caller: str  #: the API key's public id
    route: str
    key: str


@attrs.frozen(kw_only=True)
class Answer:
    """An answer that may be stored: without secrets. `body` is JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Claim:
    """The key is the caller's until its request has ended."""

    id: int


@attrs.frozen
class Busy:
    """Another request with this key is under way."""


@attrs.frozen
class Answered:
    """A request with this key was answered before."""

    body_hash: str
    answer: Answer


@attrs.frozen
class Record:
    """What has to be written beside the outcome of a request."""

    claim: Claim
    body_hash: str  #: SHA-256 of query string and body


class _Stored(msgspec.Struct):
    headers: dict[str, str]
    body: msgspec.Raw


def claim(tx: sa.Connection, use: Use, *, now: datetime) -> Claim | Busy | Answered:
    """Take the key for a new request, unless it is taken."""
    row = tx.execute(sa.select(table).where(*_is(use))).first()
    if row is not None and not _is_over(row, now):
        return _found(row)
    if row is not None:
        # The condition again, for a request that is not dead and commits its answer at this moment.
        tx.execute(sa.delete(table).where(table.c.id == row.id, _over(now)))
    values = {**attrs.asdict(use), "body_hash": "", "created_at": now, "locked_until": now + HELD}
    made = insert_new(tx, table, values, unique=("caller", "route", "key"))
    return Busy() if made is None else Claim(made)


def _is(use: Use) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.caller == use.caller, table.c.route == use.route, table.c.key == use.key


def _is_over(row: sa.Row[Any], now: datetime) -> bool:
    """Whether the row says nothing any more: too old, or of a request that died."""
    died = row.status is None and row.locked_until <= now
    return bool(died or row.created_at <= now - KEPT)


def _over(now: datetime) -> sa.ColumnElement[bool]:
    """The same, for the database."""
    died = sa.and_(table.c.status.is_(None), table.c.locked_until <= now)
    return sa.or_(died, table.c.created_at <= now - KEPT)


def _found(row: sa.Row[Any]) -> Busy | Answered:
    if row.status is None:
        return Busy()
    stored = msgspec.json.decode(row.response, type=_Stored)
    return Answered(row.body_hash, Answer(status=row.status, body=bytes(stored.body), headers=stored.headers))


def touch(tx: sa.Connection, held: Claim, *, now: datetime) -> None:
    """The request is still under way."""
    tx.execute(_update(held).values(locked_until=now + HELD))


def release_all(tx: sa.Connection) -> None:
    """Nobody else has the database: every request that seems to be under way has died with an earlier process."""
    tx.execute(sa.delete(table).where(table.c.status.is_(None)))


def release(tx: sa.Connection, held: Claim) -> None:
    """The request came to nothing: the key may be used again. Does nothing after it was recorded."""
    tx.execute(sa.delete(table).where(table.c.id == held.id, table.c.status.is_(None)))


def _update(held: Claim) -> sa.Update:
    # A key that was taken over has a row with another id.
    return sa.update(table).where(table.c.id == held.id, table.c.status.is_(None))


def record(tx: sa.Connection, done: Record, answer: Answer) -> None:
    """Store the answer. Raises Conflict when the request was taken for dead meanwhile."""
    stored = _Stored(headers=dict(answer.headers), body=msgspec.Raw(answer.body))
    values = {"body_hash": done.body_hash, "status": answer.status, "response": msgspec.json.encode(stored).decode()}
    if tx.execute(_update(done.claim).values(**values, locked_until=None)).rowcount == 0:
        raise Conflict(
            "idempotency_key_lost", "The request took so long that its Idempotency-Key was given up; nothing was done."
        )


def recorded(
    tx: sa.Connection,
    done: Record | None,
    told: Callable[[T], Answer],
    work: Callable[Concatenate[sa.Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Call work(tx, …) and store, in its transaction, what is told of its outcome."""
    outcome = work(tx, *args, **kwargs)
    if done is not None:
        record(tx, done, told(outcome))
    return outcome


def sweep(tx: sa.Connection, *, now: datetime, most: int) -> int:
    """Delete up to `most` rows that are older than they are kept. Returns how many went."""
    old = sa.select(table.c.id).where(table.c.created_at <= now - KEPT).order_by(table.c.created_at).limit(most)
    # The age again, for one that is taken anew at this moment.
    still = table.c.created_at <= now - KEPT
    gone: int = tx.execute(sa.delete(table).where(table.c.id.in_(old.scalar_subquery()), still)).rowcount
    return gone
