"""Items of a job and their results, as they are shown: in the order of the input."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import msgspec
import sqlalchemy as sa

from backburner.model import Item, Job, ProviderBatch, SharedItem
from backburner.result_lines import own_result, usage_of
from backburner.states import BATCH_FINAL, ItemStatus
from backburner.storage.batches import batches_of_job
from backburner.storage.postgresql import begin_to_stream
from backburner.storage.tables import conversations, items, jobs, provider_batches, results, turns
from backburner.surrogates import without_lone_surrogates

ANY_SIZE = 2**62
ROWS_AHEAD = 250  # of PostgreSQL's cursor

#: What has become of an item: its own result, else what its closed provider batch says, else nothing yet.
_CLOSED = (
    sa.select(provider_batches.c.fill)
    .where(
        provider_batches.c.job_id == items.c.job_id,
        provider_batches.c.first_idx <= items.c.idx,
        provider_batches.c.last_idx >= items.c.idx,
        provider_batches.c.round == 1,
        provider_batches.c.fill.is_not(None),
    )
    .limit(1)
    .scalar_subquery()
)


@attrs.frozen
class _View:
    """Where items of a job stand: `source` has each of them once."""

    source: sa.FromClause
    status: sa.ColumnElement[Any]
    line: sa.ColumnElement[Any]  #: of what ended it
    round: sa.ColumnElement[Any]
    batch: sa.ColumnElement[Any]  #: key of the provider batch, where that is not told by the item's position
    ended: sa.ColumnElement[Any]  #: how it ended where no result says so …
    reason: sa.ColumnElement[Any]  #: … and why

    def columns(self) -> list[sa.ColumnElement[Any]]:
        """What `_own_line` needs."""
        return [self.batch.label("batch_id"), self.ended.label("ended"), self.reason.label("reason")]


_PLAIN = _View(
    items.outerjoin(results, sa.and_(results.c.job_id == items.c.job_id, results.c.idx == items.c.idx)),
    sa.func.coalesce(results.c.status, _CLOSED, ItemStatus.PROCESSING.value),
    results.c.line,
    results.c.round,
    sa.null(),
    sa.null(),
    sa.null(),
)
#: An agent's item ends with its conversation: as its last answer says, or without one.
_OF_AGENTS = _View(
    items.outerjoin(
        conversations, sa.and_(conversations.c.job_id == items.c.job_id, conversations.c.idx == items.c.idx)
    )
    .outerjoin(
        turns,
        sa.and_(turns.c.job_id == items.c.job_id, turns.c.idx == items.c.idx, turns.c.round == conversations.c.round),
    )
    .outerjoin(
        results,
        sa.and_(
            results.c.job_id == items.c.job_id,
            results.c.idx == items.c.idx,
            results.c.round == conversations.c.round,
            results.c.status == conversations.c.status,
        ),
    ),
    sa.case(
        (conversations.c.state.is_(None), sa.func.coalesce(_CLOSED, ItemStatus.PROCESSING.value)),
        else_=sa.func.coalesce(conversations.c.status, ItemStatus.PROCESSING.value),
    ),
    results.c.line,
    conversations.c.round,
    turns.c.batch_id,
    conversations.c.status,
    conversations.c.stop_reason,
)


def _view(job: Job) -> _View:
    return _PLAIN if job.agent is None else _OF_AGENTS


def list_items(
    tx: sa.Connection,
    job: Job,
    *,
    statuses: Sequence[ItemStatus],
    custom_id: str | None,
    limit: int,
    after: int | None,
    before: int | None,
    ascending: bool,
) -> tuple[list[Item], bool]:
    """Up to `limit` items by position, and whether there are more in the direction of travel.

    `after` and `before` are positions; `after` means further along in the chosen order. No statuses: any.
    """
    forward = ascending == (before is None)
    view = _view(job)
    query = (
        sa.select(items, view.line, view.round.label("round"), *view.columns())
        .select_from(view.source)
        .where(items.c.job_id == job.key)
    )
    if after is not None:
        query = query.where(items.c.idx > after if ascending else items.c.idx < after)
    if before is not None:
        query = query.where(items.c.idx < before if ascending else items.c.idx > before)
    if custom_id is not None:
        query = query.where(items.c.custom_id == custom_id)
    if statuses:
        query = query.where(view.status.in_([status.value for status in statuses]))
    query = query.order_by(items.c.idx if forward else items.c.idx.desc()).limit(limit + 1)
    rows = tx.execute(query).all()
    ranges = _Ranges.of(tx, job)
    page = [_item(row, ranges) for row in rows[:limit]]
    return (page if before is None else page[::-1]), len(rows) > limit


@attrs.frozen
class _Ranges:
    """Which provider batch an item belongs to."""

    batches: list[ProviderBatch]
    firsts: list[int]
    later: dict[int, ProviderBatch]  # those of later rounds, by key

    @classmethod
    def of(cls, tx: sa.Connection, job: Job) -> _Ranges:
        found = batches_of_job(tx, job.key)
        first_round = [batch for batch in found if batch.round == 1]
        later = {batch.key: batch for batch in found if batch.round > 1}
        return cls(first_round, [batch.first_index for batch in first_round], later)

    def batch_of(self, row: Any) -> ProviderBatch:
        return self.first_of(row.idx) if row.batch_id is None else self.later[row.batch_id]

    def first_of(self, index: int) -> ProviderBatch:
        """In the first round."""
        return self.batches[bisect_right(self.firsts, index) - 1]


def _item(row: Any, ranges: _Ranges) -> Item:
    batch = ranges.batch_of(row)
    result = row.line if row.line is not None else _own_line(row, batch)
    decoded = None if result is None else _shown(result)
    return Item(
        index=row.idx,
        custom_id=row.custom_id,
        agent_id=row.agent_id,
        status=ItemStatus.PROCESSING if decoded is None else ItemStatus(decoded.type),
        round=row.round or batch.round,
        provider_batch_id=batch.id,
        usage=None if result is None else usage_of(result),
        error=None if decoded is None else decoded.error,
    )


class _Shown(msgspec.Struct):
    type: str
    error: Any = None


_shown_decoder = msgspec.json.Decoder(_Shown)


def _shown(result: str) -> _Shown:
    # The provider's text may hold lone surrogates, which are kept verbatim and can be shown only replaced.
    try:
        return _shown_decoder.decode(result)
    except msgspec.DecodeError:
        return _shown_decoder.decode(without_lone_surrogates(result.encode()))


def _own_line(row: Any, batch: ProviderBatch) -> str | None:
    """The result of our own that an item has whose conversation ended without one, or whose batch was closed."""
    if row.ended is not None:
        return own_result(row.ended, row.reason, _problem(batch))
    return None if row.round is not None else _fill(batch)


def _fill(batch: ProviderBatch) -> str | None:
    """The result of our own that an item of a closed batch has."""
    if batch.status not in BATCH_FINAL or batch.fill is None:
        return None
    problem = _problem(batch)
    return own_result(batch.fill, problem.get("code"), problem)


def _problem(batch: ProviderBatch) -> dict[str, Any]:
    return batch.error if isinstance(batch.error, dict) else {}


def position_of(tx: sa.Connection, job_key: int, custom_id: str) -> int | None:
    """Where the item with this custom id stands in the input, from 0; None when the job has no such item."""
    query = sa.select(items.c.idx).where(items.c.job_id == job_key, items.c.custom_id == custom_id)
    return tx.execute(query).scalar()


def results_page(
    tx: sa.Connection, job: Job, *, statuses: Sequence[ItemStatus], after: int, limit: int, most_bytes: int = ANY_SIZE
) -> tuple[bytes, int | None]:
    """Results as NDJSON, from the item behind position `after` on: up to `limit` items' worth of lines.

    The line that exceeds `most_bytes` is the page's last. Returns the bytes (of the items that have a result, in
    order), and the position to go on after; None at the end.
    """
    view = _view(job)
    query = (
        sa.select(items.c.idx, items.c.custom_id, view.line)
        .select_from(view.source)
        .where(items.c.job_id == job.key, items.c.idx > after)
    )
    if job.agent is not None:  # an answer that tools follow is not the result
        query = query.add_columns(view.round.label("round"), *view.columns()).where(
            sa.or_(conversations.c.state.is_(None), conversations.c.status.is_not(None))
        )
    if statuses:
        query = query.where(view.status.in_([status.value for status in statuses]))
    query = query.order_by(items.c.idx).limit(limit).execution_options(stream_results=True, max_row_buffer=ROWS_AHEAD)
    begin_to_stream(tx)
    with tx.execute(query) as found:
        rows = _until_full(found, most_bytes)
    if not rows:
        return b"", None
    is_full = len(rows) == limit or _size(rows) > most_bytes
    filled = {} if all(row[2] is not None for row in rows) else _fills(tx, job, rows)
    lines = [
        f'{{"custom_id":"{custom_id}","result":{line or filled[index]}}}\n'
        for index, custom_id, line, *_ in rows
        if line is not None or filled.get(index) is not None
    ]
    return "".join(lines).encode(), (rows[-1][0] if is_full else None)


def _until_full(found: Iterable[Any], most_bytes: int) -> list[Any]:
    rows, size = [], 0
    for row in found:
        rows.append(row)
        size += len(row[2] or "")
        if size > most_bytes:
            break
    return rows


def _size(rows: Iterable[Any]) -> int:
    return sum(len(row[2] or "") for row in rows)


def _fills(tx: sa.Connection, job: Job, rows: Sequence[Any]) -> dict[int, str | None]:
    ranges = _Ranges.of(tx, job)
    missing = [row for row in rows if row[2] is None]
    if job.agent is None:
        return {row[0]: _fill(ranges.first_of(row[0])) for row in missing}
    return {row[0]: _own_line(row, ranges.batch_of(row)) for row in missing}


def requests_of(tx: sa.Connection, job_key: int) -> int:
    """The key of the job whose requests a batch job's items point into: its own, or that of the job it retries."""
    return int(tx.execute(sa.select(jobs.c.requests_of).where(jobs.c.id == job_key)).scalar_one())


