"""The queue of background jobs, on both databases."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later

from backburner.app import App
from backburner.commands import WorkDeferred, WorkEnded, WorkProgressed
from backburner.errors import Conflict, QuotaExceeded
from backburner.model import Job, NewItem, PlannedBatch
from backburner.room import Room
from backburner.states import JobStatus, JobType
from backburner.storage import handler_jobs, job_updates, jobs, staging, tables, work
from backburner.storage.handler_jobs import QueueRules
from backburner.storage.work_ends import apply_work

TOKENS = count()
app = App()
app.handler("one")(lambda: None)
app.handler("two", concurrency=2, per_organization=1)(lambda: None)


def queue(stock: Stock, handler="one", *, at=NOW, most=1000, attempts=3, **more):
    new = stock.new_job(at=at, job_type=JobType.JOB, handler=handler, **more)
    return handler_jobs.make_handler_job(stock.tx, new, QueueRules(attempts, most), now=at)


def room(places=10, organization_places=10):
    return Room(executors={"thread": places}, handlers=app.handlers, organization_places=organization_places)


def claim(stock: Stock, free=None, *, at=NOW, lease=30):
    return work.claim(
        stock.tx,
        free or room(),
        instance="here",
        now=at,
        lease_until=at + timedelta(seconds=lease),
        new_token=lambda: f"t{next(TOKENS)}",
    )


def status(stock: Stock, job):
    return jobs.get_job(stock.tx, None, job.id).status


def test_jobs_are_claimed_once_in_the_order_of_queueing(stock: Stock):
    made = [queue(stock, at=later(n)) for n in range(3)]
    first = claim(stock, room(2), at=later(5))
    assert [each.job_id for each in first] == [made[0].id, made[1].id]
    assert [each.job_id for each in claim(stock, at=later(5))] == [made[2].id]
    assert claim(stock, at=later(5)) == []
    assert status(stock, made[0]) is JobStatus.RUNNING


def test_what_does_not_fit_is_passed_over_not_waited_for(stock: Stock):
    for _ in range(3):
        queue(stock, "two")
    last = queue(stock, "one")
    claimed = claim(stock, room(2))
    assert [each.handler for each in claimed] == ["two", "one"]
    assert claimed[1].job_id == last.id


def test_a_claim_that_has_to_run_again_has_all_its_room(stock: Stock):
    made, free = [queue(stock).id for _ in range(2)], room(2)
    again = stock.tx.begin_nested()
    assert len(claim(stock, free)) == 2
    again.rollback()
    assert [each.job_id for each in claim(stock, free)] == made


def test_a_full_queue_refuses(stock: Stock):
    queue(stock, most=1)
    with pytest.raises(QuotaExceeded):
        queue(stock, most=1)


def test_a_claim_that_is_not_renewed_goes_back_and_its_token_is_worth_nothing(stock: Stock):
    job = queue(stock)
    (old,) = claim(stock)
    assert work.renew(stock.tx, [old.token, "other"], now=NOW, lease_until=later(60)) == {old.token: None}
    assert work.recover(stock.tx, now=NOW, ids=stock.ids, expired_before=later(50)) == []
    assert work.recover(stock.tx, now=NOW, ids=stock.ids, expired_before=later(61)) == [job.id]
    (new,) = claim(stock, at=later(61))
    assert (new.attempt, new.token != old.token) == (2, True)
    stale = WorkEnded(
        job_key=old.job_key, token=old.token, at=later(62), status=JobStatus.COMPLETED, reason="end_turn", result=1
    )
    assert apply_work(stock.tx, [stale], ids=stock.ids) == ([], False)
    assert status(stock, job) is JobStatus.RUNNING
    fresh = WorkEnded(
        job_key=new.job_key, token=new.token, at=later(62), status=JobStatus.COMPLETED, reason="end_turn", result=2
    )
    assert apply_work(stock.tx, [fresh], ids=stock.ids) == ([job.id], False)
    ended = jobs.get_job(stock.tx, None, job.id)
    assert (ended.status, ended.result, ended.completed_at) == (JobStatus.COMPLETED, 2, later(62))
    assert stock.tx.execute(sa.select(sa.func.count()).select_from(tables.work)).scalar_one() == 0


def test_ends_progress_and_returns_in_one_transaction(stock: Stock):
    for _ in range(3):
        queue(stock, callback_url="https://example.test/hook")
    one, two, three = claim(stock)
    about = [{"job_key": each.job_key, "token": each.token, "at": later(1)} for each in (one, two, three)]
    changed, due = apply_work(
        stock.tx,
        [
            WorkProgressed(**about[0], progress={"processed": 1}),
            WorkProgressed(**about[0], progress={"processed": 2}),
            WorkEnded(**about[1], status=JobStatus.FAILED, reason="handler_error", error={"code": "x"}),
            WorkDeferred(**about[2], available_at=later(10), counts=False, error={"code": "y"}),
        ],
        ids=stock.ids,
    )
    assert (len(set(changed)), due) == (3, True)
    first, second, third = (jobs.get_job(stock.tx, None, each.job_id) for each in (one, two, three))
    assert first.metadata == {"progress": {"processed": 2}}
    assert (second.status, second.error) == (JobStatus.FAILED, {"code": "x"})
    assert (third.status, third.error) == (JobStatus.RUNNING, {"code": "y"})
    assert claim(stock, at=later(9)) == []
    (again,) = claim(stock, at=later(10))
    assert (again.job_id, again.attempt) == (three.job_id, 1)


def test_an_accepted_cancel_is_kept_whatever_the_handler_came_to(stock: Stock):
    job = queue(stock)
    (held,) = claim(stock)
    _, done = jobs.cancel_job(stock.tx, 1, job.id, now=later(1), ids=stock.ids)
    assert not done
    assert work.stopping_of(stock.tx, [held.token]) == {held.token: "cancelled_by_user"}
    success = WorkEnded(
        job_key=held.job_key, token=held.token, at=later(2), status=JobStatus.COMPLETED, reason="end_turn"
    )
    apply_work(stock.tx, [success], ids=stock.ids)
    assert status(stock, job) is JobStatus.CANCELLED


def test_a_cancelled_job_of_a_lost_worker_ends_with_its_lease(stock: Stock):
    job = queue(stock)
    claim(stock)
    jobs.cancel_job(stock.tx, 1, job.id, now=later(1), ids=stock.ids)
    work.recover(stock.tx, now=NOW, ids=stock.ids, expired_before=later(31))
    assert status(stock, job) is JobStatus.CANCELLED


def test_figures_of_the_queue(stock: Stock):
    queue(stock, at=NOW)
    queue(stock, at=later(5))
    claim(stock, room(1), at=later(6))
    found = work.queue_figures(stock.tx, now=later(6))
    assert (found.waiting, found.claimed, found.oldest_at) == (1, 1, later(5))


def child(stock: Stock, job: Job, token: str | None, name: str = "mine") -> str:
    key = staging.draw_key(stock.tx, now=NOW)
    staging.stage_items(stock.tx, key, 0, [NewItem("a", "{}", 2)], now=NOW)
    planned = [PlannedBatch(stock.ids.new("batch"), stock.ids.nonce(), 0, 0, 2)]
    named = handler_jobs.Child(job.id, name, token)
    return handler_jobs.make_child(stock.tx, named, key, stock.new_job(), planned, now=NOW)


def batches_of(stock: Stock) -> set[str]:
    found = sa.select(tables.jobs.c.public_id).where(tables.jobs.c.job_type == JobType.BATCH)
    return set(stock.tx.execute(found).scalars())


def test_of_a_jobs_attempts_only_the_one_that_holds_it_makes_batches_and_each_only_once(stock: Stock):
    job = queue(stock)
    (held,) = claim(stock, room(1))
    for stale in (None, "attempt-of-before"):
        with pytest.raises(Conflict, match="passed to another attempt"):
            child(stock, job, stale)
    made = child(stock, job, held.token)
    assert child(stock, job, held.token) == made
    other = child(stock, job, held.token, "another")
    assert batches_of(stock) == {made, other}


def test_a_batch_is_its_jobs_whatever_its_owner_makes_of_its_metadata(stock: Stock):
    job = queue(stock)
    (held,) = claim(stock, room(1))
    made = child(stock, job, held.token)
    changes = {"metadata": {"parent_job_id": None, "child_key": "x"}}
    job_updates.update_job(stock.tx, 1, made, changes, expected=lambda _: None, now=NOW, ids=stock.ids)
    assert child(stock, job, held.token) == made


def test_a_batch_that_was_deleted_is_not_made_again_by_the_next_attempt(stock: Stock):
    job = queue(stock)
    (held,) = claim(stock, room(1))
    made = child(stock, job, held.token)
    jobs.cancel_job(stock.tx, 1, made, now=NOW, ids=stock.ids)
    jobs.delete_job(stock.tx, 1, made)
    assert child(stock, job, held.token) == made
    assert batches_of(stock) == set()
