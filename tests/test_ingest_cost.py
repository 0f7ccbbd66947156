"""What a file costs: no more than its bytes allow, and never all of it in one piece of work."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import pytest

from backburner.errors import GiveUp, Invalid
from backburner.http.items import LineFault, too_large
from backburner.ingestion.requests import PAGE_READ, Form, Requests, open_requests
from backburner.ingestion.rows import CsvRows
from backburner.ingestion.sources import Source
from backburner.ingestion.template import template_of

LONGEST = 2_000_000


def form(**asked) -> Form:
    return Form(**{"format": None, "template": None, "custom_id": None, "delimiter": None, "defaults": {}, **asked})


def opened(data: bytes, name: str, **asked) -> tuple[Requests, Any]:
    file = io.BufferedReader(io.BytesIO(data))
    return open_requests(Source(file=file, name=name, size=len(data)), form(**asked), longest=LONGEST), file


def test_a_request_that_would_be_too_large_is_not_made():
    template = template_of("{a}" * 400 + ".", {}, None, None)
    row = {"a": "x" * 1_000_000}
    tracemalloc.start()
    try:
        assert template.request(row, 1, longest=LONGEST) == [too_large(LONGEST)]
        assert tracemalloc.get_traced_memory()[1] < 2 * LONGEST
    finally:
        tracemalloc.stop()


def test_the_bound_of_a_request_is_that_of_its_params():
    template = template_of({"a": "{a}"}, {}, None, None)
    made = b'{"custom_id":"row-1","params":{"a":"xy"}}'
    assert template.request({"a": "xy"}, 1, longest=len('{"a":"xy"}')) == made
    assert template.request({"a": "xyz"}, 1, longest=len('{"a":"xy"}')) == [too_large(10)]


def test_a_custom_id_that_cannot_be_right_is_not_carried_on():
    made = template_of("x", {}, None, "a").request({"a": "y" * 1_000_000}, 1, longest=LONGEST)
    assert isinstance(made, bytes)
    assert len(made) < 1000


def test_faults_name_the_beginning_of_a_long_column():
    template = template_of("{" + "c" * 5000 + "}.", {}, None, None)
    (fault,) = template.request({"a": 1}, 1, longest=LONGEST)
    assert isinstance(fault, LineFault)
    assert fault.message == f"There is no column '{'c' * 100}' in this row."


def test_an_unknown_column_is_told_with_a_few_of_those_there_are():
    columns = [f"{number}{'c' * 500}" for number in range(1000)]
    with pytest.raises(Invalid, match="and 980 more") as caught:
        template_of("{x}.", {}, columns, None)
    assert len(str(caught.value)) < 3000


def test_a_column_that_is_named_twice_is_told_briefly():
    header = ",".join([*map(str, range(1000)), "d" * 5000, "d" * 5000]) + "\n"
    with pytest.raises(GiveUp) as caught:
        CsvRows(io.BytesIO(header.encode()), delimiter=",", longest=LONGEST)
    assert str(caught.value) == f"The first line names the column '{'d' * 100}' twice."


LONG_LINE = b"x" * LONGEST + b"\n"
SPARSE = {
    "blank lines": ("a.jsonl", b"\n" * (5 * PAGE_READ), {}),
    "blank rows of JSON": ("a.jsonl", b"\n" * (5 * PAGE_READ), {"template": "{a}"}),
    "blank rows of CSV": ("a.csv", b"a,b\n" + b"\n" * (5 * PAGE_READ), {"template": "{a}"}),
    "lines that are too long": ("a.jsonl", (b"x" + LONG_LINE) * 5, {}),
    "rows that are no objects": ("a.jsonl", LONG_LINE * 5, {"template": "{a}"}),
}


@pytest.mark.parametrize("name", SPARSE)
def test_a_part_of_a_file_that_has_no_requests_is_read_in_pieces(name):
    file_name, data, asked = SPARSE[name]
    requests, file = opened(data, file_name, **asked)
    pages = []
    while not requests.is_over:
        before = file.raw.tell()
        pages.append(requests.page())
        assert file.raw.tell() - before < PAGE_READ + LONGEST + 2 * io.DEFAULT_BUFFER_SIZE
    assert len(pages) >= 5
    assert sum(map(len, pages)) == (0 if "blank" in name else 5)
