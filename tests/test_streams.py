"""Lines and gzip out of bytes that arrive in pieces."""

from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.streams import BYTE_ORDER_MARK, PIECE, Gunzip, Line, LineSplitter

FRAGMENTS = st.sampled_from(
    [
        *(b"\n", b"\r\n", b"\r", b" ", b"", b"\n\n\n\n", b"\t\n \n", b"\n" * 40, b" \r\n" * 40),
        *(BYTE_ORDER_MARK, b'{"a":1}', "\u2028\u0085 é".encode(), b"\x00\xff", b"x" * 12, b"1"),
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=60).map(b"".join)
CUTS = st.lists(st.integers(0, 500), max_size=10)


def read(chunks: list[bytes], limit: int = 100, *, keeps_blank: bool = False) -> list[Line]:
    splitter = LineSplitter(max_line_bytes=limit, keeps_blank=keeps_blank)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def expected(data: bytes, limit: int, keeps_blank: bool) -> list[Line]:
    lines = data.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    if not lines[-1]:
        lines.pop()
    numbered = [(number, line.removesuffix(b"\r")) for number, line in enumerate(lines, 1)]
    fitting = [(number, line if len(line) <= limit else None) for number, line in numbered]
    return [(number, line) for number, line in fitting if line is None or line.strip() or keeps_blank]


@given(TEXTS, CUTS, st.integers(0, 30), st.booleans())
def test_lines_do_not_depend_on_how_the_stream_is_cut(data, positions, limit, keeps_blank):
    found = read(cut(data, positions), limit, keeps_blank=keeps_blank)
    assert found == expected(data, limit, keeps_blank)


@given(TEXTS)
def test_single_bytes_give_the_same_lines_as_the_whole(data):
    assert read([data[i : i + 1] for i in range(len(data))]) == read([data])


def test_complete_lines_are_given_as_soon_as_they_are_complete():
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [(1, b"one")]
    assert splitter.feed(b"o") == []
    assert splitter.feed(b"\nthree\n") == [(2, b"two"), (3, b"three")]
    assert splitter.finish() == []


def test_a_last_line_without_line_end_is_given_at_the_end():
    assert read([b"one\n", b"tw", b"o"]) == [(1, b"one"), (2, b"two")]


def test_only_lf_ends_a_line():
    text = "a\u2028b\x0bc\x0cd\x85e".encode()
    assert read([text + b"\n"]) == [(1, text)]


def test_blank_lines_are_counted_and_left_out():
    assert read([b"a\r\n\n  \r\nb\n", b"\nc"]) == [(1, b"a"), (4, b"b"), (6, b"c")]


def test_a_great_many_blank_lines_are_counted_too():
    assert read([b"\n" * 5000 + b" 1\r\n" + b" \n" * 5000 + b"2\n\n"]) == [(5001, b" 1"), (10002, b"2")]


def test_a_line_that_is_too_long_is_given_by_number_only():
    assert read([b"1234\n12345\n1234\r\n12345\r\n", b"123", b"456", b"7" * 999, b"\nend"], limit=4) == [
        (1, b"1234"),
        (2, None),
        (3, b"1234"),
        (4, None),
        (5, None),
        (6, b"end"),
    ]


def test_an_endless_line_is_not_kept():
    splitter = LineSplitter(max_line_bytes=10)
    for _ in range(100):
        splitter.feed(b"x" * 1000)
    assert len(splitter._held) == 0


def test_a_byte_order_mark_is_removed_only_at_the_start_of_the_stream():
    mark = BYTE_ORDER_MARK
    assert read([mark[:1], mark[1:] + b"one\n", mark + b"two\n"]) == [(1, b"one"), (2, mark + b"two")]
    assert read([mark]) == []
    assert read([mark[:2]]) == [(1, mark[:2])]


# --- gzip ----------------------------------------------------------------------------------------------------


@given(st.lists(st.binary()), st.integers(1, 50))
def test_members_in_a_row_are_decompressed_however_they_are_cut(members, size):
    packed = b"".join(gzip.compress(member) for member in members)
    gunzip = Gunzip()
    pieces = [piece for i in range(0, len(packed), size) for piece in gunzip.feed(packed[i : i + size])]
    assert b"".join(pieces) == b"".join(members)
    gunzip.finish()


@given(st.binary(), st.data())
def test_a_truncated_member_is_noticed(content, data):
    packed = gzip.compress(content)
    gunzip = Gunzip()
    list(gunzip.feed(packed[: data.draw(st.integers(1, len(packed) - 1))]))
    with pytest.raises(EOFError):
        gunzip.finish()


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 50 * PIECE])
def test_pieces_are_bounded_and_none_is_left_behind(size):
    gunzip = Gunzip()
    pieces = list(gunzip.feed(gzip.compress(b"x" * size)))
    gunzip.finish()
    assert max(map(len, pieces)) <= PIECE
    assert sum(map(len, pieces)) == size


def test_members_without_content_do_not_pass_in_one_go():
    assert len(list(Gunzip().feed(gzip.compress(b"") * 1000))) == 5
