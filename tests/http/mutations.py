"""Requests that are nearly right: good ones, damaged at random."""

from __future__ import annotations

import gzip
from random import Random

import msgspec
from tests.http.api import lines, request, requests
from tests.http.raw import get, post

ITEM = request(1)
BODIES = [
    msgspec.json.encode({"requests": requests(2), "metadata": {"a": [1, 2.5, None, "ü"]}}),
    lines(ITEM, request(2)),
    gzip.compress(lines(ITEM), mtime=0),
    b'{"user_id":"user-1","scopes":["read"],"name":"x"}',
    b'{"status":"running","metadata":{"a":1}}',
]
TOKENS = [
    b"\0", b"\r\n", b"\r\n\r\n", b"\n", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"{", b"}" * 40,
    b"[" * 40, b'"', b":", b",", b"1e999", b"99999999999999999999", b"-", b"NaN", b" ", b"%00", b"%ff",
    b"%2e%2e/", b"../", b"?", b"&", b"#", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n",
    b"Upgrade: h2c\r\n", b"Upgrade: websocket\r\n", b"Idempotency-Key: a\r\n", b"X: y\r\n" * 120, b"HTTP/1.0",
    b"HTTP/2.0", b"HTTP/9.9", b"PRI * HTTP/2.0", b"ffffffff\r\n", b"0\r\n\r\n", b"A" * 9000, b"requests",
    b"Authorization: Bearer ", b"x-api-key: bb_x\r\n", b"\x16\x03\x01", b"Range: bytes=0-\r\n",
    b"If-None-Match: *\r\n",
]  # fmt: skip


def corpus(key: str, job_id: str) -> list[bytes]:
    """Good requests of every kind, with their bodies."""
    bearer = f"Authorization: Bearer {key}"
    paths = (
        "/healthz", "/readyz", "/v1/jobs?limit=3&status=running", f"/v1/jobs/{job_id}", f"/v1/batches/{job_id}/results",
        f"/v1/batches/{job_id}/items?order=desc&limit=2", "/v1/admin/audit?limit=1", "/v1/admin/keys", "/nothing",
        f"/v1/jobs/{job_id}/deliveries", "/api/jobs/active", "/v1/admin/scheduler/status", "/metrics",
    )  # fmt: skip
    found = [get(path, bearer) for path in paths]
    json = get("/v1/batches?dry_run=true", bearer, "Content-Type: application/json").replace(b"GET", b"POST", 1)
    found.append(_with_length(json, BODIES[0]))
    found.append(_with_length(post("/v1/batches?dry_run=true", bearer), BODIES[1]))
    found.append(_with_length(post("/v1/batches?dry_run=true", bearer, "Content-Encoding: gzip"), BODIES[2]))
    found.append(_with_length(json.replace(b"/v1/batches?dry_run=true", b"/v1/admin/keys"), BODIES[3]))
    patch = json.replace(b"POST /v1/batches?dry_run=true", f"PATCH /v1/jobs/{job_id}".encode())
    found.append(_with_length(patch, BODIES[4]))
    chunked = post("/v1/batches?dry_run=true", bearer, "Transfer-Encoding: chunked")
    found.append(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODIES[1]), BODIES[1]))
    found.append(_with_length(post("/v1/batches?dry_run=true", bearer, "Expect: 100-continue"), BODIES[1]))
    return found


def _with_length(head: bytes, body: bytes) -> bytes:
    return head.removesuffix(b"\r\n") + b"Content-Length: %d\r\n\r\n" % len(body) + body


def mutated(random: Random, good: list[bytes]) -> bytes:
    """One of them, damaged in one to four places."""
    data = bytearray(random.choice(good))
    for _ in range(random.randint(1, 4)):
        _damage(random, data, good)
    return bytes(data)


def _damage(random: Random, data: bytearray, good: list[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((1, 1, 2, 8, 64)))
    kind = random.randrange(7)
    if kind == 0:
        data[start:end] = random.randbytes(end - start)
    elif kind == 1:
        data[start:start] = random.choice(TOKENS)
    elif kind == 2:
        del data[start:end]
    elif kind == 3:
        data[start:start] = data[start:end] * random.choice((1, 3, 50))
    elif kind == 4:
        del data[start:]
    elif kind == 5:
        other = random.choice(good)
        data[start:end] = other[random.randrange(len(other)) :]
    else:
        data[start:end] = random.choice(TOKENS)
