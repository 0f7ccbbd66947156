"""Lines from chunks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backburner.ndjson import Line, LineReader


def read(chunks: list[bytes], limit: int = 100) -> list[Line]:
    reader = LineReader(limit)
    return [line for chunk in chunks for line in reader.feed(chunk)] + reader.finish()


def test_blank_lines_are_counted_and_left_out():
    assert read([b"a\r\n\n  \r\nb\n", b"\nc"]) == [(1, b"a"), (4, b"b"), (6, b"c")]


def test_a_line_that_is_too_long_is_reported_by_number_only():
    assert read([b"1234\n12345\n1234\r\n12345\r\n", b"123", b"456", b"7" * 999, b"\nend"], limit=4) == [
        (1, b"1234"),
        (2, None),
        (3, b"1234"),
        (4, None),
        (5, None),
        (6, b"end"),
    ]


def test_an_endless_line_is_not_kept():
    reader = LineReader(10)
    for _ in range(100):
        reader.feed(b"x" * 1000)
    assert reader._pieces == []


@given(
    text=st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bcd", b" ", b"12345678"])).map(b"".join),
    cuts=st.lists(st.integers(0, 60)),
)
def test_every_chunking_gives_the_same_lines(text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[start:end] for start, end in pairwise(edges)]
    assert read(chunks, limit=8) == read([text], limit=8)
