"""Reading what the batch endpoints answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.providers.anthropic_fake import DATE, batch, ended

from backburner.backoff import http_date
from backburner.model import Counts
from backburner.providers.anthropic_objects import Unreadable, parse_batch, parse_page, parse_time

NINE = datetime(2026, 11, 21, 9, 15, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T09:15:02Z", NINE),
        ("2026-11-21t09:15:02z", NINE),
        ("2026-11-21 09:15:02+00:00", NINE),
        ("2026-11-21T11:15:02+02:00", NINE),
        ("2026-11-21T03:45:02-05:30", NINE),
        ("2026-11-21T09:15:02.5Z", NINE.replace(microsecond=500_000)),
        ("2026-11-21T09:15:02.418233917Z", NINE.replace(microsecond=418_233)),
        ("2026-11-21T09:15:60Z", NINE.replace(second=59)),
        ("2026-11-21T09:15:60.25Z", NINE.replace(second=59, microsecond=250_000)),
        ("2026-11-21T09:15:02", NINE),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
    ],
)
def test_times_are_read_in_any_rfc_3339_form(text, time):
    assert parse_time(text) == time


def test_a_batch_keeps_the_providers_bytes_and_words():
    raw = json.dumps(ended(request_counts={"processing": 0, "succeeded": 7, "errored": 1, "novel": 3})).encode()
    view = parse_batch(raw, {})
    assert view.raw == raw
    assert (view.status, view.ended, view.results_ready, view.results_gone) == ("ended", True, True, False)
    assert view.counts == Counts(succeeded=7, errored=1)


@pytest.mark.parametrize(("bytes_", "kept"), [(b"caf\xe9", "caf\ufffd"), ("café".encode(), "café")])
def test_what_is_not_utf_8_in_what_we_do_not_use_is_kept_replaced(bytes_, kept):
    raw = json.dumps(batch("a")).encode().replace(b"{", b'{"note":"%b",' % bytes_, 1)
    view = parse_batch(raw, {"date": DATE})
    assert json.loads(view.raw.decode()) == {"note": kept, **batch("a")}
    (listed,) = parse_page(b'{"data":[%b]}' % raw, {"date": DATE}).views
    assert (listed.provider_batch_id, listed.raw) == ("a", view.raw)


def test_an_unknown_status_is_not_an_end():
    view = parse_batch(json.dumps(batch(processing_status="paused", novelty={"x": 1})).encode(), {})
    assert (view.status, view.ended, view.canceling) == ("paused", False, False)


@pytest.mark.parametrize(
    "changes", [{"processing_status": "canceling"}, {"cancel_initiated_at": "2026-11-21T09:15:02Z"}]
)
def test_a_batch_is_canceling_by_its_status_or_by_its_time(changes):
    assert parse_batch(json.dumps(batch(**changes)).encode(), {}).canceling


def test_an_ended_batch_without_an_address_is_not_ready():
    view = parse_batch(json.dumps(ended(results_url=None)).encode(), {})
    assert (view.ended, view.results_ready) == (True, False)


def test_an_archived_batch_has_lost_its_results():
    view = parse_batch(json.dumps(ended(archived_at="2026-12-20T00:00:00Z")).encode(), {})
    assert (view.results_ready, view.results_gone) == (False, True)


def test_a_batch_without_a_readable_time_was_made_when_the_answer_was():
    assert parse_batch(json.dumps(batch(created_at="?")).encode(), {"date": DATE}).created_at == http_date(DATE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"x"',
        b"null",
        b'{"id":"a"',
        b"{}",
        b'{"id":"","processing_status":"ended"}',
        b"\xff",
        b'{"x":' * 3000,
        rb'{"id":"a\u0000","processing_status":"ended"}',
        rb'{"id":"a","processing_status":"ended\u0000"}',
    ],
)
def test_anything_else_is_unreadable(body):
    with pytest.raises(Unreadable):
        parse_batch(body, {"date": DATE})


def test_an_unreadable_entry_costs_only_itself():
    listed = parse_page(json.dumps({"data": [batch("a"), {"id": 5}, batch("b")], "has_more": True}).encode(), {})
    assert [view.provider_batch_id for view in listed.views] == ["a", "b"]
    assert (listed.unreadable, listed.before_gap, listed.has_more, listed.last_id) == (1, 1, True, "b")
    assert json.loads(listed.views[0].raw) == batch("a")
