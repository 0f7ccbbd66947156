"""Checking webhooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from backburner import WebhookInvalid, verify_webhook
from backburner.signing import new_secret, signed_headers

SECRET = new_secret()
BODY = msgspec.json.encode(
    {
        "type": "job.completed", "timestamp": "2026-01-01T00:00:00Z", "job_id": "job-1", "status": "completed",
        "completed_at": "2026-01-01T00:00:00Z", "metadata": {"a": 1}, "stop_reason": None, "request_counts": None,
    }
)  # fmt: skip


def headers(*, age: float = 0.0, secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age)  # noqa: TID251 - the library asks the clock
    return dict(signed_headers(webhook_id="delivery-1", at=at, body=body, secrets=[secret]))


def test_a_webhook_that_is_ours_is_told():
    event = verify_webhook(SECRET, {name.title(): value for name, value in headers().items()}, BODY)
    assert (event.webhook_id, event.type, event.job_id, event.metadata) == (
        "delivery-1", "job.completed", "job-1", {"a": 1},
    )  # fmt: skip


def test_one_of_several_secrets_is_enough():
    assert verify_webhook([new_secret(), SECRET], headers(), BODY).status == "completed"


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (headers(secret=new_secret()), BODY),
        (headers(), BODY.replace(b"completed", b"cancelled")),
        (headers(age=3600), BODY),
        ({}, BODY),
        (headers(body=b"[]"), b"[]"),
        (headers(body=b'{"type":"x"}'), b'{"type":"x"}'),
    ],
    ids=["other secret", "changed", "old", "unsigned", "no object", "not of this server"],
)
def test_everything_else_is_refused(sent, body):
    with pytest.raises(WebhookInvalid):
        verify_webhook(SECRET, sent, body)
