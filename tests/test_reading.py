"""What a pass over results makes of its lines."""

from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.storage.both import NOW

from backburner.conversation import displayed
from backburner.model import Counts, ProviderBatch, Term, Usage
from backburner.reading import PAGE_ROWS, Reading
from backburner.result_lines import Unreadable, decode, own_result, usage_of
from backburner.states import OUTCOMES, BatchStatus, ItemStatus
from backburner.surrogates import without_lone_surrogates
from backburner.wire import wire_id, wire_index, wire_mention

TERM = Term(epoch=1, term_id="t", instance_id="i")
NONCE = "abcdefgh22222222"


def batch(items: int = 4, first: int = 10, *, found: bool = False) -> ProviderBatch:
    values: dict[str, Any] = {field.name: None for field in attrs.fields(ProviderBatch)}
    values |= {"key": 1, "job_key": 2, "round": 1, "status": BatchStatus.ENDED, "nonce": NONCE, "counts": Counts()}
    values |= {"first_index": first, "last_index": first + items - 1, "item_count": items, "created_at": NOW}
    values |= {"create_response": None if found else b"{}"}
    return ProviderBatch(**values)


def line(index: int, result: str = '{"type":"expired"}', nonce: str = NONCE) -> bytes:
    return f'{{"custom_id":"{nonce}-{index}","result":{result}}}'.encode()


def reading(*lines: bytes, **chosen) -> Reading:
    made = Reading(batch=batch(**chosen), term=TERM)
    for each in lines:
        made.take(each)
    return made


def test_results_of_the_batch_are_gathered_once_each():
    made = reading(line(10), line(12), line(10), line(9), line(14), line(11, nonce="x" * 16))
    page = made.page()
    assert [row.index for row in page.rows] == [10, 12]
    assert (page.counts, made.new, made.matched) == ({"expired": 2}, 2, 3)
    assert made.odd == {"repeated": 1, "foreign": 3}
    assert (made.missing(), made.is_complete, made.page()) == (2, False, None)


def test_what_is_stored_already_is_not_gathered_again():
    made = Reading(batch=batch(), term=TERM)
    made.known([10, 11, 12])
    for index in range(10, 14):
        made.take(line(index))
    assert [row.index for row in made.page().rows] == [13]
    assert made.is_complete


def test_usage_is_the_sum_of_what_is_kept():
    used = (
        '{"type":"succeeded","message":{"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":null}}}'
    )
    page = reading(line(10, used), line(10, used), line(11, used)).page()
    assert page.usage == Usage(input_tokens=6, output_tokens=8)


def test_a_page_is_full_by_rows_or_by_bytes():
    assert reading(*(line(n) for n in range(10, 10 + PAGE_ROWS)), items=2 * PAGE_ROWS).page_is_full
    assert reading(line(10, '{"type":"errored","error":"%s"}' % ("x" * 1024 * 1024))).page_is_full
    assert not reading(line(10)).page_is_full


def test_substitutes_say_what_was_wrong_with_each_item():
    broken = b'{"custom_id":, "' + line(10)[2:]
    made = reading(broken, line(11, '{"type":"throttled"}'), b"nonsense", line(12))
    made.page()
    (page,) = made.substitutes()
    codes = {row.index: msgspec.json.decode(row.result)["error"]["error"]["code"] for row in page.rows}
    assert codes == {10: "result_unreadable", 11: "result_unknown", 13: "result_missing"}
    assert made.is_complete or made.missing() == 0


def test_only_a_batch_that_was_found_can_turn_out_to_be_somebody_elses():
    theirs = [line(n, nonce="theirs") for n in range(4)]
    assert reading(*theirs, found=True).is_somebody_elses
    assert not reading(*theirs).is_somebody_elses
    assert not reading(*theirs, line(10), found=True).is_somebody_elses
    assert not reading(found=True).is_somebody_elses


# --- lines -------------------------------------------------------------------------------------------------

ODD = [
    rb'{"custom_id":"a-1","result":{"type":"succeeded","message":{"content":"\ud800 lone"}}}',
    rb'{"result":{"type":"expired"},"custom_id":"a-1"}',
    b' {"custom_id": "a-1" , "extra": 1, "result": {"type": "expired" } } ',
    '{"custom_id":"a-1","result":{"type":"succeeded","message":{"content":"\u2028\U0001f600\\u0000"}}}'.encode(),
    b'{"custom_id":"a-1","result":{"type":"errored","error":{"type":"error","n":123456789012345678901234567890}}}',
    b'{"custom_id":"a-1","result":{"type":"expired","a":1},"result":{"type":"expired","a":2}}',
    b'{"custom_id":"a-1","result":{"type":"expired"},"custom_id":"a-1"}',
    b'{"custom_id":"a-1","result":{"type":"succeeded","message":{"content":{"result":"result","custom_id":{}}}}}',
]


