"""`ingest_file` and files of every format: each row becomes a request or a fault; no attempt is repeated in vain."""

from __future__ import annotations

import errno
import io
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from pyarrow import parquet
from tests.test_handlers import queue
from tests.test_ingest import PARAMS, batches, ingested, lines, requests_of, stored
from tests.world import World, open_world

from backburner.errors import GiveUp, NotFound, StorageUnavailable, TryAgainLater, WriteRefused
from backburner.execution.failures import raised_of
from backburner.files import INGEST_FILE
from backburner.ingestion import sources
from backburner.ingestion.failures import failure_of
from backburner.ingestion.ingest import IngestRules
from backburner.ingestion.rows import CsvRows, ParquetRows
from backburner.states import JobStatus

TEMPLATE = {"template": "Of {title}", "defaults": PARAMS}


def csv_of(count: int) -> bytes:
    return b"id,title\n" + b"".join(b"%d,t%d\n" % (number, number) for number in range(count))


def parquet_of(*columns: Any, **named: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(named) if named else columns[0], file)
    return file.getvalue()


def table_of(count: int) -> bytes:
    return parquet_of(title=[f"t{number}" for number in range(count)])


KINDS = {"jsonl": (lines, {}), "csv": (csv_of, TEMPLATE), "parquet": (table_of, TEMPLATE)}


@pytest.mark.parametrize("count", [1, 499, 500, 501])
@pytest.mark.parametrize("kind", KINDS)
async def test_every_number_of_rows_is_read_from_an_upload_and_from_the_folder(autojump_clock, tmp_path, kind, count):
    write, asked = KINDS[kind]
    data, name = write(count), f"a.{kind}"
    (tmp_path / name).write_bytes(data)
    async with open_world() as world:
        world.ingest = IngestRules(folder=str(tmp_path))
        async with world.instance() as system:
            for source in ({"file_id": await stored(world, data, name)}, {"path": name}):
                job = await queue(world, INGEST_FILE, {**source, **asked}, system=system, attempts=10)
                ended = await world.ended(system, job)
                assert ended.error is None
                assert (ended.status, ended.result["requests"]) == (JobStatus.COMPLETED, count)


async def ended_at(world: World, system: Any, source: dict[str, Any], **asked: Any) -> dict[str, Any]:
    job = await queue(world, INGEST_FILE, {**source, **asked}, system=system, attempts=10)
    ended = await world.ended(system, job)
    assert ended.status is JobStatus.FAILED
    return ended.error


# --- rows that cannot be read --------------------------------------------------------------------------------

