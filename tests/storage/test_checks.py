"""`db check` names whatever does not add up, on both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock
from tests.storage.test_ledger import SAYS, S, agents, answered, asks, standing
from tests.storage.test_ledger import finished as call_finished
from tests.storage.test_work import claim, queue, room

from backburner.commands import CallPlace, ResultPage, ResultRow
from backburner.model import Job, Usage
from backburner.states import JobStatus
from backburner.storage import fence, ledger, recount, results, settle, turns
from backburner.storage.rules import RULES
from backburner.storage.tables import conversations as talks
from backburner.storage.tables import (
    deliveries,
    file_parts,
    files,
    items,
    jobs,
    leader_epoch,
    leader_history,
    provider_batches,
    tool_calls,
    work,
)
from backburner.storage.tables import results as stored
from backburner.storage.tables import turns as turn_rows

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
    return broken_rules(stock) + recount.recount(stock.tx, job.key)


def broken_rules(stock: Stock) -> list[str]:
    return [what for what, query in RULES if stock.tx.execute(query()).first() is not None]


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


def talking(stock: Stock) -> Job:
    """Four conversations: one waits for a tool, one has ended, one was asked on, one is to be."""
    fence.begin_term(stock.tx, term_id="term", instance_id="here", now=NOW)
    job = agents(stock, 4)
    (batch,) = stock.batches(job)
    lines = {0: asks("add", "look"), 1: SAYS, 2: asks("add", item=2), 3: asks("add", item=3)}
    answered(stock, batch.key, lines)
    for item in (2, 0, 3):
        ledger.take_on(stock.tx, [CallPlace(job.key, item, 1, 0)], epoch=1, now=NOW)
        if item != 0:
            ledger.finish_calls(stock.tx, [call_finished(CallPlace(job.key, item, 1, 0))])
        if item == 2:
            turns.plan_round(stock.tx, job.key, chunk_bytes=10**6, now=NOW, ids=stock.ids)
    assert standing(stock) == [(S.TOOLS, 1), (S.DONE, 1), (S.ASKED, 2), (S.READY, 2)]
    stock.tx.execute(sa.update(jobs).values(input_tokens=15, output_tokens=6))  # what the answers say
    return job


def test_good_conversations_violate_nothing(stock: Stock):
    assert violated(stock, talking(stock)) == []


def of(table: sa.Table, item: int) -> sa.Update:
    return sa.update(table).where(table.c.idx == item)


TALK_DAMAGES: dict[str, tuple[sa.Update | sa.Delete, str]] = {
    "one ends without a status": (of(talks, 1).values(status=None), "an outcome exactly when it is done"),
    "an answer is gone": (sa.delete(stored).where(stored.c.idx == 2), "an answer for each of its rounds"),
    "one lags behind its answers": (of(talks, 3).values(round=1), "an answer for each of its rounds"),
    "a turn is gone": (sa.delete(turn_rows).where(turn_rows.c.idx == 3), "a turn for each round after the first"),
    "a turn is in no batch": (of(turn_rows, 2).values(batch_id=None), "travels in an open provider batch"),
    "its batch is closed": (
        sa.update(provider_batches).where(provider_batches.c.round == 2).values(status="closed", fill="errored"),
        "travels in an open provider batch",
    ),
    "one is planned too early": (of(turn_rows, 3).values(batch_id=1), "to be planned is in no provider batch"),
    "no call is open": (of(tool_calls, 0).values(state="dropped"), "that waits for tools has open calls"),
    "a batch holds one more": (
        sa.update(provider_batches).where(provider_batches.c.round == 2).values(item_count=2), "holds the items",
    ),
    "a batch holds another round's": (
        sa.update(provider_batches).where(provider_batches.c.round == 2).values(round=3), "holds the items",
    ),
    "a result is gone": (of(tool_calls, 2).values(result=None), "a result exactly when it is finished"),
    "a start is not counted": (of(tool_calls, 2).values(attempt=0), "a tool call counts its starts"),
    "a call outlives its conversation": (of(talks, 0).values(state="answered"), "only while its conversation"),
    "one goes on too early": (of(tool_calls, 3).values(state="dropped"), "before its tool calls are finished"),
    "a call is nobody's": (of(tool_calls, 3).values(job_id=77), "every conversation, turn and tool call"),
    "an outcome is not counted": (sa.update(jobs).values(succeeded=0), "counts 0 succeeded, there are 1"),
}  # fmt: skip


def test_damage_of_conversations_is_named(stock: Stock):
    job = talking(stock)
    for statement, told in TALK_DAMAGES.values():
        with stock.tx.begin_nested() as damage:
            stock.tx.execute(statement)
            found = violated(stock, job)
            assert any(told in problem for problem in found), (told, found)
            damage.rollback()


def working(stock: Stock) -> None:
    """A handler's job that waits, and one at work."""
    claimed, _ = queue(stock), queue(stock)
    assert [each.job_id for each in claim(stock, room(1))] == [claimed.id]


