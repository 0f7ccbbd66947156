"""`db check` names whatever does not add up, on both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock

from backburner.commands import ResultPage, ResultRow
from backburner.model import Job, Usage
from backburner.states import JobStatus
from backburner.storage import fence, recount, results, settle
from backburner.storage.rules import RULES
from backburner.storage.tables import (
    deliveries,
    items,
    jobs,
    leader_epoch,
    leader_history,
    provider_batches,
)
from backburner.storage.tables import results as stored

LINE = msgspec.json.encode(
    {"type": "succeeded", "message": {"usage": {"input_tokens": 3, "output_tokens": 4}}}
).decode()


def finished(stock: Stock) -> Job:
    """A job of two provider batches, of which every result is here and the end is told."""
    job = stock.job(callback_url="https://example.com")
    fence.begin_term(stock.tx, term_id="term", instance_id="here", now=NOW)
    for batch in stock.submitted(job):
        settle.mark_ended(stock.tx, batch.key, {}, NOW)
        rows = tuple(ResultRow(index, "succeeded", LINE) for index in range(batch.first_index, batch.last_index + 1))
        count = len(rows)
        page = ResultPage(
            term=stock.term(),
            batch_key=batch.key,
            job_key=job.key,
            round=1,
            rows=rows,
            counts={"succeeded": count},
            usage=Usage(input_tokens=3 * count, output_tokens=4 * count),
            byte_size=1,
        )
        results.store_pages(stock.tx, [page], now=NOW)
        settle.mark_ingested(stock.tx, batch.key, NOW)
    assert settle.settle_job(stock.tx, job.key, now=NOW, ids=stock.ids) is not None
    return job


def violated(stock: Stock, job: Job) -> list[str]:
    """The rules that do not hold, and what of the job does not add up."""
    broken = [what for what, query in RULES if stock.tx.execute(query()).first() is not None]
    return broken + recount.recount(stock.tx, job.key)


def test_a_good_job_violates_nothing(stock: Stock):
    assert violated(stock, finished(stock)) == []
    assert violated(stock, stock.job()) == []


DAMAGES: dict[str, tuple[sa.Update | sa.Delete, str]] = {
    "a job counts one more": (sa.update(jobs).values(succeeded=jobs.c.succeeded + 1), "counts 7 succeeded"),
    "usage is booked twice": (sa.update(jobs).values(output_tokens=48), "output_tokens=48"),
    "a result is gone": (sa.delete(stored).where(stored.c.idx == 2), "counts 3 succeeded, 2 are stored"),
    "a batch counts one more": (sa.update(provider_batches).values(errored=1), "counts 1 errored, 0 are stored"),
    "a batch is not counted": (sa.update(jobs).values(batches_ended=1), "(2, 1, 2) provider batches"),
    "an item is in no batch": (
        sa.update(provider_batches).where(provider_batches.c.first_idx == 3).values(first_idx=4), "expected from 3 on",
    ),
    "a job is terminal without an end": (sa.update(jobs).values(completed_at=None), "a job has an end exactly"),
    "a job goes on after its end": (sa.update(jobs).values(status=JobStatus.RUNNING), "a delivery is owed"),
    "a batch is forgotten": (
        sa.update(provider_batches).values(status="submitted", next_poll_at=None), "every open provider batch",
    ),
    "a batch is open behind its job": (
        sa.update(provider_batches).values(status="submitted"), "a terminal job has no open provider batch",
    ),
    "a webhook is not owed": (sa.delete(deliveries), "every terminal job with a callback has its delivery"),
    "an attempt is not logged": (sa.update(deliveries).values(number=1), "every attempt of a delivery is logged"),
    "an item is gone": (sa.delete(items).where(items.c.idx == 5), "a job has as many items as it says"),
    "a term is ahead": (sa.update(leader_epoch).values(epoch=0), "nothing is of a later term than the newest"),
    "two terms share an epoch": (sa.update(leader_history).values(epoch=1), "no two terms share an epoch"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(stock: Stock, damage):
    job = finished(stock)
    statement, told = DAMAGES[damage]
    stock.tx.execute(statement)
    found = violated(stock, job)
    assert any(told in problem for problem in found), found


def test_a_delivery_that_is_owed_twice_is_named(stock: Stock):
    job = finished(stock)
    row: Any = dict(stock.tx.execute(sa.select(deliveries)).mappings().one())
    del row["id"]
    stock.tx.execute(sa.insert(deliveries).values(**{**row, "public_id": "delivery-2"}))
    assert violated(stock, job) == ["a job has one delivery at most"]


def test_jobs_are_gone_through_in_pages(stock: Stock):
    made = [stock.job() for _ in range(3)]
    first = recount.jobs_after(stock.tx, "", 2)
    rest = recount.jobs_after(stock.tx, first[-1][1], 2)
    assert [key for key, _ in first + rest] == [job.key for job in sorted(made, key=lambda job: job.id)]
