"""Text of others that no database can hold."""

from __future__ import annotations

import msgspec
import pytest

from backburner.errors import LONGEST_WORDS, ProviderError
from backburner.rounds import LONGEST_REASON, answer_in
from backburner.surrogates import storable


@pytest.mark.parametrize(
    ("text", "kept"), [("a\0b", "a\ufffdb"), ("a\ud800", "a???"), ("é\U0001f600", "é\U0001f600"), ("x" * 99, "x" * 10)]
)
def test_what_no_database_holds_is_replaced(text, kept):
    assert storable(text, longest=10).replace("\ufffd", "?") == kept.replace("\ufffd", "?")


@pytest.mark.parametrize("reason", ["a\0b", "x" * 5000])
def test_the_reason_why_a_model_stopped_can_be_stored(reason):
    message = {"content": [{"type": "text", "text": "x"}], "stop_reason": reason}
    found = answer_in(msgspec.json.encode({"type": "succeeded", "message": message}).decode())
    assert found.stop_reason is not None
    assert "\0" not in found.stop_reason
    assert len(found.stop_reason) <= LONGEST_REASON


def test_what_a_provider_says_can_be_stored():
    error = ProviderError("no \0 key \ud800" + "x" * 2 * LONGEST_WORDS, code="\0")
    str(error).encode()
    assert "\0" not in f"{error}{error.code}"
    assert len(str(error)) <= LONGEST_WORDS + 10
