"""The leader actor on a real PostgreSQL: hand-over, goodbye, and a link that is cut silently."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from random import Random

import attrs
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.storage.offices import SCHEMA, advisory_locks, offices

from backburner.actors.leader import Leader
from backburner.clock import SystemClock
from backburner.leadership import Mandate
from backburner.storage.postgres_leadership import PostgresLeadership

pytestmark = pytest.mark.postgresql


@pytest.fixture
def dsn(postgres_database: str) -> str:
    with psycopg.connect(postgres_database) as connection:
        connection.execute(SCHEMA)
    return postgres_database


@pytest.fixture
def admin(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@attrs.define
class Relay:
    """A link to the server that can be cut silently: both ends stay open and hear nothing more."""

    port: int
    cut: bool = False

    async def carry(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, client, server)
            nursery.start_soon(self._pump, server, client)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        while data := await source.receive_some():
            if not self.cut:
                await sink.send_all(data)
        if self.cut:
            await trio.sleep_forever()


async def test_the_actor_hands_over_between_two_instances_when_a_backend_dies(dsn, admin):
    on_duty: list[str] = []
    elected, taken_over = trio.Event(), trio.Event()

    def leader_of(office: PostgresLeadership) -> Leader:
        async def duties(mandate: Mandate) -> None:
            mandate.check()
            on_duty.append(mandate.term.instance_id)
            (elected if mandate.term.epoch == 1 else taken_over).set()
            await trio.sleep_forever()

        return Leader(leadership=office, duties=duties, clock=SystemClock(), random=Random(1), heartbeat_interval=0.1)

    async with offices(dsn, "a", "b") as [a, b], trio.open_nursery() as nursery:
        first, second = leader_of(a), leader_of(b)
        await nursery.start(first.run)
        await elected.wait()
        await nursery.start(second.run)
        admin.execute("SELECT pg_terminate_backend(backend_pid, 5000) FROM leader_epoch")
        with trio.fail_after(4):
            await taken_over.wait()
        first.release()
        second.release()
        await first.retire()
        await second.retire()
    assert on_duty[0] == "a"
    assert advisory_locks(admin) == 0
    assert admin.execute("SELECT reason FROM leader_history ORDER BY epoch").fetchall() == [("lost",), ("shut down",)]


async def test_a_leader_cancelled_from_outside_the_loop_still_says_goodbye(dsn, admin):
    async def duties(mandate: Mandate) -> None:
        scope.cancel()

    with trio.CancelScope() as scope:
        async with offices(dsn, "a") as [a]:
            await Leader(leadership=a, duties=duties, clock=SystemClock(), random=Random(1)).run()
    assert admin.execute("SELECT reason FROM leader_history").fetchall() == [("cancelled",)]


async def test_a_leader_that_is_cut_off_ends_its_duties_and_its_term_when_trust_ends(dsn, admin):
    # Asking the server over a dead link to cancel the heartbeat would take seconds more.
    where = conninfo_to_dict(dsn)
    relay = Relay(int(where["port"] or 0))
    on_duty, off_duty = trio.Event(), trio.Event()

    async def duties(mandate: Mandate) -> None:
        on_duty.set()
        try:
            await trio.sleep_forever()
        finally:
            off_duty.set()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, relay.carry, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with offices(make_conninfo(dsn, port=port), "a") as [a], trio.open_nursery() as instance:
            leader = Leader(
                leadership=a, duties=duties, clock=SystemClock(), random=Random(1), heartbeat_interval=0.1, trust=0.5
            )
            instance.start_soon(leader.run)
            await on_duty.wait()
            relay.cut, cut_at = True, trio.current_time()
            await off_duty.wait()
            assert 0.3 < trio.current_time() - cut_at < 1.5
            while leader.term is not None:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert trio.current_time() - cut_at < 1.5
            instance.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
