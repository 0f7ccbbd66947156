"""What two transactions do to each other, on PostgreSQL, where they really run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, FixedClock, Stock, later
from tests.storage.test_results import LINE, ended, page
from tests.storage.test_work import claim

from backburner.app import App
from backburner.commands import DeliveryAttempted, WorkEnded
from backburner.errors import LeadershipLost, WriteRefused
from backburner.ids import Ids
from backburner.model import Job, NewItem, PlannedBatch, SharedItem
from backburner.room import Room
from backburner.states import BatchStatus, DeliveryStatus, JobStatus, JobType
from backburner.storage import accounts, batches, deliveries, fence, jobs, migrate, staging, submissions, work
from backburner.storage.apply import apply_leader_commands
from backburner.storage.database import RunAgain, open_database, translated
from backburner.storage.handler_jobs import QueueRules, make_handler_job
from backburner.storage.tables import organizations
from backburner.storage.tables import work as work_table
from backburner.storage.work_ends import apply_work


@pytest.fixture
def both(engine: sa.Engine) -> sa.Engine:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    return engine


def made(engine: sa.Engine, **job: object) -> Job:
    with engine.begin() as tx:
        return Stock(tx).job(**job)


ids = Ids(FixedClock(), Random("races"))
ahead = App()
ahead.handler("ahead")(lambda: None)


class Second:
    """A transaction in a thread of its own; it may have to wait for the first."""

    def __init__(self, engine: sa.Engine, work: Callable[[sa.Connection], Any]) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self._engine, self._work = engine, work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._engine.begin() as tx:
                self.result = self._work(tx)
        except Exception as error:
            self.error = error

    def outcome(self) -> Any:
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def in_order(engine: sa.Engine, first: Callable[[sa.Connection], Any], second: Callable[[sa.Connection], Any]) -> Any:
    """Do the first, start the second before the first is committed, and return what came of the second."""
    with engine.begin() as tx:
        first(tx)
        other = Second(engine, second)
        other._thread.join(0.2)
    return other.outcome()


def batches_of(engine: sa.Engine, job: Job) -> list[BatchStatus]:
    with engine.begin() as tx:
        return [batch.status for batch in Stock(tx).batches(job)]


def test_a_submission_that_begins_first_makes_the_cancel_wait_for_the_provider(both: sa.Engine):
    job = made(both, items=2)
    key = _keys(both, job)[0]
    after, done = in_order(
        both,
        lambda tx: batches.begin_attempt(tx, key, epoch=1, now=NOW),
        lambda tx: jobs.cancel_job(tx, 1, job.id, now=NOW, ids=ids),
    )
    assert (after.status, done, batches_of(both, job)) == (JobStatus.PENDING, False, [BatchStatus.SUBMITTING])


def test_a_cancel_that_comes_first_lets_no_submission_begin(both: sa.Engine):
    job = made(both, items=2)
    key = _keys(both, job)[0]
    started = in_order(
        both,
        lambda tx: jobs.cancel_job(tx, 1, job.id, now=NOW, ids=ids),
        lambda tx: batches.begin_attempt(tx, key, epoch=1, now=NOW),
    )
    assert (started, batches_of(both, job)) == (None, [BatchStatus.CLOSED])


def test_a_batch_that_is_turned_away_while_its_job_is_cancelled_is_closed(both: sa.Engine):
    job = made(both, items=2)
    key = _keys(both, job)[0]
    with both.begin() as tx:
        batches.begin_attempt(tx, key, epoch=1, now=NOW)
    in_order(
        both,
        lambda tx: jobs.cancel_job(tx, 1, job.id, now=NOW, ids=ids),
        lambda tx: submissions.postpone(tx, key, until=NOW, error=None, now=NOW, ids=ids),
    )
    assert batches_of(both, job) == [BatchStatus.CLOSED]
    with both.begin() as tx:
        assert jobs.get_job(tx, 1, job.id).status is JobStatus.CANCELLED


def test_a_job_that_is_deleted_while_it_is_retried_leaves_its_requests(both: sa.Engine):
    old = made(both, items=4)
    planned = [PlannedBatch("batch-retry", "nonce", 0, 3, 9)]
    with both.begin() as tx:
        jobs.cancel_job(tx, 1, old.id, now=NOW, ids=ids)
        key = staging.draw_key(tx, now=NOW)
        staging.stage_shared_items(tx, key, 0, [SharedItem(f"item-{n}", n, 7) for n in range(4)], now=NOW)

    def retry(tx: sa.Connection) -> Job:
        new = Stock(tx).new_job(requests_of=old.key, id="job-retry")
        return staging.make_job(tx, key, new, planned, now=NOW)

    in_order(both, retry, lambda tx: jobs.delete_job(tx, 1, old.id))
    with both.begin() as tx:
        while staging.sweep_key(tx, old.key, most=10, before=later(1), now=NOW):
            pass
        (batch,) = Stock(tx).batches(jobs.get_job(tx, 1, "job-retry"))
        assert len(batches.requests_of_batch(tx, batch, lambda index, _: index)) == 4


def test_results_that_come_while_their_batch_is_given_up_are_not_counted_as_well(both: sa.Engine):
    job = made(both, items=3)
    with both.begin() as tx:
        stock = Stock(tx)
        term = stock.term()
        (batch,) = stock.submitted(job)
        apply_leader_commands(tx, term, [ended(term, batch)], now=NOW, ids=ids)
    in_order(
        both,
        lambda tx: batches.give_up(tx, batch.key, now=NOW, ids=ids),
        lambda tx: apply_leader_commands(tx, term, [page(term, batch, _0=LINE)], now=NOW, ids=ids),
    )
    with both.begin() as tx:
        counts = jobs.get_job(tx, 1, job.id).counts
    assert (counts.expired, counts.succeeded) == (3, 0)


def test_a_job_that_is_taken_back_while_it_ends_does_not_end(both: sa.Engine):
    with both.begin() as tx:
        new = Stock(tx).new_job(job_type=JobType.JOB, handler="one")
        job = make_handler_job(tx, new, QueueRules(3), now=NOW)
        (claimed,) = claim(Stock(tx))
    done = WorkEnded(job_key=job.key, token=claimed.token, at=NOW, status=JobStatus.COMPLETED, reason="completed")
    in_order(
        both,
        lambda tx: work.recover(tx, now=NOW, ids=ids, expired_before=later(31)),
        lambda tx: apply_work(tx, [done], ids=ids),
    )
    with both.begin() as tx:
        assert jobs.get_job(tx, 1, job.id).status is JobStatus.RUNNING
        assert tx.execute(sa.select(work_table.c.state).where(work_table.c.job_id == job.key)).scalar() == work.QUEUED


def test_a_host_whose_clock_is_ahead_takes_no_claim_of_another(both: sa.Engine):
    with both.begin() as tx:
        make_handler_job(tx, Stock(tx).new_job(job_type=JobType.JOB, handler="ahead"), QueueRules(3), now=NOW)
        (held,) = claim(Stock(tx), Room(executors={"thread": 1}, handlers=ahead.handlers, organization_places=1))
        assert work.recover(tx, now=later(600), ids=ids, expired_before=later(600)) == []
        assert work.renew(tx, [held.token], now=later(-600), lease_until=later(-590)) == {held.token: None}
        assert work.recover(tx, now=later(600), ids=ids, expired_before=later(605)) == []
        assert work.recover(tx, now=later(600), ids=ids, expired_before=later(615)) == [held.job_id]


def test_a_second_instance_finds_the_first_organization_made(both: sa.Engine, postgres_database: str):
    database = open_database(postgres_database, random=Random(0), in_threads=False)
    migrate.prepare(database.writing, may_upgrade=False, now=NOW, sleep=lambda _: None)

    def start(tx: sa.Connection) -> bool:
        known = {"key_hash": "same", "prefix": "bb_", "webhook_secret": "whsec_eA=="}
        return accounts.bootstrap(tx, **known, now=NOW, ids=ids)

    assert in_order(database.writing, start, start) is False
    with database.writing.connect() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(organizations)).scalar_one() == 1
    database.close()


def _keys(engine: sa.Engine, job: Job) -> list[int]:
    with engine.begin() as tx:
        return [batch.key for batch in Stock(tx).batches(job)]


# --- on both ----------------------------------------------------------------------------------------------


def test_a_term_that_is_over_writes_nothing(stock: Stock, tx: sa.Connection):
    old = stock.term()
    job = stock.job(2)
    new = fence.begin_term(tx, term_id="other", instance_id="there", now=later(1))
    (batch,) = stock.batches(job)
    for stale in (old, type(old)(epoch=new.epoch, term_id="guessed", instance_id="x")):
        with pytest.raises(LeadershipLost):
            fence.fenced(tx, stale, batches.begin_attempt, batch.key, epoch=old.epoch, now=NOW)
    assert stock.batches(job)[0].status is BatchStatus.PLANNED
    assert fence.fenced(tx, new, batches.begin_attempt, batch.key, epoch=new.epoch, now=NOW) is not None
    assert fence.current_leader(tx) == ("there", new.epoch, later(1))


async def test_what_a_database_refuses_is_told_from_what_it_cannot_do_now(engine: sa.Engine):
    with engine.begin() as tx:
        key = staging.draw_key(tx, now=NOW)
    if engine.dialect.name == "postgresql":
        with pytest.raises(WriteRefused), translated(), engine.begin() as tx:
            staging.stage_items(tx, key, 0, [NewItem("a", "\x00", 1)], now=NOW)
    with pytest.raises(WriteRefused), translated(), engine.begin() as tx:
        tx.execute(sa.insert(organizations).values(public_id=None, name="x", created_at=NOW))


def test_what_may_be_run_again_says_so(both: sa.Engine):
    with pytest.raises(RunAgain), translated(), both.begin() as tx:
        tx.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$")


def test_a_webhook_that_is_settled_while_its_job_is_deleted_goes(both: sa.Engine):
    job = made(both, items=1, callback_url="http://gone.test/")
    with both.begin() as tx:
        jobs.cancel_job(tx, 1, job.id, now=NOW, ids=ids)
        (due,) = deliveries.claim_deliveries(tx, now=NOW, lease_until=later(60), limit=10)
    settled = DeliveryAttempted(
        key=due.key, number=1, at=NOW, status_code=200, error=None, duration_ms=1,
        status=DeliveryStatus.DELIVERED, next_attempt_at=None,
    )  # fmt: skip
    in_order(
        both,
        lambda tx: jobs.delete_job(tx, 1, job.id),
        lambda tx: deliveries.record_attempts(tx, [settled]),
    )
    with both.connect() as tx:
        assert deliveries.deliveries_of(tx, job.key) == []
