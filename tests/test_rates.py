"""Token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backburner import rates
from backburner.rates import Buckets, Taken


def test_a_full_bucket_gives_its_burst_and_then_a_token_at_a_time():
    buckets = Buckets(rate=0.5, burst=3)
    assert [buckets.take("a", 100.0).allowed for _ in range(4)] == [True, True, True, False]
    assert not buckets.take("a", 101.9).allowed
    assert buckets.take("a", 102.0).allowed
    assert not buckets.take("a", 102.0).allowed


def test_what_is_left_is_told():
    buckets = Buckets(rate=0.5, burst=3)
    assert buckets.take("a", 0.0) == Taken(allowed=True, limit=3, remaining=2, reset=2, retry_after=0)
    assert buckets.take("a", 0.0) == Taken(allowed=True, limit=3, remaining=1, reset=4, retry_after=0)
    buckets.take("a", 0.0)
    assert buckets.take("a", 1.0) == Taken(allowed=False, limit=3, remaining=0, reset=5, retry_after=1)


def test_looking_takes_nothing():
    buckets = Buckets(rate=1.0, burst=1)
    assert [buckets.look("a", 0.0).allowed for _ in range(3)] == [True, True, True]
    buckets.take("a", 0.0)
    assert not buckets.look("a", 0.0).allowed


def test_buckets_are_apart_and_never_hold_more_than_their_burst():
    buckets = Buckets(rate=10.0, burst=2)
    assert buckets.take("a", 0.0).remaining == 1
    assert buckets.take("b", 0.0).remaining == 1
    assert buckets.take("a", 1e9).remaining == 1


def test_memory_is_bounded():
    buckets = Buckets(rate=1.0, burst=1)
    for number in range(rates.MOST_BUCKETS + 50):
        buckets.take(str(number), 0.0)
    assert len(buckets._held) == rates.MOST_BUCKETS
    assert "0" not in buckets._held


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.floats(0.1, 10), st.integers(1, 10))
def test_no_more_is_let_through_than_the_rate_allows(waits, rate, burst):
    buckets, now, allowed = Buckets(rate=rate, burst=burst), 0.0, 0
    for wait in waits:
        now += wait
        taken = buckets.take("a", now)
        allowed += taken.allowed
        if not taken.allowed:
            later = Buckets(rate=rate, burst=burst)
            later._held = buckets._held.copy()
            assert later.take("a", now + taken.retry_after + 1e-6).allowed
    assert allowed <= burst + rate * sum(waits) + 1e-6
