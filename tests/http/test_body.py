"""Reading bodies."""

from __future__ import annotations

import gzip

import pytest
import trio
from tests.http.edge import edge_app

from backburner.http.body import _Reader
from backburner.http.flow import BodyPace
from backburner.http.problem import Refused

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


async def post(path: str, body: bytes, headers: dict[str, str], **options: int):
    response = await edge_app(**options).test_client().post(path, data=body, headers=headers)
    answer = await response.get_json()
    return response.status_code, answer.get("error", {}).get("code", answer)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"name":"a"}', JSON, (200, {"name": "a"})),
        (b'{"name":"a"}', {"Content-Type": "application/json; charset=UTF-8"}, (200, {"name": "a"})),
        (b"", {}, (200, {"name": "none"})),
        (b"{}", {}, (415, "unsupported_media_type")),
        (b"{}", {"Content-Type": "text/plain"}, (415, "unsupported_media_type")),
        (b"{}", {"Content-Type": "application/json; charset=latin-1"}, (415, "unsupported_media_type")),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, (415, "unsupported_encoding")),
        (b"{", JSON, (400, "invalid_json")),
        (b'{"nome":"a"}', JSON, (422, "unknown_field")),
        (b'{"name":"' + b"x" * 1024 * 1024 + b'"}', JSON, (413, "request_too_large")),
    ],
)
async def test_json_bodies(body, headers, expected):
    assert await post("/v1/things", body, headers) == expected


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # the same in each test process: they compare the names of the cases


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"x" * 1000, NDJSON, (200, {"type": "application/x-ndjson", "size": 1000, "largest": 1000})),
        (b"x" * 1001, NDJSON, (413, "request_too_large")),
        (b"", NDJSON, (200, {"type": "application/x-ndjson", "size": 0, "largest": 0})),
        (b"{}", {}, (415, "unsupported_media_type")),
        (b"{}", {**JSON, "Content-Encoding": "br"}, (415, "unsupported_encoding")),
        (b"plain", {**JSON, "Content-Encoding": "gzip"}, (400, "invalid_encoding")),
        (zipped(b"x" * 1000), {**JSON, "Content-Encoding": "gzip"},
         (200, {"type": "application/json", "size": 1000, "largest": 1000})),
        (zipped(b"x" * 600) + zipped(b"y" * 400), {**JSON, "Content-Encoding": "GZip"},
         (200, {"type": "application/json", "size": 1000, "largest": 600})),
        (zipped(b"x" * 1001), {**JSON, "Content-Encoding": "gzip"}, (413, "request_too_large")),
        (zipped(b"x" * 1000)[:-4], {**JSON, "Content-Encoding": "gzip"}, (400, "invalid_encoding")),
        (zipped(b"x" * 1000) + b"tail", {**JSON, "Content-Encoding": "gzip"}, (400, "invalid_encoding")),
    ],
)  # fmt: skip
async def test_batch_bodies(body, headers, expected):
    assert await post("/v1/batches", body, headers) == expected


async def test_a_gzip_bomb_is_decoded_in_small_pieces():
    bomb = gzip.compress(b"\0" * 20_000_000)
    status, answer = await post("/v1/batches", bomb, {**NDJSON, "Content-Encoding": "gzip"}, batch_limit=20_000_000)
    assert (status, answer["size"], answer["largest"]) == (200, 20_000_000, 65536)


async def test_a_body_without_length_is_bounded_while_it_is_read():
    client = edge_app().test_client()
    async with client.request("/v1/batches", method="POST", headers=NDJSON) as connection:
        for _ in range(11):
            await connection.send(b"x" * 100)
        response = await connection.as_response()
    assert response.status_code == 413


async def test_a_body_that_is_announced_too_large_is_not_waited_for():
    client = edge_app().test_client()
    headers = {**NDJSON, "Content-Length": "1001"}
    async with client.request("/v1/batches", method="POST", headers=headers) as connection:
        response = await connection.as_response()
    assert response.status_code == 413


async def test_a_client_that_stops_sending_is_told_after_its_time(autojump_clock):
    client = edge_app(batch_limit=10_000_000).test_client()
    started = trio.current_time()
    async with client.request("/v1/batches", method="POST", headers=NDJSON) as connection:
        await connection.send(b"x" * 1_000_000)
        response = await connection.as_response()
    # The test client has no end of the body, so the answered connection lingers for 2 s.
    assert (response.status_code, trio.current_time() - started) == (408, 300 + 2)


async def test_a_body_that_trickles_is_refused_when_it_has_used_up_its_time(autojump_clock):
    app = edge_app()
    app.body_pace = BodyPace(stall=50, bytes_per_second=1)
    started = trio.current_time()
    async with app.test_client().request("/v1/batches", method="POST", headers=NDJSON) as connection:
        for _ in range(6):
            await connection.send(b"xx")
            await trio.sleep(10)
        await connection.send(b"xx")
        response = await connection.as_response()
    # Its 14 bytes earn 14 seconds beside the 50; the test client lingers for 2.
    assert (response.status_code, trio.current_time() - started) == (408, 50 + 14 + 2)


async def test_a_machine_that_stood_still_makes_a_body_too_slow(autojump_clock):
    class Body:
        pace = BodyPace()

        async def take(self) -> bytes:
            if trio.current_time() >= 1000:
                await trio.sleep_forever()
            autojump_clock.jump(1000)  # too fast for anything to be cancelled
            await trio.lowlevel.cancel_shielded_checkpoint()
            return b"x"

    reader = _Reader(Body(), limit=10)
    assert await reader.next() == b"x"
    with pytest.raises(Refused) as refused:
        await reader.next()
    assert refused.value.status == 408


async def test_slow_is_fine_while_bytes_keep_coming(autojump_clock):
    client = edge_app(batch_limit=10_000_000).test_client()
    async with client.request("/v1/batches", method="POST", headers=NDJSON) as connection:
        for _ in range(60):
            await connection.send(b"x" * 60_000)
            await trio.sleep(60)  # 1,000 bytes a second
        await connection.send_complete()
        response = await connection.as_response()
    assert response.status_code == 200


async def test_a_client_waits_while_nobody_takes_its_body(autojump_clock):
    app = edge_app()

    @app.post("/v1/idle")
    async def idle() -> dict[str, bool]:
        await trio.sleep(100)
        return {}

    async with app.test_client().request("/v1/idle", method="POST") as connection:
        with trio.move_on_after(50) as patience:
            for _ in range(1000):
                await connection.send(b"x" * 65536)
        assert patience.cancelled_caught
        await connection.send_complete()
        assert (await connection.as_response()).status_code == 200
