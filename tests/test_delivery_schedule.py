"""What follows from an attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from backburner.delivery_schedule import SCHEDULE, after_attempt
from backburner.model import DueDelivery
from backburner.states import DeliveryStatus

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def due(scheduled: int) -> DueDelivery:
    return DueDelivery(
        key=1,
        id="delivery-1",
        organization_key=1,
        url="https://example.com/",
        receiver="example.com:443",
        body=b"{}",
        number=scheduled,
        scheduled=scheduled,
        secrets=(),
    )


def pause_after(scheduled: int, status_code: int | None = 500, retry_after: float | None = None) -> float:
    """Seconds until the next attempt, where the jitter happens to be none."""

    class Middle(Random):
        def random(self) -> float:
            return 0.5

    status, at = after_attempt(due(scheduled), status_code, retry_after, NOW, Middle())
    assert status is DeliveryStatus.PENDING
    assert at is not None
    return (at - NOW).total_seconds()


def test_the_whole_schedule_is_the_specifications_first_eight_attempts():
    pauses = [pause_after(attempt) for attempt in range(1, 8)]
    assert pauses == pytest.approx([5, 300, 1800, 7200, 18000, 36000, 50400])
    assert sum(pauses) / 3600 == pytest.approx(31.58, abs=0.01)
    assert after_attempt(due(8), 500, None, NOW, Random(1)) == (DeliveryStatus.FAILED, None)


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [
        (200, DeliveryStatus.DELIVERED),
        (204, DeliveryStatus.DELIVERED),
        (299, DeliveryStatus.DELIVERED),
        (410, DeliveryStatus.DISABLED),
        (None, DeliveryStatus.PENDING),
        (101, DeliveryStatus.PENDING),
        (300, DeliveryStatus.PENDING),
        (302, DeliveryStatus.PENDING),
        (400, DeliveryStatus.PENDING),
        (404, DeliveryStatus.PENDING),
        (429, DeliveryStatus.PENDING),
        (500, DeliveryStatus.PENDING),
    ],
)
def test_only_2xx_delivers_and_only_410_disables(status_code, expected):
    for attempt in (1, 7):
        status, at = after_attempt(due(attempt), status_code, None, NOW, Random(1))
        assert status is expected
        assert (at is not None) == (expected is DeliveryStatus.PENDING)


def test_the_last_attempt_can_still_deliver_or_disable():
    assert after_attempt(due(8), 200, None, NOW, Random(1))[0] is DeliveryStatus.DELIVERED
    assert after_attempt(due(8), 410, None, NOW, Random(1))[0] is DeliveryStatus.DISABLED
    assert after_attempt(due(9), None, None, NOW, Random(1))[0] is DeliveryStatus.FAILED


def test_pauses_scatter_by_a_fifth_to_both_sides():
    random = Random(7)
    pauses = [after_attempt(due(2), 500, None, NOW, random)[1] for _ in range(1000)]
    seconds = sorted((at - NOW).total_seconds() for at in pauses if at)
    assert [seconds[0], seconds[-1]] == pytest.approx([240, 360], abs=1)


@pytest.mark.parametrize("status_code", [429, 503])
@pytest.mark.parametrize(
    ("wish", "expected"), [(0, 300), (299, 300), (400, 400), (600, 600), (601, 600), (99_999_999, 600)]
)
def test_a_busy_receivers_wish_counts_between_one_and_two_steps(status_code, wish, expected):
    assert pause_after(2, status_code, wish) == expected


@pytest.mark.parametrize("status_code", [None, 200 + 102, 500, 502])
def test_other_answers_have_no_say(status_code):
    assert pause_after(2, status_code, 500) == pytest.approx(300)


def test_a_redelivery_before_the_first_attempt_is_followed_like_a_first_one():
    assert pause_after(0) == pytest.approx(5)


def test_the_schedule_begins_at_once():
    assert SCHEDULE[0] == 0
    assert timedelta(seconds=sum(SCHEDULE)) == timedelta(hours=31, minutes=35, seconds=5)
