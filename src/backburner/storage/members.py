"""Which items a provider batch of a later round holds: those whose turns name it."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from backburner.states import ConversationState, ItemStatus
from backburner.storage.tables import conversations, provider_batches, turns


def holds(job_id: sa.ColumnElement[int], index: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a row of `provider_batches` holds this item."""
    named = sa.exists().where(
        turns.c.job_id == job_id,
        turns.c.idx == index,
        turns.c.round == provider_batches.c.round,
        turns.c.batch_id == provider_batches.c.id,
    )
    return sa.and_(
        provider_batches.c.job_id == job_id,
        provider_batches.c.first_idx <= index,
        provider_batches.c.last_idx >= index,
        sa.or_(provider_batches.c.round == 1, named),
    )


def members(tx: sa.Connection, batch_key: int) -> list[int]:
    """Positions of the items of a provider batch of a later round, in order."""
    found = sa.select(turns.c.idx).where(turns.c.batch_id == batch_key).order_by(turns.c.idx)
    return list(tx.execute(found).scalars())


def member_sizes(tx: sa.Connection, batch_key: int) -> list[tuple[int, int]]:
    """(position, bytes of the request) of each item of a provider batch of a later round, in order; about."""
    found = sa.select(turns.c.idx, turns.c.size).where(turns.c.batch_id == batch_key).order_by(turns.c.idx)
    return [(row.idx, row.size) for row in tx.execute(found)]


def hand_over(tx: sa.Connection, batch_key: int, second_key: int, first: int) -> None:
    """The items of a batch from this position on are another batch's."""
    tx.execute(sa.update(turns).where(turns.c.batch_id == batch_key, turns.c.idx >= first).values(batch_id=second_key))


def end_members(tx: sa.Connection, batch_key: int, *, status: ItemStatus, reason: str, now: datetime) -> None:
    """A batch of a later round ends without the provider: the conversations that it has no answer for end with it."""
    named = sa.exists().where(
        turns.c.batch_id == batch_key,
        turns.c.job_id == conversations.c.job_id,
        turns.c.idx == conversations.c.idx,
        turns.c.round == conversations.c.round,
    )
    job_key = sa.select(provider_batches.c.job_id).where(provider_batches.c.id == batch_key).scalar_subquery()
    tx.execute(
        sa.update(conversations)
        .where(conversations.c.job_id == job_key, conversations.c.state == ConversationState.ASKED, named)
        .values(state=ConversationState.DONE, status=status, stop_reason=reason, updated_at=now)
    )
