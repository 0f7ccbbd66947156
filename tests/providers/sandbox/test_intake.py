"""Reading the body that creates a batch."""

from __future__ import annotations

import msgspec
import pytest
from tests.providers.sandbox.account import request, requests

from backburner.providers.sandbox import intake
from backburner.providers.sandbox.items import unpack
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.routes import Caller

MEBIBYTE = 1024 * 1024
SEPARATORS = [",", ", ", " ,\n "]


def body_of(items, separator):
    return f'{{"requests":[{separator.join(msgspec.json.encode(item).decode() for item in items)}]}}'.encode()


def read(body):
    caller = Caller(version="2026-10-21", betas=frozenset(), workspace="w")
    return intake.read(body, SandboxOptions(), caller)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_large_body_is_cut_into_whole_requests(separator):
    body = body_of([request(number, "y" * 600) for number in range(4000)], separator)
    steps = [msgspec.json.decode(b"[%b]" % body[start:end]) for start, end in intake._spans(body)]
    assert len(steps) == len(body) // MEBIBYTE + 1
    assert [item["custom_id"] for step in steps for item in step] == [f"item-{number}" for number in range(4000)]


@pytest.mark.parametrize("plain", [0, 2000])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_request_that_looks_like_several_stays_one(separator, plain):
    nested = [{"custom_id": "a", "params": {}}, {"custom_id": "b", "params": {}}] * 20
    tools = [{"name": "t", "input_schema": {"type": "object", "examples": nested}}]
    items = [request(number, "y" * 600, **({} if number < plain else {"tools": tools})) for number in range(4000)]
    draft = read(body_of(items, separator))
    assert draft.total == 4000
    found = {item.custom_id for page in draft.pages for item in unpack(page)}
    assert found == {f"item-{number}" for number in range(4000)}


def test_what_is_kept_is_much_smaller_than_the_body():
    body = body_of([request(number, "y" * 1000) for number in range(2000)], ",")
    assert sum(map(len, read(body).pages)) < len(body) / 8


def test_the_tally_has_every_item_once():
    assert sum(read(body_of(requests(1000), ",")).tally) == 1000


def test_a_bytearray_is_read_like_bytes():
    body = body_of(requests(10), ",")
    assert read(bytearray(body)) == read(body)
