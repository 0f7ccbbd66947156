"""How connections to PostgreSQL are opened: the transport of every kind, the user's settings, poolers, silent peers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from random import Random

import psycopg
import pytest
import sqlalchemy as sa
import trio
import trio_asyncio  # type: ignore[import-untyped]
from chaos.pooler import Pooler
from chaos.proxy import Proxy
from tests.storage.both import NOW
from tests.storage.offices import offices, won

from backburner.errors import StorageUnavailable
from backburner.storage import maintenance, sessions
from backburner.storage.database import Database, PoolSettings, open_database
from backburner.storage.feed import NotificationFeed
from backburner.storage.line import Line
from backburner.storage.notifications import ALL, WORK
from backburner.storage.postgresql import conninfo
from backburner.storage.sessions import SERVING, Session, Sessions, Use, settings_in
from backburner.storage.urls import libpq_parameters, parse_url

pytestmark = pytest.mark.postgresql

EXPECTED = {
    socket.SO_KEEPALIVE: 1,
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 2,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 10_000,
}


def transport(descriptor: int) -> dict[int, int]:
    """What the kernel does for a connection."""
    with socket.socket(fileno=os.dup(descriptor)) as found:
        levels = dict.fromkeys(EXPECTED, socket.IPPROTO_TCP) | {socket.SO_KEEPALIVE: socket.SOL_SOCKET}
        return {option: found.getsockopt(level, option) for option, level in levels.items()}


@pytest.fixture
def opened() -> Iterator[dict[str, dict[int, int]]]:
    """The transport of each connection that an engine has lent, by what the connection is called."""
    found: dict[str, dict[int, int]] = {}

    def lent(connection: sa.Connection) -> None:
        session = connection.connection.driver_connection
        if isinstance(session, psycopg.Connection):
            found[session.info.get_parameters()["application_name"]] = transport(session.fileno())

    sa.event.listen(sa.Engine, "engine_connect", lent)
    yield found
    sa.event.remove(sa.Engine, "engine_connect", lent)


def opened_database(url: str) -> Database:
    return open_database(url, random=Random(0), in_threads=False, pool=PoolSettings(size=2, overflow=0))


def ask(url: str, statement: str) -> str:
    """What a connection of a server's pool answers."""
    database = opened_database(url)
    try:
        with database.reading.connect() as tx:
            return str(tx.exec_driver_sql(statement).scalar())
    finally:
        database.close()


async def test_every_kind_of_connection_notices_that_the_host_of_the_database_is_gone(postgres_database, opened):
    maintenance.upgrade(postgres_database, now=NOW)  # the commands' engine, and the migrations' own
    ask(postgres_database, "SELECT 1")
    async with offices(postgres_database, "a") as [office]:
        await won(office)
        feed = NotificationFeed(postgres_database)
        async with feed.listening():
            opened["leader"] = transport(office._line.pgconn.socket)
            opened["listener"] = transport(feed._line.pgconn.socket)

    assert opened == dict.fromkeys(("backburner-db", "backburner", "leader", "listener"), EXPECTED)


def test_of_the_transport_the_users_settings_count():
    used = SERVING.parameters({"host": "h", "connect_timeout": "20"})

    assert (used["connect_timeout"], used["tcp_user_timeout"], used["host"]) == ("20", 10_000, "h")


async def test_tables_and_leader_are_in_the_schema_that_the_users_options_name(postgres_database):
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA bb")
    url = f"{postgres_database}?options=-csearch_path%3Dbb"
    maintenance.upgrade(url, now=NOW)

    assert ask(url, "SELECT schemaname FROM pg_tables WHERE tablename = 'jobs'") == "bb"
    assert ask(url, "SHOW statement_timeout") == "30s"
    async with offices(url, "a") as [office]:
        assert (await won(office)).epoch == 1


async def test_of_several_hosts_each_kind_of_connection_finds_the_one_that_is_there(postgres_server):
    with postgres_server.database() as name:
        url = f"postgresql://postgres@127.0.0.1:9,127.0.0.1:{postgres_server.port}/{name}"
        maintenance.upgrade(url, now=NOW)
        assert ask(url, "SELECT count(*) FROM jobs") == "0"
        async with offices(conninfo(parse_url(url)), "a") as [office]:
            assert (await won(office)).epoch == 1


