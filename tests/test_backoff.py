"""Waits that double, and what a server wishes."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from backburner.backoff import Backoff, http_date, retry_after

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DATE = "Sat, 21 Nov 2026 09:15:00 GMT"


def test_a_wait_doubles_up_to_its_cap_however_many_failures_there_were():
    backoff = Backoff(first=2.0, cap=30.0)
    assert [backoff.wait(failures, Random(0)) for failures in (1, 2, 3, 4, 5, 10**9)] == [2, 4, 8, 16, 30, 30]


def test_a_wait_is_spread_between_its_bounds():
    backoff = Backoff(first=10.0, cap=10.0, low=0.5, high=1.5)
    waits = [backoff.wait(1, Random(seed)) for seed in range(200)]
    assert 5 <= min(waits) < 6
    assert 14 < max(waits) <= 15
    assert backoff.spread(1.0, Random(0)) == pytest.approx(waits[0] / 10)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("-5", None), ("1e3", None), ("inf", None), ("nan", None),
        ("٣", None), ("9" * 5000, None), ("0", 0), (" 120 ", 120), ("1.5", 1.5), ("3600000", 3_600_000),
        ("Sun, 01 Mar 2026 00:10:00 GMT", 600), ("Sun, 01 Mar 2026 00:10:00 -0000", 600),
        ("Sat, 28 Feb 2026 00:00:00 GMT", 0), ("Sun, 99 Mar 2026 00:10:00 GMT", None),
    ],
)  # fmt: skip
def test_reading_retry_after(header, seconds):
    assert retry_after({} if header is None else {"retry-after": header}, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:15:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:14:30 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 09:15:30 GMT"}, None),
    ],
)
def test_a_date_counts_from_the_answers_own_clock(headers, seconds):
    assert retry_after(headers) == seconds


@pytest.mark.parametrize("text", [None, "", "soon", "Sat, 99 Nov 2026 09:15:00 GMT"])
def test_an_unreadable_http_date_is_none(text):
    assert http_date(text) is None


def test_an_http_date_is_read_as_utc():
    assert http_date(DATE) == datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
    assert http_date("Sat, 21 Nov 2026 11:15:00 +0200") == http_date(DATE)
