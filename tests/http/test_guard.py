"""What hostile and careless clients do, over real sockets."""

from __future__ import annotations

import resource
from typing import ClassVar

import pytest
import trio
from hypercorn.events import Event, RawData
from hypercorn.protocol.events import Body
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from tests.http.edge import edge_app, logged
from tests.http.raw import OK, get, parsed, post, read_all, read_answer, send, served

from backburner.http.caps import Admission, ConnectionCaps
from backburner.http.guard import GuardConfig, GuardedConnection, GuardedProtocol, require_version
from backburner.http.hosting import make_room

pytestmark = pytest.mark.sockets

CHUNKED = post("/v1/batches", "Transfer-Encoding: chunked")
WEBSOCKET = get(
    "/v1/ok",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def test_another_version_of_hypercorn_is_refused():
    with pytest.raises(ImportError, match="needs hypercorn"):
        require_version("0.19.0")


@pytest.mark.parametrize(
    "hostile",
    [
        CHUNKED + b"ZZ\r\n",
        CHUNKED + b"5\r\nhelloXX",
        WEBSOCKET + b"x",
        WEBSOCKET + b"\x81\x85" + b"x" * 20,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\nHost: h\r\nbad header\r\n\r\n",
        b"GET ?x HTTP/1.1\r\nHost: h\r\n\r\n",
        get("/v1/ok", "X: a", " b"),
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        get("/v1/ok") * 20 + b"garbage\r\n\r\n",
        post("/v1/batches", "Content-Length: 100") + b"short",
    ],
)
async def test_hostile_requests_end_their_own_connection_only(hostile):
    async with served(keep_alive_timeout=0.3) as server:

        async def attack() -> None:
            async with await server.connect() as stream:
                await send(stream, hostile)
                with trio.move_on_after(0.1):
                    await read_all(stream)

        for _ in range(4):
            async with trio.open_nursery() as nursery:
                for _ in range(15):
                    nursery.start_soon(attack)
        assert await server.is_well()


async def test_an_error_in_one_connection_stays_with_it():
    def broken() -> str:
        raise ZeroDivisionError

    async with served(new_request_id=broken) as server:
        with logged() as logs:
            assert await server.exchange(b"garbage\r\n\r\n") == b""
            assert await server.is_well()
        assert [log["event"] for log in logs] == ["connection_failed"]


async def test_bytes_behind_the_last_request_keep_nothing_waiting():
    caps = ConnectionCaps()
    async with served(caps=caps) as server:
        await server.exchange(get("/v1/ok", "Connection: close") + get("/v1/ok"))
        with trio.fail_after(2):
            while caps._open.total():
                await trio.lowlevel.checkpoint()


async def test_an_application_cannot_speak_into_the_answer_to_a_broken_request():
    sent = []

    async def send_and_let_the_application_speak(event: Event) -> None:
        sent.append(event)
        if len(sent) == 1:
            await protocol.stream_send(Body(stream_id=1, data=b"mine"))

    config = GuardConfig()
    config.new_request_id = lambda: "req_1"
    context = WorkerContext(None)
    protocol = GuardedProtocol(
        None, config, context, None, ConnectionState({}), False, None, None, send_and_let_the_application_speak
    )
    await protocol.handle(RawData(b"garbage\r\n\r\n"))
    whole = b"".join(event.data for event in sent if isinstance(event, RawData))
    assert parsed(whole) == (400, "bad_request")


async def test_behind_a_piece_that_was_not_delivered_comes_nothing():
    class Closing:
        delivered: ClassVar[list[bytes]] = []

        async def send_all(self, data: bytes) -> None:
            if data == b"head":
                raise trio.BusyResourceError("another task closes the connection")
            self.delivered.append(data)

    connection = GuardedConnection(None, GuardConfig(), WorkerContext(None), ConnectionState({}), Closing())
    assert [await connection._deliver(data) for data in (b"head", b"body")] == [False, False]
    assert Closing.delivered == []


async def test_an_illegal_chunk_size_is_answered():
    async with served() as server:
        assert parsed(await server.exchange(CHUNKED, b"ZZ\r\n")) == (400, "bad_request")


@pytest.mark.parametrize("head", [("X: a", " b"), ("X: a", "\tAuthorization: b"), ("X: a", " ")])
async def test_folded_headers_are_refused(head):
    async with served() as server:
        whole = get("/v1/ok", *head)
        assert parsed(await server.exchange(whole)) == (400, "bad_request")
        assert parsed(await server.exchange(whole[:-10], whole[-10:])) == (400, "bad_request")


async def test_a_body_may_have_lines_that_begin_with_a_space():
    body = b"a\n b\r\n\r\n\tc"
    request = post("/v1/batches", f"Content-Length: {len(body)}", "Connection: close") + body
    async with served() as server:
        assert (await server.exchange(request)).startswith(b"HTTP/1.1 200")


async def test_websockets_are_refused():
    async with served() as server:
        assert parsed(await server.exchange(WEBSOCKET)) == (400, "upgrade_unsupported")


async def test_connection_close_closes_at_once():
    async with served(keep_alive_timeout=50) as server:
        with trio.fail_after(2):
            answer = await server.exchange(get("/v1/ok", "Connection: close"))
        assert answer.endswith(OK)


async def test_an_idle_connection_is_kept_for_a_while_and_then_closed():
    async with served(keep_alive_timeout=0.3) as server, await server.connect() as stream:
        for _ in range(3):
            await stream.send_all(get("/v1/ok"))
            await read_answer(stream, OK)
        with trio.fail_after(2):
            assert await read_all(stream) == b""


async def test_headers_that_do_not_come_are_not_waited_for():
    async with served(keep_alive_timeout=0.3) as server:
        with trio.fail_after(2):
            assert await server.exchange(b"GET / HT") == b""


async def test_a_client_that_reads_nothing_does_not_block_stopping():
    async with served(graceful_timeout=0.3, send_timeout=50) as server, await server.connect() as stream:
        await stream.send_all(get("/v1/endless"))
        await stream.receive_some(1)
        server.stop.set()
        with trio.fail_after(3):
            await server.stopped.wait()


async def test_a_client_that_reads_nothing_is_dropped():
    async with served(send_timeout=0.3) as server, await server.connect() as stream:
        await stream.send_all(get("/v1/endless"))
        with trio.fail_after(10):
            await trio.sleep(1)
            assert not (await read_all(stream)).endswith(b"0\r\n\r\n")
        assert await server.is_well()


async def test_an_offer_of_cleartext_http2_is_ignored():
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
    async with served(keep_alive_timeout=0.3) as server:
        answer = await server.exchange(get("/v1/ok", *upgrade))
        assert answer.startswith(b"HTTP/1.1 200")


async def test_http2_by_prior_knowledge_is_refused():
    async with served() as server:
        answer = await server.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert parsed(answer) == (400, "http_version_unsupported")


async def test_two_lengths_are_refused_and_nothing_is_smuggled():
    hidden = get("/v1/ok")
    request = post("/v1/things", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + hidden
    async with served() as server:
        assert parsed(await server.exchange(request)) == (400, "ambiguous_length")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/v1/ok", *(f"X-{n}: y" for n in range(100))), (431, "headers_too_large")),
        (get("/v1/ok", "X: " + "y" * 17_000), (431, "headers_too_large")),
        (get("/v1/ok", "X: " + "y" * 100_000), (431, "headers_too_large")),
        (get("/v1/ok?" + "x" * 8200), (414, "uri_too_long")),
    ],
)
async def test_large_heads_are_refused(request_bytes, expected):
    async with served() as server:
        assert parsed(await server.exchange(request_bytes)) == expected