def test_a_good_queue_violates_nothing(stock: Stock):
    working(stock)
    assert broken_rules(stock) == []


AT_WORK = work.c.state == "claimed"
WORK_DAMAGES: dict[str, tuple[sa.Update | sa.Delete, str]] = {
    "a job is forgotten": (sa.delete(work).where(AT_WORK), "in the queue until it has ended"),
    "one has ended": (sa.update(jobs).values(status="failed", completed_at=NOW), "no job that has ended is in"),
    "it is another handler's": (sa.update(work).values(handler="two"), "the queue says of a job what the job says"),
    "it is another organization's": (sa.update(work).values(organization_id=7), "the queue says of a job what"),
    "a claim has no lease": (sa.update(work).where(AT_WORK).values(lease_until=None), "a claim has a token"),
    "what waits has a holder": (sa.update(work).values(claimed_by="here"), "a claim has a token"),
    "a claimed one stands still": (sa.update(jobs).values(status="pending"), "a job that is claimed is running"),
    "one is tried too often": (sa.update(work).values(attempt=9), "tried more often than it may be"),
}  # fmt: skip


def test_damage_of_the_queue_is_named(stock: Stock):
    working(stock)
    for statement, told in WORK_DAMAGES.values():
        with stock.tx.begin_nested() as damage:
            stock.tx.execute(statement)
            assert any(told in what for what in broken_rules(stock)), told
            damage.rollback()


FILE_DAMAGES: dict[str, tuple[sa.Update | sa.Delete, str]] = {
    "bytes are gone": (
        sa.update(file_parts).where(file_parts.c.number == 1).values(bytes=2),
        "as many bytes and parts",
    ),
    "a part is gone": (sa.delete(file_parts).where(file_parts.c.number == 2), "as many bytes and parts"),
    "there is a gap": (sa.update(file_parts).where(file_parts.c.number == 2).values(number=3), "has no gap"),
    "a part is nobody's": (sa.update(file_parts).values(file_id=77), "every part belongs to a file"),
}


def test_damage_of_files_is_named(stock: Stock):
    uploaded(stock)
    assert broken_rules(stock) == []
    for statement, told in FILE_DAMAGES.values():
        with stock.tx.begin_nested() as damage:
            stock.tx.execute(statement)
            assert any(told in what for what in broken_rules(stock)), told
            damage.rollback()


def uploaded(stock: Stock) -> None:
    """A complete file of two parts."""
    about = {"organization_id": 1, "user_id": 1, "created_at": NOW, "updated_at": NOW, "used_at": NOW}
    whole = {"public_id": "file-1", "name": "a", "status": "complete", "bytes": 3, "parts": 2}
    key = stock.tx.execute(sa.insert(files).values(**about, **whole).returning(files.c.id)).scalar_one()
    for number, data in ((1, b"a"), (2, b"bc")):
        row = {"file_id": key, "number": number, "bytes": len(data), "sha256": "", "data": data}
        stock.tx.execute(sa.insert(file_parts).values(**row))


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
