"""Leadership on a real PostgreSQL: the lock, the terms, take-over, and sessions that are not fit for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import psycopg
import pytest
import trio
from tests.storage.offices import SCHEMA, advisory_locks, freed, offices, pid_of, won

from backburner.storage.leader_session import SessionFacts, lock_key, objection
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


async def test_one_wins_and_records_its_term(dsn, admin):
    async with offices(dsn, "a", "b") as [a, b]:
        term = await won(a)
        assert (await b.campaign(), a.refusal, b.refusal) == (None, None, None)
        assert (term.epoch, term.term_id, term.instance_id) == (1, "term-1", "a")
        row = admin.execute("SELECT epoch, term_id, instance_id, backend_pid FROM leader_epoch").fetchone()
        assert row == (1, "term-1", "a", pid_of(a))


async def test_many_heartbeats_leave_one_lock_that_one_unlock_frees(dsn, admin):
    async with offices(dsn, "a") as [a]:
        term = await won(a)
        for _ in range(50):
            assert await a.heartbeat(term)
        assert advisory_locks(admin) == 1
        assert await a._ask("SELECT pg_advisory_unlock(%(key)s::bigint)", key=a._key) == (True,)
        assert advisory_locks(admin) == 0


async def test_a_clean_resignation_wakes_the_standby_which_takes_over(dsn, admin):
    async with offices(dsn, "a", "b") as [a, b]:
        term = await won(a)
        assert await b.campaign() is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.resign, term, "shut down")
            with trio.fail_after(1):
                await b.chance(30)
        assert (await won(b)).epoch == 2
    rows = admin.execute("SELECT epoch, instance_id, ended_at IS NULL, reason FROM leader_history ORDER BY 1")
    assert rows.fetchall() == [(1, "a", False, "shut down"), (2, "b", True, None)]


async def test_a_leader_whose_backend_is_terminated_learns_it_from_its_heartbeat_and_another_takes_over(dsn, admin):
    async with offices(dsn, "a", "b") as [a, b]:
        term = await won(a)
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid_of(a)])
        assert (await won(b)).epoch == 2
        assert await a.heartbeat(term) is False
        await a.resign(term, "heartbeat refused")
        assert await a.campaign() is None
    assert admin.execute("SELECT reason FROM leader_history WHERE epoch = 1").fetchone() == ("lost",)


async def test_a_heartbeat_fails_without_the_lock_and_with_another_term_in_office(dsn, admin):
    async with offices(dsn, "a") as [a]:
        term = await won(a)
        await a._ask("SELECT pg_advisory_unlock_all()")
        admin.execute("SELECT pg_advisory_lock(%s)", [a._key])
        assert await a.heartbeat(term) is False
    admin.execute("SELECT pg_advisory_unlock_all()")
    async with offices(dsn, "a") as [a]:
        term = await won(a)
        admin.execute("UPDATE leader_epoch SET term_id = 'restored from a replica'")
        assert await a.heartbeat(term) is False


async def test_heartbeats_do_not_wait_for_fenced_transactions(dsn, admin):
    async with offices(dsn, "a") as [a]:
        term = await won(a)
        with admin.transaction(), trio.fail_after(1):
            admin.execute("SELECT 1 FROM leader_epoch WHERE name = 'default' FOR SHARE")
            assert await a.heartbeat(term)


async def test_a_standby_waits_for_a_fenced_transaction_of_the_old_term(dsn, admin):
    async with offices(dsn, "a") as [a]:
        with admin.transaction():
            admin.execute("SELECT 1 FROM leader_epoch WHERE name = 'default' FOR SHARE")
            with trio.move_on_after(0.3):
                await a.campaign()
                pytest.fail("a new term began beside an open fenced transaction")
            assert admin.execute("SELECT epoch FROM leader_epoch").fetchone() == (0,)
        await freed(admin)
        assert await a.campaign()


async def test_a_take_over_that_cannot_begin_in_time_gives_the_lock_back_and_says_why(dsn, admin):
    async with offices(dsn, "a", takeover_window=0.0) as [a]:
        with admin.transaction():
            admin.execute("SELECT 1 FROM leader_epoch WHERE name = 'default' FOR SHARE")
            assert await a.campaign() is None
        assert a.refusal == "canceling statement due to lock timeout"
        await freed(admin)
        assert (await won(a)).epoch == 1
        assert a.refusal is None


async def test_cancelling_at_any_moment_leaves_no_lock(dsn, admin):
    for microseconds in range(0, 30_000, 1_500):
        async with offices(dsn, "a") as [a]:
            with trio.move_on_after(microseconds / 1e6) as scope:
                await a.campaign()
                await trio.sleep_forever()
            assert scope.cancelled_caught
        await freed(admin)


async def test_concurrent_index_creation_passes_a_leader_and_standbys(dsn, admin):
    async with offices(dsn, "a", "b", "c") as [a, b, c], trio.open_nursery() as nursery:

        async def stand_by(office: PostgresLeadership) -> None:
            while True:
                await office.campaign()
                await office.chance(0.05)

        assert await a.campaign()
        nursery.start_soon(stand_by, b)
        nursery.start_soon(stand_by, c)
        await trio.sleep(0.1)
        with trio.fail_after(5):
            await trio.to_thread.run_sync(admin.execute, "CREATE INDEX CONCURRENTLY i ON leader_history (epoch)")
        nursery.cancel_scope.cancel()


async def test_a_standby_that_waits_long_is_not_evicted(dsn, admin):
    async with offices(dsn, "a", "b", evict_after=0.3) as [a, b]:
        assert await b.campaign()
        await a.campaign()
        pid = pid_of(a)
        await a.chance(0.8)
        assert pid_of(a) == pid


async def test_the_server_evicts_a_silent_leader(dsn, admin):
    async with offices(dsn, "frozen", "b", evict_after=0.3) as [frozen, b]:
        assert await frozen.campaign()
        await freed(admin)
        assert (await won(b)).epoch == 2


async def test_schemas_of_one_database_have_leaders_of_their_own(dsn, admin):
    admin.execute("CREATE SCHEMA other")
    admin.execute("SET search_path = other")
    admin.execute(SCHEMA)
    other = f"{dsn}?options=-csearch_path%3Dother"
    async with offices(dsn, "a") as [a], offices(other, "b") as [b]:
        assert (await won(a)).epoch == 1
        assert (await won(b)).epoch == 1
        assert a._key == lock_key("public")


async def test_a_server_that_is_away_is_a_refusal_and_not_an_error():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    async with offices(f"postgresql://postgres@127.0.0.1:{port}/x", "a") as [a]:
        assert await a.campaign() is None
        assert "Connection refused" in str(a.refusal)
        with trio.move_on_after(0.05) as scope:
            await a.chance(30)
        assert scope.cancelled_caught


async def test_a_database_without_our_tables_is_a_refusal(postgres_database):
    async with offices(postgres_database, "a") as [a]:
        assert await a.campaign() is None
        assert a.refusal == 'relation "leader_epoch" does not exist'


async def test_a_session_that_holds_a_lock_it_never_asked_for_is_behind_a_pooler(dsn, admin):
    # What a transaction pooler does: our new session runs on a backend where somebody took the lock.
    takes_lock = (
        "CREATE FUNCTION take() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(1); END $$"
    )
    admin.execute(takes_lock)
    admin.execute("CREATE EVENT TRIGGER t ON login EXECUTE FUNCTION take()")
    admin.execute("ALTER EVENT TRIGGER t ENABLE ALWAYS")
    async with offices(dsn, "a") as [a]:
        assert await a.campaign() is None
        assert "transaction pooler" in str(a.refusal)


FIT = SessionFacts(False, 180_004, 15_000, False, 42, "public")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([FIT, FIT], None),
        ([SessionFacts(True, 180_004, 15_000, False, 42, "public")], "read-only standby"),
        ([SessionFacts(False, 130_011, 15_000, False, 42, "public")], "PostgreSQL 14 or later is needed, this is 13"),
        ([SessionFacts(False, 180_004, 0, False, 42, "public")], "dropped our setting idle_session_timeout"),
        ([FIT, SessionFacts(False, 180_004, 15_000, True, 42, "public")], "transaction pooler"),
        ([FIT, SessionFacts(False, 180_004, 15_000, False, 43, "public")], "transaction pooler"),
        ([SessionFacts(False, 180_004, 15_000, False, 7, "public")] * 2, "transaction pooler"),
        ([SessionFacts(False, 180_004, 15_000, False, 42, None)], "no schema"),
    ],
)
def test_a_session_is_fit_or_says_why_not(answers, said):
    found = objection(answers, driver_pid=42, evict_after=15_000)
    assert (found is None) if said is None else (said in str(found))
