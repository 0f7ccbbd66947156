"""Every answer has an id, and every error one shape."""

from __future__ import annotations

import pytest
from quart.testing.utils import sentinel
from tests.http.edge import edge_app, logged

from backburner.http.gate import is_canonical


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v1/nope", 404, {"type": "not_found_error", "code": "not_found"}),
        ("GET", "/v1//ok", 404, {"type": "not_found_error", "code": "not_found"}),
        ("DELETE", "/v1/ok", 405, {"type": "invalid_request_error", "code": "method_not_allowed"}),
        ("GET", "/v1/errors/missing", 404, {"type": "not_found_error", "code": "not_found"}),
        ("GET", "/v1/errors/conflict", 409, {"type": "conflict_error", "code": "illegal_transition"}),
        ("GET", "/v1/errors/invalid", 422,
         {"type": "invalid_request_error", "code": "invalid_value", "param": "a.b", "details": [{"line": 1}]}),
        ("GET", "/v1/errors/malformed", 400, {"type": "invalid_request_error", "code": "invalid_json"}),
        ("GET", "/v1/errors/storage", 503, {"type": "unavailable_error", "code": "unavailable"}),
        ("GET", "/v1/errors/bug", 500, {"type": "api_error", "code": "internal_error"}),
        ("GET", "/v1/ok%00", 400, {"type": "invalid_request_error", "code": "invalid_target"}),
    ],
)  # fmt: skip
async def test_errors_have_the_envelope(method, path, status, error):
    response = await edge_app().test_client().open(path, method=method, json=sentinel)
    body = await response.get_json()
    assert isinstance(body["error"].pop("message"), str)
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/json")
    assert body == {"type": "error", "error": error, "request_id": "req_1"}
    assert response.headers.getlist("request-id") == ["req_1"]


async def test_what_went_wrong_inside_is_logged_and_not_told():
    with logged() as logs:
        response = await edge_app().test_client().get("/v1/errors/bug")
    assert b"hunter2" not in await response.get_data()
    assert [(log["event"], log["request_id"], str(log["exc_info"])) for log in logs] == [
        ("request_failed", "req_1", "hunter2")
    ]


async def test_unavailable_says_when_to_come_back_and_nothing_of_the_database():
    response = await edge_app().test_client().get("/v1/errors/storage")
    assert response.headers["Retry-After"] == "2"
    assert b"hunter2" not in await response.get_data()


async def test_405_keeps_the_list_of_methods():
    response = await edge_app().test_client().post("/v1/ok")
    assert sorted(response.headers["Allow"].split(", ")) == ["GET", "HEAD", "OPTIONS"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_good_answers_carry_an_id_of_ours(method):
    client = edge_app().test_client()
    for number in (1, 2):
        response = await client.open("/v1/ok", method=method, headers={"request-id": "mine"}, json=sentinel)
        assert (response.status_code, response.headers.getlist("request-id")) == (200, [f"req_{number}"])


@pytest.mark.parametrize(
    "disguised",
    [
        b"/v1/ok/", b"//v1/ok", b"/v1//ok", b"/v1/./ok", b"/v1/x/../ok", b"/v1/%6fk", b"/v1/%6Fk", b"/v1%2fok",
        b"/v1%2Fok", b"/%2e/v1/ok", b"/v1/%5Cok", b"http://h//v1/ok", b"http://h/v1/%6fk?x=1", b"/v1/ok/?x=1",
        b"/v1/errors/%2d", b"/v1/%31", b"/v1/%4F", b"/v1/%50", b"/v1/%5f", b"/v1/%7A", b"/v1/%7e",
        b"/.", b"//",
    ],
)  # fmt: skip
def test_a_path_has_one_form(disguised):
    assert not is_canonical(disguised)


@pytest.mark.parametrize(
    "plain",
    [
        b"/", b"*", b"/v1/ok", b"/v1/ok?x=//%2f/", b"/v1/errors/a%3Ab", b"/v1/errors/%C3%A9", b"/letta/v1/runs/",
        b"/v1/a..b", b"http://h/v1/ok", b"/v1/errors/%252f", b"/v1/errors/%20",
    ],
)  # fmt: skip
def test_what_else_a_path_may_hold_is_left_to_the_routes(plain):
    assert is_canonical(plain)


async def test_another_form_of_a_path_is_not_found():
    response = await edge_app().test_client().get("//v1/ok")
    assert (response.status_code, (await response.get_json())["error"]["code"]) == (404, "not_found")


async def test_no_answer_is_kept_or_guessed_at():
    client = edge_app().test_client()
    for path in ("/v1/ok", "/v1/errors/bug", "//v1/ok"):
        headers = (await client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers.getlist("Cache-Control") == ["no-store"]
