"""Signatures that receivers of Standard Webhooks accept."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from backburner.clock import SystemClock
from backburner.signing import is_secret, new_secret, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KNOWN = datetime.fromtimestamp(1614265330, UTC)


def test_the_specifications_known_answer():
    headers = signed_headers(
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=KNOWN, body=b'{"test": 2432232314}', secrets=[SECRET]
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_secret_is_enough_to_verify_during_a_rotation():
    new, old, foreign = new_secret(), new_secret(), new_secret()
    body = '{"metadata":{"name":"Ünïcode ✓"}}'.encode()
    headers = dict(signed_headers(webhook_id="d-1", at=SystemClock().now(), body=body, secrets=[new, old]))
    assert headers["webhook-signature"].count(" ") == 1
    assert [Webhook(secret).verify(body, headers) for secret in (new, old)] == [
        {"metadata": {"name": "Ünïcode ✓"}},
        {"metadata": {"name": "Ünïcode ✓"}},
    ]
    with pytest.raises(WebhookVerificationError):
        Webhook(foreign).verify(body, headers)


def test_fractions_of_a_second_do_not_break_the_signature():
    at = KNOWN.replace(microsecond=999_999)
    of_whole = signed_headers(webhook_id="d-1", at=KNOWN, body=b"{}", secrets=[SECRET])
    assert signed_headers(webhook_id="d-1", at=at, body=b"{}", secrets=[SECRET]) == of_whole


def test_new_secrets_are_32_random_bytes():
    secret, another = new_secret(), new_secret()
    assert secret != another
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert is_secret(secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_tooshort",
        SECRET.removeprefix("whsec_"),
        SECRET + "!",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_what_is_no_secret(text):
    assert not is_secret(text)
