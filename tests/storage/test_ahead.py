"""What is too far ahead, and what is not, on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later
from tests.storage.test_outbox import ended
from tests.storage.test_work import claim, queue

from backburner.delivery_schedule import SCHEDULE
from backburner.states import BatchStatus
from backburner.storage import ahead, tables, work
from backburner.storage.tables import deliveries, jobs, provider_batches

HOUR = 3600.0
GIVEN = {"now": NOW, "longest_look": timedelta(hours=2)}


def is_pulled_back(tx: sa.Connection, column: sa.Column[datetime], seconds: float) -> bool:
    """Whether a time so far ahead is made one that is due."""
    tx.execute(sa.update(column.table).values({column: later(seconds)}))
    there = ahead.is_too_far_ahead(tx, **GIVEN)
    assert ahead.pull_back(tx, **GIVEN) == int(there)
    (time,) = tx.execute(sa.select(column)).scalars()
    assert time == (NOW if there else later(seconds))
    return there


@pytest.mark.parametrize(
    "status", [status for status in BatchStatus if status not in ("ingested", "closed", "submitting")]
)
def test_a_batch_is_looked_at_within_two_hours(status, stock: Stock, tx: sa.Connection):
    stock.job(1)
    tx.execute(sa.update(provider_batches).values(status=status))
    look = provider_batches.c.next_poll_at
    assert [is_pulled_back(tx, look, hours * HOUR) for hours in (0, 1, 2, 2.1, 24)] == [False] * 3 + [True] * 2


@pytest.mark.parametrize("made", range(len(SCHEDULE)))
def test_a_webhook_waits_for_no_more_than_twice_its_step(made, stock: Stock, tx: sa.Connection):
    ended(stock)
    tx.execute(sa.update(deliveries).values(scheduled=made))
    longest = max(HOUR, 2 * SCHEDULE[made])
    waits = (60, longest, longest + 1, longest + 24 * HOUR)
    assert [is_pulled_back(tx, deliveries.c.next_attempt_at, wait) for wait in waits] == [False] * 2 + [True] * 2


def test_a_background_job_waits_for_as_long_as_its_handler_has_said(stock: Stock, tx: sa.Connection):
    job = queue(stock)
    start = tables.work.c.available_at
    assert [is_pulled_back(tx, start, wait) for wait in (HOUR, 24 * HOUR)] == [False, True]
    claim(stock)
    work.give_back(tx, [{"key": job.key, "due": NOW, "uncounted": 0}])
    assert not is_pulled_back(tx, start, 100 * HOUR)
    tx.execute(sa.update(jobs).values(updated_at=later(24 * HOUR)))
    assert [is_pulled_back(tx, start, wait) for wait in (HOUR, 24 * HOUR)] == [False, True]


def test_what_is_claimed_or_final_is_left_alone(stock: Stock, tx: sa.Connection):
    queue(stock)
    claim(stock)
    assert not is_pulled_back(tx, tables.work.c.available_at, 24 * HOUR)