MOMENT = pa.array([1_700_000_000_123_456_789, 1_700_000_000_123_456_000, None], pa.timestamp("ns"))
ODD_COLUMNS = {
    "nanoseconds": (MOMENT, "(timestamp[ns]) cannot be read: Casting from timestamp[ns] to timestamp[us] would lose"),
    "zoned": (MOMENT.cast(pa.timestamp("ns", "Europe/Berlin")), "would lose data"),
    "time": (pa.array([1, 1000, None], pa.time64("ns")), "would lose data"),
    "duration": (pa.array([1, 1000, None], pa.duration("ns")), "would lose data"),
    "nested": (pa.array([[1], [1000], None], pa.list_(pa.timestamp("ns"))), "Nanosecond resolution"),
    "far": (pa.array([3_000_000, 0, None], pa.date32()), "(date32[day]) cannot be read: "),
    "far time": (pa.array([2**62, 0, None], pa.timestamp("us")), "cannot be read: "),
    "zone": (pa.array([0], pa.timestamp("us", "Nowhere/At_all")), "(timestamp[us, tz=Nowhere/At_all]) cannot be read"),
    "nan": (pa.array([float("nan"), 1.0, None]), "has no JSON: NaN and infinity are no numbers there."),
    "infinity": (pa.array([float("-inf"), 1.0, None]), "has no JSON: NaN and infinity"),
    "small": (pa.array([float("nan"), 1.0, None], pa.float16()), "has no JSON: NaN and infinity"),
    "inner": (pa.array([[{"a": float("nan")}], [{"a": None}], None]), "has no JSON: NaN and infinity"),
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
@pytest.mark.parametrize("template", ["{title}", "Of {title}"])
async def test_a_value_that_cannot_be_said_is_a_fault_of_its_row(autojump_clock, name, template):
    column, told = ODD_COLUMNS[name]
    asked = {"template": {**PARAMS, "messages": [{"role": "user", "content": template}]}}
    async with ingested(parquet_of(title=column), "t.parquet", **asked) as (job, world):
        assert (job.status, job.error["code"], job.error["attempt"]) == (JobStatus.FAILED, "invalid_requests", 1)
        assert [row["row"] for row in job.error["details"]] == [1]
        assert told in job.error["details"][0]["message"]
        assert "column 'title'" in job.error["details"][0]["message"]
        assert await batches(world) == []


async def test_text_that_is_not_unicode_is_a_fault_of_its_row(autojump_clock):
    raw = pa.array([b"good", b"\xff\xfe", b"too"], pa.binary())
    column = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    async with ingested(parquet_of(title=column), "t.parquet", **TEMPLATE) as (job, _):
        (row,) = job.error["details"]
        assert (row["row"], job.error["attempt"]) == (2, 1)
        assert "(string) cannot be read: 'utf-8' codec can't decode byte 0xff" in row["message"]


async def test_values_of_parquet_are_said_as_their_json(autojump_clock):
    zone = timezone(timedelta(hours=1))
    columns = {
        "a": [datetime(2024, 1, 2, 3, 4, 5, 6)],  # noqa: DTZ001  # a file may have such
        "b": [datetime(2024, 1, 2, 3, 4, 5, tzinfo=zone)],
        "c": pa.array([1_700_000_000_123_456_000], pa.timestamp("ns")),
        "d": [date(2024, 1, 2)], "e": [Decimal("1.50")], "f": [{"x": [1, None]}], "g": [None], "h": [1.5], "i": [True],
    }  # fmt: skip
    asked = {"template": "|".join(f"{{{name}}}" for name in columns), "defaults": PARAMS}
    async with ingested(parquet_of(**columns), "t.parquet", **asked) as (job, world):
        assert job.error is None
        said = (await requests_of(world))["row-1"]["messages"][0]["content"].split("|")
        assert said == [
            "2024-01-02T03:04:05.000006", "2024-01-02T03:04:05+01:00", "2023-11-14T22:13:20.123456", "2024-01-02",
            "1.50", '{"x":[1,null]}', "", "1.5", "true",
        ]  # fmt: skip


DEEP = b'{"title": ' + b"[" * 5000 + b"]" * 5000 + b"}\n"


async def test_a_row_that_is_nested_deeply_is_a_fault(autojump_clock):
    data = b'{"title": "a"}\n' + DEEP + b'{"title": ' + b"[" * 150 + b"]" * 150 + b"}\n"
    async with ingested(data, **TEMPLATE) as (job, _):
        assert [(row["line"], row["message"]) for row in job.error["details"]] == [(2, "The row is nested too deeply.")]
    whole = {"template": {**PARAMS, "messages": [{"role": "user", "content": "{title}"}]}}
    async with ingested(data, **whole) as (job, _):
        assert [row["line"] for row in job.error["details"]] == [2, 3]
        assert (job.error["code"], job.error["attempt"]) == ("invalid_requests", 1)


async def test_lines_that_are_requests_may_be_nested_deeply_too_and_are_faults(autojump_clock):
    async with ingested(lines(1) + DEEP) as (job, _):
        assert [(row["line"], job.error["attempt"]) for row in job.error["details"]] == [(2, 1)]


@pytest.mark.parametrize("cut", [8, 200, -20, -400])
async def test_a_damaged_parquet_file_is_given_up_at_once(autojump_clock, cut):
    data = table_of(600)
    async with ingested(data[:cut], "t.parquet", **TEMPLATE) as (job, world):
        assert (job.status, job.error["code"], job.error["attempt"]) == (JobStatus.FAILED, "invalid_file", 1)
        assert job.error["message"].startswith("The file cannot be read as Parquet: ")
        assert await batches(world) == []


async def test_columns_of_one_name_are_refused(autojump_clock):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["title", "title"])
    async with ingested(parquet_of(table), "t.parquet", **TEMPLATE) as (job, _):
        assert (job.error["code"], job.error["message"]) == (
            "invalid_header", "The file names the column 'title' twice.",
        )  # fmt: skip


# --- CSV -----------------------------------------------------------------------------------------------------


def csv_rows(text: str, **options: Any) -> list[tuple[int, Any]]:
    found = CsvRows(io.BufferedReader(io.BytesIO(text.encode())), **{"delimiter": ",", "longest": 100, **options})
    return [
        (number, row[0].message if isinstance(row, list) else "|".join(map(str, row.values())))
        for number, row in filter(None, found)
    ]


NEVER_CLOSED = "A quotation mark is opened in the row that begins here and is never closed."
REACHES = (
    "The row is not CSV: ',' expected after '\"'. It begins here; an open quotation mark makes it reach to line {}."
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('id,title\n1,"five inch\n2,two\n3,three\n', [(2, NEVER_CLOSED)]),
        ('id,title\n1,one\n2,"two', [(2, "1|one"), (3, NEVER_CLOSED)]),
        (
            'id,title\n1,"five" inch\n2,two\n',
            [(2, "The row is not CSV: ',' expected after '\"'."), (3, "2|two")],
        ),
        (
            'id,title\n1,"five inch\n2,"two"\n3,three\n',
            [
                (2, REACHES.format(3)),
                (4, "3|three"),
            ],
        ),
        ('id,title\n1,five" inch\n2,"say ""so"""\n', [(2, '1|five" inch'), (3, '2|say "so"')]),
        ('id,title\n1,"a\nb"\n\n2,c', [(3, "1|a\nb"), (5, "2|c")]),
        ("title\none\n\nthree\n", [(2, "one"), (3, ""), (4, "three")]),
        ("title\r\none\r\n\r\n", [(2, "one"), (3, "")]),
        ("title\rone\rtwo", [(2, "one"), (3, "two")]),
    ],
)
def test_rows_of_csv(text, found):
    assert csv_rows(text) == found


