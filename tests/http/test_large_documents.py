"""Large texts are read in steps; the outcome is that of a text that is read in one go."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backburner.errors import BackburnerError, Invalid, Malformed
from backburner.http import items, strict
from backburner.http.items import CheckedItem, check_in_steps, check_item
from backburner.http.strict import decode_in_steps
from backburner.json_reader import MOST_PARTS, JsonReader
from backburner.steps import Steps, at_once

VALUES = st.recursive(
    st.sampled_from(["", "x", "é", "\U0001f600", "\0", "\ud800", "\\u0000", 'a"b', "m", 1, -1.5, 1e300, 2**63 - 1,
                     2**63, -(2**70), True, False, None]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["a", "b", "é", "k\ud800", "\0"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
BROKEN = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"',
            b'"a"',
            b'"a":',
            b"1",
            b"1e400",
            b"01",
            b"-",
            b"1.",
            b"NaN",
            b"tru",
        ),
        *(b"true", b" ", b"\n", b"\\", b'"\\u0000"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\x"', b"\xff", b"'"),
        *(b"\xef\xbb\xbf", b'"\x01"', b"9" * 30, b'{"a":1,"a":2}', b"[" * 40, "é".encode()),
    ]
)


def written(value: Any, *, ascii_only: bool, spaced: bool) -> bytes:
    separators = (" ,\t", "\n: ") if spaced else (",", ":")
    return json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "surrogatepass")


TEXTS = st.builds(written, VALUES, ascii_only=st.booleans(), spaced=st.booleans()) | st.lists(BROKEN, max_size=12).map(
    b"".join
)


def outcome(steps: Steps[Any]) -> Any:
    try:
        return at_once(steps)
    except Invalid as error:
        return type(error), error.code, error.param


def read_both_ways(steps: Any) -> tuple[Any, Any]:
    small = outcome(steps())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict, "SMALL", -1)
        patch.setattr(items, "SMALL", -1)
        return small, outcome(steps())


@given(TEXTS)
@example(b'{"a":[{"\\u0062":1,"b":2}]}')
@example(b'{"a":1e5,"a":1}')
@example(b'[1,"\\ud83d","\\ude00"]')
@example(b'[{"a":[1,2,3,{"b":"\\u0000"}]}]')
def test_a_document_has_the_same_outcome_in_steps(raw):
    small, large = read_both_ways(lambda: decode_in_steps(raw, Any))
    if isinstance(small, tuple) and small[0] is Malformed:
        assert large[0] is Malformed or large[1] in ("invalid_text", "out_of_range")  # before the syntax error
    else:
        assert large == small


PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["m", "", 1]), "max_tokens": st.sampled_from([1, 0, 1.5, 2.0, 2**64, "1"]),
        "messages": st.sampled_from([["x"], [], {}, "x", [{"a": {"b": [1, {"c": {}}]}}]]),
        "stream": st.sampled_from([None, False, True, 0]), "other": VALUES,
    },
)  # fmt: skip
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.sampled_from(["a", "", "a b", "x" * 65, 7]), "params": PARAMS | st.sampled_from([[], None]),
        "agent_id": st.sampled_from([None, "a", "", "x" * 256, 1]), "what": VALUES,
    },
)  # fmt: skip
DEFAULTS = st.none() | st.just({"model": msgspec.Raw(b'"d"'), "max_tokens": msgspec.Raw(b"5")})


@given(st.builds(written, ITEMS, ascii_only=st.booleans(), spaced=st.booleans()) | TEXTS, DEFAULTS, st.booleans())
@example(b'{"custom_id":"a","custom_id":"b","params":{"a":1,"a":2,"b":{"c":1,"c":2}}}', None, False)
@example(b'{"custom_id":"a","params":{ }}', {"model": msgspec.Raw(b'"d"')}, True)
def test_a_request_has_the_same_outcome_in_steps(raw, defaults, loose):
    small, large = read_both_ways(lambda: check_in_steps(raw, defaults, loose=loose))
    if isinstance(small, CheckedItem):
        assert (large.custom_id, large.agent_id) == (small.custom_id, small.agent_id)
        assert json.loads(large.params) == json.loads(small.params)
        assert defaults or large.params == small.params
    elif _is_broken(small):  # of several things that are wrong with a text the first is told
        assert len(large) == 1
        assert _is_broken(large)
    else:
        assert sorted(str(fault.param) for fault in large) == sorted(str(fault.param) for fault in small)


def _is_broken(faults: Any) -> bool:
    return faults[0].param is None and (faults[0].syntax or "Text must not" in faults[0].message)


# --- windows -------------------------------------------------------------------------------------------------


@given(TEXTS, st.integers(45, 90))
def test_where_the_windows_end_makes_no_difference(raw, window):
    assume(not re.search(rb"[0-9.eE+-]{45}", raw))  # a number or a key has to fit into a window
    whole = outcome(JsonReader(raw=raw, max_depth=32).steps())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backburner.json_reader._WINDOW", window)
        assert outcome(JsonReader(raw=raw, max_depth=32).steps()) == whole


MEBIBYTE = b"x" * 2**20
LONG = {
    "a string that is not closed": b'"' + b'\\"' * 2**19,
    "a string": b'"' + MEBIBYTE + b'"',
    "escapes": b'"' + b"\\n" * 2**19 + b'"',
    "white space": b" " * 2**20 + b"1",
    "numbers": b"[" + b"1," * 2**19 + b"1]",
    "strings": b"[" + b'"",' * 2**18 + b"1]",
    "lists": b"[" + b"[]," * 2**18 + b"1]",
    "keys": b"{" + b",".join(b'"%d":1' % number for number in range(90_000)) + b"}",
    "a key": b'{"' + MEBIBYTE + b'":1}',
    "brackets": b"[" * 2**20,
    "a number": b"1" * 2**20,
    "text that is not UTF-8": b'"' + MEBIBYTE + b'\xff"',
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("unique_levels", [None, 2])
def test_no_step_passes_over_more_than_a_window(name, unique_levels):
    raw = LONG[name]
    reader = JsonReader(raw=raw, max_depth=32, unique_levels=unique_levels)
    places = [0]
    with contextlib.suppress(BackburnerError):
        places.extend(reader._at for _ in reader.steps())
    assert len(places) >= 8
    assert max(after - before for before, after in itertools.pairwise(places)) <= 2 * 64 * 1024


def test_a_document_has_a_bounded_number_of_parts():
    parts = b",".join(b'"%d":[]' % number for number in range(MOST_PARTS // 2))
    at_once(decode_in_steps(b"{" + parts[: parts.rindex(b",")] + b"}", dict[str, Any]))
    with pytest.raises(Malformed) as caught:
        at_once(decode_in_steps(b"{" + parts + b"}", dict[str, Any]))
    assert caught.value.code == "json_too_complex"


def test_a_large_request_is_kept_byte_for_byte():
    params = b'{ "model":"m", "max_tokens" : 1,"messages":[{"x":"' + MEBIBYTE + b'"} ], "n":1.50 }'
    raw = b'{"custom_id":"a","params":' + params + b"}"
    assert at_once(check_in_steps(raw)) == check_item(raw) == CheckedItem("a", params, None)
