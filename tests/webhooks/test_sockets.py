"""Webhooks over real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from backburner.clock import SystemClock
from backburner.egress import Address
from backburner.model import DueDelivery
from backburner.signing import new_secret
from backburner.webhooks.pinned import PinnedBackend, PinnedTransport
from backburner.webhooks.receiver import WebhookReceiver
from backburner.webhooks.sender import AttemptOutcome, WebhookSender

CERTIFICATE = Path(__file__).parent.parent / "data" / "hooks.example.test.pem"  # of hooks.example.test alone
BODY = b'{"type":"job.completed","job_id":"job-1"}'


async def loopback(host: str, port: int) -> Sequence[Address]:
    """Name resolution as the test has it."""
    return [ip_address("127.0.0.1")]


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
    return PinnedBackend(resolve=loopback, allow_private=True)


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
        backend = PinnedBackend(resolve=loopback, allow_private=False)
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