def test_the_file_stays_open_when_its_rows_are_read_or_forgotten():
    file = io.BufferedReader(io.BytesIO(b"title\none\n"))
    for _ in range(2):
        assert len(list(CsvRows(file, delimiter=",", longest=100))) == 1
        file.seek(0)
    CsvRows(file, delimiter=",", longest=100)
    assert not file.closed
    assert file.raw.tell() == 10


async def test_an_unclosed_quotation_mark_names_its_line_and_nothing_is_made(autojump_clock):
    data = b'id,title\n1,"five inch\n2,two\n3,three\n4,four\n'
    async with ingested(data, "t.csv", **TEMPLATE) as (job, world):
        assert [(row["line"], row["message"]) for row in job.error["details"]] == [(2, NEVER_CLOSED)]
        assert await batches(world) == []


@pytest.mark.parametrize("delimiter", ["\n", "\r", "\0", '"', ",,", "ß"])
async def test_what_cannot_part_fields_is_refused(autojump_clock, delimiter):
    async with ingested(b"title\na\n", "t.csv", delimiter=delimiter, **TEMPLATE) as (job, _):
        assert "The delimiter is one ASCII character" in job.error["message"]
        assert job.error["attempt"] == 1


# --- custom ids ----------------------------------------------------------------------------------------------


async def test_rows_of_json_bring_their_custom_ids(autojump_clock):
    data = b'{"custom_id": "mine-1", "title": "x"}\n{"title": "y"}\n{"custom_id": 3, "title": "z"}\n'
    async with ingested(data, **TEMPLATE) as (job, world):
        assert job.error is None
        assert list(await requests_of(world)) == ["mine-1", "row-2", "3"]


async def test_a_named_column_of_custom_ids_must_be_in_every_row(autojump_clock):
    data = b'{"custom_id": "mine-1", "id": "a", "title": "x"}\n{"custom_id": "mine-2", "title": "y"}\n'
    async with ingested(data, custom_id="id", **TEMPLATE) as (job, _):
        assert [row["message"] for row in job.error["details"]] == ["There is no column 'id' in this row."]


# --- what failed, and how often it is tried ------------------------------------------------------------------


class Broken(io.BytesIO):
    """A file that can be read until `error` is set."""

    error: Exception | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.error is not None:
            raise self.error
        return super().read(size)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), sa.exc.OperationalError("SELECT", {}, Exception("gone"))],
    ids=["disk", "database"],
)
def test_what_the_machine_or_the_database_raises_is_no_fault_of_the_file(error):
    file = Broken(table_of(2000))
    rows = ParquetRows(file).rows(["title"])
    file.error = error
    with pytest.raises(type(error)) as raised:
        next(rows)
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ValueError("I/O operation on closed file"), GiveUp, "internal_error"),
        (AttributeError("/srv/app.py"), GiveUp, "internal_error"),
        (WriteRefused("/var/lib/db"), GiveUp, "internal_error"),
        (GiveUp("no", code="invalid_file"), GiveUp, "invalid_file"),
        (NotFound("job", "job-2"), GiveUp, "not_found"),
        (StorageUnavailable("/var/lib/db is away"), TryAgainLater, "handler_error"),
        (OSError(errno.EIO, "Input/output error", "/srv/x"), TryAgainLater, "handler_error"),
        (MemoryError("/srv"), TryAgainLater, "handler_error"),
    ],
)
def test_only_what_may_pass_is_tried_again_and_nothing_tells_where_the_server_lies(error, kind, code):
    made = failure_of(error, "job-1")
    assert isinstance(made, kind)
    raised = raised_of(made)
    assert (raised.code, raised.may_retry, raised.details) == (code, kind is TryAgainLater, None)
    assert "/" not in raised.message.replace("Input/output", "")


async def test_a_job_shows_no_place_on_the_server(autojump_clock, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x")
    async with open_world() as world:
        world.ingest = IngestRules(folder=str(tmp_path))
        async with world.instance() as system:
            for source in ({"path": "gone.csv"}, {"path": "a.txt"}, {"file_id": "file-none"}):
                error = await ended_at(world, system, source, **TEMPLATE)
                assert str(Path(__file__).parent.parent) not in str(error)
                assert str(tmp_path) not in str(error)
                assert "details" not in error


async def test_a_file_that_cannot_be_opened_now_is_tried_again(autojump_clock, tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_bytes(lines(3))
    failures, walk = iter([OSError(errno.EMFILE, "Too many open files")] * 2), sources._walk

    def sometimes(folder: str, names: Any) -> int:
        if error := next(failures, None):
            raise error
        return walk(folder, names)

    monkeypatch.setattr(sources, "_walk", sometimes)
    async with open_world() as world:
        world.ingest = IngestRules(folder=str(tmp_path))
        async with world.instance() as system:
            job = await queue(world, INGEST_FILE, {"path": "a.jsonl"}, system=system, attempts=10)
            ended = await world.ended(system, job)
            assert (ended.status, ended.result["requests"]) == (JobStatus.COMPLETED, 3)
