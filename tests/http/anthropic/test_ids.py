"""Ids of jobs as ids of message batches."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.http.anthropic.ids import batch_id_of, job_id_of


@given(st.uuids())
def test_an_id_goes_there_and_back(value: uuid.UUID):
    batch_id = batch_id_of(f"job-{value}")
    assert re.fullmatch(r"msgbatch_01[0-9A-Za-z]{22}", batch_id)
    assert job_id_of(batch_id) == f"job-{value}"


@given(st.uuids(), st.uuids())
def test_batches_sort_as_jobs_do(one: uuid.UUID, other: uuid.UUID):
    assert (batch_id_of(f"job-{one}") < batch_id_of(f"job-{other}")) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msgbatch_01",
        f"job-{uuid.UUID(int=0)}",
        "msgbatch_01" + "z" * 22,
        "msgbatch_01" + "é" * 22,
        "msgbatch_01" + "0" * 21,
        "msgbatch_01" + "0" * 23,
        "msgbatch_02" + "0" * 22,
        "0" * 33,
    ],
)
def test_other_text_is_no_id(text):
    assert job_id_of(text) is None
