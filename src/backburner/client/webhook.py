"""Checking that a webhook is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

from backburner.client.errors import WebhookInvalid
from backburner.client.results import Counts, record


@attrs.frozen(kw_only=True)
class WebhookEvent:
    """What a webhook tells. `webhook_id` is the same on every attempt to deliver it: use it to notice repetitions."""

    webhook_id: str
    type: str
    timestamp: datetime
    job_id: str
    status: str
    completed_at: datetime | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)
    stop_reason: str | None = None
    request_counts: Counts | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


def verify_webhook(secret: str | Sequence[str], headers: Mapping[str, str], body: bytes | str) -> WebhookEvent:
    """The event, if it is signed with the secret (or one of several) and not older than five minutes.

    `body` is the request's, unchanged. Raises WebhookInvalid for everything else.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    payload = _verified([secret] if isinstance(secret, str) else secret, lower, body)
    try:
        return record(WebhookEvent)({**payload, "webhook_id": lower["webhook-id"]})
    except (msgspec.ValidationError, TypeError) as error:
        raise WebhookInvalid(f"Not a webhook of this server: {error}") from error


def _verified(secrets: Sequence[str], headers: dict[str, str], body: bytes | str) -> Any:
    failure: Exception | None = None
    for secret in secrets:
        try:
            return Webhook(secret).verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:
            failure = error
    raise WebhookInvalid(f"The webhook is not valid: {failure or 'no secret was given'}") from failure
