"""The client: what it sends, what it makes of answers, and what it tries again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

import httpx2
import pytest
from tests.client.fakes import event, job, ok, page, refusal, script

import backburner
from backburner.cli.exits import lines
from backburner.client import ApiError, AsyncClient, Client, ClientError, ServerUnreachable
from backburner.client.results import result_of
from backburner.client.retrying import Retries
from backburner.client.sse import Message, Reader
from backburner.profiles import Profile, ProfileError, Profiles

REFUSED = httpx2.ConnectError("Connection refused")
RESET = httpx2.ReadError("Connection reset")


def client(server, slept: list[float] | None = None) -> Client:
    sleep = (slept if slept is not None else []).append
    return Client("http://server:1/", "bb_key", transport=server.transport, sleep=sleep, random=Random(0))


def submit(server, **options):
    return client(server).submit(io.BytesIO(b"line\n"), form="ndjson", **options)


def test_the_key_goes_in_the_authorization_header():
    server = script(ok(job()))
    client(server).job("job-1")
    assert server.asked[0].headers["authorization"] == "Bearer bb_key"


def test_a_submission_is_sent_as_it_is_with_its_length_and_options():
    server = script(ok(job(), 202))
    assert submit(server, priority=3).id == "job-1"
    (request,) = server.asked
    assert server.paths == ["POST /v1/batches?priority=3"]
    assert (request.headers["content-type"], request.headers["content-length"]) == ("application/x-ndjson", "5")
    assert server.bodies == [b"line\n"]


@pytest.mark.parametrize(
    "failure",
    [REFUSED, RESET, refusal(503), refusal(429), httpx2.Response(409, json={}, headers={"retry-after": "0"})],
    ids=["refused", "reset", "503", "429", "409 with retry-after"],
)
def test_a_submission_is_repeated_with_the_same_idempotency_key(failure):
    server = script(failure, ok(job(), 202))
    submit(server)
    first, second = (request.headers["idempotency-key"] for request in server.asked)
    assert first == second
    assert server.bodies == [b"line\n", b"line\n"]


def test_two_submissions_have_different_idempotency_keys():
    server = script(ok(job(), 202))
    submit(server)
    submit(server)
    assert len({request.headers["idempotency-key"] for request in server.asked}) == 2


def test_the_servers_wish_to_wait_is_followed():
    slept: list[float] = []
    server = script(httpx2.Response(503, json={}, headers={"retry-after": "7"}), ok(job()))
    client(server, slept).job("job-1")
    assert slept == [7.0]


def test_after_five_tries_the_server_is_unreachable():
    server = script(REFUSED)
    with pytest.raises(ServerUnreachable, match=r"Cannot reach http://server:1: Connection refused\."):
        client(server).job("job-1")
    assert len(server.asked) == 5


def test_what_cannot_be_repeated_is_not_after_a_broken_answer():
    server = script(RESET)
    with pytest.raises(ServerUnreachable):
        client(server).create_key(user_id="user-1")
    assert len(server.asked) == 1


def test_a_new_key_is_asked_for_without_an_idempotency_key():
    server = script(ok({"id": "key-1", "secret": "bb_x"}))
    assert client(server).create_key(user_id="user-1").secret == "bb_x"
    assert "idempotency-key" not in server.asked[0].headers


def test_an_error_answer_becomes_an_error_with_everything_in_it():
    details = [{"line": 3, "message": "bad"}]
    server = script(refusal(422, "invalid_value", "Some are bad.", param="requests[1]", details=details))
    with pytest.raises(ApiError) as caught:
        client(server).job("job-1")
    error = caught.value
    assert (str(error), error.status, error.code, error.kind) == (
        "Some are bad.", 422, "invalid_value", "invalid_request_error",
    )  # fmt: skip
    assert (error.param, error.details, error.request_id) == ("requests[1]", details, "req_1")


@pytest.mark.parametrize("body", [b"<html>Bad\ngateway</html>", b"", b"[]", b'{"error": "text"}', b'{"error": {}}'])
def test_a_foreign_answer_becomes_an_error_too(body):
    with pytest.raises(ApiError) as caught:
        client(script(httpx2.Response(502, content=body))).job("job-1")
    assert (caught.value.status, caught.value.code) == (502, "http_502")
    assert "\n" not in str(caught.value)


def test_lists_are_read_page_by_page():
    server = script(page(job(job_id="a"), job(job_id="b"), has_more=True), page(job(job_id="c")))
    found = [row.id for row in client(server).jobs(status=["failed", "expired"], active=None)]
    assert found == ["a", "b", "c"]
    assert server.paths == [
        "GET /v1/jobs?status=failed&status=expired",
        "GET /v1/jobs?status=failed&status=expired&after=b",
    ]


def test_results_are_copied_byte_for_byte_and_say_whether_they_are_complete():
    content = b'{"custom_id":"a","result":{"x":"\\ud800"}}\n'
    server = script(httpx2.Response(200, content=content, headers={"x-incomplete": "true"}))
    target = io.BytesIO()
    with client(server).results("job-1", status=["errored"]) as found:
        assert found.incomplete
        assert found.save(target) == len(content)
    assert target.getvalue() == content
    assert server.paths == ["GET /v1/batches/job-1/results?status=errored"]


def test_waiting_is_limited_to_what_the_server_allows():
    server = script(ok(job()))
    client(server).job("job-1", wait=500)
    assert server.paths == ["GET /v1/jobs/job-1?wait=60"]


@pytest.mark.parametrize(
    ("job_id", "part"), [("../admin/keys?x#y", "..%2Fadmin%2Fkeys%3Fx%23y"), ("a\x1b\n", "a%1B%0A"), ("..", "%2E%2E")]
)
def test_an_id_is_one_part_of_the_path_whatever_it_is(job_id, part):
    server = script(ok(job()))
    client(server).delete(job_id)
    assert server.paths == [f"DELETE /v1/jobs/{part}"]


def test_a_held_answer_may_wait_for_the_end():
    server = script(ok(job()))
    client(server).job("job-1", wait=5, until="ended")
    client(server).job("job-1", until="ended")
    assert server.paths == ["GET /v1/jobs/job-1?wait=5&until=ended", "GET /v1/jobs/job-1"]


def test_a_redirect_is_an_error_and_takes_no_key_along():
    server = script(httpx2.Response(302, headers={"location": "http://elsewhere/"}))
    with pytest.raises(ApiError, match="302"):
        client(server).job("job-1")
    assert len(server.asked) == 1


def test_waits_double_up_to_a_limit_and_end():
    retries = Retries(tries=9, first_wait=1.0, longest_wait=5.0)
    waits = [retries.wait(attempt=n, wish=None, random=Random(n)) for n in range(1, 10)]
    assert waits[-1] is None
    limits = [1, 2, 4, 5, 5, 5, 5, 5]
    assert all(limit / 2 <= (wait or 0) <= limit for wait, limit in zip(waits[:-1], limits, strict=True))


@pytest.mark.parametrize(("wish", "wait"), [(3.0, 3.0), (30.0, 30.0), (30.1, None), (9000.0, None), (0.0, 0.0)])
def test_the_servers_wish_is_followed_unless_it_is_too_long(wish, wait):
    assert Retries().wait(attempt=1, wish=wish, random=Random(0)) == wait


def test_a_quota_that_lasts_fails_at_once_and_says_how_long():
    slept: list[float] = []
    quota = refusal(429, "quota_items_per_day", "Enough for today.")
    quota.headers["retry-after"] = "7200"
    with pytest.raises(ApiError) as caught:
        client(script(quota), slept).create_job()
    assert (slept, caught.value.retry_after) == ([], 7200.0)
    assert lines(caught.value)[1] == "  Try again in 7,200 s."


def test_an_iterator_is_read_once_and_sent_again_after_a_failure():
    taken: list[int] = []

    def requests():
        for number in range(2):
            taken.append(number)
            yield {"custom_id": str(number), "params": {}}

    server = script(RESET, ok(job(), 202))
    client(server).submit(requests(), callback_url="http://x/")
    assert server.bodies == [b'{"custom_id":"0","params":{}}\n{"custom_id":"1","params":{}}\n'] * 2
    assert taken == [0, 1]
    assert server.paths == ["POST /v1/batches?callback_url=http%3A%2F%2Fx%2F"] * 2


def test_a_path_is_sent_with_its_size(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"{}\n")
    server = script(ok(job(), 202))
    client(server).submit(path)
    assert (server.bodies, server.asked[0].headers["content-length"]) == ([b"{}\n"], "3")


def test_a_check_stores_nothing():
    server = script(ok({"valid": True}))
    assert client(server).check([{"custom_id": "a"}]) == {"valid": True}
    assert server.paths == ["POST /v1/batches?dry_run=true"]


def test_a_key_of_the_callers_is_used():
    server = script(ok(job(), 202))
    client(server).submit([], idempotency_key="mine")
    assert server.asked[0].headers["idempotency-key"] == "mine"


def test_an_answer_that_is_none_of_ours_is_an_error():
    with pytest.raises(ClientError, match="not one of this API"):
        client(script(httpx2.Response(200, content=b"<html>"))).job("job-1")


def test_results_are_read_line_by_line_also_when_they_are_cut_anywhere():
    lines = [b'{"custom_id":"%d","result":{"type":"succeeded","x":"\\ud800\xe2\x80\xa8"}}\n' % n for n in range(20)]
    content = b"".join(lines)

    class Cut(httpx2.SyncByteStream):
        def __iter__(self):
            yield from (content[start : start + 7] for start in range(0, len(content), 7))

    with client(script(lambda _: httpx2.Response(200, stream=Cut()))).results("job-1") as found:
        read = list(found)
    assert [result.custom_id for result in read] == [str(n) for n in range(20)]
    assert [result.line + b"\n" for result in read] == lines


class Pieces(httpx2.SyncByteStream):
    """A body in pieces that breaks off."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __iter__(self):
        yield from self.pieces
        raise RESET


