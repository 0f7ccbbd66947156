"""What must hold of database, provider and receiver at every moment: the marked promises of the design, as checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import sqlalchemy as sa
from simulation.account import made_after, results_of
from simulation.agent_rules import broken_conversations, outcomes_of_agents
from tests.world import World

from backburner.model import Usage
from backburner.providers.sandbox.engine import Sandbox
from backburner.reading import total
from backburner.result_lines import usage_of
from backburner.states import BATCH_FINAL, OUTCOMES, TERMINAL, BatchStatus
from backburner.storage.rules import RULES
from backburner.storage.tables import (
    attempts,
    deliveries,
    items,
    jobs,
    leader_epoch,
    leader_history,
    provider_batches,
    results,
)

ENDED = BATCH_FINAL | {BatchStatus.ENDED}
COUNTS = [outcome.value for outcome in OUTCOMES]


@attrs.define
class Invariants:
    """Checks a world, as often as wanted. Remembers what must never change."""

    world: World
    _ends: dict[str, tuple[Any, ...]] = attrs.field(factory=dict, init=False)
    _results: dict[tuple[int, int, int], str] = attrs.field(factory=dict, init=False)

    async def hold(self) -> None:
        """Fail with everything that is violated."""
        found = await self.world.database.read(self._violations)
        assert found == []

    def _violations(self, tx: sa.Connection) -> list[str]:
        return [
            *(f"{what}: {who}" for what, query in RULES for who in tx.execute(query()).scalars()),
            *self._changed_ends(tx),
            *self._changed_results(tx),
            *_miscounts(tx),
            *_badly_divided(tx),
            *broken_conversations(tx),
            *_deliveries(tx),
            *_terms(tx),
            *_provider(tx, self.world.sandbox),
        ]

    def _changed_ends(self, tx: sa.Connection) -> Iterator[str]:
        wanted = sa.select(jobs.c.public_id, jobs.c.status, jobs.c.completed_at, jobs.c.stop_reason)
        for row in tx.execute(wanted.where(jobs.c.status.in_(list(TERMINAL)))):
            if self._ends.setdefault(row.public_id, tuple(row)) != tuple(row):
                yield f"the end of {row.public_id} changed: {self._ends[row.public_id]} → {tuple(row)}"

    def _changed_results(self, tx: sa.Connection) -> Iterator[str]:
        for row in tx.execute(sa.select(results)):
            if self._results.setdefault((row.job_id, row.idx, row.round), row.line) != row.line:
                yield f"the result of item {row.idx} of job {row.job_id} changed"


def _miscounts(tx: sa.Connection) -> Iterator[str]:
    for row in tx.execute(sa.select(jobs).where(jobs.c.items_total.is_not(None))):
        counted = {name: getattr(row, name) for name in COUNTS}
        if counted != _outcomes(tx, row):
            yield f"{row.public_id} counts {counted}, but it is {_outcomes(tx, row)}"
        if sum(counted.values()) > row.items_total:
            yield f"{row.public_id} has more outcomes than items"
        lines = tx.execute(sa.select(results.c.line).where(results.c.job_id == row.id)).scalars()
        used = total([usage for line in lines if (usage := usage_of(line)) is not None])
        booked = Usage(**{name: getattr(row, name) for name in Usage.__struct_fields__})
        if used != booked:
            yield f"{row.public_id} booked {booked}, but it is {used}"
        of_batches = tx.execute(sa.select(provider_batches.c.status).where(provider_batches.c.job_id == row.id))
        statuses = list(of_batches.scalars())
        shown = (row.batches_total, row.batches_ended, row.batches_final)
        real = (len(statuses), sum(s in ENDED for s in statuses), sum(s in BATCH_FINAL for s in statuses))
        if shown != real:
            yield f"{row.public_id} counts batches {shown}, but it is {real}"


def _outcomes(tx: sa.Connection, job: Any) -> dict[str, int]:
    """Counted from the rows: results, or ends of conversations, and what closed batches say of the rest."""
    if job.agent is not None:
        found = outcomes_of_agents(tx, job.id)
    else:
        stored = sa.select(results.c.status).where(results.c.job_id == job.id)
        found = Counter(status.value for status in tx.execute(stored).scalars())
    for batch in tx.execute(sa.select(provider_batches).where(provider_batches.c.job_id == job.id)):
        if batch.status is BatchStatus.CLOSED and batch.round == 1:
            stored = sa.select(sa.func.count()).where(results.c.batch_id == batch.id)
            found[batch.fill.value] += batch.item_count - tx.execute(stored).scalar_one()
    return {name: found[name] for name in COUNTS}


def _badly_divided(tx: sa.Connection) -> Iterator[str]:
    """In the first round every item travels in exactly one batch."""
    for job in tx.execute(sa.select(jobs).where(jobs.c.items_total.is_not(None))):
        ranges = tx.execute(
            sa.select(provider_batches)
            .where(provider_batches.c.job_id == job.id, provider_batches.c.round == 1)
            .order_by(provider_batches.c.first_idx)
        )
        following = 0
        for batch in ranges:
            if batch.first_idx != following or batch.item_count != batch.last_idx - batch.first_idx + 1:
                yield f"{batch.public_id} holds {batch.first_idx} to {batch.last_idx}, expected {following} and on"
            following = batch.last_idx + 1
        if following != job.items_total:
            yield f"{job.public_id} has batches for {following} of {job.items_total} items"
        strays = sa.select(sa.func.count()).where(results.c.job_id == job.id, results.c.idx >= job.items_total)
        if tx.execute(strays).scalar_one():
            yield f"{job.public_id} has results of items that do not exist"


def _deliveries(tx: sa.Connection) -> Iterator[str]:
    owed = sa.select(deliveries.c.public_id, jobs.c.status, jobs.c.public_id.label("job")).join(
        jobs, jobs.c.id == deliveries.c.job_id
    )
    seen: Counter[str] = Counter()
    for row in tx.execute(owed):
        seen[row.job] += 1
        if not row.status.is_terminal:
            yield f"{row.public_id} is owed for {row.job}, which is {row.status}"
    yield from (f"{job} has {count} deliveries" for job, count in seen.items() if count > 1)
    made = sa.select(attempts.c.delivery_id, sa.func.count(), sa.func.max(attempts.c.number)).group_by(
        attempts.c.delivery_id
    )
    for key, count, last in tx.execute(made):
        if count != last:
            yield f"delivery {key} logs {count} attempts, the last of them number {last}"


def _terms(tx: sa.Connection) -> Iterator[str]:
    newest = tx.execute(sa.select(leader_epoch.c.epoch)).scalar_one()
    epochs = list(tx.execute(sa.select(leader_history.c.epoch).order_by(leader_history.c.acquired_at)).scalars())
    if len(set(epochs)) != len(epochs) or max(epochs, default=0) != newest:
        yield f"terms {epochs}, the newest {newest}"
    later = sa.select(provider_batches.c.public_id).where(provider_batches.c.epoch > newest)
    yield from (f"{batch} was submitted in a term to come" for batch in tx.execute(later).scalars())


def _provider(tx: sa.Connection, sandbox: Sandbox) -> Iterator[str]:
    """One provider batch for a plan, and stored results that are the provider's, byte for byte."""
    made = provider_batches_by_nonce(sandbox)
    for row in tx.execute(sa.select(provider_batches)):
        ids = made.pop(row.nonce, [])
        if len(ids) > 1:
            yield f"{row.public_id} was made {len(ids)} times"
        if row.status in (BatchStatus.PLANNED, BatchStatus.CLOSED) and row.ended_at is None and ids:
            yield f"{row.public_id} is {row.status} here, but was made"
        if row.status is BatchStatus.INGESTED and row.provider_batch_id in ids:
            yield from _altered(tx, sandbox, row)


