"""When a provider batch is looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backburner.polling import FAILURE_CAP, RETRY_AFTER_CAP, Quiet, after_failure, next_poll, tick_jitter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def wait(age: float, *, interval: float = 60.0, phase: float = 0.0, now: datetime = NOW) -> float:
    return (next_poll(now - timedelta(seconds=age), now, interval=interval, phase=phase) - now).total_seconds()


@given(
    st.floats(0, 1e6), st.floats(0.05, 3600), st.floats(0, 3600), st.floats(0, 1e6).map(lambda s: timedelta(seconds=s))
)
def test_the_next_look_is_never_now_and_never_later_than_the_interval(age, interval, phase, since):
    waited = wait(age, interval=interval, phase=phase, now=NOW + since)
    assert 0 < waited <= interval + 0.011


def test_young_batches_are_looked_at_sooner_than_old_ones():
    assert 1 < wait(0) <= 5
    assert wait(20) <= 10
    assert wait(3600) <= 60


def test_old_batches_of_any_age_fall_due_together():
    times = {next_poll(NOW - timedelta(seconds=age), NOW, interval=60.0, phase=7.0) for age in range(120, 5000, 37)}
    assert len(times) == 1


def test_looks_on_the_grid_stay_on_it():
    now = NOW + timedelta(seconds=3.123457)
    for _ in range(1000):
        later = next_poll(NOW - timedelta(days=1), now, interval=300.0, phase=123.456789)
        assert now == NOW + timedelta(seconds=3.123457) or 299.9 < (later - now).total_seconds() <= 300.1
        now = later


def test_a_batch_from_the_future_is_young():
    assert 0 < wait(-500) <= 5


def test_failures_wait_longer_and_longer_up_to_a_cap():
    def seconds(failures: int, retry_after: float | None = None) -> float:
        return (after_failure(failures, NOW, retry_after=retry_after, random=Random(1)) - NOW).total_seconds()

    waits = [seconds(n) for n in range(1, 30)]
    assert waits == sorted(waits)
    assert 2 <= waits[0] <= 2.5
    assert FAILURE_CAP <= waits[-1] <= 1.25 * FAILURE_CAP
    assert 7 <= seconds(20, 7) <= 8.75
    assert RETRY_AFTER_CAP <= seconds(1, 1e9) <= 1.25 * RETRY_AFTER_CAP
    assert seconds(1, -5) == seconds(1, 0) == seconds(1)


def test_jitter_is_at_most_a_quarter_of_the_interval():
    ticks = [tick_jitter(60, 1000, Random(seed)) for seed in range(200)]
    assert 45 <= min(ticks) < 47
    assert 73 < max(ticks) <= 75


def test_a_wish_for_quiet_holds_up_nobody_for_longer_than_a_cycle():
    quiet = Quiet()
    assert quiet.left(0.0) == 0
    quiet.ask(500, 10.0, longest=60.0)
    quiet.ask(5, 20.0, longest=60.0)
    assert (quiet.left(20.0), quiet.left(71.0)) == (50.0, 0)
