"""Every answer has an id, and every error one shape."""

from __future__ import annotations

import pytest
from quart.testing.utils import sentinel
from tests.http.edge import edge_app, logged


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


async def test_a_trailing_slash_is_forgiven_without_a_redirect():
    response = await edge_app().test_client().get("/v1/ok/")
    assert response.status_code == 200
