"""Query parameters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backburner.errors import Invalid
from backburner.http.query import Parameter, flag, moment, number, one_of, query, whole, words

PARAMETERS = {
    "limit": Parameter(convert=whole(1, 1000), default=50),
    "wait": Parameter(convert=number(0, 60), default=0.0),
    "active": Parameter(convert=flag),
    "status": Parameter(convert=one_of(("running", "failed")), many=True),
    "metadata.": Parameter(convert=words(), prefix=True),
    "created_after": Parameter(convert=moment),
}


def test_defaults_stand_for_what_is_not_given():
    assert query(b"", PARAMETERS) == {
        "limit": 50,
        "wait": 0.0,
        "active": None,
        "status": [],
        "metadata.": {},
        "created_after": None,
    }


def test_each_parameter_has_its_type():
    raw = b"limit=7&wait=1.5&active=true&status=running&status=failed&metadata.a.b=%C3%A9&metadata.c=x+y"
    assert query(raw + b"&created_after=2026-01-31T12:00:00%2B02:00", PARAMETERS) == {
        "limit": 7,
        "wait": 1.5,
        "active": True,
        "status": ["running", "failed"],
        "metadata.": {"a.b": "é", "c": "x y"},
        "created_after": datetime(2026, 1, 31, 10, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    ("raw", "param", "code"),
    [
        (b"nope=1", "nope", "unknown_parameter"),
        (b"metadata.=1", "metadata.", "unknown_parameter"),
        (b"limit=1&limit=2", "limit", "duplicate_parameter"),
        (b"metadata.a=1&metadata.a=2", "metadata.a", "duplicate_parameter"),
        (b"limit=", "limit", "invalid_value"),
        (b"limit=0", "limit", "invalid_value"),
        (b"limit=1001", "limit", "invalid_value"),
        (b"limit=1e2", "limit", "invalid_value"),
        (b"limit=%D9%A1", "limit", "invalid_value"),
        (b"limit=" + b"9" * 6000, "limit", "invalid_value"),
        (b"wait=nan", "wait", "invalid_value"),
        (b"wait=-1", "wait", "invalid_value"),
        (b"active=1", "active", "invalid_value"),
        (b"status=done", "status", "invalid_value"),
        (b"created_after=2026-01-31T12:00:00", "created_after", "invalid_value"),
        (b"created_after=yesterday", "created_after", "invalid_value"),
        (b"metadata.a=%00", "metadata.a", "invalid_text"),
        (b"metadata.a=%ff", None, "invalid_encoding"),
        (b"\xff", None, "invalid_encoding"),
        (b"&".join([b"status=failed"] * 101), None, "too_many_parameters"),
    ],
)
def test_a_wrong_parameter_is_named(raw, param, code):
    with pytest.raises(Invalid) as caught:
        query(raw, PARAMETERS)
    assert (caught.value.param, caught.value.code) == (param, code)
