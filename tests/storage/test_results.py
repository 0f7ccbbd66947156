"""Results are stored once, counted once, and shown in the order of the input, on both databases."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later

from backburner.commands import BatchEnded, BatchIngested, Polled, ReadFailed, ResultPage, ResultRow, Unchanged
from backburner.errors import Conflict, NotFound
from backburner.model import Job, ProviderBatch, Term, Usage
from backburner.reading import narrowed
from backburner.states import BatchStatus, ItemStatus, JobStatus
from backburner.storage import batches, by_hand, candidates, divisions, items, jobs, submissions
from backburner.storage.apply import apply_leader_commands
from backburner.storage.results import stored_indices

LINE = '{"type":"succeeded","message":{"usage":{"input_tokens":3,"output_tokens":5}}}'
FAILED = '{"type":"errored","error":{"type":"error","error":{"type":"api_error","message":"\\ud800 no"}}}'


def page(term: Term, batch: ProviderBatch, **lines: str) -> ResultPage:
    rows = [ResultRow(int(name[1:]), line.split('"')[3], line) for name, line in lines.items()]  # _0=LINE: item 0
    whole = ResultPage(
        term=term, batch_key=batch.key, job_key=batch.job_key, round=1, rows=tuple(rows), counts=Counter(),
        usage=Usage(), byte_size=100,
    )  # fmt: skip
    return narrowed(whole, rows)


def ended(term: Term, batch: ProviderBatch) -> BatchEnded:
    return BatchEnded(
        term=term, batch_key=batch.key, provider_status="ended", response=b'{"x":1}', at=NOW, next_poll_at=NOW
    )


def apply(stock: Stock, term: Term, *commands):
    return apply_leader_commands(stock.tx, term, commands, now=later(9), ids=stock.ids)


def shown(stock: Stock, job: Job) -> Job:
    return jobs.get_job(stock.tx, 1, job.id)


def test_a_page_counts_once_however_often_it_comes(stock: Stock):
    term, job = stock.term(), stock.job(3)
    (batch,) = stock.submitted(job)
    one = page(term, batch, _0=LINE, _2=FAILED)
    assert apply(stock, term, ended(term, batch), one).stored_results == 2
    assert apply(stock, term, one).stored_results == 0
    assert apply(stock, term, one, one, page(term, batch, _1=LINE, _2=LINE)).stored_results == 1
    after = shown(stock, job)
    assert (after.counts.succeeded, after.counts.errored, after.counts.processing) == (2, 1, 0)
    assert after.usage == Usage(input_tokens=6, output_tokens=10)
    assert sorted(stored_indices(stock.tx, job.key, 1, 0, 2)) == [0, 1, 2]
    (batch,) = stock.batches(job)
    assert (batch.counts.succeeded, batch.counts.errored) == (2, 1)


def test_pages_before_the_end_and_after_the_close_are_not_stored(stock: Stock):
    term, job = stock.term(), stock.job(3)
    (batch,) = stock.submitted(job)
    one = page(term, batch, _0=LINE)
    assert apply(stock, term, one).stored_results == 0
    batches.give_up(stock.tx, batch.key, now=NOW, ids=stock.ids)
    assert apply(stock, term, one).stored_results == 0
    after = shown(stock, job)
    assert (after.status, after.counts.expired) == (JobStatus.EXPIRED, 3)


def test_a_whole_batch_in_one_group_ends_the_job(stock: Stock):
    term, job = stock.term(), stock.job(2, callback_url="http://x.test/")
    (batch,) = stock.submitted(job)
    done = BatchIngested(term=term, batch_key=batch.key, at=later(5))
    applied = apply(stock, term, ended(term, batch), page(term, batch, _0=LINE), page(term, batch, _1=LINE), done)
    assert (applied.jobs, applied.stored_results, applied.callbacks_due) == ((job.id,), 2, True)
    after = shown(stock, job)
    assert (after.status, after.stop_reason, after.completed_at) == (JobStatus.COMPLETED, "end_turn", later(5))
    assert (after.batches.total, after.batches.ended, after.batches.ingested) == (1, 1, 1)
    assert apply(stock, term, done, ended(term, batch)).callbacks_due is False
    assert shown(stock, job).version == after.version


def test_what_a_poll_brought_is_kept_and_what_it_did_not_stays(stock: Stock):
    term, job = stock.term(), stock.job(4, chunk=2)
    first, second = stock.submitted(job)

    def polled(batch: ProviderBatch, **seen) -> Polled:
        unchanged = {"provider_status": None, "response": None, "failures": 0}
        return Polled(
            term=term, batch_key=batch.key, polled_at=later(1), next_poll_at=later(61), **{**unchanged, **seen}
        )

    apply(
        stock,
        term,
        polled(first, provider_status="canceling", response=b'{"a":1}', cancel_sent_at=later(1)),
        polled(second, failures=3, error={"code": "x"}),
    )
    first, second = stock.batches(job)
    assert (first.provider_status, first.latest_polling_response) == ("canceling", b'{"a":1}')
    assert (first.cancel_sent_at, first.next_poll_at, first.last_polled_at) == (later(1), later(61), later(1))
    assert (second.provider_status, second.poll_failures, second.error) == ("in_progress", 3, {"code": "x"})
    assert (second.cancel_sent_at, second.latest_polling_response) == (None, None)
    apply(stock, term, polled(first), polled(second))
    first, second = stock.batches(job)
    assert (first.cancel_sent_at, first.latest_polling_response) == (later(1), b'{"a":1}')
    assert second.error is None


def test_a_batch_whose_job_is_being_ended_meanwhile_is_due_again_at_once(stock: Stock):
    term, job = stock.term(), stock.job(4, chunk=2)
    first, second = stock.submitted(job)
    jobs.cancel_job(stock.tx, 1, job.id, now=NOW, ids=stock.ids)
    common = {"term": term, "provider_status": "x", "response": None, "failures": 0}
    common |= {"polled_at": later(1), "next_poll_at": later(61)}
    apply(
        stock,
        term,
        Polled(batch_key=first.key, knew_stopping=False, **common),
        Polled(batch_key=second.key, knew_stopping=True, **common),
    )
    assert [batch.next_poll_at for batch in stock.batches(job)] == [later(1), later(61)]
    assert [batch.key for batch in batches.due_batches(stock.tx, "sandbox", now=later(1), limit=9)] == [first.key]


def test_unchanged_batches_go_on_and_those_of_a_job_being_ended_are_due_at_once(stock: Stock):
    term, job, stopping = stock.term(), stock.job(6, chunk=2), stock.job(2)
    first, second, third = stock.submitted(job)
    (told,) = stock.submitted(stopping)
    apply(stock, term, ended(term, third))
    jobs.cancel_job(stock.tx, 1, stopping.id, now=NOW, ids=stock.ids)
    due = {later(61): [first.key, third.key, told.key], later(30): [second.key]}
    apply(stock, term, Unchanged(term=term, polled_at=later(1), due=due))
    first, second, third = stock.batches(job)
    (told,) = stock.batches(stopping)
    assert [batch.next_poll_at for batch in (first, second, told)] == [later(61), later(30), later(1)]
    assert [batch.last_polled_at for batch in (first, second, told)] == [later(1)] * 3
    assert third.next_poll_at != later(61)  # it has ended: it is due for being read


def test_a_read_that_failed_is_due_when_it_says(stock: Stock):
    term, job = stock.term(), stock.job(2)
    (batch,) = stock.submitted(job)
    outcome = {"reads": 1, "failures": 2, "next_poll_at": later(30), "error": {"code": "x"}}
    failed = ReadFailed(term=term, batch_key=batch.key, **outcome)
    apply(stock, term, ended(term, batch), failed)
    (batch,) = stock.batches(job)
    assert (batch.status, batch.reads, batch.poll_failures) == (BatchStatus.ENDED, 1, 2)
    assert (batch.next_poll_at, batch.latest_polling_response) == (later(30), b'{"x":1}')
    assert batches.next_poll_time(stock.tx, "sandbox") == later(30)


def test_an_adoption_that_was_wrong_is_undone(stock: Stock):
    term, job = stock.term(), stock.job(2)
    (batch,) = stock.submitted(job)
    apply(stock, term, ended(term, batch))
    submissions.rule_out(stock.tx, batch.key, [str(batch.provider_batch_id)], look_at=later(1))
    (undone,) = stock.batches(job)
    assert (undone.status, undone.provider_batch_id, undone.intent_at) == (BatchStatus.UNKNOWN, None, NOW)
    assert shown(stock, job).batches.ended == 0
    theirs = str(batch.provider_batch_id)
    assert submissions.not_candidates(stock.tx, batch.key, [theirs, "msgbatch_else"]) == {theirs}


def listed(stock: Stock, job: Job, *statuses: ItemStatus, **cursor) -> list[tuple[int, ItemStatus]]:
    chosen = {"after": None, "before": None, "ascending": True, "limit": 10, "custom_id": None, **cursor}
    found, _ = items.list_items(stock.tx, job, statuses=statuses, **chosen)
    return [(item.index, item.status) for item in found]


def test_items_and_results_show_what_closed_batches_became(stock: Stock):
    term, job = stock.term(), stock.job(6, chunk=2)
    first, second, _ = stock.batches(job)
    batches.begin_attempt(stock.tx, first.key, epoch=1, now=NOW)
    batches.begin_attempt(stock.tx, second.key, epoch=1, now=NOW)
    batches.attach(stock.tx, second.key, provider_batch_id="b2", status="x", response=None, now=NOW, next_poll_at=NOW)
    apply(stock, term, ended(term, second), page(term, second, _2=LINE, _3=FAILED))
    submissions.reject(
        stock.tx, first.key, error={"code": "invalid_request_error", "message": "no"}, now=NOW, ids=stock.ids
    )
    jobs.cancel_job(stock.tx, 1, job.id, now=NOW, ids=stock.ids)
    outcomes = ["errored", "errored", "succeeded", "errored", "canceled", "canceled"]
    assert listed(stock, job) == [(n, ItemStatus(name)) for n, name in enumerate(outcomes)]
    assert [index for index, _ in listed(stock, job, ItemStatus.ERRORED)] == [0, 1, 3]
    assert [index for index, _ in listed(stock, job, ItemStatus.ERRORED, ascending=False, limit=2)] == [3, 1]
    assert [index for index, _ in listed(stock, job, before=4, limit=2)] == [2, 3]
    assert listed(stock, job, ItemStatus.PROCESSING) == []
    text, after = items.results_page(stock.tx, job, statuses=(), after=-1, limit=4)
    lines = text.decode().split("\n")
    assert after == 3
    assert '"code":"provider_rejected"' in lines[0]
    assert lines[2:4] == [f'{{"custom_id":"item-2","result":{LINE}}}', f'{{"custom_id":"item-3","result":{FAILED}}}']
    text, after = items.results_page(stock.tx, job, statuses=(), after=1, limit=4, most_bytes=len(LINE) - 1)
    assert (text.decode(), after) == (f'{{"custom_id":"item-2","result":{LINE}}}\n', 2)
    text, after = items.results_page(stock.tx, job, statuses=[ItemStatus.CANCELED], after=-1, limit=4)
    assert text.decode().split("\n")[0] == '{"custom_id":"item-4","result":{"type":"canceled"}}'
    retried = items.retryable(
        stock.tx, job, statuses=[ItemStatus.ERRORED, ItemStatus.CANCELED], custom_ids=None, after=0, limit=3
    )
    assert [index for index, _ in retried] == [1, 3, 4]


def test_a_refused_job_says_that_it_was_refused(stock: Stock):
    job = stock.job(2)
    (batch,) = stock.batches(job)
    batches.begin_attempt(stock.tx, batch.key, epoch=1, now=NOW)
    submissions.reject(stock.tx, batch.key, error={"code": "bad", "message": "m"}, now=NOW, ids=stock.ids)
    after = shown(stock, job)
    assert (after.status, after.stop_reason) == (JobStatus.FAILED, "provider_rejected")
    assert after.error == {"code": "provider_rejected", "provider_code": "bad", "message": "m"}


def test_dividing_keeps_every_item_in_one_batch(stock: Stock):
    job = stock.job(5, chunk=5)
    (batch,) = stock.batches(job)
    batches.begin_attempt(stock.tx, batch.key, epoch=1, now=NOW)
    for _ in range(2):  # done twice, it divides once
        divisions.divide(stock.tx, batch.key, now=NOW, ids=stock.ids)
    found = stock.batches(job)
    assert [(b.first_index, b.last_index, b.item_count, b.byte_size) for b in found] == [
        (0, 1, 2, 2 * 59),
        (2, 4, 3, 3 * 59),
    ]
    assert shown(stock, job).batches.total == 2
    assert batches.sizes_of_batch(stock.tx, found[1]) == [(2, 7), (3, 7), (4, 7)]


def test_nothing_of_a_size_that_is_sought_is_submitted(stock: Stock, tx: sa.Connection):
    job = stock.job(7, chunk=3)
    first, _, last = stock.batches(job)
    batches.begin_attempt(tx, first.key, epoch=1, now=NOW)
    submissions.set_unknown(tx, first.key, look_at=NOW, error=None)
    assert [candidate.key for candidate in candidates.submittable(tx, now=NOW)] == [last.key]
    assert candidates.submittable(tx, now=later(599)) == candidates.submittable(tx, now=NOW)
    assert [candidate.item_count for candidate in candidates.submittable(tx, now=later(601))] == [3]
    assert candidates.queued_items(tx, "sandbox") == {1: 3}
    submissions.quarantine(tx, first.key, error=None, look_at=NOW)
    assert [candidate.item_count for candidate in candidates.submittable(tx, now=NOW)] == [3]
    assert candidates.queued_items(tx, "sandbox") == {}
    submissions.quarantine(tx, first.key, error=None, look_at=later(60))
    assert submissions.unsettled_submissions(tx, "sandbox", now=later(59)) == []
    submissions.postpone(tx, first.key, until=NOW, error=None, now=NOW, ids=stock.ids)
    assert stock.batches(job)[0].status is BatchStatus.PLANNED


def test_a_batch_that_is_given_up_after_its_end_keeps_what_was_read(stock: Stock):
    term, job = stock.term(), stock.job(5, chunk=3)
    first, _ = stock.submitted(job)
    apply(stock, term, ended(term, first), page(term, first, _1=LINE))
    batches.give_up(stock.tx, first.key, now=NOW, ids=stock.ids)
    after = shown(stock, job)
    assert after.batches is not None
    assert (after.batches.total, after.batches.ended, after.batches.ingested) == (2, 1, 1)
    assert [status.value for _, status in listed(stock, job)] == ["expired", "succeeded", "expired"] + [
        "processing"
    ] * 2
    assert (after.status, after.stopping) == (JobStatus.RUNNING, "lookback_exceeded")
    batches.give_up(stock.tx, stock.batches(job)[1].key, now=NOW, ids=stock.ids)
    assert shown(stock, job).status is JobStatus.EXPIRED


def test_a_cancelled_job_that_is_given_up_ends_cancelled(stock: Stock):
    job = stock.job(2)
    (batch,) = stock.submitted(job)
    jobs.cancel_job(stock.tx, 1, job.id, now=NOW, ids=stock.ids)
    batches.give_up(stock.tx, batch.key, now=NOW, ids=stock.ids)
    assert shown(stock, job).status is JobStatus.CANCELLED


def test_only_what_is_not_resolved_can_be_abandoned(stock: Stock):
    job = stock.job(4, chunk=2)
    first, second = stock.batches(job)
    batches.begin_attempt(stock.tx, first.key, epoch=1, now=NOW)
    submissions.set_unknown(stock.tx, first.key, look_at=NOW, error=None)
    assert [batch.id for batch in by_hand.unresolved(stock.tx)] == [first.id]
    assert by_hand.abandon(stock.tx, first.id, now=NOW, ids=stock.ids) is None  # the job goes on
    with pytest.raises(Conflict):
        by_hand.abandon(stock.tx, second.id, now=NOW, ids=stock.ids)
    with pytest.raises(NotFound):
        by_hand.abandon(stock.tx, "batch-nobody", now=NOW, ids=stock.ids)
    assert [status.value for _, status in listed(stock, job)] == ["errored", "errored", "processing", "processing"]
