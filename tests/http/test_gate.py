"""Requests that are refused before any route, decided without a server."""

from __future__ import annotations

import pytest
from tests.http.edge import edge_app

from backburner.http.gate import described, refusal


def judged(**changes):
    scope = {
        "type": "http",
        "http_version": "1.1",
        "path": "/v1/ok",
        "raw_path": b"/v1/ok",
        "query_string": b"",
        "headers": [(b"host", b"h")],
    }
    reason = refusal({**scope, **changes})
    return reason and (reason.status, reason.code)


def test_an_ordinary_request_passes():
    assert judged() is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"http_version": "2.0", "path": "*"}, (400, "http_version_unsupported")),
        ({"query_string": b"x" * 8192}, (414, "uri_too_long")),
        ({"path": "", "raw_path": b""}, (400, "invalid_target")),
        ({"path": "host:443"}, (400, "invalid_target")),
        ({"path": "/v1/\0"}, (400, "invalid_target")),
        ({"path": "/v1/a\r\nb"}, (400, "invalid_target")),
        ({"headers": [(b"x", b"y")] * 101}, (431, "headers_too_large")),
        ({"headers": [(b"x", b"y" * 1700)] * 10}, (431, "headers_too_large")),
        ({"headers": [(b"content-length", b"1"), (b"Transfer-Encoding", b"chunked")]}, (400, "ambiguous_length")),
        ({"headers": [(b"upgrade", b"WebSocket")]}, (400, "upgrade_unsupported")),
    ],
)
def test_what_must_not_reach_a_route_is_refused(changes, expected):
    assert judged(**changes) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": [(b"x", b"y")] * 100},
        {"path": "*", "raw_path": b"*"},
        {"path": "http://host/v1/ok"},
        {"path": "/é"},
        {"headers": [(b"upgrade", b"h2c")]},
    ],
)
def test_what_is_merely_unusual_passes(changes):
    assert judged(**changes) is None


@pytest.mark.parametrize(
    "host", [b".", b"a..b", b"x" * 64, b"\xc3\xa9", b"[::1", b"[1..2]", b"a:b", b"a b", b"http://a", b"a:123456"]
)
def test_a_host_that_is_none_is_refused(host):
    assert judged(headers=[(b"host", host)]) == (400, "invalid_host")


@pytest.mark.parametrize(
    "host", [b"", b"localhost:8283", b"[::1]:80", b"[::ffff:127.0.0.1]", b"a_b-c.example.com.", b"1.2.3.4"]
)
async def test_a_host_that_is_one_finds_its_route(host):
    assert judged(headers=[(b"host", host)]) is None
    answer = await edge_app().test_client().get("/v1/ok", headers={"host": host.decode()})
    assert answer.status_code == 200


KIND, LENGTH, ETAG = (b"content-type", b"text/html"), (b"content-length", b"0"), (b"etag", b'"1"')


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (304, [KIND, LENGTH, ETAG], [ETAG]),
        (204, [KIND, LENGTH], []),
        (200, [KIND, LENGTH, ETAG], [LENGTH, ETAG]),
        (200, [KIND, (b"content-length", b"2")], [KIND, (b"content-length", b"2")]),
    ],
)
def test_a_body_that_is_none_is_not_described(status, headers, expected):
    assert described(status, headers) == expected
