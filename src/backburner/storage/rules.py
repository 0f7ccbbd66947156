"""What must hold between the rows of any database, at any moment, as queries for what violates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from backburner.states import BATCH_FINAL, TERMINAL, BatchStatus
from backburner.storage.agent_rules import AGENT_RULES
from backburner.storage.file_rules import FILE_RULES
from backburner.storage.tables import (
    attempts,
    deliveries,
    items,
    jobs,
    leader_epoch,
    leader_heartbeat,
    leader_history,
    loose_keys,
    provider_batches,
    results,
)
from backburner.storage.work_rules import WORK_RULES

_COUNTED = (
    provider_batches.c.succeeded + provider_batches.c.errored + provider_batches.c.canceled + provider_batches.c.expired
)


def _terminal_without_end() -> sa.Select[Any]:
    is_terminal = jobs.c.status.in_(list(TERMINAL))
    return sa.select(jobs.c.public_id).where(is_terminal != jobs.c.completed_at.is_not(None))


def _unfinished_terminal() -> sa.Select[Any]:
    done = jobs.c.succeeded + jobs.c.errored + jobs.c.canceled + jobs.c.expired
    return sa.select(jobs.c.public_id).where(jobs.c.status.in_(list(TERMINAL)), done != jobs.c.items_total)


def _ended_before_its_batches() -> sa.Select[Any]:
    is_open = sa.select(provider_batches.c.id).where(
        provider_batches.c.job_id == jobs.c.id, provider_batches.c.status.not_in(list(BATCH_FINAL))
    )
    return sa.select(jobs.c.public_id).where(jobs.c.status.in_(list(TERMINAL)), is_open.exists())


def _miscounted_items() -> sa.Select[Any]:
    there = sa.select(sa.func.count()).where(items.c.job_id == jobs.c.id).scalar_subquery()
    return sa.select(jobs.c.public_id).where(jobs.c.items_total.is_not(None), there != jobs.c.items_total)


def _miscounted_results() -> sa.Select[Any]:
    # By job, so that the primary key finds them; there is no index on batch_id.
    stored = sa.select(sa.func.count()).where(
        results.c.job_id == provider_batches.c.job_id,
        results.c.idx.between(provider_batches.c.first_idx, provider_batches.c.last_idx),
        results.c.batch_id == provider_batches.c.id,
    )
    return sa.select(provider_batches.c.public_id).where(stored.scalar_subquery() != _COUNTED)


def _incomplete_ingested() -> sa.Select[Any]:
    return sa.select(provider_batches.c.public_id).where(
        provider_batches.c.status == BatchStatus.INGESTED, provider_batches.c.item_count != _COUNTED
    )


def _forgotten_batches() -> sa.Select[Any]:
    return sa.select(provider_batches.c.public_id).where(
        provider_batches.c.status.not_in(list(BATCH_FINAL)), provider_batches.c.next_poll_at.is_(None)
    )


def _undelivered() -> sa.Select[Any]:
    owed = sa.select(deliveries.c.id).where(deliveries.c.job_id == jobs.c.id).exists()
    return sa.select(jobs.c.public_id).where(
        jobs.c.status.in_(list(TERMINAL)), jobs.c.callback_url.is_not(None), sa.not_(owed)
    )


def _delivered_early() -> sa.Select[Any]:
    owed = sa.select(deliveries.c.public_id).join(jobs, jobs.c.id == deliveries.c.job_id)
    return owed.where(jobs.c.status.not_in(list(TERMINAL)))


def _delivered_twice() -> sa.Select[Any]:
    owed = sa.select(sa.func.min(deliveries.c.public_id)).group_by(deliveries.c.job_id)
    return owed.having(sa.func.count() > 1)


def _unlogged_attempts() -> sa.Select[Any]:
    logged = sa.select(sa.func.count()).where(attempts.c.delivery_id == deliveries.c.id).scalar_subquery()
    return sa.select(deliveries.c.public_id).where(logged != deliveries.c.number)


def _orphans() -> sa.Select[Any]:
    known = sa.union_all(sa.select(jobs.c.id), sa.select(loose_keys.c.id)).subquery()
    return (
        sa.select(sa.cast(results.c.job_id, sa.Text)).where(results.c.job_id.not_in(sa.select(known.c.id))).distinct()
    )


def _later_terms() -> sa.Select[Any]:
    newest = sa.select(leader_epoch.c.epoch).scalar_subquery()
    batches = sa.select(provider_batches.c.public_id.label("who")).where(provider_batches.c.epoch > newest)
    heartbeats = sa.select(sa.literal("the heartbeat")).where(leader_heartbeat.c.epoch > newest)
    terms = sa.select(leader_history.c.term_id).where(leader_history.c.epoch > newest)
    return sa.select(sa.union_all(batches, heartbeats, terms).subquery().c.who)


def _shared_epochs() -> sa.Select[Any]:
    shared = sa.select(sa.cast(leader_history.c.epoch, sa.Text)).group_by(leader_history.c.epoch)
    return shared.having(sa.func.count() > 1)


#: What must hold, and a query for the names of what violates it. Each is true of one statement's snapshot.
RULES: tuple[tuple[str, Callable[[], sa.Select[Any]]], ...] = (
    ("a job has an end exactly when it is terminal", _terminal_without_end),
    ("a terminal batch job has an outcome for every item", _unfinished_terminal),
    ("a terminal job has no open provider batch", _ended_before_its_batches),
    ("a job has as many items as it says", _miscounted_items),
    ("a provider batch counts its stored results", _miscounted_results),
    ("an ingested provider batch has a result for every item", _incomplete_ingested),
    ("every open provider batch has a time for its next look", _forgotten_batches),
    ("every terminal job with a callback has its delivery", _undelivered),
    ("a delivery is owed for a terminal job only", _delivered_early),
    ("a job has one delivery at most", _delivered_twice),
    ("every attempt of a delivery is logged", _unlogged_attempts),
    ("every result belongs to a job", _orphans),
    ("nothing is of a later term than the newest", _later_terms),
    ("no two terms share an epoch", _shared_epochs),
    *AGENT_RULES,
    *WORK_RULES,
    *FILE_RULES,
)
