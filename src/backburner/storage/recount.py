"""One job counted again from its rows, to be held against what it says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from backburner.model import Usage
from backburner.reading import total
from backburner.result_lines import usage_of
from backburner.states import BATCH_FINAL, OUTCOMES, BatchStatus
from backburner.storage import rows
from backburner.storage.tables import conversations, jobs, provider_batches, results

_ENDED = BATCH_FINAL | {BatchStatus.ENDED}
_PAGE = 500  # results that are held at once


def jobs_after(tx: sa.Connection, public_id: str, limit: int) -> list[tuple[int, str]]:
    """(key, id) of the batch jobs that follow `public_id` in the order of ids."""
    following = sa.select(jobs.c.id, jobs.c.public_id).where(
        jobs.c.public_id > public_id, jobs.c.items_total.is_not(None)
    )
    return [(row.id, row.public_id) for row in tx.execute(following.order_by(jobs.c.public_id).limit(limit))]


def recount(tx: sa.Connection, job_key: int) -> list[str]:
    """What of a job does not add up, a sentence each. Nothing for one that was deleted meanwhile.

    `tx` must be one snapshot. Memory does not grow with the job.
    """
    job = tx.execute(sa.select(jobs).where(jobs.c.id == job_key)).first()
    if job is None:
        return []
    found = sa.select(provider_batches).where(provider_batches.c.job_id == job_key)
    batches = list(tx.execute(found.order_by(provider_batches.c.round, provider_batches.c.first_idx)))
    stored, used = _stored(tx, job_key)
    problems = [*_batches(batches, stored), *_totals(job, batches), *_usage(job, used)]
    first = [batch for batch in batches if batch.round == 1]
    ends = _ends_of_results(stored) if job.agent is None else _ends_of_conversations(tx, job_key)
    problems += [*_outcomes(job, first, ends), *_ranges(job, first)]
    return [f"{job.public_id}: {problem}" for problem in problems]


def _stored(tx: sa.Connection, job_key: int) -> tuple[Counter[tuple[int, str]], Usage]:
    """How many results of each batch and outcome there are, and the usage of all."""
    wanted = sa.select(results.c.batch_id, results.c.status, results.c.line).where(results.c.job_id == job_key)
    stored: Counter[tuple[int, str]] = Counter()
    used = Usage()
    for page in tx.execute(wanted.execution_options(yield_per=_PAGE)).partitions():
        stored.update((row.batch_id, row.status.value) for row in page)
        usages = [usage for row in page if (usage := usage_of(row.line)) is not None]
        used = total([used, *usages])
    return stored, used


def _batches(batches: Sequence[Any], stored: Counter[tuple[int, str]]) -> Iterator[str]:
    for batch in batches:
        for outcome in OUTCOMES:
            said, there = getattr(batch, outcome.value), stored[batch.id, outcome.value]
            if said != there:
                yield f"{batch.public_id} counts {said} {outcome.value}, {there} are stored"
    known = {batch.id for batch in batches}
    strays = sum(count for (batch_key, _), count in stored.items() if batch_key not in known)
    if strays:
        yield f"{strays} results are of no provider batch of it"


def _totals(job: Any, batches: Sequence[Any]) -> Iterator[str]:
    said = (job.batches_total, job.batches_ended, job.batches_final)
    there = (
        len(batches),
        sum(batch.status in _ENDED for batch in batches),
        sum(batch.status in BATCH_FINAL for batch in batches),
    )
    if said != there:
        yield f"says {said} provider batches (all, ended, final), there are {there}"


def _usage(job: Any, used: Usage) -> Iterator[str]:
    if rows.usage_of(job) != used:
        yield f"booked {rows.usage_of(job)}, its results used {used}"


def _ends_of_results(stored: Counter[tuple[int, str]]) -> Counter[str]:
    there: Counter[str] = Counter()
    for (_, outcome), count in stored.items():
        there[outcome] += count
    return there


def _ends_of_conversations(tx: sa.Connection, job_key: int) -> Counter[str]:
    ended = sa.select(conversations.c.status, sa.func.count()).where(
        conversations.c.job_id == job_key, conversations.c.status.is_not(None)
    )
    rows = tx.execute(ended.group_by(conversations.c.status))
    return Counter({status.value: count for status, count in rows})


def _outcomes(job: Any, batches: Sequence[Any], there: Counter[str]) -> Iterator[str]:
    """`there` are items that ended by themselves; those of closed batches that never began are added."""
    for batch in batches:
        if batch.status is BatchStatus.CLOSED:
            there[batch.fill.value] += rows.counts_of(batch, batch.item_count).processing
    for outcome in OUTCOMES:
        if getattr(job, outcome.value) != there[outcome.value]:
            yield f"counts {getattr(job, outcome.value)} {outcome.value}, there are {there[outcome.value]}"
    if sum(there.values()) > job.items_total:
        yield f"has {sum(there.values())} outcomes of {job.items_total} items"


def _ranges(job: Any, batches: Sequence[Any]) -> Iterator[str]:
    """Every item travels in exactly one batch."""
    following = 0
    for batch in batches:
        if batch.first_idx != following or batch.item_count != batch.last_idx - batch.first_idx + 1:
            yield f"{batch.public_id} holds items {batch.first_idx} to {batch.last_idx}, expected from {following} on"
        following = batch.last_idx + 1
    if following != job.items_total:
        yield f"its provider batches hold {following} of {job.items_total} items"
