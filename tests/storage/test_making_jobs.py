"""Jobs appear whole or not at all, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later

from backburner.errors import Conflict, NotFound
from backburner.model import NewItem, PlannedBatch, SharedItem
from backburner.states import BatchStatus, JobStatus, JobType
from backburner.storage import batches, candidates, items, jobs, staging
from backburner.storage.tables import items as items_table
from backburner.storage.tables import loose_keys, requests, results


def count(tx: sa.Connection, table: sa.Table) -> int:
    return tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def named(*names: str) -> list[NewItem]:
    return [NewItem(name, "{}", 2) for name in names]


def test_nothing_shows_before_the_last_page(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, named("a", "b"), now=NOW)
    assert candidates.submittable(tx, now=later(1)) == []
    new = stock.new_job()
    with pytest.raises(NotFound):
        jobs.get_job(tx, 1, new.id)
    job = staging.make_job(tx, key, new, [PlannedBatch("batch-x", "nonce", 0, 1, 4)], now=NOW)
    assert (job.key, job.status, job.counts.processing) == (key, JobStatus.PENDING, 2)
    assert jobs.get_job(tx, 1, new.id) == job
    assert [candidate.item_count for candidate in candidates.submittable(tx, now=NOW)] == [2]


def test_duplicates_are_found_in_a_page_and_across_pages(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    assert staging.stage_items(tx, key, 0, named("a", "b", "a", "c", "b"), now=NOW) == [(2, 0), (4, 1)]
    assert staging.stage_items(tx, key, 5, named("d", "e"), now=NOW) == []
    assert staging.stage_items(tx, key, 7, named("f", "a", "d"), now=NOW) == [(8, 0), (9, 5)]


def test_another_jobs_custom_ids_are_no_duplicates(stock: Stock):
    assert stock.job(3).counts == stock.job(3).counts


def test_params_and_odd_values_come_back_as_they_were(stock: Stock, tx: sa.Connection):
    text = '{"a":"\\u0000 \\ud800 \\t\u2028 \U0001f600 \\\\ \'","b":[1.50e3, null]}'
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, [NewItem("a", text, len(text), "agent\t\\N")], now=NOW)
    new = stock.new_job(metadata={"k": "\t\\"}, callback_url="http://x.test/", deadline_at=later(60.000001))
    job = staging.make_job(tx, key, new, [PlannedBatch("batch-x", "nonce", 0, 0, 4)], now=NOW)
    (batch,) = stock.batches(job)
    assert batches.requests_of_batch(tx, batch, lambda index, params: (index, params)) == [(0, text)]
    assert (job.metadata, job.deadline_at) == (new.metadata, new.deadline_at)
    page, _ = items.list_items(tx, job, statuses=(), custom_id="a", limit=5, after=None, before=None, ascending=True)
    assert page[0].agent_id == "agent\t\\N"


def test_an_upload_that_was_swept_meanwhile_makes_no_half_job(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, named("a", "b"), now=NOW)
    while staging.sweep_key(tx, key, most=10, before=later(1), now=later(4000)):
        pass
    with pytest.raises(Conflict):
        staging.stage_items(tx, key, 2, named("c"), now=later(4000))
    with pytest.raises(Conflict):
        staging.make_job(tx, key, stock.new_job(), [PlannedBatch("batch-x", "nonce", 0, 2, 4)], now=later(4000))


def test_an_upload_that_goes_on_while_it_is_swept_is_told(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, named(*(f"i{n}" for n in range(25))), now=NOW)
    assert staging.sweep_key(tx, key, most=10, before=later(1), now=NOW) == 10
    with pytest.raises(Conflict):
        staging.stage_items(tx, key, 25, named("late"), now=NOW)
    with pytest.raises(Conflict):
        staging.make_job(tx, key, stock.new_job(), [PlannedBatch("batch-x", "nonce", 0, 24, 4)], now=NOW)


def test_a_key_that_was_touched_meanwhile_or_has_become_a_job_is_not_swept(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, named("a", "b"), now=later(5))
    assert staging.sweep_key(tx, key, most=10, before=later(1), now=NOW) == 0
    staging.make_job(tx, key, stock.new_job(), [PlannedBatch("batch-x", "nonce", 0, 1, 4)], now=NOW)
    assert staging.sweep_key(tx, key, most=10, before=later(9), now=NOW) == 0
    assert count(tx, items_table) == 2


def test_sweeping_goes_in_steps_and_finishes(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    staging.stage_items(tx, key, 0, named(*(f"i{n}" for n in range(25))), now=NOW)
    assert staging.loose_key_before(tx, NOW) is None
    assert staging.loose_key_before(tx, later(1)) == key
    steps: list[int] = []
    while steps[-1:] != [0]:
        steps.append(staging.sweep_key(tx, key, most=10, before=later(1), now=NOW))
    assert steps == [10, 10, 5, 10, 10, 5, 0]
    assert [count(tx, table) for table in (items_table, requests, loose_keys)] == [0, 0, 0]


def test_a_dropped_upload_is_swept_at_once(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    staging.drop_key(tx, key)
    assert staging.loose_key_before(tx, later(-3600)) == key


def finished(stock: Stock, items: int = 4):
    """A job that was cancelled before anything was sent."""
    job = stock.job(items, chunk=2)
    jobs.cancel_job(stock.tx, 1, job.id, now=NOW, ids=stock.ids)
    return jobs.get_job(stock.tx, 1, job.id)


def shared(stock: Stock, of_job, first: int = 0) -> int:
    key = staging.draw_key(stock.tx, now=NOW)
    page = [SharedItem(f"item-{n}", n, 7) for n in range(first, 4)]
    staging.stage_shared_items(stock.tx, key, 0, page, now=NOW)
    return key


def test_requests_that_are_shared_stay_as_long_as_they_are_needed(stock: Stock, tx: sa.Connection):
    old = finished(stock)
    key = shared(stock, old, first=2)
    new = stock.new_job(requests_of=old.key, retry_of=old.id)
    job = staging.make_job(tx, key, new, [PlannedBatch("batch-r", "nonce", 0, 1, 4)], now=NOW)
    jobs.delete_job(tx, 1, old.id)
    assert staging.loose_key_before(tx, NOW) == old.key
    while staging.sweep_key(tx, old.key, most=10, before=later(1), now=NOW):
        pass
    (batch,) = stock.batches(job)
    assert batches.requests_of_batch(tx, batch, lambda i, params: (i, params)) == [(0, '{"n":2}'), (1, '{"n":3}')]
    assert staging.loose_key_before(tx, NOW) is None  # looked at again later
    jobs.cancel_job(tx, 1, job.id, now=NOW, ids=stock.ids)
    jobs.delete_job(tx, 1, job.id)
    for loose in (job.key, old.key):
        while staging.sweep_key(tx, loose, most=10, before=later(1), now=NOW):
            pass
    assert [count(tx, table) for table in (items_table, requests, results, loose_keys)] == [0, 0, 0, 0]


def test_a_job_that_was_deleted_is_not_retried_though_another_retry_keeps_its_requests(stock: Stock, tx: sa.Connection):
    old = finished(stock)
    first = shared(stock, old)
    planned = [PlannedBatch("batch-r", "nonce", 0, 3, 4)]
    staging.make_job(tx, first, stock.new_job(requests_of=old.key, retry_of=old.id), planned, now=NOW)
    second = shared(stock, old)
    jobs.delete_job(tx, 1, old.id)
    new = stock.new_job(requests_of=old.key, retry_of=old.id)
    with pytest.raises(Conflict, match="deleted"):
        staging.make_job(tx, second, new, [PlannedBatch("b", "n", 0, 3, 4)], now=NOW)


def test_a_job_that_was_deleted_is_not_retried(stock: Stock, tx: sa.Connection):
    old = finished(stock)
    key = shared(stock, old)
    jobs.delete_job(tx, 1, old.id)
    with pytest.raises(Conflict):
        staging.make_job(tx, key, stock.new_job(requests_of=old.key), [PlannedBatch("b", "n", 0, 3, 4)], now=NOW)


def test_a_job_without_items_is_no_batch(stock: Stock, tx: sa.Connection):
    key = staging.draw_key(tx, now=NOW)
    job = staging.make_job(tx, key, stock.new_job(job_type=JobType.JOB, provider=None, input=[1]), now=NOW)
    assert (job.status, job.counts, job.usage, job.batches, job.input) == (JobStatus.CREATED, None, None, None, [1])


def test_a_terminal_job_is_deleted_and_no_other(stock: Stock, tx: sa.Connection):
    job = stock.job()
    with pytest.raises(Conflict):
        jobs.delete_job(tx, 1, job.id)
    with pytest.raises(NotFound):
        jobs.delete_job(tx, 2, job.id)
    jobs.cancel_job(tx, 1, job.id, now=NOW, ids=stock.ids)
    assert jobs.delete_job(tx, 1, job.id).status is JobStatus.CANCELLED
    with pytest.raises(NotFound):
        jobs.get_job(tx, 1, job.id)


def test_a_cancel_closes_what_was_not_sent_and_leaves_the_rest_to_the_provider(stock: Stock, tx: sa.Connection):
    job = stock.job(6, chunk=3)
    first, second = stock.batches(job)
    batches.begin_attempt(tx, first.key, epoch=1, now=NOW)
    after, done = jobs.cancel_job(tx, 1, job.id, now=NOW, ids=stock.ids)
    assert (after.status, done, after.counts.canceled) == (JobStatus.PENDING, False, 3)
    assert [batch.status for batch in stock.batches(job)] == [BatchStatus.SUBMITTING, BatchStatus.CLOSED]
    assert batches.begin_attempt(tx, second.key, epoch=1, now=NOW) is None
    again, done = jobs.cancel_job(tx, 1, job.id, now=later(5), ids=stock.ids)
    assert (again.cancel_requested_at, done) == (NOW, False)
