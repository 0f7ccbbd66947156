"""What a stored answer says about the way on."""

from __future__ import annotations

import msgspec
import pytest

from backburner.rounds import answer_in
from backburner.states import ItemStatus

TEXT = {"type": "text", "text": "paid for"}
CALL = {"type": "tool_use", "id": "t_1", "name": "add", "input": {"a": 1}}


def read(**message):
    result = {"type": "succeeded", "message": {"content": [TEXT], "stop_reason": "end_turn"} | message}
    return answer_in(msgspec.json.encode(result).decode())


@pytest.mark.parametrize(
    "message",
    [
        {"usage": {"input_tokens": 12.5}},
        {"content": "only a text"},
        {"content": [TEXT | {"id": None, "name": 7}]},
        {"content": [{"type": None}]},
    ],
)
def test_an_odd_field_costs_no_answer(message):
    answer = read(**message)
    assert (answer.status, answer.stop_reason, answer.calls) == (ItemStatus.SUCCEEDED, "end_turn", [])
    assert not answer.is_empty


@pytest.mark.parametrize("reason", [None, 5, {}])
def test_an_odd_stop_reason_is_none(reason):
    assert (read(stop_reason=reason).status, read(stop_reason=reason).stop_reason) == (ItemStatus.SUCCEEDED, None)


def test_an_answer_without_content_is_empty():
    assert read(content=None).is_empty
    assert read(content=[]).is_empty


def test_calls_are_read_among_odd_blocks():
    (call,) = read(content=[TEXT | {"id": None}, CALL], stop_reason="tool_use").calls
    assert (call.tool_use_id, call.name, call.input) == ("t_1", "add", '{"a":1}')


@pytest.mark.parametrize("odd", [{"id": None}, {"name": 7}, {"name": "a b"}, {"id": ""}])
def test_what_should_be_a_call_and_is_none_is_said(odd):
    assert read(content=[CALL | odd], stop_reason="tool_use").calls is None