def retryable(
    tx: sa.Connection,
    job: Job,
    *,
    statuses: Sequence[ItemStatus],
    custom_ids: Sequence[str] | None,
    after: int,
    limit: int,
) -> list[tuple[int, SharedItem]]:
    """Up to `limit` items behind position `after` that a retry takes: (position, item)."""
    view = _view(job)
    query = (
        sa.select(items.c.idx, items.c.custom_id, items.c.request_idx, items.c.size, items.c.agent_id)
        .select_from(view.source)
        .where(items.c.job_id == job.key, items.c.idx > after)
    )
    if custom_ids is None:
        query = query.where(view.status.in_([status.value for status in statuses]))
    else:
        query = query.where(items.c.custom_id.in_(list(custom_ids)))
    rows = tx.execute(query.order_by(items.c.idx).limit(limit))
    return [(row.idx, SharedItem(row.custom_id, row.request_idx, row.size, row.agent_id)) for row in rows]


def unknown_custom_ids(tx: sa.Connection, job_key: int, custom_ids: Sequence[str]) -> list[str]:
    """Those that the job does not have, in the given order."""
    found = sa.select(items.c.custom_id).where(items.c.job_id == job_key, items.c.custom_id.in_(list(custom_ids)))
    known = set(tx.execute(found).scalars())
    return [custom_id for custom_id in custom_ids if custom_id not in known]
