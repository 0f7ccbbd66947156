"""Connections go to checked addresses only, on a network that records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import attrs
import httpcore2
import httpx2
import pytest
import trio

from backburner.egress import Address
from backburner.webhooks.pinned import AddressBlocked, PinnedBackend, PinnedTransport, SystemResolver
from backburner.webhooks.pools import MAX_POOLS, PoolPerReceiver


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
