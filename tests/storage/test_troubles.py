"""What needs a person is found, on both databases, and explained with the commands that settle it."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from tests.storage.both import NOW, Stock, later

from backburner.cli.remedies import remedy
from backburner.model import ProviderBatch
from backburner.states import BatchStatus, DeliveryStatus
from backburner.storage import batches, submissions
from backburner.storage.facts import ProviderState, set_provider
from backburner.storage.overview import pause
from backburner.storage.tables import deliveries, provider_batches
from backburner.storage.troubles import troubles

DAY = timedelta(days=1)


def lost(stock: Stock) -> list[ProviderBatch]:
    """Batches of a job whose submissions got lost."""
    job = stock.job()
    for batch in stock.batches(job):
        batches.begin_attempt(stock.tx, batch.key, epoch=1, now=NOW)
        submissions.set_unknown(stock.tx, batch.key, look_at=later(60), error={"code": "timeout"})
    return stock.batches(job)


def kinds(stock: Stock, now=NOW) -> list[tuple[str, str]]:
    return [(trouble.kind, trouble.subject) for trouble in troubles(stock.tx, now=now)]


def test_a_database_at_work_has_no_troubles(stock: Stock):
    stock.submitted(stock.job())
    lost(stock)
    assert kinds(stock, later(60)) == []


def test_a_quarantined_batch_is_found_with_its_candidates(stock: Stock):
    first, _ = lost(stock)
    error = {"code": "ambiguous", "candidates": ["msgbatch_1", "msgbatch_2"]}
    submissions.quarantine(stock.tx, first.key, error=error, look_at=later(3600))
    (trouble,) = troubles(stock.tx, now=later(60))
    told = remedy(trouble)
    assert (trouble.kind, trouble.subject) == ("quarantined_batch", first.id)
    assert first.nonce in told.explanation
    assert told.commands == (
        f"backburner batches adopt {first.id} msgbatch_1",
        f"backburner batches adopt {first.id} msgbatch_2",
        f"backburner batches abandon {first.id} && backburner retry {first.job_id}",
    )


def test_a_batch_that_is_looked_for_in_vain_is_found_after_a_while(stock: Stock):
    first, second = lost(stock)
    found = kinds(stock, later(1000))
    assert ("unknown_batch", first.id) in found
    assert ("overdue_batch", second.id) in found  # nobody looks either


def test_a_batch_that_nobody_will_look_at_is_found(stock: Stock):
    first, second = stock.submitted(stock.job())
    gone = sa.update(provider_batches).where(provider_batches.c.id == first.key).values(next_poll_at=None)
    stock.tx.execute(gone)
    assert kinds(stock) == [("forgotten_batch", first.id)]
    assert kinds(stock, later(700))[1:] == [("overdue_batch", second.id)]


@pytest.mark.parametrize("status", [DeliveryStatus.PENDING, DeliveryStatus.FAILED, DeliveryStatus.DISABLED])
def test_a_stuck_webhook_is_found_and_a_good_one_is_not(stock: Stock, status):
    job = stock.job(callback_url="https://example.com")
    for batch in stock.batches(job):
        batches.begin_attempt(stock.tx, batch.key, epoch=1, now=NOW)
        submissions.reject(stock.tx, batch.key, error={}, now=NOW, ids=stock.ids)
    assert kinds(stock) == []
    stock.tx.execute(sa.update(deliveries).values(status=status))
    (trouble,) = troubles(stock.tx, now=later(700))
    assert trouble.kind == ("late_delivery" if status is DeliveryStatus.PENDING else "failed_delivery")
    assert f"redeliver {job.id} {trouble.subject}" in remedy(trouble).commands[-1]
    stock.tx.execute(sa.update(deliveries).values(status=DeliveryStatus.DELIVERED))
    assert kinds(stock, NOW + DAY) == []


def test_a_paused_account_and_paused_polling_are_found(stock: Stock):
    state = ProviderState(name="anthropic", state="paused", reason="invalid x-api-key", retry_at=later(60))
    set_provider(stock.tx, state, now=NOW)
    pause(stock.tx, now=NOW)
    found = troubles(stock.tx, now=NOW)
    assert [trouble.kind for trouble in found] == ["paused_account", "polling_paused"]
    assert {remedy(trouble).commands for trouble in found} == {("backburner scheduler resume",)}
    assert "invalid x-api-key" in remedy(found[0]).explanation


def test_the_account_of_a_provider_that_is_not_configured_needs_nobody(stock: Stock):
    set_provider(stock.tx, ProviderState(name="sandbox", state="paused", reason="401", retry_at=later(60)), now=NOW)
    assert troubles(stock.tx, now=NOW, configured=["anthropic"]) == []
    assert [trouble.subject for trouble in troubles(stock.tx, now=NOW, configured=["sandbox"])] == ["sandbox"]


def test_what_is_final_needs_nobody(stock: Stock):
    for status in (BatchStatus.INGESTED, BatchStatus.CLOSED):
        stock.tx.execute(sa.update(provider_batches).values(status=status, next_poll_at=None))
        assert kinds(stock, NOW + DAY) == []
