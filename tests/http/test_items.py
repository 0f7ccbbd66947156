"""Checking one request of a batch."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.http import items
from backburner.http.items import CheckedItem, LineFault, check_item

GOOD_PARAMS = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'


def line(params: bytes = GOOD_PARAMS, *, custom_id: bytes = b'"a-1"', more: bytes = b"") -> bytes:
    return b'{"custom_id":' + custom_id + b',"params":' + params + more + b"}"


def params_of(raw: bytes) -> list[str | None]:
    found = check_item(raw)
    assert isinstance(found, list)
    return [fault.param for fault in found]


def test_params_are_kept_byte_for_byte():
    params = b'{ "model" : "m",\t"max_tokens":1, "messages":[ 1e0, 1.50, "\\u00e9\\/", {"b":1,"a":2} ] , "x": -0.0 }'
    assert check_item(line(params)) == CheckedItem("a-1", params, None)


def test_an_agent_may_be_named():
    assert check_item(line(more=b',"agent_id":"agent-1"')) == CheckedItem("a-1", GOOD_PARAMS, "agent-1")
    assert check_item(line(more=b',"agent_id":null')) == CheckedItem("a-1", GOOD_PARAMS, None)


@pytest.mark.parametrize(
    ("raw", "params"),
    [
        (line(custom_id=b'""'), ["custom_id"]),
        (line(custom_id=b'"' + b"a" * 65 + b'"'), ["custom_id"]),
        (line(custom_id=b'"a\\n"'), ["custom_id"]),
        (line(custom_id='"é"'.encode()), ["custom_id"]),
        (line(custom_id=b"7"), ["custom_id"]),
        (b'{"params":' + GOOD_PARAMS + b"}", ["custom_id"]),
        (b'{"custom_id":"a"}', ["params"]),
        (line(b"[]"), ["params"]),
        (line(b"null"), ["params"]),
        (line(b"{}"), ["params.model", "params.max_tokens", "params.messages"]),
        (line(b'{"model":"","max_tokens":0,"messages":[]}'), ["params.model", "params.max_tokens", "params.messages"]),
        (line(b'{"model":1,"max_tokens":true,"messages":{}}'),
         ["params.model", "params.max_tokens", "params.messages"]),
        (line(b'{"model":"m","max_tokens":1.5,"messages":[1]}'), ["params.max_tokens"]),
        (line(b'{"model":"m","max_tokens":9223372036854775808,"messages":[1]}'), ["params.max_tokens"]),
        (line(GOOD_PARAMS[:-1] + b',"stream":true}'), ["params.stream"]),
        (line(GOOD_PARAMS[:-1] + b',"stream":"no"}'), ["params.stream"]),
        (line(more=b',"status":1'), ["status"]),
        (line(more=b',"agent_id":""'), ["agent_id"]),
        (line(custom_id=b'"?"', params=b"{}", more=b',"x":1'),
         ["x", "custom_id", "params.model", "params.max_tokens", "params.messages"]),
        (b"[]", [None]),
        (b"17", [None]),
    ],
)  # fmt: skip
def test_every_fault_of_a_request_is_named(raw, params):
    assert params_of(raw) == params


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        line()[:-1],
        line() + b"}",
        line(b'{"x":tru}'),
        line(b'{"x":"\\q"}'),
        line(b'{"x":"a\nb"}'),
        line(b'{"x":NaN}'),
        line(GOOD_PARAMS[:-1] + b',"x":"\xff"}'),
        line(GOOD_PARAMS[:-1] + b',"x":' + b"[" * 200 + b"]" * 200 + b"}"),
        line(GOOD_PARAMS[:-1] + b',"x":' + b"[" * 100_000 + b"}"),
        line(more=b',"custom_id":"b"'),
        line(GOOD_PARAMS[:-1] + b',"stream":false,"stream":true}'),
        line(GOOD_PARAMS[:-1] + b',"model":"other"}'),
        line(GOOD_PARAMS[:-1] + b', "\\u006dodel" :"other"}'),
    ],
)
def test_broken_text_is_a_fault_of_syntax(raw):
    faults = check_item(raw)
    assert isinstance(faults, list)
    assert faults[0].syntax


@pytest.mark.parametrize("text", [b"\\ud800", b"\\udc00 tail", b"\\u0000", b"\\\\\\u0000"])
def test_text_no_database_holds_is_a_fault(text):
    faults = check_item(line(GOOD_PARAMS[:-1] + b',"x":"' + text + b'"}'))
    assert isinstance(faults, list)
    assert [(fault.param, fault.syntax, fault.custom_id) for fault in faults] == [(None, False, "a-1")]


@pytest.mark.parametrize(
    "text", [b"\\ud83d\\ude00", b"\\\\u0000", b"\\\\ud800", b'\\",\\"model\\":\\"', b":x:", "é".encode()]
)
def test_unusual_text_passes(text):
    params = GOOD_PARAMS[:-1] + b', "x" :"' + text + b'"}'
    assert check_item(line(params)) == CheckedItem("a-1", params, None)


def test_the_custom_id_is_reported_where_it_can_be_read():
    assert check_item(line(b"7")) == [LineFault("params", "Must be an object.", "a-1")]


def test_defaults_are_merged_under_the_params():
    defaults = {"model": msgspec.Raw(b'"d"'), "max_tokens": msgspec.Raw(b"8"), "top_p": msgspec.Raw(b"0.50")}
    checked = check_item(line(b'{"model":"m","messages":[1.0]}'), defaults)
    assert isinstance(checked, CheckedItem)
    assert checked.params == b'{"model":"m","max_tokens":8,"top_p":0.50,"messages":[1.0]}'


def test_defaults_do_not_make_a_wrong_params_right():
    defaults = {"model": msgspec.Raw(b'"d"'), "stream": msgspec.Raw(b"true")}
    faults = check_item(line(b'{"max_tokens":0,"messages":[1]}'), defaults)
    assert isinstance(faults, list)
    assert [fault.param for fault in faults] == ["params.max_tokens", "params.stream"]
    faults = check_item(line(b"[]"), defaults)
    assert isinstance(faults, list)
    assert [fault.param for fault in faults] == ["params"]


words = st.sampled_from(["m", "a-1", "", '"', "\\", ":", "é", "\0", "\ud800", "\U0001f600", "model"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2))
some_params = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("model", "max_tokens", "messages", "stream", "x"), values)
)
some_items = st.fixed_dictionaries(
    {}, optional={"custom_id": values, "params": some_params | values, "agent_id": values, "x": values}
)


@given(item=some_items, ascii_only=st.booleans(), compact=st.booleans())
def test_the_quick_check_and_the_list_of_faults_agree(item, ascii_only, compact):
    separators = (",", ":") if compact else None
    raw = json.dumps(item, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "surrogatepass")
    found = check_item(raw)
    explained = items._faults(raw, None, loose=False)
    assert (explained == []) == isinstance(found, CheckedItem)
    if isinstance(found, CheckedItem):
        assert (found.custom_id, json.loads(found.params)) == (item["custom_id"], item["params"])


keys = st.sampled_from(["model", "max_tokens", "messages", "x", "y", "custom_id", "params", "é", 'q"'])
good_values = {"model": '"m"', "max_tokens": "7", "messages": "[1]", "custom_id": '"c"', "params": "{}"}


@given(
    extra=st.lists(keys, max_size=4),
    outer=st.lists(st.sampled_from(["custom_id", "params", "agent_id"]), max_size=2),
    order=st.permutations(["custom_id", "params"]),
    spaces=st.sampled_from([("", ""), (" ", " "), (" ", ""), ("", " "), ("\t", "  ")]),
    ascii_only=st.booleans(),
)
def test_a_key_given_twice_is_found_whatever_the_order_and_spacing(extra, outer, order, spaces, ascii_only):
    after_comma, after_colon = spaces

    def written(pairs: list[tuple[str, str]]) -> str:
        members = (f"{json.dumps(name, ensure_ascii=ascii_only)}:{after_colon}{value}" for name, value in pairs)
        return "{" + f",{after_comma}".join(members) + "}"

    inner_names = ["model", "max_tokens", "messages", *extra]
    params = written([(name, good_values.get(name, "0")) for name in inner_names])
    outer_values = {"custom_id": '"a"', "params": params, "agent_id": '"g"'}
    outer_names = [*order, *outer]
    found = check_item(written([(name, outer_values[name]) for name in outer_names]).encode())

    once = len(set(inner_names)) == len(inner_names) and len(set(outer_names)) == len(outer_names)
    assert once == isinstance(found, CheckedItem)
    if isinstance(found, CheckedItem):
        assert (params.encode(), "g" if outer else None) == (found.params, found.agent_id)
