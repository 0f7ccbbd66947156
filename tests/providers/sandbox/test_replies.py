"""What requests ask for, and get."""

from __future__ import annotations

import json

import pytest
import trio
from tests.providers.sandbox.account import BATCHES, make, new_sandbox, plain, read_lines, read_one, request, requests

TOOL = {
    "name": "label",
    "input_schema": {
        "type": "object",
        "properties": {"class": {"enum": ["delivery"]}, "urgent": {"type": "boolean"}, "note": {"type": "string"}},
        "required": ["class", "urgent"],
    },
}
LOOSE = {"name": "a", "input_schema": {"properties": {"b": True, "c": {"type": ["null", "string"]}}}}


async def result_of(text, **params):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0, text, **params))
        await trio.sleep(60)
        return await read_one(client, batch_id)


@pytest.mark.parametrize("outcome", ["errored", "expired", "canceled"])
async def test_a_marker_forces_an_outcome_and_the_counts_agree(outcome, autojump_clock):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0, f"please [sandbox:{outcome}]"), request(1))
        await trio.sleep(60)
        counts = (await client.get(f"{BATCHES}/{batch_id}")).json()["request_counts"]
        results = {line["custom_id"]: line["result"]["type"] for line in await read_lines(client, batch_id)}
    assert results == {"item-0": outcome, "item-1": "succeeded"}
    assert (counts[outcome], counts["succeeded"]) == (1, 1)


async def test_an_error_is_nested_twice_as_the_service_does_it(autojump_clock):
    result = await result_of("[sandbox:api_error]")
    assert result["error"]["type"] == "error"
    assert result["error"]["error"] == {"type": "api_error", "message": "Internal server error"}


@pytest.mark.parametrize(
    ("marker", "raw"),
    [("surrogate", rb"\ud800"), ("nul", rb"\u0000"), ("u2028", "\u2028".encode()), ("emoji", "\U0001d11e".encode())],
)
async def test_odd_text_stands_in_the_line_as_the_marker_says(marker, raw, autojump_clock):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0, f"[sandbox:{marker}]"))
        await trio.sleep(60)
        response = await client.get(f"{BATCHES}/{batch_id}/results")
    assert raw in response.content
    assert response.content.count(b"\n") == 1
    assert json.loads(response.content)["result"]["type"] == "succeeded"


async def test_a_large_line_has_exactly_the_size_that_was_asked_for(autojump_clock):
    async with plain(new_sandbox()) as client:
        batch_id = await make(client, request(0, "[sandbox:large=10485760]"))
        await trio.sleep(60)
        response = await client.get(f"{BATCHES}/{batch_id}/results")
    assert len(response.content) == 10_485_760 + 1
    assert json.loads(response.content)["result"]["type"] == "succeeded"


async def test_an_echo_repeats_the_last_user_text(autojump_clock):
    result = await result_of('[sandbox:echo] "quoted"\n猫')
    assert result["message"]["content"] == [{"type": "text", "text": '[sandbox:echo] "quoted"\n猫'}]


async def test_a_reply_stops_at_max_tokens(autojump_clock):
    message = (await result_of("hello", max_tokens=7))["message"]
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 7)
    assert len(message["content"][0]["text"]) == 28


async def test_input_tokens_grow_with_the_request_and_cached_ones_are_counted_apart(autojump_clock):
    system = [{"type": "text", "text": "x" * 4000, "cache_control": {"type": "ephemeral"}}]
    short = (await result_of("hello"))["message"]["usage"]
    cached = (await result_of("hello", system=system))["message"]["usage"]
    assert short["cache_read_input_tokens"] == 0
    assert 1000 <= cached["cache_read_input_tokens"] <= 1050
    assert abs(cached["input_tokens"] - short["input_tokens"]) < 10


async def test_a_tool_is_called_when_the_text_asks_for_it(autojump_clock):
    text = 'please use tool label {"class":"delivery"} and use tool other {"n":[1]} thanks'
    message = (await result_of(text, tools=[TOOL]))["message"]
    assert message["stop_reason"] == "tool_use"
    calls = [(block["type"], block["name"], block["input"]) for block in message["content"]]
    assert calls == [("tool_use", "label", {"class": "delivery"}), ("tool_use", "other", {"n": [1]})]
    assert len({block["id"] for block in message["content"]}) == 2


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "label"}])
async def test_a_forced_tool_is_called_with_plausible_input(choice, autojump_clock):
    message = (await result_of("hello", tools=[TOOL], tool_choice=choice))["message"]
    assert message["content"][0]["input"] == {"class": "delivery", "urgent": True}


async def test_tools_alone_call_nothing(autojump_clock):
    assert (await result_of("hello", tools=[TOOL]))["message"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize(("marker", "stop_reason"), [("", "end_turn"), (" [sandbox:rounds=2]", "tool_use")])
async def test_the_result_of_a_tool_ends_the_turn_unless_more_rounds_are_asked_for(marker, stop_reason, autojump_clock):
    messages = [
        {"role": "user", "content": f"use tool label {{}}{marker}"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "label", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}]},
    ]
    result = await result_of("", messages=messages, tools=[TOOL])
    assert result["message"]["stop_reason"] == stop_reason


@pytest.mark.parametrize(
    ("text", "params", "outcome"),
    [
        (r'use tool label {"a":"\ud800"}', {"tools": [TOOL]}, "errored"),
        (r'use tool label {"a":1e999,"b":NaN}', {"tools": [TOOL]}, "succeeded"),
        ('use tool label {"a":', {"tools": [TOOL]}, "succeeded"),
        ("hello", {"tools": 7}, "errored"),
        ("hello", {"tools": [LOOSE], "tool_choice": {"type": "any"}}, "succeeded"),
        ("hello", {"max_tokens": 2**70}, "errored"),
        ("[sandbox:rounds=" + "9" * 5000 + "]", {"tools": [TOOL]}, "errored"),
        ("[sandbox:no_such_marker]", {}, "succeeded"),
    ],
)
async def test_strange_requests_get_a_result_like_any_other(text, params, outcome, autojump_clock):
    assert (await result_of(text, **params))["type"] == outcome


async def test_outcomes_are_drawn_in_the_shares_that_were_asked_for(autojump_clock):
    async with plain(new_sandbox(errored=0.2, expired=0.1, canceled=0.1)) as client:
        batch_id = await make(client, *requests(2000))
        await trio.sleep(60)
        counts = (await client.get(f"{BATCHES}/{batch_id}")).json()["request_counts"]
        outcomes = [line["result"]["type"] for line in await read_lines(client, batch_id)]
    assert counts == {"processing": 0} | {name: outcomes.count(name) for name in counts if name != "processing"}
    assert 330 <= counts["errored"] <= 470
    assert 140 <= counts["expired"] <= 260
    assert 140 <= counts["canceled"] <= 260