def _altered(tx: sa.Connection, sandbox: Sandbox, row: Any) -> Iterator[str]:
    sent = results_of(sandbox, row.provider_batch_id)
    for result in tx.execute(sa.select(results).where(results.c.batch_id == row.id)):
        theirs = sent.get(f"{row.nonce}-{result.idx}")
        if result.line != theirs and '"code":"result_' not in result.line:
            yield f"item {result.idx} of {row.public_id} is not what the provider sent"


def provider_batches_by_nonce(sandbox: Sandbox) -> dict[str, list[str]]:
    """The ids of the batches that the provider made for each plan."""
    found: dict[str, list[str]] = {}
    for nonce, batch_id in made_after(sandbox, 0):
        found.setdefault(nonce, []).append(batch_id)
    return found


async def settled(world: World, job: Any, *, told_twice: bool = False) -> None:
    """The job has ended, everything holds, every item has one result, and the caller was told once.

    `told_twice`: there were crashes, so that once or more will do.
    """
    await Invariants(world).hold()
    found = await world.job(job)
    assert found.status.is_terminal
    assert found.counts is not None
    assert found.counts.processing == 0
    lines = await world.results(job)
    wanted = await world.database.read(_custom_ids, found.key)
    assert [line["custom_id"] for line in lines] == wanted
    told = [body for _, body in world.receiver.received if body["job_id"] == job.id]
    assert bool(told) == bool(found.callback_url)
    assert told_twice or len(told) <= 1
    for body in told:
        assert (body["status"], body["stop_reason"]) == (found.status.value, found.stop_reason)


def _custom_ids(tx: sa.Connection, job_key: int) -> list[str]:
    return list(
        tx.execute(sa.select(items.c.custom_id).where(items.c.job_id == job_key).order_by(items.c.idx)).scalars()
    )