def breaking(*pieces: bytes):
    return lambda _: httpx2.Response(200, stream=Pieces(*pieces), headers={"x-incomplete": "true"})


LINES = [b'{"custom_id":"%d","result":{"type":"succeeded","x":"\xc3\xa9"}}\n' % n for n in range(6)]


def broken_answers():
    """A download that breaks off at the begin, in a line, behind a line and between two bytes of a character."""
    cut = LINES[3].index(b"\xa9")
    return [
        breaking(),
        breaking(LINES[0] + LINES[1][:9], LINES[1][9:] + LINES[2], LINES[3][:cut]),
        REFUSED, REFUSED, REFUSED, REFUSED, REFUSED,
        breaking(LINES[3]),
        httpx2.Response(200, content=LINES[4] + LINES[5][:-5]),  # ends in the middle of a line
        httpx2.Response(200, content=LINES[5]),
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["iterated", "saved"])
def test_a_download_goes_on_behind_the_last_whole_line(way):
    server, target = script(*broken_answers()), io.BytesIO()
    trouble: list[ServerUnreachable] = []
    with client(server).results("job-1", after="before", on_trouble=trouble.append) as found:
        assert found.incomplete
        if way == "saved":
            assert found.save(target) == len(b"".join(LINES))
        else:
            for result in found:
                target.write(result.line + b"\n")
    assert target.getvalue() == b"".join(LINES)
    asked = [request.url.params.get("after") for request in server.asked]
    assert asked == ["before", "before", "2", "2", "2", "2", "2", "2", "3", "4"]
    assert len(trouble) == 5
    assert str(trouble[-1]) == "The answer of http://server:1 broke off: it ended in the middle of a line."


