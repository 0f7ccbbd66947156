"""Connections go to checked addresses only: with a network that records, and over real sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

import attrs
import httpcore2
import httpx2
import pytest
import trio

from backburner.clock import SystemClock
from backburner.egress import Address
from backburner.model import DueDelivery
from backburner.signing import new_secret
from backburner.webhooks.pinned import AddressBlocked, PinnedBackend, PinnedTransport, SystemResolver
from backburner.webhooks.pools import MAX_POOLS, PoolPerReceiver
from backburner.webhooks.receiver import WebhookReceiver
from backburner.webhooks.sender import AttemptOutcome, WebhookSender

CERTIFICATE = Path(__file__).parent.parent / "data" / "hooks.example.test.pem"  # of hooks.example.test alone
BODY = b'{"type":"job.completed","job_id":"job-1"}'


@attrs.define
class Names:
    """Name resolution as the test has it."""

    addresses: Sequence[str]
    asked: list[tuple[str, int]] = attrs.field(factory=list)

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append((host, port))
        return [ip_address(address) for address in self.addresses]


@attrs.define
class Network(httpcore2.AsyncNetworkBackend):
    """Notes who is connected to; some hosts refuse, some hang."""

    refuse: tuple[str, ...] = ()
    hang: tuple[str, ...] = ()
    tried: list[tuple[str, int]] = attrs.field(factory=list)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.tried.append((host, port))
        if host in self.refuse:
            raise httpcore2.ConnectError("refused")
        if host in self.hang:
            await trio.sleep_forever()
        return httpcore2.AsyncMockStream([])


async def test_the_connection_goes_to_the_address_that_was_checked():
    names, network = Names(["93.184.215.14"]), Network()
    await PinnedBackend(resolve=names, allow_private=False, network=network).connect_tcp("example.com", 443)
    assert (names.asked, network.tried) == ([("example.com", 443)], [("93.184.215.14", 443)])


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["fe80::1%eth0"],
        ["93.184.215.14", "10.0.0.1"],  # one bad answer among good ones
        ["2606:4700:4700::1111", "64:ff9b::a9fe:a9fe"],
    ],
)
async def test_one_forbidden_answer_is_enough_to_connect_to_none(addresses):
    network = Network()
    backend = PinnedBackend(resolve=Names(addresses), allow_private=False, network=network)
    with pytest.raises(AddressBlocked):
        await backend.connect_tcp("example.com", 443)
    assert network.tried == []


async def test_an_address_in_the_url_is_checked_without_asking_for_names():
    names, network = Names([]), Network()
    backend = PinnedBackend(resolve=names, allow_private=False, network=network)
    with pytest.raises(AddressBlocked):
        await backend.connect_tcp("127.0.0.1", 80)
    await backend.connect_tcp("8.8.8.8", 80)
    assert (names.asked, network.tried) == ([], [("8.8.8.8", 80)])


async def test_addresses_are_tried_in_turn(autojump_clock):
    network = Network(refuse=("2606:4700:4700::1111",), hang=("8.8.8.8",))
    names = Names(["2606:4700:4700::1111", "8.8.8.8", "1.1.1.1"])
    await PinnedBackend(resolve=names, allow_private=False, network=network).connect_tcp("example.com", 443)
    assert [host for host, _ in network.tried] == ["2606:4700:4700::1111", "8.8.8.8", "1.1.1.1"]
    assert trio.current_time() == pytest.approx(1.5)


async def test_only_the_first_sixteen_answers_are_considered():
    network = Network(refuse=("8.8.8.8",))
    backend = PinnedBackend(resolve=Names(["8.8.8.8"] * 100), allow_private=False, network=network)
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("example.com", 443)
    assert len(network.tried) == 16


async def test_a_name_without_address_is_an_ordinary_failure():
    backend = PinnedBackend(resolve=Names([]), allow_private=False, network=Network())
    with pytest.raises(httpcore2.ConnectError):
        await backend.connect_tcp("example.com", 443)


async def test_the_system_resolver_knows_loopback_and_fails_with_an_os_error():
    resolve = SystemResolver()
    assert ip_address("127.0.0.1") in await resolve("localhost", 80)
    with pytest.raises(OSError, match=r".+"):
        await resolve("nothing.invalid", 80)


# --- real sockets --------------------------------------------------------------------------------------------


def delivery(url: str, secret: str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") -> DueDelivery:
    return DueDelivery(
        key=1,
        id="delivery-1",
        organization_key=1,
        url=url,
        receiver="unused",
        body=BODY,
        number=1,
        scheduled=1,
        secrets=(secret,),
    )


async def attempt(due: DueDelivery, backend: PinnedBackend, trust: ssl.SSLContext | None = None) -> AttemptOutcome:
    async with PinnedTransport(backend, trust) as transport:
        sender = WebhookSender(transport=transport, clock=SystemClock(), timeout=5, allow_private=True)
        return await sender.attempt(due)


def to_loopback() -> PinnedBackend:
    return PinnedBackend(resolve=Names(["127.0.0.1"]), allow_private=True)


@pytest.mark.sockets
async def test_a_webhook_arrives_verified_over_a_pinned_connection(nursery):
    secret = new_secret()
    receiver = WebhookReceiver(secret)
    url = await nursery.start(receiver.run)
    due = delivery(url.replace("127.0.0.1", "hooks.example.test"), secret)
    async with PinnedTransport(to_loopback()) as transport:
        sender = WebhookSender(transport=transport, clock=SystemClock(), timeout=5, allow_private=True)
        outcomes = [await sender.attempt(due) for _ in range(3)]
    assert [(outcome.status_code, outcome.error) for outcome in outcomes] == [(204, None)] * 3
    received = [receiver.received.receive_nowait() for _ in range(3)]
    assert [(one.webhook_id, one.payload["job_id"]) for one in received] == [("delivery-1", "job-1")] * 3
    nursery.cancel_scope.cancel()


@pytest.mark.sockets
async def test_the_receiver_refuses_a_wrong_signature(nursery):
    receiver = WebhookReceiver(new_secret())
    url = await nursery.start(receiver.run)
    outcome = await attempt(delivery(url, new_secret()), to_loopback())
    assert (outcome.status_code, outcome.error) == (400, "HTTP 400")
    with pytest.raises(trio.WouldBlock):
        receiver.received.receive_nowait()
    nursery.cancel_scope.cancel()


@pytest.mark.sockets
async def test_a_blocked_address_is_never_connected_to():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    with listener:
        backend = PinnedBackend(resolve=Names(["127.0.0.1"]), allow_private=False)
        due = delivery(f"http://hooks.example.test:{listener.getsockname()[1]}/")
        outcome = await attempt(due, backend)
        assert (outcome.status_code, outcome.error) == (None, "blocked_address")
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.sockets
async def test_a_refused_connection_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = await attempt(delivery(f"http://127.0.0.1:{port}/"), to_loopback())
    assert (outcome.status_code, outcome.error) == (None, "connection refused")


async def answer(text: bytes, *, task_status: trio.TaskStatus[int], tls: ssl.SSLContext | None = None) -> None:
    """Answers each connection with `text`, whatever it asks, and stays open."""

    async def serve(stream: trio.abc.Stream) -> None:
        stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True) if tls else stream
        try:
            await stream.receive_some()
            await stream.send_all(text)
            await stream.receive_some()
        except trio.BrokenResourceError:
            return

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        task_status.started(listener.socket.getsockname()[1])


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + bytes(200_000), 200, None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", 302, "HTTP 302"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", None, "protocol error: "),
        (
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            None,
            "protocol error: illegal status line",
        ),
    ],
)
async def test_strange_answers_are_outcomes(nursery, text, status, error):
    async def serve(task_status: trio.TaskStatus[int]) -> None:
        await answer(text, task_status=task_status)

    port = await nursery.start(serve)
    outcome = await attempt(delivery(f"http://127.0.0.1:{port}/"), to_loopback())
    assert (outcome.status_code, outcome.error is None) == (status, error is None)
    assert (outcome.error or "").startswith(error or "")
    nursery.cancel_scope.cancel()


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("host", "trusted", "status", "error"),
    [
        ("hooks.example.test", True, 204, None),
        ("hooks.example.test", False, None, "tls certificate refused: self-signed certificate"),
        ("other.example.test", True, None, "tls certificate refused: Hostname mismatch"),
    ],
)
async def test_certificates_are_verified_against_the_name_in_the_url(nursery, host, trusted, status, error):
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    tls.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(task_status: trio.TaskStatus[int]) -> None:
        await answer(b"HTTP/1.1 204 No Content\r\n\r\n", task_status=task_status, tls=tls)

    port = await nursery.start(serve)
    trust = ssl.create_default_context(cafile=CERTIFICATE if trusted else None)
    outcome = await attempt(delivery(f"https://{host}:{port}/"), to_loopback(), trust)
    assert outcome.status_code == status
    assert (outcome.error or "").startswith(error or "")
    assert asked == [host]
    nursery.cancel_scope.cancel()


async def test_no_proxy_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    network = Network(refuse=("8.8.8.8",))
    backend = PinnedBackend(resolve=Names([]), allow_private=False, network=network)
    async with PinnedTransport(backend) as transport:
        with pytest.raises(httpx2.ConnectError):
            await transport.handle_async_request(httpx2.Request("POST", "http://8.8.8.8/", content=b""))
    assert network.tried == [("8.8.8.8", 80)]


async def test_connections_of_receivers_not_called_of_late_are_closed():
    streams: dict[str, httpcore2.AsyncMockStream] = {}

    @attrs.define
    class Answering(Network):
        async def connect_tcp(self, host: str, port: int, *options: object) -> httpcore2.AsyncNetworkStream:
            self.tried.append((host, port))
            streams[host] = httpcore2.AsyncMockStream([b"HTTP/1.1 204 No Content\r\n\r\n"] * 2)
            return streams[host]

    backend = PinnedBackend(resolve=Names([]), allow_private=True, network=Answering())
    pools = PoolPerReceiver(lambda: httpcore2.AsyncConnectionPool(network_backend=backend))

    async def post(number: int) -> httpcore2.Response:
        return await pools.handle_async_request(
            httpcore2.Request("POST", f"http://10.0.0.{number}/", headers={"host": "x"})
        )

    busy = await post(0)  # its answer is not read
    for number in range(1, MAX_POOLS + 10):
        response = await post(number)
        await response.aread()
        await response.aclose()
    assert len(pools.pools) == MAX_POOLS
    assert [host for host in streams if streams[host]._closed] == [f"10.0.0.{number}" for number in range(1, 11)]
    await busy.aread()
    await busy.aclose()
    await pools.aclose()
    assert all(stream._closed for stream in streams.values())
