"""The commands that ask a server something: what they send, print and exit with."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import httpx2
import pytest
from tests.client.fakes import job, ok, page, refusal

DOWNLOAD = b'{"custom_id":"a","result":{}}\n'


def test_results_go_to_standard_output(terminal):
    ran = terminal.run("results", "job-1", "--status", "errored", answers=[httpx2.Response(200, content=DOWNLOAD)])
    assert (ran.code, ran.out, ran.err) == (0, DOWNLOAD.decode(), "")
    assert ran.server.paths == ["GET /v1/batches/job-1/results?status=errored"]


def test_incomplete_results_are_said_to_be(terminal):
    answer = httpx2.Response(200, content=DOWNLOAD, headers={"x-incomplete": "true"})
    assert terminal.run("results", "job-1", answers=[answer]).err == (
        "Job job-1 is still running; these are the results so far.\n"
    )


def breaking(content: bytes) -> Callable[[httpx2.Request], httpx2.Response]:
    """An answer that breaks off behind this."""

    class Broken(httpx2.SyncByteStream):
        def __iter__(self):
            yield content
            raise httpx2.RemoteProtocolError("peer closed connection")

    return lambda _: httpx2.Response(200, stream=Broken())


def test_a_download_that_stays_broken_leaves_no_file(terminal, tmp_path):
    ran = terminal.run("results", "job-1", "-o", str(tmp_path / "r"), answers=[breaking(DOWNLOAD), breaking(b"")])
    assert ran.code == 1
    told = "The answer of http://127.0.0.1:8283 broke off: peer closed connection."
    assert ran.err.splitlines()[0] == f"{told} Going on."
    assert ran.err.splitlines()[-1] == f"Error: {told}"
    assert list(tmp_path.iterdir()) == []
    assert 120 < terminal.now[0] < 130


def test_a_download_that_breaks_off_goes_on_behind_the_last_line(terminal, tmp_path):
    second = DOWNLOAD.replace(b"a", b"b")
    answers = [breaking(DOWNLOAD + second[:9]), httpx2.Response(200, content=second)]
    ran = terminal.run("results", "job-1", "--status", "errored", "-o", str(tmp_path / "r"), answers=answers)
    assert (ran.code, (tmp_path / "r").read_bytes()) == (0, DOWNLOAD + second)
    path = "GET /v1/batches/job-1/results?status=errored"
    assert ran.server.paths == [path, f"{path}&after=a"]


def test_a_path_that_cannot_be_written_is_one_line_and_asks_no_server(terminal, tmp_path, batch_file):
    for path, why in ((tmp_path / "no" / "r", "No such file or directory"), (tmp_path, "Is a directory")):
        for command in (["results", "job-1"], ["submit", batch_file()], ["ingest", batch_file()]):
            ran = terminal.run(*command, "-o", str(path))
            assert (ran.code, ran.err) == (2, f"Error: Cannot write {path}: {why}.\n")


@pytest.mark.parametrize(("status", "code"), [(404, 3), (401, 1), (403, 1), (409, 1), (422, 1), (500, 1)])
def test_an_error_answer_is_one_line_and_an_exit_code(terminal, status, code):
    ran = terminal.run("jobs", "get", "job-1", answers=[refusal(status, message="It is so.")])
    assert (ran.code, ran.out, ran.err) == (code, "", "Error: It is so. [req_1]\n")


def test_an_unreachable_server_is_one_line(terminal):
    ran = terminal.run("status", answers=[httpx2.ConnectError("[Errno 111] Connection refused")])
    assert (ran.code, ran.err) == (1, "Error: Cannot reach http://127.0.0.1:8283: [Errno 111] Connection refused.\n")


def test_jobs_are_listed_as_a_table(terminal):
    ran = terminal.run("jobs", "list", answers=[page(job("completed", succeeded=2, errored=1))])
    heading, row = ran.out.splitlines()
    assert heading.split() == ["ID", "JOB_TYPE", "STATUS", "STOP_REASON", "DONE", "TOTAL", "FAILED", "CREATED_AT"]
    assert row.split() == ["job-1", "batch", "completed", "because_completed", "3", "3", "1", "2026-01-01T00:00:00Z"]


def test_jobs_are_listed_as_json_lines_with_filters(terminal):
    rows = [job(job_id="job-1"), job(job_id="job-2")]
    options = [
        "--status",
        "failed",
        "--status",
        "expired",
        "--active",
        "--type",
        "batch",
        "--metadata",
        "a=b",
        "-n",
        "2",
    ]
    ran = terminal.run("jobs", "list", "--json", *options, answers=[page(*rows, has_more=True)])
    assert [json.loads(line) for line in ran.out.splitlines()] == rows
    assert ran.server.asked[0].url.params.multi_items() == [
        ("limit", "2"), ("metadata.a", "b"), ("status", "failed"), ("status", "expired"),
        ("active", "true"), ("job_type", "batch"),
    ]  # fmt: skip
    assert len(ran.server.asked) == 1


def test_a_job_is_shown_verbatim_as_json(terminal):
    given = job() | {"metadata": {"name": "Zoë"}}
    ran = terminal.run("jobs", "get", "job-1", "--json", answers=[ok(given)])
    assert json.loads(ran.out) == given


def test_a_server_cannot_write_control_characters_to_the_terminal(terminal):
    ran = terminal.run("jobs", "get", "job-1", answers=[ok(job() | {"error": "\x1b[2J\nfake"})])
    assert r"error:                \x1b[2J\nfake" in ran.out.splitlines()


def test_jobs_are_deleted_one_by_one(terminal):
    ran = terminal.run("jobs", "delete", "job-1", "job-2", "--yes", answers=[ok(job())])
    assert (ran.code, ran.server.paths) == (0, ["DELETE /v1/jobs/job-1", "DELETE /v1/jobs/job-2"])


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "asked"),
    [("y\n", 0, ["DELETE /v1/jobs/job-1", "DELETE /v1/jobs/job-2"]), ("n\n", 1, []), ("\n", 1, []), ("", 130, [])],
)
def test_jobs_are_deleted_only_when_the_person_says_so(terminal, monkeypatch, typed, code, asked):
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    ran = terminal.run("jobs", "delete", "job-1", "job-2", answers=[ok(job())])
    assert (ran.code, ran.server.paths) == (code, asked)
    assert "Delete job-1, job-2 with all items and results? [y/N]" in ran.err


def test_jobs_are_not_deleted_where_nobody_can_be_asked(terminal, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ran = terminal.run("jobs", "delete", "job-1", answers=[ok(job())])
    assert (ran.code, ran.err, ran.server.asked) == (2, "Error: There is no terminal to ask at; say --yes.\n", [])


@pytest.mark.parametrize(
    ("status", "told"),
    [("cancelled", "job-1 is cancelled."), ("running", "job-1 will be cancelled when the provider confirms.")],
)
def test_cancelling_says_whether_it_is_done(terminal, status, told):
    ran = terminal.run("cancel", "job-1", answers=[ok(job(status))])
    assert (ran.code, ran.server.paths) == (0, ["POST /v1/jobs/job-1/cancel"])
    assert ran.err.startswith(told)


def test_retry_takes_every_failed_item_by_default(terminal):
    ran = terminal.run("retry", "job-1", answers=[ok(job(job_id="job-2"), 202)])
    assert ran.out == "job-2\n"
    assert json.loads(ran.server.bodies[0]) == {"statuses": ["errored", "canceled", "expired"]}


def test_retry_takes_the_items_that_are_named(terminal):
    ran = terminal.run("retry", "job-1", "--custom-id", "a", "--custom-id", "b", answers=[ok(job(), 202)])
    assert json.loads(ran.server.bodies[0]) == {"custom_ids": ["a", "b"]}


def test_status_shows_who_leads(terminal):
    scheduler = {"is_leader": True, "polling_enabled": True, "providers": [{"name": "sandbox", "state": "ok"}]}
    ran = terminal.run("status", answers=[ok(scheduler)])
    assert "is_leader:             true" in ran.out
    assert ran.out.splitlines()[-1].split() == ["sandbox", "ok", "-"]


def test_a_key_is_made_for_the_only_user_and_shown_alone_on_standard_output(terminal):
    made = {"id": "key-1", "scopes": ["read"], "secret": "bb_secret"}
    answers = [page({"id": "user-1", "name": "x"}), ok(made, 201)]
    ran = terminal.run("keys", "create", "--scope", "read", "--name", "ci", answers=answers)
    assert (ran.code, ran.out) == (0, "bb_secret\n")
    assert json.loads(ran.server.bodies[1]) == {"user_id": "user-1", "scopes": ["read"], "name": "ci"}


def test_a_key_needs_its_user_named_where_there_are_several(terminal):
    users = page({"id": "user-1", "name": "x"}, {"id": "user-2", "name": "y"})
    ran = terminal.run("keys", "create", answers=[users])
    assert (ran.code, ran.err) == (2, "Error: Whose key is it? Give --user with one of: user-1 (x), user-2 (y).\n")


def test_keys_are_listed_and_revoked(terminal):
    assert terminal.run("keys", "list", answers=[page({"id": "key-1", "scopes": ["read", "write"]})]).out.splitlines()[
        1
    ].split()[:3] == ["key-1", "-", "read,write"]
    assert terminal.run("keys", "revoke", "key-1", answers=[ok({"id": "key-1"})]).server.paths == [
        "DELETE /v1/admin/keys/key-1"
    ]
