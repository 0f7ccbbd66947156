"""Submitting, watching, detaching, and the exit codes that tell how a job ended."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from tests.client.fakes import job, ok, refusal

LINE = b'{"custom_id":"a","params":{}}\n'
ENDINGS = [
    (job("completed", succeeded=3), 0),
    (job("failed", errored=3), 1),
    (job("completed", succeeded=2, errored=1), 4),
    (job("completed", succeeded=2, expired=1), 4),
    (job("cancelled", succeeded=1, canceled=2), 5),
    (job("expired", expired=3), 6),
]


def test_submit_prints_the_job_and_nothing_else_on_standard_output(terminal, batch_file):
    ran = terminal.run("submit", batch_file(), answers=[ok(job("pending"), 202)])
    assert (ran.code, ran.out) == (0, "job-1\n")
    assert ran.err == "Watch it with: backburner watch job-1\n"
    assert ran.server.bodies == [LINE]


def test_options_of_ndjson_go_into_the_query(terminal, batch_file):
    options = ["--callback-url", "http://x/y", "--metadata", "a=1", "--chunk-items", "5", "--deadline-seconds", "60"]
    ran = terminal.run("submit", batch_file(), *options, "--provider", "sandbox", answers=[ok(job(), 202)])
    assert dict(ran.server.asked[0].url.params) == {
        "callback_url": "http://x/y",
        "metadata": '{"a":"1"}',
        "chunk_items": "5",
        "deadline_seconds": "60.0",
        "provider": "sandbox",
    }


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b'\xef\xbb\xbf [{"custom_id":"a"}]\n', b'{"requests":[{"custom_id":"a"}]\n,"priority":3}'),
        (b'\n{ "requests": [] }', b'{"priority":3, "requests": [] }'),
    ],
    ids=["array", "object"],
)
def test_options_of_json_go_into_the_body(terminal, batch_file, content, sent):
    ran = terminal.run("submit", batch_file(content, "b.json"), "--priority", "3", answers=[ok(job(), 202)])
    (request,) = ran.server.asked
    assert ran.server.bodies == [sent]
    assert (request.headers["content-type"], str(request.url.query)) == ("application/json", "b''")
    assert request.headers["content-length"] == str(len(sent))


def test_a_json_object_without_options_is_sent_as_it_is(terminal, batch_file):
    ran = terminal.run("submit", batch_file(b'{"requests": []}', "b.json"), answers=[ok(job(), 202)])
    assert ran.server.bodies == [b'{"requests": []}']


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("b.jsonl", b"{broken", "application/x-ndjson"),
        ("b.txt", b'{"params":{},"custom_id":"a"}', "application/x-ndjson"),
        ("b.txt", b'{ "custom_id" : "a"}', "application/x-ndjson"),
        ("b.txt", b'{"requests":[]}', "application/json"),
        ("b.json", b'{"custom_id":"a"}', "application/x-ndjson"),
        ("b.txt", b"", "application/json"),
    ],
)
def test_the_format_is_seen_from_name_and_beginning(terminal, batch_file, name, content, kind):
    ran = terminal.run("submit", batch_file(content, name), answers=[ok(job(), 202)])
    assert ran.server.asked[0].headers["content-type"] == kind


def test_the_format_may_be_said(terminal, batch_file):
    ran = terminal.run("submit", batch_file(b"{}", "b.txt"), "--format", "ndjson", answers=[ok(job(), 202)])
    assert ran.server.asked[0].headers["content-type"] == "application/x-ndjson"


def test_a_dry_run_says_so(terminal, batch_file):
    ran = terminal.run("submit", batch_file(), "--dry-run", answers=[ok({"valid": True})])
    assert (ran.code, ran.out) == (0, "All requests are valid; nothing was stored.\n")
    assert dict(ran.server.asked[0].url.params) == {"dry_run": "true"}


def test_every_failing_line_is_shown_up_to_a_limit(terminal, batch_file):
    details = [{"line": n, "custom_id": f"c{n}", "param": "params.model", "message": "missing"} for n in range(1, 23)]
    answer = refusal(422, "invalid_batch", "22 requests are not valid.", details=details)
    ran = terminal.run("submit", batch_file(), answers=[answer])
    lines = ran.err.splitlines()
    assert ran.code == 1
    assert lines[0] == "Error: 22 requests are not valid. [req_1]"
    assert lines[1] == "  line 1: c1: params.model: missing"
    assert (len(lines), lines[-1]) == (22, "  … and 2 more")


@pytest.mark.parametrize(("ended", "code"), ENDINGS)
def test_the_exit_code_tells_how_the_job_ended(terminal, ended, code):
    ran = terminal.run("watch", "job-1", answers=[ok(job(processing=3)), ok(ended)])
    assert ran.code == code
    assert ran.out.startswith(f"job-1 {ended['status']} 3/3 ")


@pytest.mark.parametrize(("ended", "code"), ENDINGS)
def test_submit_and_wait_has_the_same_exit_codes(terminal, batch_file, ended, code):
    ran = terminal.run("submit", batch_file(), "--wait", "--json", answers=[ok(job(processing=3), 202), ok(ended)])
    assert (ran.code, json.loads(ran.out)) == (code, ended)


def test_watching_tells_once_why_a_job_waits(terminal):
    hold = {"code": "account_paused", "since": "2026-01-01T10:00:00Z", "message": "HTTP 401: no such key"}
    waits = job(processing=3) | {"hold": hold}
    ran = terminal.run("watch", "job-1", answers=[ok(waits), ok(waits), ok(job("completed", succeeded=3))])
    assert ran.code == 0
    assert ran.err.count("Waiting since 2026-01-01 10:00 UTC (account_paused): HTTP 401: no such key") == 1


def test_waiting_ends_when_the_time_is_up(terminal):
    ran = terminal.run("watch", "job-1", "--timeout", "1", answers=[ok(job(processing=1))])
    assert (ran.code, ran.out) == (6, "")
    assert terminal.now[0] < 2
    assert ran.err.splitlines()[-1] == (
        "Error: Job job-1 has not ended in time; it runs on. Watch it with: backburner watch job-1"
    )


def test_watching_goes_on_while_the_server_is_restarted(terminal):
    refused = httpx2.ConnectError("Connection refused")
    ran = terminal.run("watch", "job-1", answers=[ok(job(processing=1)), *[refused] * 12, ok(job("completed"))])
    assert ran.code == 0
    assert ran.err.count("Trying again.") == 2


def test_watching_ends_when_the_server_stays_away(terminal):
    refused = httpx2.ConnectError("Connection refused")
    ran = terminal.run("watch", "job-1", answers=[ok(job(processing=1)), refused])
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("Error: Cannot reach http://127.0.0.1:8283: ")
    assert terminal.now[0] > 120


def test_ctrl_c_detaches_and_says_how_to_resume(terminal, batch_file):
    def interrupt(_request):
        raise KeyboardInterrupt

    ran = terminal.run("submit", batch_file(), "--wait", answers=[ok(job(processing=1), 202), interrupt])
    assert ran.code == 130
    assert ran.err.splitlines()[-1] == "Detached. The job runs on. Watch it with: backburner watch job-1"


def test_results_are_saved_with_the_end_of_the_job(terminal, batch_file, tmp_path):
    path = tmp_path / "results.ndjson"
    download = httpx2.Response(200, content=b'{"custom_id":"a"}\n')
    answers = [ok(job(processing=1), 202), ok(job("completed", succeeded=1)), download]
    ran = terminal.run("submit", batch_file(), "-o", str(path), answers=answers)
    assert (ran.code, path.read_bytes()) == (0, b'{"custom_id":"a"}\n')


def test_a_file_that_cannot_be_read_is_one_line(terminal, tmp_path):
    ran = terminal.run("submit", str(tmp_path / "none"))
    assert (ran.code, ran.err) == (2, f"Error: Cannot read {tmp_path / 'none'}: No such file or directory.\n")


@pytest.mark.parametrize(
    "arguments",
    [["submit"], ["submit", "f", "--metadata", "x"], ["submit", "f", "--chunk-items", "0"], ["no-such-command"]],
)
def test_wrong_usage_exits_2_without_asking_the_server(terminal, arguments):
    assert terminal.run(*arguments).code == 2


def test_a_pipe_is_read_to_its_end_and_sent(terminal, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(path.write_bytes, LINE)
        ran = terminal.run("submit", str(path), answers=[ok(job(), 202)])
        writing.result()
    assert (ran.code, ran.server.bodies) == (0, [LINE])


@pytest.mark.parametrize("path", ["/proc/self/mem", "/"])
def test_a_file_that_cannot_be_read_in_the_middle_is_one_line_too(terminal, path):
    ran = terminal.run("submit", path, answers=[ok(job(), 202)])
    assert (ran.code, ran.err.startswith(f"Error: Cannot read {path}: ")) == (2, True)
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("answer", [refusal(422), refusal(413), refusal(401), refusal(429), refusal(500)])
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
def test_what_the_server_refuses_exits_1(terminal, batch_file, answer, dry_run):
    assert terminal.run("submit", batch_file(), *dry_run, answers=[answer]).code == 1


def test_a_closed_standard_input_is_an_empty_one(terminal, batch_file, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert terminal.run("submit", batch_file(), answers=[ok(job(), 202)]).code == 0
    assert terminal.run("submit", "-", answers=[ok(job(), 202)]).server.bodies == [b""]
    assert terminal.run("jobs", "delete", "job-1").code == 2
