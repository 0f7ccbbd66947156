"""The body that creates a batch."""

from __future__ import annotations

import json

import pytest

from backburner.providers.base import WireRequest
from backburner.providers.upload import PIECE_BYTES, Upload, encode_requests


def test_params_are_sent_byte_for_byte():
    params = b'{ "model" : "m", "n": 1.50, "text":"\\ud800 \xc3\xa9" }'
    body = b"".join(encode_requests([WireRequest(custom_id="a-1", params=params)]))
    assert body == b'{"requests":[{"custom_id":"a-1","params":' + params + b"}]}"


def test_many_requests_make_one_json_document_in_pieces():
    requests = [WireRequest(custom_id=f"i{n}", params=b'{"text":"%b"}' % (b"x" * 1000)) for n in range(1000)]
    pieces = encode_requests(requests)
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert [entry["custom_id"] for entry in json.loads(b"".join(pieces))["requests"]] == [f"i{n}" for n in range(1000)]


def test_no_requests_make_an_empty_list():
    assert b"".join(encode_requests([])) == b'{"requests":[]}'


async def test_an_upload_knows_its_length_and_when_the_last_piece_was_taken():
    upload = Upload([b"one", b"three"])
    assert upload.length == 8
    assert [(piece, upload.sent) async for piece in upload] == [(b"one", False), (b"three", True)]


async def test_the_last_piece_is_handed_on_only_after_a_check():
    def check():
        raise LookupError("the term is over")

    upload = Upload([b"one", b"two", b"three"], check)
    assert [await anext(upload), await anext(upload)] == [b"one", b"two"]
    with pytest.raises(LookupError):
        await anext(upload)
    assert not upload.sent
    assert isinstance(upload.withheld, LookupError)


async def test_an_upload_of_one_piece_is_checked_too_and_only_once():
    checks = []
    upload = Upload([b"one"], lambda: checks.append(upload.sent))
    assert [piece async for piece in upload] == [b"one"]
    assert (checks, upload.withheld) == ([False], None)
