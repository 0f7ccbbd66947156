"""`backburner ingest`: uploads, has a batch made, follows both."""

from __future__ import annotations

import json

import httpx2
import pytest
from tests.client.fakes import job, ok, refusal

FILE = {"id": "file-1", "name": "a.csv"}
READ = {**job("completed", "job-1"), "job_type": "job", "request_counts": None, "result": {"job_id": "job-2"}}


@pytest.fixture
def csv_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,title\n1,x\n")
    return str(path)


def uploading(*more):
    return [ok(FILE, 201), ok({}), ok(FILE), *more]


def asked(ran):
    return json.loads(ran.server.bodies[-1])


def test_a_file_is_uploaded_and_its_job_named(terminal, csv_file):
    options = ["--template", "{title}", "--model", "m", "--max-tokens", "5", "--custom-id", "id", "--metadata", "a=1"]
    ran = terminal.run("ingest", csv_file, *options, answers=uploading(ok(job("pending"), 202)))
    assert (ran.code, ran.out) == (0, "job-1\n")
    assert asked(ran) == {
        "handler": "ingest_file",
        "input": {
            "file_id": "file-1", "template": "{title}", "custom_id": "id", "metadata": {"a": "1"},
            "defaults": {"model": "m", "max_tokens": 5},
        },
    }  # fmt: skip


def test_a_file_of_the_server_is_not_uploaded(terminal):
    ran = terminal.run("ingest", "in/a.parquet", "--on-server", "--template", "x", answers=[ok(job("pending"), 202)])
    assert ran.code == 0
    assert asked(ran)["input"] == {"path": "in/a.parquet", "template": "x"}


def test_a_template_may_come_from_a_file(terminal, csv_file, tmp_path):
    (tmp_path / "t.txt").write_text("About {title}")
    (tmp_path / "t.json").write_text('{"model": "m"}')
    for name, expected in (("t.txt", "About {title}"), ("t.json", {"model": "m"})):
        given = ["--template", f"@{tmp_path / name}"]
        ran = terminal.run("ingest", csv_file, *given, answers=uploading(ok(job("pending"), 202)))
        assert asked(ran)["input"]["template"] == expected
    assert terminal.run("ingest", csv_file, "--template", "@missing").code == 2


def test_waiting_follows_the_reading_and_then_the_batch(terminal, csv_file):
    running = {**READ, "status": "running", "metadata": {"progress": {"processed": 5, "total": 9, "message": "5 rows"}}}
    batch = job("completed", "job-2", succeeded=2, errored=1)
    answers = uploading(ok(running, 202), ok(READ), ok(batch))
    ran = terminal.run("ingest", csv_file, "--template", "x", "--wait", answers=answers)
    assert ran.code == 4
    assert "job-1 running 5 rows" in ran.err
    assert ran.out == "job-2 completed 3/3 2 succeeded 1 errored\n"


def test_wrong_rows_are_shown(terminal, csv_file):
    rows = [{"line": 3, "custom_id": None, "param": None, "message": "There are 3 fields; the header has 2."}]
    failed = {**READ, "status": "failed", "error": {"code": "invalid_requests", "message": "No.", "details": rows}}
    ran = terminal.run("ingest", csv_file, "--template", "x", "--wait", answers=uploading(ok(failed, 202)))
    assert ran.code == 1
    assert "Error: No.\n  line 3: There are 3 fields; the header has 2.\n" in ran.err


def test_an_upload_that_breaks_off_can_be_resumed(terminal, csv_file):
    ran = terminal.run("ingest", csv_file, answers=[ok(FILE, 201), httpx2.ReadError("reset")])
    assert ran.code == 1
    assert f"Go on with: backburner ingest {csv_file} --resume file-1" in ran.err
    ran = terminal.run("ingest", csv_file, "--resume", "file-1", answers=[ok(FILE), ok({}), ok(FILE), ok(job(), 202)])
    assert (ran.code, ran.server.paths[0]) == (0, "GET /v1/files/file-1")


def test_a_refusal_names_the_field(terminal, csv_file):
    answers = uploading(refusal(422, "missing_field", "Give a template.", param="input.template"))
    ran = terminal.run("ingest", csv_file, answers=answers)
    assert ran.code == 1
    assert "Give a template." in ran.err
    assert terminal.run("ingest", "missing.csv").code == 2


def test_an_empty_file_is_refused_before_anything_is_made(terminal, tmp_path):
    (empty := tmp_path / "empty.csv").touch()
    ran = terminal.run("ingest", str(empty))
    assert (ran.code, ran.err, ran.server.asked) == (2, f"Error: Cannot upload {empty}: it is empty.\n", [])
