"""What follows from one attempt to deliver a webhook: done, given up, or when to try again."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from backburner.model import DueDelivery
from backburner.states import DeliveryStatus

MINUTE = 60.0
HOUR = 60 * MINUTE
#: Seconds before each attempt, counted from the end of the one before: the first eight of the Standard Webhooks
#: specification. Together 31 h 35 min.
SCHEDULE = (0.0, 5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR)
JITTER = 0.2  # of a step, to both sides

#: The answers with which a receiver may say when it wants to be asked again.
BUSY = frozenset({429, 503})
GONE = 410


def after_attempt(
    due: DueDelivery, status_code: int | None, retry_after: float | None, now: datetime, random: Random
) -> tuple[DeliveryStatus, datetime | None]:
    """The delivery's state after an attempt, and the time of the next one.

    `status_code` is the answer's, None if there was none; `retry_after` the receiver's wish in seconds.
    There is a next time exactly while the state is `pending`.
    """
    if status_code is not None and 200 <= status_code < 300:
        return DeliveryStatus.DELIVERED, None
    if status_code == GONE:
        return DeliveryStatus.DISABLED, None
    if due.scheduled >= len(SCHEDULE):
        return DeliveryStatus.FAILED, None
    # A redelivery by hand before the first scheduled attempt has `scheduled` 0 and is followed like a first one.
    step = SCHEDULE[max(due.scheduled, 1)]
    wish = retry_after if status_code in BUSY else None
    return DeliveryStatus.PENDING, now + timedelta(seconds=_delay(step, wish, random))


def _delay(step: float, wish: float | None, random: Random) -> float:
    if wish is None:
        return step * random.uniform(1 - JITTER, 1 + JITTER)
    # Bounded to both sides: a receiver cannot have us hammer it, nor make us remember it for a year.
    return min(max(wish, step), 2 * step)
