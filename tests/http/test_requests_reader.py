"""The JSON form of a batch, as it arrives."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.errors import Invalid, Malformed
from backburner.http import requests_reader
from backburner.http.problem import Refused
from backburner.http.requests_reader import RequestsReader


def read(chunks: list[bytes], *, item: int = 10_000, members: int = 10_000) -> tuple[list[bytes | None], bytes]:
    reader = RequestsReader(max_item_bytes=item, max_members_bytes=members)
    found = [request for chunk in chunks for group in reader.feed(chunk) for request in group]
    return found, reader.finish()


def bytewise(document: bytes) -> list[bytes]:
    return [document[i : i + 1] for i in range(len(document))]


DOCUMENT = (
    b' {"provider" : "x" , "requests":[ {"custom_id":"a"} , {"custom_id":"}\\"],[{","params":{"t":[{"params":1},'
    b'{"params":2}]}},\n{"x":"\\\\"}, 7, "s", null ] ,"metadata":{"a":[1,{"b":"]"}]},"n":-1.5e3 } '
)
REQUESTS = [
    b'{"custom_id":"a"}',
    b'{"custom_id":"}\\"],[{","params":{"t":[{"params":1},{"params":2}]}}',
    b'{"x":"\\\\"}',
    b"7",
    b'"s"',
    b"null",
]
REST = b'{"provider":"x","metadata":{"a":[1,{"b":"]"}]},"n":-1.5e3}'


@pytest.mark.parametrize("chunks", [[DOCUMENT], bytewise(DOCUMENT)])
def test_requests_come_verbatim_and_the_rest_is_kept(chunks):
    assert read(chunks) == (REQUESTS, REST)


@pytest.mark.parametrize(
    "document",
    [
        b"",

        b"{",
        b'{"requests":[{}]',
        b'{"requests":[{}',
        b'{"requests":[{},]}',
        b'{"requests":[,]}',
        b'{"requests":[{} {}]}',
        b'{"requests":[]}}',
        b'{"requests":[]} x',
        b'{"requests":[],}',
        b'{"requests" []}',
        b'{requests:[]}',
        b'{"requests":[],"a":}',
        b'{"requests":[],"requests":[]}',
        b'{"requests":[],"\\u0072equests":1}',
        b'{"a":1,"a":2,"requests":[]}',
        b'{"requests":[1:2]}',
        b"\xff\xfe{\x00",
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [False, True])
def test_what_is_not_json_is_malformed(document, cut):
    with pytest.raises(Malformed):
        read(bytewise(document) if cut else [document])


@pytest.mark.parametrize(("document", "code"), [(b"{}", "missing_field"), (b'{"requests":{}}', "invalid_type")])
def test_requests_must_be_an_array(document, code):
    with pytest.raises(Invalid) as caught:
        read([document])
    assert (caught.value.code, caught.value.param) == (code, "requests")


@pytest.mark.parametrize("cut", [False, True])
def test_a_request_that_is_too_large_is_passed_over(cut):
    large = b'{"custom_id":"' + b"x" * 50 + b'","t":["' + b"y" * 5000 + b'"]}'
    document = b'{"requests":[{"custom_id":"a"},' + large + b',{"custom_id":"b"},' + large + b"]}"
    found, _ = read(bytewise(document) if cut else [document], item=40)
    assert found == [b'{"custom_id":"a"}', None, b'{"custom_id":"b"}', None]


def test_a_request_that_is_too_large_is_not_kept_in_memory():
    reader = RequestsReader(max_item_bytes=100)
    list(reader.feed(b'{"requests":[{"x":"'))
    for _ in range(100):
        list(reader.feed(b"x" * 1000))
    assert len(reader._data) <= 1000
    assert list(reader.feed(b'"},{}]}')) == [[None, b"{}"]]


def test_the_other_members_are_bounded():
    with pytest.raises(Refused) as caught:
        read(bytewise(b'{"requests":[],"metadata":"' + b"x" * 50), members=40)
    assert caught.value.status == 413
    with pytest.raises(Refused):
        read([b"{" + b",".join(b'"k%d":"xxxxxxxx"' % n for n in range(10)) + b"}"], members=100)


def test_a_member_larger_than_a_request_is_kept():
    metadata = b'"' + b"x" * 500 + b'"'
    document = b'{"metadata":' + metadata + b',"requests":[]}'
    assert read(bytewise(document), item=10) == ([], b'{"metadata":' + metadata + b"}")


scalars = st.none() | st.booleans() | st.integers(-99, 99) | st.text(alphabet='"\\{}[],:é\nx', max_size=6)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["custom_id", "params", "agent_id", "x", '"]'])  , inner, max_size=3),
)  # fmt: skip
documents = st.dictionaries(st.sampled_from(["metadata", "defaults", "x", "\\"]), values, max_size=3)


@given(
    members=documents,
    requests=st.lists(values, max_size=5),
    at=st.integers(0, 3),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_every_chunking_agrees_with_the_standard_decoder(members, requests, at, cuts, indent, ascii_only):  # noqa: PLR0917
    pairs = list(members.items())
    pairs.insert(at, ("requests", requests))
    document = json.dumps(dict(pairs), indent=indent, ensure_ascii=ascii_only).encode()
    edges = [0, *sorted(min(cut, len(document)) for cut in cuts), len(document)]
    found, rest = read([document[start:end] for start, end in pairwise(edges)])
    assert ([json.loads(raw or b"") for raw in found], json.loads(rest)) == (requests, members)


@pytest.mark.parametrize("document", [b"[]", b' [{"custom_id":"a"}]', b'"x"', b"7", b"-1", b"true", b"null"])
def test_a_document_that_is_no_object_is_refused_for_its_type(document):
    with pytest.raises(Invalid) as caught:
        read([document])
    assert (type(caught.value), caught.value.code) == (Invalid, "invalid_type")


def test_the_work_between_two_groups_is_bounded():
    reader = RequestsReader(max_item_bytes=10_000)
    list(reader.feed(b'{"requests":['))
    groups = list(reader.feed(b"1," * 30_000))
    assert sum(map(len, groups)) >= 29_999
    assert max(map(len, groups)) <= 300
    list(reader.feed(b"["))
    assert len(list(reader.feed(b"[" * 60_000))) >= 2


def test_requests_that_are_not_written_as_usual_are_looked_at_once(monkeypatch):
    looks: list[bytes] = []

    def look(text: bytes) -> bool:
        looks.append(text)
        return False

    monkeypatch.setattr(requests_reader, "_is_json", look)
    reader = RequestsReader(max_item_bytes=100_000)
    list(reader.feed(b'{"requests":[' + b"1," * 1000 + b'{},{"params":1},' + b"1," * 1000))
    assert len(looks) <= 2
