"""Splitting a stream of bytes into lines."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backburner.providers.lines import BYTE_ORDER_MARK, LineSplitter

FRAGMENTS = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b" ", b"", BYTE_ORDER_MARK, b'{"a":1}', "\u2028\u0085 é".encode(), b"\x00\xff", b"x" * 12]
)


def split(chunks: list[bytes], **options: int) -> tuple[list[bytes], int]:
    splitter = LineSplitter(**options)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()
    return lines, splitter.dropped


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def expected(data: bytes, max_line_bytes: int) -> tuple[list[bytes], int]:
    lines = data.split(b"\n")
    fitting = [(number, line) for number, line in enumerate(lines) if len(line) <= max_line_bytes]
    whole = [line.removeprefix(BYTE_ORDER_MARK) if number == 0 else line for number, line in fitting]
    return [line.rstrip(b"\r") for line in whole if line.strip()], len(lines) - len(fitting)


@given(st.lists(FRAGMENTS).map(b"".join), st.lists(st.integers(0, 500)), st.integers(0, 30))
def test_lines_do_not_depend_on_how_the_stream_is_cut(data, positions, max_line_bytes):
    assert split(cut(data, positions), max_line_bytes=max_line_bytes) == expected(data, max_line_bytes)


@given(st.lists(FRAGMENTS).map(b"".join))
def test_single_bytes_give_the_same_lines_as_the_whole(data):
    assert split([data[i : i + 1] for i in range(len(data))]) == split([data])


def test_complete_lines_are_given_as_soon_as_they_are_complete():
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"o") == []
    assert splitter.feed(b"\nthree\n") == [b"two", b"three"]
    assert splitter.finish() == []


def test_a_last_line_without_line_end_is_given_at_the_end():
    assert split([b"one\n", b"tw", b"o"]) == ([b"one", b"two"], 0)


def test_only_lf_ends_a_line():
    text = "a\u2028b\x0bc\x0cd\x85e".encode()
    assert split([text + b"\n"]) == ([text], 0)


def test_a_line_above_the_bound_is_dropped_and_counted_and_its_bytes_are_not_kept():
    splitter = LineSplitter(max_line_bytes=10)
    for _ in range(1000):
        splitter.feed(b"x" * 8)
    assert sum(map(len, splitter._tail)) == 0
    assert splitter.feed(b"\nshort\n") == [b"short"]
    assert splitter.dropped == 1


def test_a_byte_order_mark_is_removed_only_at_the_start_of_the_stream():
    mark = BYTE_ORDER_MARK
    assert split([mark[:1], mark[1:] + b"one\n", mark + b"two\n"]) == ([b"one", mark + b"two"], 0)
