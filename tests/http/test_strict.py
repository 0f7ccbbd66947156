"""The strict decoder."""

from __future__ import annotations

import msgspec
import pytest

from backburner.errors import Invalid, Malformed
from backburner.http.strict import decode, depth_of


class Row(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str


class Order(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[Row] = []
    priority: msgspec.UnsetType | int = msgspec.UNSET
    metadata: dict[str, object] = {}


def test_a_good_document_becomes_the_type():
    assert decode(b' {"requests":[{"custom_id":"a"}],"priority":3} ', Order) == Order([Row("a")], 3)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"priority":1}{}', "invalid_json"),
        (b'{"priority":NaN}', "invalid_json"),
        (b'{"priority":-Infinity}', "invalid_json"),
        (b'{"metadata":{"a":"x\ny"}}', "invalid_json"),
        (b'{"metadata":{"a":"\x00"}}', "invalid_json"),
        (b'{"priority":01}', "invalid_json"),
        (b'{"priority":1,"priority":1}', "duplicate_key"),
        (b'{"metadata":{"a":{"b":1,"b":2}}}', "duplicate_key"),
        (b'{"metadata":{"a":1,"\\u0061":2}}', "duplicate_key"),
        ('{"metadata":{"a":"é"}}'.encode("latin-1"), "invalid_encoding"),
        ('{"priority":1}'.encode("utf-16"), "invalid_encoding"),
        (b'\xef\xbb\xbf{"priority":1}', "invalid_encoding"),
        (b'{"metadata":{"a":"\xed\xa0\x80"}}', "invalid_encoding"),
        (b'{"metadata":' * 33 + b"{}" + b"}" * 33, "json_too_deep"),
        (b"[" * 100_000, "json_too_deep"),
        (b'{"metadata":"' + b"[" * 100, "invalid_json"),
    ],
)
def test_what_is_not_one_well_formed_text_is_malformed(raw, code):
    with pytest.raises(Malformed) as caught:
        decode(raw, Order)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b'{"requests":[{"custom_id":"a"},{"custom_id":7}]}', "invalid_type", "requests[1].custom_id"),
        (b'{"requests":[{"custom_id":"a","x":1}]}', "unknown_field", "requests[0].x"),
        (b'{"requests":[{}]}', "missing_field", "requests[0].custom_id"),
        (b'{"status":1}', "unknown_field", "status"),
        (b'{"priority":"high"}', "invalid_type", "priority"),
        (b'{"metadata":[]}', "invalid_type", "metadata"),
        (b"[]", "invalid_type", None),
        (b'{"metadata":{"a":[1,"x\\ud800"]}}', "invalid_text", "metadata.a[1]"),
        (b'{"metadata":{"a":"\\u0000"}}', "invalid_text", "metadata.a"),
        (b'{"metadata":{"\\udc00":1}}', "invalid_text", "metadata"),
        (b'{"metadata":{"a":9223372036854775808}}', "out_of_range", "metadata.a"),
        (b'{"priority":-9223372036854775809}', "out_of_range", "priority"),
        (b'{"metadata":{"a":1' + b"0" * 5000 + b"}}", "out_of_range", "metadata.a"),
        (b'{"metadata":{"a":1e400}}', "out_of_range", "metadata.a"),
    ],
)
def test_json_that_is_not_acceptable_names_the_field(raw, code, param):
    with pytest.raises(Invalid) as caught:
        decode(raw, Order)
    assert not isinstance(caught.value, Malformed)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1])
def test_integers_of_64_bits_are_kept(number):
    assert decode(b'{"priority":%d}' % number, Order).priority == number


def test_escaped_pairs_and_escaped_backslashes_are_text():
    raw = b'{"metadata":{"a":"\\ud83d\\ude00","b":"\\\\ud800 \\\\u0000"}}'
    assert decode(raw, Order).metadata == {"a": "\U0001f600", "b": "\\ud800 \\u0000"}


def test_brackets_in_strings_are_not_depth():
    assert depth_of(b'{"a":"[[[[\\"[[","b":[{}]}') == 3


def test_the_deepest_allowed_document_is_accepted():
    raw = b'{"metadata":' + b'{"a":' * 31 + b"1" + b"}" * 31 + b"}"
    assert depth_of(raw) == 32
    assert list(decode(raw, Order).metadata) == ["a"]
