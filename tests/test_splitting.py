"""How a job is divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backburner.splitting import ENVELOPE_BYTES, Chunk, default_chunk_items, split


@given(st.lists(st.integers(0, 5000), max_size=200), st.integers(1, 50), st.integers(1, 20_000))
def test_every_item_is_in_one_chunk_and_no_chunk_is_too_large(sizes, most_items, most_bytes):
    chunks = list(split(sizes, most_items=most_items, most_bytes=most_bytes))
    assert [index for chunk in chunks for index in range(chunk.first, chunk.last + 1)] == list(range(len(sizes)))
    for chunk in chunks:
        assert chunk.items <= most_items
        assert chunk.byte_size <= most_bytes or chunk.items == 1
        assert chunk.byte_size == sum(sizes[chunk.first : chunk.last + 1]) + ENVELOPE_BYTES * chunk.items


def test_an_item_larger_than_a_batch_may_be_travels_alone():
    assert [(c.first, c.last) for c in split([10, 9000, 10], most_items=9, most_bytes=500)] == [(0, 0), (1, 1), (2, 2)]


def test_no_items_make_no_chunk():
    assert list(split([], most_items=1, most_bytes=1)) == []


def test_a_job_has_about_twenty_chunks_of_a_bearable_size():
    assert [default_chunk_items(n) for n in (1, 1000, 20_000, 60_001, 200_000, 1_000_000)] == [
        1000, 1000, 1000, 3001, 10_000, 10_000,
    ]  # fmt: skip


def test_a_chunk_counts_both_ends():
    assert Chunk(3, 7, 0).items == 5
