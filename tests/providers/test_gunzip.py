"""Undoing gzip piece by piece."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.providers.gunzip import Gunzip


@given(st.lists(st.binary()), st.integers(1, 50))
def test_members_in_a_row_are_decompressed_however_they_are_cut(members, size):
    packed = b"".join(gzip.compress(member) for member in members)
    gunzip = Gunzip()
    assert b"".join(gunzip.feed(packed[i : i + size]) for i in range(0, len(packed), size)) == b"".join(members)
    gunzip.finish()


@given(st.binary(), st.data())
def test_a_truncated_member_is_noticed(content, data):
    packed = gzip.compress(content)
    gunzip = Gunzip()
    gunzip.feed(packed[: data.draw(st.integers(1, len(packed) - 1))])
    with pytest.raises(EOFError):
        gunzip.finish()
