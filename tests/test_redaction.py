"""Secrets are starred wherever a log line could carry them; everything else stays."""

from __future__ import annotations

import pytest

from backburner.redaction import redacted, redacted_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key bb_0123456789abcdef0123456789", "key bb_***"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw was used", "whsec_*** was used"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("{'authorization': 'bearer abc'}", "{'authorization': 'bearer ***'}"),
        ("x-api-key: sk-ant-api03-abcdefgh", "x-api-key: sk-***"),
        ("postgresql://me:pa:ss@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:p@ss@host/db", "postgresql://me:***@host/db"),
        ("mysql://me:pa/ss@host/db", "mysql://me:***@host/db"),
        ("cannot open postgres://me:pa/ss@host/db now", "cannot open postgres://me:***@host/db now"),
        ("postgresql://host/db?password=pa/ss&sslmode=require", "postgresql://host/db?password=***&sslmode=require"),
        ("postgresql://host/db?sslpassword=pass", "postgresql://host/db?sslpassword=***"),
        (r"host=h password='it\'s' user=me", "host=h password=*** user=me"),
    ],
)
def test_what_looks_like_a_secret_is_starred(text, shown):
    assert redacted_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8283/v1?mail=me@example.org",
        "task-something-long",
        "abb_0123456789abcdef",
        "http://127.0.0.1:8283/v1",
        "me@example.org",
        "job-0192-abc",
    ],
)
def test_other_text_stays(text):
    assert redacted_text(text) == text


@pytest.mark.parametrize(
    "name", ["secret", "api_key", "x-api-key", "Authorization", "set-cookie", "admin_key", "secrets"]
)
def test_what_is_named_like_a_secret_is_starred_whatever_it_looks_like(name):
    assert redacted({name: "plain"}) == {name: "***"}


@pytest.mark.parametrize("name", ["input_tokens", "job_key", "idempotency_key", "key_id", "event"])
def test_names_that_only_resemble_one_stay(name):
    assert redacted({name: "plain"}) == {name: "plain"}


def test_secrets_are_found_inside_containers_bytes_and_errors():
    given = {"list": [{"password": "pw"}], "raw": b"bb_0123456789abcdef", "error": ValueError("sk-0123456789")}
    assert redacted(given) == {"list": [{"password": "***"}], "raw": "bb_***", "error": "ValueError('sk-***')"}


def test_numbers_and_nothing_keep_their_type():
    assert redacted({"a": 1, "b": 1.5, "c": True, "d": None}) == {"a": 1, "b": 1.5, "c": True, "d": None}
