"""Dividing planned provider batches that the provider does not take whole, one function for each reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import sqlalchemy as sa

from backburner.division import (
    RESETS,
    WAIT_SECONDS,
    Await,
    Case,
    Cut,
    Division,
    Probe,
    RefuseAll,
    RefuseItem,
    Rejoin,
    SendAgain,
    Step,
    Try,
    after_refusal,
    after_reset,
    refusal_of,
)
from backburner.ids import Ids
from backburner.splitting import ENVELOPE_BYTES
from backburner.states import BatchStatus
from backburner.storage.batches import sizes_of_batch
from backburner.storage.members import hand_over
from backburner.storage.rows import batch_of, select_batches
from backburner.storage.submissions import drop_if_stopping, reject
from backburner.storage.tables import jobs, provider_batches

NOTHING_MADE = (BatchStatus.SUBMITTING, BatchStatus.UNKNOWN)
LATER = timedelta(seconds=WAIT_SECONDS)


def divide(tx: sa.Connection, key: int, *, now: datetime, ids: Ids) -> None:
    """Make two halves of a batch that is too large. Does nothing when it may be at the provider."""
    row = _row(tx, key, NOTHING_MADE)
    if row is not None:
        _halve(tx, row, now, ids)


def go_on(tx: sa.Connection, key: int, *, now: datetime, ids: Ids) -> None:
    """Make two halves of a planned batch that was refused already, now that nothing more is waited for."""
    row = _row(tx, key, (BatchStatus.PLANNED,))
    if row is not None and Division.of(row.division).words is not None:
        _halve(tx, row, now, ids)


def _halve(tx: sa.Connection, row: Any, now: datetime, ids: Ids) -> None:
    part = Division.of(row.division)
    first = Division(root=part.root, case=part.case)
    second = Division(root=part.root or (row.id if part.case else None))
    _cut(tx, row, (row.item_count // 2,), [first, second], now=now, ids=ids)


def wake(tx: sa.Connection, key: int, *, now: datetime) -> None:
    """The provider has taken a batch: parts that wait for what becomes of it go on."""
    row = tx.execute(sa.select(provider_batches).where(provider_batches.c.id == key)).first()
    if row is None or row.division is None:
        return
    part = Division.of(row.division)
    if part.rest is not None:
        _plan_at(tx, [part.rest], now)
    _wake_parts(tx, row.job_id, part.root or key, now)


def _wake_parts(tx: sa.Connection, job_key: int, root: int, now: datetime) -> None:
    """Unless an item is still to be sent alone: what becomes of it matters to all."""
    parts = _parts(tx, job_key, root)
    if not any(Division.of(part.division).probe is not None for part in parts):
        _plan_at(tx, [part.id for part in parts], now)


def _plan_at(tx: sa.Connection, keys: Sequence[int], due: datetime) -> None:
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id.in_(keys), provider_batches.c.status == BatchStatus.PLANNED)
        .values(next_poll_at=due)
    )


# --- refusals ----------------------------------------------------------------------------------------------


def refused(tx: sa.Connection, key: int, *, error: dict[str, Any], now: datetime, ids: Ids) -> Step | None:
    """The provider refused a batch, for this reason: it is divided until the items are alone that it does not take.

    Returns what followed; None when the batch had been settled otherwise.
    """
    row = _row(tx, key, NOTHING_MADE)
    if row is None:
        return None
    part = Division.of(row.division)
    root = part.root or key
    case, step = after_refusal(
        _case(tx, root) or Case(items=row.item_count),
        part,
        items=row.item_count,
        refusal=refusal_of(str(error.get("message")), row.item_count),
        other_is_open=_other_is_open(tx, row, part),
    )
    _keep(tx, root, case=case)
    _follow(tx, _row(tx, key, NOTHING_MADE), step, error, now=now, ids=ids)
    drop_if_stopping(tx, row.job_id, [key], now=now, ids=ids)
    return step


def _follow(tx: sa.Connection, row: Any, step: Step, error: dict[str, Any], *, now: datetime, ids: Ids) -> None:
    part = Division.of(row.division)
    root = part.root or row.id
    match step:
        case RefuseItem(is_last):
            reject(tx, row.id, error=error, now=now, ids=ids)
            if is_last:
                reject(tx, *_keys(tx, row, root), error=_not_isolated(error), now=now, ids=ids)
            _wake_parts(tx, row.job_id, root, now)
        case RefuseAll(is_isolated):
            said = error if is_isolated else _not_isolated(error)
            reject(tx, row.id, *_keys(tx, row, root), error=said, now=now, ids=ids)
        case Await():
            _plan(tx, row.id, msgspec.structs.replace(part, words=str(error.get("message"))), now + LATER)
        case Probe():
            for half in [row, *_refused_halves(tx, row, root)]:
                _cut_probe(tx, half, root, now, ids)
        case Cut(before, is_first):
            halves = (0, 1) if is_first else (None,) * (len(before) + 1)
            first = Division(root=part.root, case=part.case, half=halves[0])
            _cut(tx, row, before, [first, *(Division(root=root, half=half) for half in halves[1:])], now=now, ids=ids)


def _not_isolated(error: dict[str, Any]) -> dict[str, Any]:
    return {**error, "not_isolated": True}


def _cut_probe(tx: sa.Connection, row: Any, root: int, now: datetime, ids: Ids) -> None:
    """The last item of a half is sent alone, and the others wait for what becomes of it."""
    part = Division.of(row.division)
    parts = [Division(root=part.root, case=part.case), Division(root=root, probe=part.half)]
    rest, _ = _cut(tx, row, (row.item_count - 1,), parts, now=now, ids=ids)
    _plan_at(tx, [rest], now + LATER)


# --- uploads that break off --------------------------------------------------------------------------------


def interrupted(
    tx: sa.Connection, key: int, *, until: datetime, error: dict[str, Any], now: datetime, ids: Ids
) -> None:
    """An upload broke off, so nothing was made: it is sent again, or less of it is tried, not before `until`."""
    row = _row(tx, key, NOTHING_MADE)
    if row is None:
        return
    part = Division.of(row.division)
    match after_reset(part, items=row.item_count):
        case SendAgain(division):
            _plan(tx, key, division, until, error=error)
        case Try(items):
            trial = Division(root=part.root, case=part.case, half=part.half)
            rest = Division(root=part.root or (key if part.case else None), resets=RESETS - 1, trial=items)
            keys = _cut(tx, row, (items,), [trial, rest], now=now, ids=ids)
            _keep(tx, key, rest=keys[1])
            _plan_at(tx, keys[:1], until)
            _plan_at(tx, keys[1:], until + LATER)
        case Rejoin(rest, trial):
            whole = msgspec.structs.replace(part, rest=None, resets=RESETS - 1, trial=trial)
            _plan(tx, key, whole, until, error=error)
            _join(tx, row, rest, now)
    drop_if_stopping(tx, row.job_id, [key], now=now, ids=ids)


def _join(tx: sa.Connection, row: Any, rest_key: int, now: datetime) -> None:
    """Put a batch and the one behind it together again. That one stays by itself if it has been sent meanwhile."""
    rest = _row(tx, rest_key, (BatchStatus.PLANNED,))
    if rest is None or rest.attempt:
        return
    if row.round > 1:
        hand_over(tx, rest_key, row.id, rest.first_idx)
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == row.id)
        .values(
            last_idx=rest.last_idx,
            item_count=row.item_count + rest.item_count,
            byte_size=row.byte_size + rest.byte_size,
        )
    )
    tx.execute(sa.delete(provider_batches).where(provider_batches.c.id == rest_key))
    _count(tx, row.job_id, -1, now)


# --- shared ------------------------------------------------------------------------------------------------


def _row(tx: sa.Connection, key: int, allowed: Iterable[BatchStatus]) -> Any:
    """The batch, locked; None when it is not in an allowed status."""
    found = sa.select(provider_batches).where(provider_batches.c.id == key).with_for_update()
    row = tx.execute(found).first()
    return row if row is not None and row.status in allowed else None


_NOT_ANSWERED = (BatchStatus.PLANNED, BatchStatus.QUARANTINED, *NOTHING_MADE)


def _parts(
    tx: sa.Connection, job_key: int, root: int, statuses: Sequence[BatchStatus] = (BatchStatus.PLANNED,)
) -> list[Any]:
    """The parts of a batch that was refused, as far as they are planned (or in other statuses)."""
    found = sa.select(provider_batches).where(
        provider_batches.c.job_id == job_key,
        provider_batches.c.division.is_not(None),
        provider_batches.c.status.in_(statuses),
    )
    rows = tx.execute(found.order_by(provider_batches.c.id)).all()
    return [row for row in rows if row.id == root or Division.of(row.division).root == root]


def _keys(tx: sa.Connection, row: Any, root: int) -> list[int]:
    """The other parts that are planned."""
    return [other.id for other in _parts(tx, row.job_id, root) if other.id != row.id]


def _refused_halves(tx: sa.Connection, row: Any, root: int) -> list[Any]:
    """The other half of the first cut, if it waits for this one."""
    return [other for other in _parts(tx, row.job_id, root) if Division.of(other.division).words is not None]


def _other_is_open(tx: sa.Connection, row: Any, part: Division) -> bool:
    """Whether the provider has not said yet what it makes of the other half of the first cut."""
    if part.half is None:
        return False
    others = _parts(tx, row.job_id, part.root or row.id, statuses=_NOT_ANSWERED)
    halves = [Division.of(other.division) for other in others if other.id != row.id]
    return any(other.half == 1 - part.half and other.words is None for other in halves)


def _case(tx: sa.Connection, root: int) -> Case | None:
    kept = tx.execute(sa.select(provider_batches.c.division).where(provider_batches.c.id == root)).scalar()
    return Division.of(kept).case


def _keep(tx: sa.Connection, key: int, **changes: Any) -> None:
    """Change what is kept of one part."""
    kept = tx.execute(sa.select(provider_batches.c.division).where(provider_batches.c.id == key)).scalar()
    division = msgspec.structs.replace(Division.of(kept), **changes)
    tx.execute(sa.update(provider_batches).where(provider_batches.c.id == key).values(division=division.as_json()))


def _plan(tx: sa.Connection, key: int, division: Division, due: datetime, **values: Any) -> None:
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key)
        .values(status=BatchStatus.PLANNED, division=division.as_json(), next_poll_at=due, **values)
    )


def _cut(
    tx: sa.Connection, row: Any, before: Sequence[int], divisions: Sequence[Division], *, now: datetime, ids: Ids
) -> list[int]:
    """Make of a batch several, planned now, that begin at its first item and at these positions. Returns the keys."""
    sizes = sizes_of_batch(tx, batch_of(tx.execute(select_batches().where(provider_batches.c.id == row.id)).one()))
    bounds = [0, *before, len(sizes)]
    chunks = [sizes[start:end] for start, end in pairwise(bounds)]
    lasts = [*(chunk[0][0] - 1 for chunk in chunks[1:]), row.last_idx]
    keys = [row.id]
    _plan(tx, row.id, divisions[0], now, **_extent(chunks[0], lasts[0]))
    for chunk, last, division in zip(chunks[1:], lasts[1:], divisions[1:], strict=True):
        keys.append(_insert(tx, row, division, now, ids, first_idx=chunk[0][0], **_extent(chunk, last)))
    if row.round > 1:
        for key, chunk in zip(reversed(keys[1:]), reversed(chunks[1:]), strict=True):
            hand_over(tx, row.id, key, chunk[0][0])
    _count(tx, row.job_id, len(keys) - 1, now)
    drop_if_stopping(tx, row.job_id, keys, now=now, ids=ids)
    return keys


def _extent(chunk: Sequence[tuple[int, int]], last: int) -> dict[str, int]:
    size = sum(size for _, size in chunk) + ENVELOPE_BYTES * len(chunk)
    return {"last_idx": last, "item_count": len(chunk), "byte_size": size}


def _insert(tx: sa.Connection, row: Any, division: Division, now: datetime, ids: Ids, **extent: int) -> int:
    copied = {name: getattr(row, name) for name in ("job_id", "organization_id", "provider", "round", "created_at")}
    values = {
        **copied,
        **extent,
        "public_id": ids.new("batch"),
        "nonce": ids.nonce(),
        "status": BatchStatus.PLANNED,
        "division": division.as_json(),
        "next_poll_at": now,
    }
    return int(tx.execute(sa.insert(provider_batches).values(values).returning(provider_batches.c.id)).scalar_one())


def _count(tx: sa.Connection, job_key: int, more: int, now: datetime) -> None:
    tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_key)
        .values(batches_total=jobs.c.batches_total + more, updated_at=now, version=jobs.c.version + 1)
    )
