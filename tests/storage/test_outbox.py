"""Webhooks that are owed: claimed by one, recorded once, on both databases."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later

from backburner.commands import DeliveryAttempted
from backburner.errors import NotFound
from backburner.model import Job
from backburner.states import DeliveryStatus
from backburner.storage import deliveries, jobs
from backburner.storage.tables import attempts as made
from backburner.storage.tables import deliveries as rows


def ended(stock: Stock, url: str = "http://x.test/hook") -> Job:
    job = stock.job(1, callback_url=url)
    jobs.cancel_job(stock.tx, 1, job.id, now=NOW, ids=stock.ids)
    return job


def claim(tx: sa.Connection, seconds: float = 0, **chosen: object):
    return deliveries.claim_deliveries(
        tx, now=later(seconds), lease_until=later(seconds + 60), **{"limit": 10, **chosen}
    )


def attempted(key: int, number: int, *, code: int | None, again: float | None = None) -> DeliveryAttempted:
    status = DeliveryStatus.DELIVERED if again is None else DeliveryStatus.PENDING
    return DeliveryAttempted(
        key=key, number=number, at=later(1), status_code=code, error=None if code == 200 else "no", duration_ms=7,
        status=status, next_attempt_at=None if again is None else later(again),
    )  # fmt: skip


def test_an_end_owes_one_webhook_and_a_job_without_url_none(stock: Stock, tx: sa.Connection):
    job = ended(stock)
    plain = stock.job(1)
    jobs.cancel_job(tx, 1, plain.id, now=NOW, ids=stock.ids)
    (due,) = claim(tx)
    assert (due.number, due.scheduled, due.receiver, due.secrets) == (1, 1, "x.test:80", ("whsec_eA==",))
    assert job.id.encode() in due.body
    assert deliveries.deliveries_of(tx, plain.key) == []


def test_a_claim_lasts_until_the_lease_ends(stock: Stock, tx: sa.Connection):
    ended(stock)
    assert len(claim(tx)) == 1
    assert claim(tx, 59) == []
    assert deliveries.next_delivery_at(tx) == later(60)
    assert [due.number for due in claim(tx, 60)] == [1]


def test_attempts_are_recorded_once_and_shown(stock: Stock, tx: sa.Connection):
    job = ended(stock)
    (due,) = claim(tx)
    first = attempted(due.key, 1, code=500, again=30)
    assert deliveries.record_attempts(tx, [first]) == [job.id]
    assert deliveries.record_attempts(tx, [first]) == []
    (due,) = claim(tx, 30)
    deliveries.record_attempts(tx, [attempted(due.key, 2, code=200)])
    (shown,) = deliveries.deliveries_of(tx, job.key)
    assert (shown.status, shown.next_attempt_at) == (DeliveryStatus.DELIVERED, None)
    assert [(a.number, a.status_code, a.error, a.at) for a in shown.attempts] == [
        (1, 500, "no", later(1)),
        (2, 200, None, later(1)),
    ]
    after = jobs.get_job(tx, 1, job.id)
    assert (after.callback_sent_at, after.callback_status_code, after.callback_error) == (later(1), 200, None)
    assert claim(tx, 9999) == []


def test_a_redelivery_by_hand_is_due_at_once_and_outside_the_schedule(stock: Stock, tx: sa.Connection):
    job = ended(stock)
    (due,) = claim(tx)
    deliveries.record_attempts(tx, [attempted(due.key, 1, code=200)])
    deliveries.redeliver(tx, job.key, due.id, now=later(5))
    (again,) = claim(tx, 5)
    assert (again.id, again.number, again.scheduled) == (due.id, 2, 1)
    with pytest.raises(NotFound):
        deliveries.redeliver(tx, job.key + 1, due.id, now=NOW)


def test_a_busy_receiver_or_organization_is_left_alone(stock: Stock, tx: sa.Connection):
    for name in "ab":
        ended(stock, f"http://{name}.test/")
    assert [due.receiver for due in claim(tx, busy_receivers={"a.test:80"})] == ["b.test:80"]
    assert claim(tx, busy_organizations={1}) == []
    assert [due.receiver for due in claim(tx)] == ["a.test:80"]


def test_a_delivery_outlives_its_job(stock: Stock, tx: sa.Connection):
    job = ended(stock)
    jobs.delete_job(tx, 1, job.id)
    (due,) = claim(tx)
    assert deliveries.record_attempts(tx, [attempted(due.key, 1, code=500, again=30)]) == []
    (due,) = claim(tx, 30)
    assert (due.number, rows_left(tx)) == (2, (1, 1))
    assert deliveries.record_attempts(tx, [attempted(due.key, 2, code=200)]) == []
    assert rows_left(tx) == (0, 0)
    # Another instance has made the same attempt, and comes late.
    assert deliveries.record_attempts(tx, [attempted(due.key, 2, code=200)]) == []
    assert rows_left(tx) == (0, 0)


def rows_left(tx: sa.Connection) -> tuple[int, int]:
    """How many deliveries and attempts there are."""
    deliveries_left, attempts_left = (
        tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in (rows, made)
    )
    return deliveries_left, attempts_left


def test_settled_deliveries_go_with_their_job_and_others_stay(stock: Stock, tx: sa.Connection):
    job, other = ended(stock), ended(stock)
    for due in claim(tx):
        deliveries.record_attempts(tx, [attempted(due.key, 1, code=200)])
    jobs.delete_job(tx, 1, job.id)
    assert rows_left(tx) == (1, 1)
    assert len(deliveries.deliveries_of(tx, other.key)) == 1


def test_two_instances_never_claim_the_same(engine: sa.Engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    with engine.begin() as tx:
        stock = Stock(tx)
        for n in range(4):
            ended(stock, f"http://r{n}.test/")
    with engine.begin() as one, engine.begin() as other:
        mine, theirs = claim(one, limit=2), claim(other, limit=4)
    assert len(mine) == len(theirs) == 2
    assert len({due.key for due in [*mine, *theirs]}) == 4
