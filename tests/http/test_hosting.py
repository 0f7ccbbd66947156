"""Listening and stopping."""

from __future__ import annotations

from contextlib import closing

import pytest
import trio
from tests.http.raw import OK, get, read_all, read_answer, served

from backburner.errors import CannotListen
from backburner.http.binding import Address, bind

pytestmark = pytest.mark.sockets


async def refused(host: str, port: int) -> str:
    with pytest.raises(CannotListen) as caught:
        await bind(host, port)
    return str(caught.value)


async def test_an_address_in_use_is_said_clearly():
    async with served() as server:
        port = server.address.port
        assert await refused("127.0.0.1", port) == f"Cannot listen on 127.0.0.1 port {port}: Address already in use."


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b"])
async def test_an_address_that_is_not_ours_is_said_clearly(host):
    assert (await refused(host, 8283)).startswith(f"Cannot listen on {host} port 8283: ")


async def test_what_is_bound_is_taken_but_refuses_connections_until_it_listens():
    bound = await bind("127.0.0.1", 0)
    with closing(bound):
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", bound.address.port)
        (listener,) = bound.listen()
        async with listener:
            await (await trio.open_tcp_stream("127.0.0.1", bound.address.port)).aclose()


async def test_who_listens_second_is_told_so():
    one = await bind("127.0.0.1", 0)
    other = await bind("127.0.0.1", one.address.port)  # for as long as nobody listens the system allows it
    with closing(one), closing(other):
        one.listen()
        with pytest.raises(CannotListen, match="in use"):
            other.listen()


async def test_the_address_says_the_port_that_was_chosen():
    async with served() as server:
        assert server.address.port > 0
        assert server.address.url == f"http://127.0.0.1:{server.address.port}"


def test_ipv6_addresses_stand_in_brackets():
    assert Address("::1", 80).url == "http://[::1]:80"


async def test_a_request_under_way_is_finished_and_no_other_accepted():
    async with served() as server, await server.connect() as idle, await server.connect() as busy:
        await idle.send_all(get("/v1/ok"))
        await read_answer(idle, OK)
        await busy.send_all(get("/v1/slow?seconds=0.4"))
        assert await server.is_well()
        server.stop.set()
        with trio.fail_after(3):
            assert await read_all(idle) == b""
            with pytest.raises(OSError, match="connect"):
                await server.connect()
            assert (await read_all(busy)).endswith(b'{"slept":true}\n')
            await server.stopped.wait()


async def test_a_request_that_takes_too_long_is_cut_off():
    async with served(graceful_timeout=0.2) as server, await server.connect() as busy:
        await busy.send_all(get("/v1/slow?seconds=60"))
        assert await server.is_well()
        server.stop.set()
        with trio.fail_after(3):
            await server.stopped.wait()