def test_options_of_the_environment_count_where_the_url_has_none(postgres_database, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB")

    assert ask(postgres_database, "SHOW work_mem") == "5MB"
    assert ask(f"{postgres_database}?options=-cwork_mem%3D6MB", "SHOW work_mem") == "6MB"


@pytest.mark.parametrize(
    ("theirs", "used"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply"), ("on", "on")]
)
def test_a_commit_is_durable_and_whoever_wants_more_gets_it(postgres_database, theirs, used):
    assert ask(f"{postgres_database}?options=-csynchronous_commit%3D{theirs}", "SHOW synchronous_commit") == used


def test_dates_are_read_whatever_the_databases_style(postgres_server):
    with postgres_server.database() as name:
        with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} SET datestyle = 'SQL, DMY'")
            admin.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
        assert ask(postgres_server.url(name), "SELECT timestamptz '2026-03-01 12:00+00'") == "2026-03-01 12:00:00+00:00"
        assert ask(postgres_server.url(name), "SELECT '中'") == "中"


def test_migrations_may_take_as_long_as_they_take(postgres_database):
    with psycopg.connect(postgres_database, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA watch CREATE TABLE seen (timeout text)")
        admin.execute(
            "CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO watch.seen SELECT current_setting('statement_timeout'); END $$"
        )
        admin.execute("ALTER ROLE postgres SET statement_timeout = '7s'")
        admin.execute("CREATE EVENT TRIGGER note ON ddl_command_start EXECUTE FUNCTION watch.note()")
        maintenance.upgrade(postgres_database, now=NOW)
        admin.execute("ALTER ROLE postgres RESET statement_timeout")
        assert admin.execute("SELECT DISTINCT timeout FROM watch.seen").fetchall() == [("0",)]


def test_a_peer_that_lives_and_says_nothing_is_given_up(postgres_server):
    impatient = Sessions(use=Use(name="test", settings={}, patience=0.1))
    with Proxy(postgres_server.port) as wire:
        url = postgres_server.url().replace(f":{postgres_server.port}/", f":{wire.port}/")
        session: Session = impatient.open(libpq_parameters(parse_url(url)))
        wire.cut()
        with pytest.raises(psycopg.OperationalError, match="no answer within"):
            session.execute("SELECT 1")
        assert session.closed


async def test_a_line_to_such_a_peer_is_given_up_too(postgres_server):
    with Proxy(postgres_server.port) as wire:
        url = postgres_server.url().replace(f":{postgres_server.port}/", f":{wire.port}/")
        async with trio_asyncio.open_loop():
            line = await trio_asyncio.aio_as_trio(Line.open)(url, 0.1)
            wire.cut()
            with pytest.raises(psycopg.OperationalError, match="no answer within"):
                await trio_asyncio.aio_as_trio(line.row)("SELECT 1", ())
            assert line.closed


@pytest.fixture(params=[False, True], ids=["drops options", "refuses options"])
def pooler(request, postgres_server) -> Iterator[str]:
    """The URL of a database with our schema, by way of a transaction pooler; with a search_path of the user's."""
    with postgres_server.database() as name:
        with psycopg.connect(postgres_server.url(name), autocommit=True) as admin:
            admin.execute("CREATE SCHEMA bb")
        with Pooler(postgres_server.port, name, refuses_options=request.param) as pooler:
            yield f"{pooler.url}?options=-csearch_path%3Dbb"


async def test_behind_a_pooler_each_transaction_has_its_limits_and_prepares_nothing(pooler):
    maintenance.upgrade(pooler, now=NOW)
    database = opened_database(pooler)

    def look(tx: sa.Connection) -> list[str]:
        for _ in range(10):  # a statement is prepared when it comes for the sixth time
            found = tx.exec_driver_sql(
                "SELECT current_schema(), current_setting('statement_timeout'), current_setting('lock_timeout'),"
                " current_setting('timezone'), current_setting('synchronous_commit'),"
                " (SELECT count(*) FROM pg_prepared_statements)::text"
            ).one()
        return list(found)

    for _ in range(10):
        assert await database.read(look) == ["bb", "30s", "5s", "UTC", "on", "0"]
        assert await database.write(look) == ["bb", "30s", "5s", "UTC", "on", "0"]
    database.close()


def test_a_server_logs_once_that_it_is_behind_a_pooler_and_a_command_prints_nothing(pooler, monkeypatch):
    logged: list[str] = []
    monkeypatch.setattr(sessions.log, "warning", lambda event, **_: logged.append(event), raising=False)
    maintenance.upgrade(pooler, now=NOW)
    assert logged == []
    database = opened_database(pooler)
    with database.reading.connect(), database.reading.connect():
        assert logged[-1] == "a transaction pooler is in between"
        assert len(logged) == len(set(logged))
    database.close()


async def test_behind_a_pooler_nobody_leads_and_anything_may_have_changed_now_and_then(pooler):
    async with offices(pooler, "a") as [office]:
        assert await office.campaign() is None
        assert "database_direct_url" in str(office.refusal)
        feed = NotificationFeed(pooler)
        with trio.fail_after(30):
            async with feed.listening():
                assert await feed.next() == [WORK, ALL]


async def test_migrations_of_two_behind_a_pooler_leave_no_lock(pooler, postgres_server):
    maintenance.upgrade(pooler, now=NOW)
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        assert admin.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


async def test_a_listener_whose_server_is_away_says_so(postgres_server):
    feed = NotificationFeed("postgresql://postgres@127.0.0.1:9/x")
    async with trio_asyncio.open_loop():
        with pytest.raises(StorageUnavailable):
            async with feed.listening():
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (None, {}),
        ("-csearch_path=bb", {"search_path": "bb"}),
        ("-c search_path=a,b -c work_mem=5MB", {"search_path": "a,b", "work_mem": "5MB"}),
        (r"--search-path=one\ two -c application_name=a\\b", {"search_path": "one two", "application_name": r"a\b"}),
        ("-e -c", {}),
    ],
)
def test_options_are_read_as_the_server_reads_them(options, settings):
    assert settings_in(options) == settings
