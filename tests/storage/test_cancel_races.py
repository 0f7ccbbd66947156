"""What a cancel, a deletion or an operator does to a transaction that is under way, on PostgreSQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later
from tests.storage.test_races import Second, both, ids, in_order, made

from backburner.commands import Polled, Unchanged
from backburner.errors import Conflict
from backburner.states import BatchStatus
from backburner.storage import accounts, batches, by_hand, fence, jobs, submissions
from backburner.storage.apply import apply_leader_commands

__all__ = ["both"]  # the fixture


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_job_that_is_cancelled_while_others_expire_stays_cancelled(both: sa.Engine, is_deleted: bool):
    first, job = made(both, items=2, deadline_at=later(1)), made(both, items=2, deadline_at=later(2))
    if not is_deleted:
        with both.begin() as tx:
            Stock(tx).submitted(job)
    with both.begin() as held:
        jobs.lock_job(held, 1, first.id)
        sweep = Second(both, lambda tx: jobs.expire_jobs(tx, now=later(9), limit=9, ids=ids))
        sweep._thread.join(0.3)
        with both.begin() as tx:
            jobs.cancel_job(tx, 1, job.id, now=NOW, ids=ids)
            if is_deleted:
                jobs.delete_job(tx, 1, job.id)
    assert sweep.outcome() == [first.id]
    if not is_deleted:
        with both.begin() as tx:
            assert jobs.get_job(tx, 1, job.id).stopping == "cancelled_by_user"


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_cancel_is_looked_after_at_once_also_while_a_poll_is_recorded(both: sa.Engine, is_whole: bool):
    job = made(both, items=2)
    with both.begin() as tx:
        stock = Stock(tx)
        term = stock.term()
        (batch,) = stock.submitted(job)
    seen = {"term": term, "polled_at": later(5)}
    unchanged = Unchanged(due={later(65): [batch.key]}, **seen)
    polled = Polled(
        batch_key=batch.key, provider_status="x", response=None, failures=0, next_poll_at=later(65),
        knew_stopping=False, **seen,
    )  # fmt: skip
    command = polled if is_whole else unchanged
    in_order(
        both,
        lambda tx: jobs.cancel_job(tx, 1, job.id, now=later(5), ids=ids),
        lambda tx: apply_leader_commands(tx, term, [command], now=later(5), ids=ids),
    )
    with both.begin() as tx:
        (batch,) = Stock(tx).batches(job)
    assert (batch.last_polled_at, batch.next_poll_at) == (later(5), later(5))


def test_a_batch_that_is_being_sent_again_is_not_adopted_by_hand(both: sa.Engine):
    job = made(both, items=2)
    with both.begin() as tx:
        (batch,) = Stock(tx).batches(job)
        batches.begin_attempt(tx, batch.key, epoch=1, now=NOW)
        submissions.set_unknown(tx, batch.key, look_at=NOW, error=None)

    def send_again(tx: sa.Connection) -> None:
        submissions.postpone(tx, batch.key, until=NOW, error=None, now=NOW, ids=ids)
        batches.begin_attempt(tx, batch.key, epoch=1, now=NOW)

    with pytest.raises(Conflict):
        in_order(both, send_again, lambda tx: by_hand.adopt(tx, batch.id, "msgbatch_1", now=NOW))
    with both.begin() as tx:
        assert Stock(tx).batches(job)[0].status is BatchStatus.SUBMITTING


def test_a_start_does_not_wait_for_a_gap_between_the_leaders_transactions(both: sa.Engine):
    with both.begin() as tx:
        term = Stock(tx).term()
    with both.begin() as held:
        fence.fence(held, term)
        known = {"key_hash": "other", "prefix": "bb_", "webhook_secret": "whsec_eA=="}
        start = Second(both, lambda tx: accounts.bootstrap(tx, **known, now=NOW, ids=ids))
        start._thread.join(2)
        assert not start._thread.is_alive()
    assert start.outcome() is False