def test_a_download_is_given_up_when_nothing_comes_for_two_minutes():
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    server = script(breaking(LINES[0]), breaking(LINES[1]), breaking())
    asking = Client("http://server:1", transport=server.transport, sleep=sleep, monotonic=lambda: now[0])
    read: list[str] = []

    def read_slowly(found) -> None:
        for result in found:
            now[0] += 1000
            read.append(result.custom_id)

    with asking.results("job-1") as found, pytest.raises(ServerUnreachable, match="broke off: Connection reset"):
        read_slowly(found)
    assert read == ["0", "1"]
    assert 2120 < now[0] < 2130


def test_a_download_that_the_server_refuses_to_go_on_with_ends():
    server = script(breaking(LINES[0]), refusal(404, "not_found"))
    with client(server).results("job-1") as found, pytest.raises(ApiError, match="No"):
        list(found)


def test_a_download_that_never_begins_ends_at_once():
    with pytest.raises(ServerUnreachable, match="Cannot reach"), client(script(REFUSED)).results("job-1"):
        pass


def test_a_pipe_is_submitted_with_its_size(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    server = script(RESET, ok(job(), 202))
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(path.write_bytes, b'{"custom_id":"a"}\n')
        client(server).submit(path)
        writing.result()
    assert server.bodies == [b'{"custom_id":"a"}\n'] * 2
    assert server.asked[0].headers["content-length"] == "18"


def test_the_text_of_a_result_is_at_hand():
    message = {"content": [{"type": "text", "text": "a"}, {"type": "tool_use"}, {"type": "text", "text": "b"}]}
    succeeded = {"custom_id": "x", "result": {"type": "succeeded", "message": message}}
    errored = {"custom_id": "y", "result": {"type": "errored", "error": {}}}
    assert [result_of(json.dumps(line).encode()).text for line in (succeeded, errored)] == ["ab", ""]


def test_events_are_followed_over_broken_connections_to_the_end():
    server = script(
        httpx2.Response(200, content=b": hello\n\n" + event("e1", job("running"))),
        RESET,
        httpx2.Response(200, content=event("e2", job("completed"))),
    )
    assert [found.job.status for found in client(server).events("job-1")] == ["running", "completed"]
    assert [request.headers.get("last-event-id") for request in server.asked] == [None, "e1", "e1"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_are_read_however_their_bytes_are_cut(end):
    text = end.join([b"id: 1", b": comment", b"event: job", "data: é".encode(), b"data:b", b"", b"id: 2", b"", b""])
    reader = Reader()
    found = [message for start in range(len(text)) for message in reader.feed(text[start : start + 1])]
    assert found == [Message("job", "é\nb", "1")]
    assert reader.last_id == "2"


def test_importing_the_package_is_light():
    heavy = {"httpx2", "trio", "anyio", "msgspec"}
    program = f"import sys, backburner; sys.exit(' '.join({heavy!r} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_public_name_is_there():
    assert [name for name in backburner._PLACES if not hasattr(backburner, name)] == []
    assert set(backburner._PLACES) <= set(dir(backburner))
    with pytest.raises(AttributeError):
        backburner.no_such_name  # noqa: B018


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("environ", "given", "server"),
    [
        ({}, {}, ("http://default", "bb_default")),
        ({"BACKBURNER_PROFILE": "other"}, {}, ("http://other", "bb_other")),
        ({"BACKBURNER_PROFILE": "none"}, {"profile": "other"}, ("http://other", "bb_other")),
        ({"BACKBURNER_URL": "http://env", "BACKBURNER_API_KEY": "bb_env"}, {}, ("http://env", "bb_env")),
        ({"BACKBURNER_URL": "http://env"}, {}, ("http://env", None)),
        ({"BACKBURNER_API_KEY": "bb_env"}, {"url": "http://given"}, ("http://given", None)),
    ],
)
def test_a_client_without_a_url_talks_to_the_server_that_commands_talk_to(
    monkeypatch, tmp_path, *, kind, environ, given, server
):
    for name in ("BACKBURNER_URL", "BACKBURNER_API_KEY", "BACKBURNER_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"XDG_CONFIG_HOME": str(tmp_path), **environ}.items():
        monkeypatch.setenv(name, value)
    profiles = Profiles(tmp_path / "backburner")
    for name in ("default", "other"):
        profiles.add(Profile(f"http://{name}", f"bb_{name}"), name)
    made = kind(**given)._options
    assert (made.url, made.key) == server


def test_a_profile_that_is_not_there_or_beside_a_url_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(ProfileError, match="There is no profile 'none'"):
        Client(profile="none")
    with pytest.raises(ValueError, match="either a url or a profile"):
        Client("http://x", profile="none")