@pytest.mark.parametrize("raw", ODD)
def test_the_result_is_kept_byte_for_byte(raw):
    found = decode(raw)
    assert found.custom_id == "a-1"
    assert found.result.encode() in raw
    json.loads(found.result)
    usage_of(found.result)


@pytest.mark.parametrize(
    "usage",
    [
        b"null", b"7", b'"none"', b"[]", b'{"input_tokens":null,"output_tokens":2}', b'{"input_tokens":12.5}',
        b'{"output_tokens":-1}', b'{"input_tokens":"3"}', b'{"input_tokens":1e300}',
        b'{"input_tokens":9007199254740992}',
        b'{"cache_read_input_tokens":{}}', b'{"input_tokens":-1,"x":"\\ud800"}',
    ],
)  # fmt: skip
def test_the_bytes_are_the_result_whatever_the_usage_says(usage):
    result = b'{"type":"succeeded","message":{"content":[{"type":"text","text":"paid for"}],"usage":%b}}' % usage
    found = decode(b'{"custom_id":"a-1","result":%b}' % result)
    assert (found.custom_id, found.status, found.result.encode()) == ("a-1", "succeeded", result)
    assert found.usage is None
    assert usage_of(found.result) is None


@pytest.mark.parametrize("message", [b"null", b"5", b'"text"', b"[]", b'{"usage":{"input_tokens":3.5}}'])
def test_the_bytes_are_the_result_whatever_the_message_is(message):
    found = decode(b'{"custom_id":"a-1","result":{"message":%b,"type":"succeeded"}}' % message)
    assert (found.status, found.usage) == ("succeeded", None)


BAD = [
    b"", b"[]", b"null", b"{", b'{"custom_id":"a-1"}', b'{"custom_id":1,"result":{}}',
    b'{"custom_id":"a-1","result":3}', b'{"custom_id":"a-1","result":{}}',
    b'{"custom_id":"a-1","result":{"type":"succeeded","message":{"content":"\xff"}}}',
    b'{"custom_id":"a-1","result":{"type":"errored","x":"\x00"}}', b'{"custom_id":"a-1","result":{"type":"expired"}',
]  # fmt: skip


@pytest.mark.parametrize("raw", BAD)
def test_what_is_no_result_is_unreadable(raw):
    with pytest.raises(Unreadable):
        decode(raw)


def test_what_is_read_here_is_read_everywhere_later():
    """Decoders go less deep from further down the stack."""

    def is_read(levels: int) -> bool:
        content = "[" * levels + "]" * levels
        try:
            results.append(decode(line(10, f'{{"type":"succeeded","message":{{"content":{content}}}}}')).result)
        except Unreadable:
            return False
        return True

    def further_down(frames: int) -> bool:
        return further_down(frames - 1) if frames else displayed(results[-1]) is not None

    results: list[str] = []
    assert [is_read(levels) for levels in (100, 400, 3000)] == [True, True, False]
    deepest = max(levels for levels in range(400, 1100) if is_read(levels))
    assert is_read(deepest)
    assert further_down(80)
    assert usage_of(results[-1]) is None


@given(st.text(), st.sampled_from([outcome.value for outcome in OUTCOMES]), st.booleans())
def test_any_text_goes_through(text, status, escaped):
    quoted = json.dumps(text, ensure_ascii=escaped).encode()
    result = b'{"type":"%b","message":{"content":%b}}' % (status.encode(), quoted)
    found = decode(b'{"custom_id":"x-5","result":%b}' % result)
    assert (found.status, found.result.encode()) == (status, result)


def test_lone_surrogates_and_nothing_else_are_replaced():
    kept = [r"\ud83d\ude00", r"\\ud800", r"\\\\ud800", r"\u00e9", r"\"\/\b", "plain"]
    for text in kept:
        assert without_lone_surrogates(text.encode()) == text.encode()
    replaced = {
        r"\ud800": r"\ufffd",
        r"\\\ud800x": r"\\\ufffdx",
        r"\ude00\ud83d": r"\ufffd\ufffd",
        r"\uDBFF": r"\ufffd",
    }
    for text, expected in replaced.items():
        assert without_lone_surrogates(text.encode()) == expected.encode()


def test_results_of_our_own_are_read_like_any_other():
    for status in OUTCOMES[1:]:
        result = own_result(status, "result_missing" if status is ItemStatus.ERRORED else None)
        assert decode(line(1, result)).status == status.value


def test_wire_ids_are_ours_and_nobody_elses():
    assert wire_index(NONCE, wire_id(NONCE, 17)) == 17
    for other in ("", NONCE, f"{NONCE}-", f"{NONCE}-x", f"{NONCE}-1-2", "other-17", f"{NONCE}-²", f"x{NONCE}-1"):
        assert wire_index(NONCE, other) is None
    assert wire_mention(NONCE, b'broken "%b-42" {' % NONCE.encode()) == 42
    assert wire_mention(NONCE, b'broken "%bx-42"' % NONCE.encode()) is None