async def test_connections_are_capped_per_address_and_in_all():
    for caps in (ConnectionCaps(total=100, per_address=2, name=str), ConnectionCaps(total=2, per_address=100)):
        async with served(caps=caps) as server, await server.connect() as first, await server.connect() as second:
            for stream in (first, second):
                await stream.send_all(get("/v1/ok"))
                await read_answer(stream, OK)
            assert parsed(await server.exchange(get("/v1/ok"))) == (503, "too_many_connections")
            await first.aclose()
            with trio.fail_after(2):
                while caps._open.total() > 1:
                    await trio.lowlevel.checkpoint()
            assert await server.is_well()


def test_a_proxy_on_the_same_machine_may_have_every_connection():
    caps = ConnectionCaps(total=3, per_address=1)
    with caps.admit("127.0.0.1"), caps.admit("::1") as second, caps.admit("10.0.0.1") as third:
        assert (second, third) == (Admission.FULL, Admission.FULL)
    with caps.admit("10.0.0.1"), caps.admit("10.0.0.1") as again, caps.admit("10.0.0.2") as other:
        assert (again, other) == (Admission.RESERVED, Admission.FULL)
    assert caps._open == {}


def test_the_limit_of_files_is_raised_for_the_connections_that_are_wanted():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    try:
        assert make_room(50) == 50
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 128
        assert make_room(100) == 100
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_health_is_told_on_connections_beyond_the_caps():
    app = edge_app()

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    caps = ConnectionCaps(total=1, reserve=1)
    async with served(app, caps=caps) as server, await server.connect() as first:
        await first.send_all(get("/v1/ok"))
        await read_answer(first, OK)
        for _ in range(3):
            assert (await server.exchange(get("/healthz", "Connection: close"))).endswith(OK)
            refused = await server.exchange(get("/v1/ok"))
            assert parsed(refused) == (503, "too_many_connections")
            assert b"retry-after: 1" in refused
        async with await server.connect() as second:
            await second.send_all(get("/healthz"))
            await read_answer(second, OK)
            assert parsed(await server.exchange(get("/healthz"))) == (503, "too_many_connections")


async def test_a_body_too_large_is_refused_before_it_is_asked_for():
    request = post("/v1/batches", "Content-Length: 99000000", "Expect: 100-continue", "Connection: close")
    async with served() as server:
        assert parsed(await server.exchange(request)) == (413, "request_too_large")


async def test_a_body_that_is_wanted_is_asked_for():
    async with served() as server, await server.connect() as stream:
        await stream.send_all(post("/v1/batches", "Content-Length: 5", "Expect: 100-continue"))
        assert (await read_answer(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"hello")
        answer = await read_answer(stream, b"}\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"size":5' in answer


@pytest.mark.parametrize("length", [("Content-Length: 20000000",), ("Transfer-Encoding: chunked",)])
async def test_a_client_that_sends_on_still_gets_its_refusal(length):
    block = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    async with served() as server:
        with trio.fail_after(10):
            answer = await server.exchange(post("/v1/batches", *length), *([block] * 18))
    assert parsed(answer.removesuffix(b"<reset>")) == (413, "request_too_large")


async def test_a_client_that_leaves_takes_its_request_with_it():
    left = trio.Event()
    app = edge_app()

    @app.get("/v1/wait")
    async def wait() -> dict[str, bool]:
        try:
            await trio.sleep_forever()
        finally:
            left.set()

    async with served(app) as server:
        async with await server.connect() as stream:
            await stream.send_all(get("/v1/wait"))
            assert await server.is_well()
        with trio.fail_after(2):
            await left.wait()


async def test_an_application_that_breaks_is_answered_for():
    async def broken(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan")
        raise ZeroDivisionError

    async with served(broken) as server:
        assert parsed(await server.exchange(get("/"))) == (500, "internal_error")
