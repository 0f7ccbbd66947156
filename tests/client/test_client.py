"""The client: what it sends, what it makes of answers, and what it tries again."""

from __future__ import annotations

import io
from random import Random

import httpx2
import pytest
from tests.client.fakes import job, ok, page, refusal, script

from backburner.client import ApiError, Client, ServerUnreachable
from backburner.client.retrying import Retries

REFUSED = httpx2.ConnectError("Connection refused")
RESET = httpx2.ReadError("Connection reset")


def client(server, slept: list[float] | None = None) -> Client:
    sleep = (slept if slept is not None else []).append
    return Client("http://server:1/", "bb_key", transport=server.transport, sleep=sleep, random=Random(0))


def submit(server, **options):
    return client(server).submit(lambda: b"line\n", content_type="application/x-ndjson", size=5, **options)


def test_the_key_goes_in_the_authorization_header():
    server = script(ok(job()))
    client(server).job("job-1")
    assert server.asked[0].headers["authorization"] == "Bearer bb_key"


def test_a_submission_is_sent_as_it_is_with_its_length_and_options():
    server = script(ok(job(), 202))
    assert submit(server, params={"priority": "3"})["id"] == "job-1"
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
    server = script(ok({"secret": "bb_x"}))
    client(server).create_key(user_id="user-1")
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
    server = script(page({"id": "a"}, {"id": "b"}, has_more=True), page({"id": "c"}))
    found = [row["id"] for row in client(server).jobs(status=["failed", "expired"], active=None)]
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


def test_a_redirect_is_an_error_and_takes_no_key_along():
    server = script(httpx2.Response(302, headers={"location": "http://elsewhere/"}))
    with pytest.raises(ApiError, match="302"):
        client(server).job("job-1")
    assert len(server.asked) == 1


def test_waits_double_up_to_a_limit_and_end():
    retries = Retries(tries=9, first_wait=1.0, longest_wait=5.0)
    waits = [retries.wait(attempt=n, retry_after=None, random=Random(n)) for n in range(1, 10)]
    assert waits[-1] is None
    limits = [1, 2, 4, 5, 5, 5, 5, 5]
    assert all(limit / 2 <= (wait or 0) <= limit for wait, limit in zip(waits[:-1], limits, strict=True))


@pytest.mark.parametrize(("wish", "wait"), [("3", 3.0), ("9000", 30.0), ("-1", 0.0)])
def test_the_servers_wish_is_bounded(wish, wait):
    assert Retries().wait(attempt=1, retry_after=wish, random=Random(0)) == wait
