"""Later rounds: when conversations are asked on, and in which provider batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.agent_options import AgentOptions
from backburner.ids import Ids
from backburner.splitting import default_chunk_items, split
from backburner.states import BatchStatus, ConversationState
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.tables import (
    conversations,
    is_unfinished,
    items,
    jobs,
    provider_batches,
    results,
    tool_calls,
    turns,
)

IN_ONE_QUERY = 500
RETURN_BYTES = 160  # of a tool's result in a request, around what the tool said
UNSETTLED = (ConversationState.ANSWERED, ConversationState.TOOLS)


def make_turns(tx: sa.Connection, job_key: int, agent: AgentOptions, ready: Sequence[int]) -> None:
    """These conversations of a job have become ready: their next requests are to be planned."""
    for start in range(0, len(ready), IN_ONE_QUERY):
        chosen = _next_turns(job_key, agent.added_bytes(), ready[start : start + IN_ONE_QUERY])
        tx.execute(sa.insert(turns).from_select(["job_id", "idx", "round", "size"], chosen))


def _next_turns(job_key: int, added: int, ready: Sequence[int]) -> sa.Select[Any]:
    """Each request is as long as the one before, the answer, and what the tools gave, about."""
    before, earlier = turns.alias("before"), conversations.c.round - 1
    gave = (
        sa.select(sa.func.sum(sa.func.length(tool_calls.c.result) + RETURN_BYTES))
        .where(
            tool_calls.c.job_id == conversations.c.job_id,
            tool_calls.c.idx == conversations.c.idx,
            tool_calls.c.round == earlier,
        )
        .scalar_subquery()
    )

    def of_item(table: Any) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.job_id == conversations.c.job_id, table.c.idx == conversations.c.idx)

    source = (
        conversations.join(items, of_item(items))
        .join(results, sa.and_(of_item(results), results.c.round == earlier))
        .outerjoin(before, sa.and_(of_item(before), before.c.round == earlier))
    )
    size = sa.func.coalesce(before.c.size, items.c.size + added) + sa.func.length(results.c.line)
    return (
        sa.select(
            conversations.c.job_id,
            conversations.c.idx,
            conversations.c.round,
            size + sa.func.coalesce(gave, 0),
        )
        .select_from(source)
        .where(
            conversations.c.job_id == job_key,
            conversations.c.idx.in_(ready),
            conversations.c.state == ConversationState.READY,
        )
    )


# --- planning ----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Ready:
    """A job that has conversations which wait to be asked on."""

    job_key: int
    since: datetime  #: the one that has waited longest
    count: int
    is_last: bool  #: nothing of the job is about to join them


def ready_jobs(tx: sa.Connection) -> list[Ready]:
    """Jobs with conversations to be asked on, those that have waited longest first."""
    return [
        Ready(job_key=row.job_id, since=row.since, count=row.number, is_last=not row.more)
        for row in tx.execute(_READY_JOBS)
    ]


def _ready_jobs() -> sa.Select[Any]:
    waiting = (
        sa.select(
            conversations.c.job_id,
            sa.func.min(conversations.c.updated_at).label("since"),
            sa.func.count().label("number"),
        )
        .where(is_unfinished(), conversations.c.state == ConversationState.READY)
        .group_by(conversations.c.job_id)
        .subquery()
    )
    others = sa.exists().where(
        is_unfinished(),
        conversations.c.job_id == waiting.c.job_id,
        conversations.c.state.in_([state.value for state in UNSETTLED]),
    )
    arriving = sa.exists().where(
        provider_batches.c.job_id == waiting.c.job_id, provider_batches.c.status == BatchStatus.ENDED
    )
    return sa.select(waiting, sa.or_(others, arriving).label("more")).order_by(waiting.c.since)


_READY_JOBS = _ready_jobs()


def plan_round(tx: sa.Connection, job_key: int, *, chunk_bytes: int, now: datetime, ids: Ids) -> int:
    """Plan provider batches for a job's conversations that are ready. Returns how many batches."""
    job = tx.execute(
        sa.select(jobs.c.public_id, jobs.c.organization_id, jobs.c.provider, jobs.c.items_total, jobs.c.stopping)
        .where(jobs.c.id == job_key)
        .with_for_update()
    ).first()
    if job is None or job.stopping is not None:
        return 0
    chunks = list(_chunks(_ready(tx, job_key), job.items_total, chunk_bytes))
    for members, size in chunks:
        made = tx.execute(
            sa.insert(provider_batches)
            .values(
                public_id=ids.new("batch"),
                job_id=job_key,
                organization_id=job.organization_id,
                provider=job.provider,
                round=members[0].round,
                status=BatchStatus.PLANNED,
                first_idx=members[0].idx,
                last_idx=members[-1].idx,
                item_count=len(members),
                byte_size=size,
                nonce=ids.nonce(),
                created_at=now,
                next_poll_at=now,
            )
            .returning(provider_batches.c.id)
        )
        _put_in(tx, made.scalar_one(), job_key, members, now)
    _count_planned(tx, job_key, len(chunks), now)
    announce_jobs(tx, [job.public_id])
    announce_work(tx)
    return len(chunks)


def _chunks(ready: Sequence[Any], items_total: int, chunk_bytes: int) -> Iterator[tuple[list[Any], int]]:
    """Turns that travel together, and the size of their requests; each chunk is of one round."""
    for _, turns_of_round in groupby(ready, key=lambda row: row.round):
        rows = list(turns_of_round)
        sizes = [row.size for row in rows]
        for chunk in split(sizes, most_items=default_chunk_items(items_total), most_bytes=chunk_bytes):
            yield rows[chunk.first : chunk.last + 1], chunk.byte_size


def _ready(tx: sa.Connection, job_key: int) -> Sequence[Any]:
    found = (
        sa.select(turns.c.idx, turns.c.round, turns.c.size)
        .select_from(
            conversations.join(
                turns,
                sa.and_(
                    turns.c.job_id == conversations.c.job_id,
                    turns.c.idx == conversations.c.idx,
                    turns.c.round == conversations.c.round,
                ),
            )
        )
        .where(is_unfinished(), conversations.c.job_id == job_key, conversations.c.state == ConversationState.READY)
    )
    return tx.execute(found.order_by(turns.c.round, turns.c.idx)).all()


def _put_in(tx: sa.Connection, batch_key: int, job_key: int, members: Sequence[Any], now: datetime) -> None:
    for start in range(0, len(members), IN_ONE_QUERY):
        some = [row.idx for row in members[start : start + IN_ONE_QUERY]]
        of_round = sa.and_(turns.c.job_id == job_key, turns.c.round == members[0].round)
        tx.execute(sa.update(turns).where(of_round, turns.c.idx.in_(some)).values(batch_id=batch_key))
        tx.execute(
            sa.update(conversations)
            .where(conversations.c.job_id == job_key, conversations.c.idx.in_(some))
            .values(state=ConversationState.ASKED, updated_at=now)
        )


def _count_planned(tx: sa.Connection, job_key: int, planned: int, now: datetime) -> None:
    tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_key)
        .values(batches_total=jobs.c.batches_total + planned, updated_at=now, version=jobs.c.version + 1)
    )
